//! Events, read in the order in which they are told: those of a room by their numbers, those of an app by its feed.

use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;

use crate::db::Db;
use crate::error::Error;
use crate::events::log::{Event, EventRow};
use crate::names::{RoomKey, Scope};

/// A position in a feed, behind one event: in the feed of a room its number is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The transaction that wrote the event; 0 in the feed of a room.
    pub xact: i64,
    /// The event's room.
    pub chatroom: String,
    /// Its number there.
    pub n: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.xact, self.chatroom, self.n)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '/');
        let mut part = || parts.next().ok_or(());
        let (xact, chatroom, n) = (part()?, part()?, part()?);
        Ok(Self { xact: xact.parse().map_err(drop)?, chatroom: chatroom.into(), n: n.parse().map_err(drop)? })
    }
}

/// The most events that one reading looks at for those of the kinds asked for.
const WINDOW: i64 = 10_000;

/// Events of a room.
pub struct RoomPage {
    /// By their numbers.
    pub events: Vec<Event>,
    /// The number of the oldest event that is kept; one more than `last` if none is.
    pub oldest: i64,
    /// The number of the last event.
    pub last: i64,
    /// Where to go on: behind the last event that was looked at, whether or not it is one of those asked for.
    pub next: i64,
}

/// Reads up to `limit` events of a room behind the number `since`, or from the oldest that is kept; of certain `kinds`
/// only, if any are named: then a window of events is looked at, and there may be more behind it.
pub async fn of_room(
    db: &Db,
    key: &RoomKey,
    since: Option<i64>,
    limit: i64,
    kinds: Option<&[String]>,
) -> Result<RoomPage, Error> {
    let rows = sqlx::query!(
        r#"
        with seen as materialized (
            select n, kind, users, before::text, after::text, actor, reason, undoes, happened_at from events
            where app = $1 and chatroom = $2 and n > $3 order by n limit $6
        )
        select last_event, coalesce(
                   (select n from events where app = $1 and chatroom = $2 order by n limit 1), last_event + 1
               ) as "oldest!",
               (select max(n) from seen) as seen,
               n as "n?", kind as "kind?", users as "users?", before, after, actor as "actor?", reason as "reason?",
               undoes as "undoes?",
               happened_at as "happened_at?"
        from chatrooms
        cross join lateral (
            select last_event from room_counters where room_counters.app = $1 and room_counters.chatroom = $2 limit 1
        ) counters
        left join lateral (
            select * from seen where $4::text[] is null or kind = any($4) order by n limit $5
        ) wanted on true
        where app = $1 and id = $2 and deleted_at is null
        order by n
        "#,
        key.app,
        key.id(),
        since.unwrap_or(0),
        kinds,
        limit,
        if kinds.is_some() { WINDOW } else { limit },
    )
    .fetch_all(db.pool())
    .await?;
    let Some(first) = rows.first() else { return Err(key.not_found()) };
    let (oldest, last, seen) = (first.oldest, first.last_event, first.seen);
    if since.is_some_and(|since| since < oldest - 1) {
        return Err(Error::EventsGone { oldest: oldest.to_string() });
    }
    let events = rows.into_iter().filter_map(|row| {
        Some(Event::from(EventRow {
            chatroom: key.id().into(),
            n: row.n?,
            kind: row.kind?,
            users: row.users?,
            before: row.before,
            after: row.after,
            actor: row.actor?,
            reason: row.reason,
            undoes: row.undoes,
            happened_at: row.happened_at?,
        }))
    });
    let events: Vec<Event> = events.collect();
    // A full page ends with its last event, though more were looked at.
    let is_full = i64::try_from(events.len()).is_ok_and(|number| number == limit);
    let next = events.last().filter(|_| is_full).map(|event| event.n).or(seen).or(since).unwrap_or(oldest - 1);
    Ok(RoomPage { events, oldest, last, next })
}

/// An event with its position in a feed.
pub struct FeedEvent {
    /// Behind the event.
    pub position: Position,
    /// What has happened.
    pub event: Event,
}

/// An event as a statement about several feeds gives it.
struct FeedRow {
    /// Which of the feeds it is from.
    index: i64,
    xact: i64,
    chatroom: String,
    n: i64,
    kind: String,
    users: Vec<String>,
    before: Option<String>,
    after: Option<String>,
    actor: String,
    reason: Option<String>,
    undoes: Option<i64>,
    happened_at: OffsetDateTime,
}

impl From<FeedRow> for FeedEvent {
    fn from(row: FeedRow) -> Self {
        let FeedRow { xact, chatroom, n, kind, users, before, after, actor, reason, undoes, happened_at, .. } = row;
        let position = Position { xact, chatroom: chatroom.clone(), n };
        Self { position, event: EventRow { chatroom, n, kind, users, before, after, actor, reason, undoes, happened_at }.into() }
    }
}

/// Events of an app.
pub struct AppPage {
    /// In the order of the feed.
    pub events: Vec<FeedEvent>,
    /// Where to go on: behind the last event that was looked at, whether or not it is one of those asked for.
    pub next: Position,
    /// The position before the oldest event that is kept.
    pub oldest: Position,
    /// The position behind the last event that can be read by now.
    pub last: Position,
}

/// Reads up to `limit` events of an app behind `since`, or from the oldest that is kept; of certain `kinds` only, if any
/// are named. Those of transactions that are still running, and all behind them, are not told yet.
pub async fn of_app(db: &Db, app: i32, since: Option<&Position>, limit: i64, kinds: Option<&[String]>) -> Result<AppPage, Error> {
    let horizon = horizon(db).await?;
    // Before the page for those who begin with it, and afterwards for all: what is there then was there all the time.
    let start = match since {
        Some(since) => since.clone(),
        None => ends_below(db, app, horizon).await?.oldest,
    };
    macro_rules! read {
        ($below:literal $(, $horizon:expr)?) => {
            sqlx::query_as!(
                FeedRow,
                r#"
                with seen as materialized (
                    select xact, chatroom, n, kind, users, before::text, after::text, actor, reason, undoes, happened_at from events
                    where app = $1 and (xact, chatroom, n) > ($2, $3, $4) and "#
                    + $below
                    + r#"
                    order by xact, chatroom, n limit $7
                ),
                wanted as (
                    select * from seen where $5::text[] is null or kind = any($5) order by xact, chatroom, n limit $6
                ),
                furthest as (
                    select * from seen order by xact desc, chatroom desc, n desc limit 1
                )
                select index as "index!", xact as "xact!", chatroom as "chatroom!", n as "n!", kind as "kind!", users as "users!",
                       before, after, actor as "actor!", reason, undoes, happened_at as "happened_at!"
                from (select *, 1::bigint as index from wanted union all select *, 2::bigint from furthest) found
                order by index, xact, chatroom, n
                "#,
                app,
                start.xact,
                start.chatroom,
                start.n,
                kinds,
                limit,
                if kinds.is_some() { WINDOW } else { limit },
                $($horizon)?
            )
            .fetch_all(db.pool())
            .await?
        };
    }
    let rows = if let Some(horizon) = horizon {
        read!("xact < $8", horizon)
    } else {
        read!("xact < pg_snapshot_xmin(pg_current_snapshot())::text::bigint + (select xact_offset from event_clock)")
    };
    let (events, furthest): (Vec<FeedRow>, Vec<FeedRow>) = rows.into_iter().partition(|row| row.index == 1);
    let end = furthest.into_iter().next().map_or_else(|| start.clone(), |row| FeedEvent::from(row).position);
    let events: Vec<FeedEvent> = events.into_iter().map(FeedEvent::from).collect();

    // A full page ends with its last event, though more were looked at.
    let is_full = i64::try_from(events.len()).is_ok_and(|number| number == limit);
    let next = events.last().filter(|_| is_full).map_or(end, |event| event.position.clone());

    let ends = ends_below(db, app, horizon).await?;
    if start < ends.oldest {
        return Err(Error::EventsGone { oldest: "the cursor in oldest".into() });
    }
    Ok(AppPage { events, next, oldest: ends.oldest, last: ends.last })
}

/// Where the feed of an app begins and ends.
pub struct Ends {
    /// The position before the oldest event that is kept.
    pub oldest: Position,
    /// The position behind the last event that can be read by now.
    pub last: Position,
}

/// The same as a statement gives it.
struct EndsRow {
    gone_xact: i64,
    gone_chatroom: String,
    gone_n: i64,
    xact: Option<i64>,
    chatroom: Option<String>,
    n: Option<i64>,
}

/// Reads where the feed of an app begins and ends.
pub async fn ends_of_app(db: &Db, app: i32) -> Result<Ends, Error> {
    ends_below(db, app, horizon(db).await?).await
}

/// On a cluster, the number below which a feed can be read; elsewhere each statement finds that by itself.
async fn horizon(db: &Db) -> Result<Option<i64>, Error> {
    Ok(if db.layout().await?.is_distributed() { Some(db.horizon().await?) } else { None })
}

async fn ends_below(db: &Db, app: i32, horizon: Option<i64>) -> Result<Ends, Error> {
    macro_rules! read {
        ($below:literal $(, $horizon:expr)?) => {
            sqlx::query_as!(
                EndsRow,
                r#"
                select gone_xact, gone_chatroom, gone_n, xact as "xact?", chatroom as "chatroom?", n as "n?"
                from apps left join lateral (
                    select xact, chatroom, n from events where app = $1 and "#
                    + $below
                    + r#"
                    order by xact desc, chatroom desc, n desc limit 1
                ) last on true
                where id = $1
                "#,
                app,
                $($horizon)?
            )
            .fetch_one(db.pool())
            .await?
        };
    }
    let row = if let Some(horizon) = horizon {
        read!("xact < $2", horizon)
    } else {
        read!("xact < pg_snapshot_xmin(pg_current_snapshot())::text::bigint + (select xact_offset from event_clock)")
    };
    let oldest = Position { xact: row.gone_xact, chatroom: row.gone_chatroom, n: row.gone_n };
    let last = match (row.xact, row.chatroom, row.n) {
        (Some(xact), Some(chatroom), Some(n)) => Position { xact, chatroom, n },
        _ => Position::default(),
    };
    // Events that wait for their delivery are kept longer than later ones of other rooms: the feed begins behind them.
    Ok(Ends { last: last.max(oldest.clone()), oldest })
}

/// Reads what has happened in several feeds since a position in each, up to `limit` events of each. Each event comes with
/// the index of its feed in `wanted`, and in the feed's order.
pub async fn read_since(db: &Db, wanted: &[(Scope, Position)], limit: i64) -> Result<Vec<(usize, FeedEvent)>, Error> {
    let (mut rooms, mut apps) = (Vec::new(), Vec::new());
    for (index, (scope, position)) in (0_i64..).zip(wanted) {
        match scope {
            Scope::Room(key) => rooms.push((index, key, position)),
            Scope::App(app) => apps.push((index, *app, position)),
        }
    }
    let mut rows = Vec::new();
    if !rooms.is_empty() {
        rows.extend(rooms_since(db, &rooms, limit).await?);
    }
    if !apps.is_empty() {
        rows.extend(apps_since(db, &apps, limit).await?);
    }
    Ok(rows.into_iter().filter_map(|row| Some((usize::try_from(row.index).ok()?, FeedEvent::from(row)))).collect())
}

async fn rooms_since(db: &Db, rooms: &[(i64, &RoomKey, &Position)], limit: i64) -> Result<Vec<FeedRow>, Error> {
    let indexes: Vec<i64> = rooms.iter().map(|(index, ..)| *index).collect();
    let apps: Vec<i32> = rooms.iter().map(|(_, key, _)| key.app).collect();
    let ids: Vec<&str> = rooms.iter().map(|(_, key, _)| key.id()).collect();
    let numbers: Vec<i64> = rooms.iter().map(|(.., position)| position.n).collect();
    macro_rules! read {
        ($events:literal) => {
            sqlx::query_as!(
                FeedRow,
                r#"
                select index as "index!", 0::bigint as "xact!", event.chatroom, event.n, kind, users, before::text, after::text, actor,
                       reason, undoes, happened_at
                from unnest($1::bigint[], $2::integer[], $3::text[], $4::bigint[]) feed (index, app, chatroom, n)"#
                    + $events
                    + " order by index, event.n",
                &indexes,
                &apps,
                &ids as &[&str],
                &numbers,
                limit,
            )
            .fetch_all(db.pool())
            .await?
        };
    }
    Ok(if db.layout().await?.is_distributed() {
        // Each node looks at its rooms. Numbers have no gaps, so that they bound what is read of each.
        read!(
            " join events event on event.app = feed.app and event.chatroom = feed.chatroom
                  and event.n > feed.n and event.n <= feed.n + $5"
        )
    } else {
        read!(
            " cross join lateral (
                  select chatroom, n, kind, users, before, after, actor, reason, undoes, happened_at from events
                  where events.app = feed.app and events.chatroom = feed.chatroom and events.n > feed.n
                  order by n limit $5
              ) event"
        )
    })
}

async fn apps_since(db: &Db, feeds: &[(i64, i32, &Position)], limit: i64) -> Result<Vec<FeedRow>, Error> {
    if db.layout().await?.is_distributed() {
        return apps_on_nodes_since(db, feeds, limit).await;
    }
    let indexes: Vec<i64> = feeds.iter().map(|(index, ..)| *index).collect();
    let apps: Vec<i32> = feeds.iter().map(|(_, app, _)| *app).collect();
    let xacts: Vec<i64> = feeds.iter().map(|(.., position)| position.xact).collect();
    let rooms: Vec<String> = feeds.iter().map(|(.., position)| position.chatroom.clone()).collect();
    let numbers: Vec<i64> = feeds.iter().map(|(.., position)| position.n).collect();
    Ok(sqlx::query_as!(
        FeedRow,
        r#"
        select index as "index!", event.xact, event.chatroom, event.n, kind, users, before, after, actor, reason, undoes, happened_at
        from unnest($1::bigint[], $2::integer[], $3::bigint[], $4::text[], $5::bigint[])
             feed (index, app, xact, chatroom, n)
        cross join lateral (
            select xact, chatroom, n, kind, users, before::text, after::text, actor, reason, undoes, happened_at from events
            where events.app = feed.app and (events.xact, events.chatroom, events.n) > (feed.xact, feed.chatroom, feed.n)
              and events.xact < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                                + (select xact_offset from event_clock)
            order by xact, chatroom, n limit $6
        ) event
        order by index, event.xact, event.chatroom, event.n
        "#,
        &indexes,
        &apps,
        &xacts,
        &rooms,
        &numbers,
        limit,
    )
    .fetch_all(db.pool())
    .await?)
}

/// The same on a cluster, feed by feed: all nodes are asked for each.
async fn apps_on_nodes_since(db: &Db, feeds: &[(i64, i32, &Position)], limit: i64) -> Result<Vec<FeedRow>, Error> {
    let horizon = db.horizon().await?;
    let mut rows = Vec::new();
    for (index, app, position) in feeds {
        let of_feed = sqlx::query_as!(
            FeedRow,
            r#"
            select $6::bigint as "index!", xact, chatroom, n, kind, users, before::text, after::text, actor, reason, undoes, happened_at
            from events
            where app = $1 and (xact, chatroom, n) > ($2, $3, $4) and xact < $5
            order by xact, chatroom, n limit $7
            "#,
            app,
            position.xact,
            position.chatroom,
            position.n,
            horizon,
            index,
            limit,
        );
        rows.extend(of_feed.fetch_all(db.pool()).await?);
    }
    Ok(rows)
}
