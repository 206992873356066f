//! Events, read in the order in which they are told: those of a room by their numbers, those of an app by its feed.

use std::fmt;
use std::str::FromStr;

use super::events::{Event, Row};
use super::{Db, RoomKey};
use crate::error::Error;

/// A place in a feed, behind one event: in the feed of a room its number is enough.
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

/// Events of a room.
pub struct RoomPage {
    /// By their numbers.
    pub events: Vec<Event>,
    /// The number of the oldest event that is kept; one more than `last` if none is.
    pub oldest: i64,
    /// The number of the last event.
    pub last: i64,
}

/// Reads up to `limit` events of a room behind the number `since`, or from the oldest that is kept; of certain `kinds`
/// only, if any are named.
pub async fn of_room(
    db: &Db,
    key: &RoomKey,
    since: Option<i64>,
    limit: i64,
    kinds: Option<&[String]>,
) -> Result<RoomPage, Error> {
    let rows = sqlx::query!(
        r#"
        select last_event, coalesce(
                   (select n from events where app = $1 and chatroom = $2 order by n limit 1), last_event + 1
               ) as "oldest!",
               n as "n?", kind as "kind?", users as "users?", before, after, actor as "actor?", reason as "reason?",
               happened_at as "happened_at?"
        from chatrooms left join lateral (
            select n, kind, users, before::text, after::text, actor, reason, happened_at from events
            where app = $1 and chatroom = $2 and n > $3 and ($4::text[] is null or kind = any($4))
            order by n limit $5
        ) page on true
        where app = $1 and id = $2 and deleted_at is null
        order by n
        "#,
        key.app,
        key.id(),
        since.unwrap_or(0),
        kinds,
        limit,
    )
    .fetch_all(db.pool())
    .await?;
    let Some(first) = rows.first() else { return Err(key.not_found()) };
    let (oldest, last) = (first.oldest, first.last_event);
    if since.is_some_and(|since| since < oldest - 1) {
        return Err(Error::EventsGone { oldest: oldest.to_string() });
    }
    let events = rows.into_iter().filter_map(|row| {
        Some(Event::from(Row {
            chatroom: key.id().into(),
            n: row.n?,
            kind: row.kind?,
            users: row.users?,
            before: row.before,
            after: row.after,
            actor: row.actor?,
            reason: row.reason,
            happened_at: row.happened_at?,
        }))
    });
    Ok(RoomPage { events: events.collect(), oldest, last })
}

/// An event with its place in a feed.
pub struct Told {
    /// The place behind it.
    pub position: Position,
    /// What has happened.
    pub event: Event,
}

/// Events of an app.
pub struct AppPage {
    /// In the order of the feed.
    pub events: Vec<Told>,
    /// Where to go on: behind the last event that was looked at, whether or not it is one of those asked for.
    pub next: Position,
    /// The place before the oldest event that is kept.
    pub oldest: Position,
    /// The place behind the last event that can be read by now.
    pub last: Position,
}

/// The most events that one reading looks at for those of the kinds asked for.
const WINDOW: i64 = 10_000;

/// Reads up to `limit` events of an app behind `since`, or from the oldest that is kept; of certain `kinds` only, if any
/// are named. Those of transactions that are still running, and all behind them, are not told yet.
pub async fn of_app(db: &Db, app: i32, since: Option<&Position>, limit: i64, kinds: Option<&[String]>) -> Result<AppPage, Error> {
    let start = since.cloned().unwrap_or_default();
    let rows = sqlx::query!(
        r#"
        with seen as materialized (
            select xact, chatroom, n, kind, users, before::text, after::text, actor, reason, happened_at from events
            where app = $1 and (xact, chatroom, n) > ($2, $3, $4)
              and xact < pg_snapshot_xmin(pg_current_snapshot())::text::bigint + (select xact_offset from event_clock)
            order by xact, chatroom, n limit $7
        ),
        wanted as (
            select * from seen where $5::text[] is null or kind = any($5) order by xact, chatroom, n limit $6
        ),
        furthest as (
            select * from seen order by xact desc, chatroom desc, n desc limit 1
        )
        select xact as "xact!", chatroom as "chatroom!", n as "n!", kind as "kind!", users as "users!", before, after,
               actor as "actor!", reason, happened_at as "happened_at!", is_end as "is_end!"
        from (select *, false as is_end from wanted union all select *, true from furthest) told
        order by is_end, xact, chatroom, n
        "#,
        app,
        start.xact,
        start.chatroom,
        start.n,
        kinds,
        limit,
        if kinds.is_some() { WINDOW } else { limit },
    )
    .fetch_all(db.pool())
    .await?;
    let (mut events, mut end) = (Vec::new(), start.clone());
    for row in rows {
        let position = Position { xact: row.xact, chatroom: row.chatroom.clone(), n: row.n };
        if row.is_end {
            end = position;
            continue;
        }
        let event = Event::from(Row {
            chatroom: row.chatroom,
            n: row.n,
            kind: row.kind,
            users: row.users,
            before: row.before,
            after: row.after,
            actor: row.actor,
            reason: row.reason,
            happened_at: row.happened_at,
        });
        events.push(Told { position, event });
    }
    // A full page ends with its last event, though more were looked at.
    let is_full = i64::try_from(events.len()).is_ok_and(|number| number == limit);
    let next = events.last().filter(|_| is_full).map_or(end, |told| told.position.clone());

    // Afterwards: what is there now was there when the page was read.
    let ends = ends_of_app(db, app).await?;
    if since.is_some_and(|since| *since < ends.oldest) {
        return Err(Error::EventsGone { oldest: "the cursor in oldest".into() });
    }
    Ok(AppPage { events, next, oldest: ends.oldest, last: ends.last })
}

/// Where the feed of an app begins and ends.
pub struct Ends {
    /// The place before the oldest event that is kept.
    pub oldest: Position,
    /// The place behind the last event that can be read by now.
    pub last: Position,
}

/// Reads where the feed of an app begins and ends.
pub async fn ends_of_app(db: &Db, app: i32) -> Result<Ends, Error> {
    let row = sqlx::query!(
        r#"
        select gone_xact, gone_chatroom, gone_n, xact as "xact?", chatroom as "chatroom?", n as "n?"
        from apps left join lateral (
            select xact, chatroom, n from events
            where app = $1
              and xact < pg_snapshot_xmin(pg_current_snapshot())::text::bigint + (select xact_offset from event_clock)
            order by xact desc, chatroom desc, n desc limit 1
        ) last on true
        where id = $1
        "#,
        app,
    )
    .fetch_one(db.pool())
    .await?;
    let oldest = Position { xact: row.gone_xact, chatroom: row.gone_chatroom, n: row.gone_n };
    let last = match (row.xact, row.chatroom, row.n) {
        (Some(xact), Some(chatroom), Some(n)) => Position { xact, chatroom, n },
        _ => oldest.clone(),
    };
    Ok(Ends { oldest, last })
}

/// What is followed: a room, or the feed of an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A room, by its app and its id.
    Room(i32, String),
    /// An app.
    App(i32),
}

/// Reads what has happened in several feeds since a place in each, up to `limit` events of each. Told by the place of
/// the feed in `wanted`, and in its order.
pub async fn news(db: &Db, wanted: &[(Topic, Position)], limit: i64) -> Result<Vec<(usize, Told)>, Error> {
    let mut told = news_of_rooms(db, wanted, limit).await?;
    told.extend(news_of_apps(db, wanted, limit).await?);
    Ok(told)
}

async fn news_of_rooms(db: &Db, wanted: &[(Topic, Position)], limit: i64) -> Result<Vec<(usize, Told)>, Error> {
    let (mut places, mut apps, mut rooms, mut afters) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (place, (topic, position)) in wanted.iter().enumerate() {
        if let Topic::Room(app, room) = topic {
            places.push(place);
            apps.push(*app);
            rooms.push(room.clone());
            afters.push(position.n);
        }
    }
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"
        select place as "place!", news.*
        from unnest($1::integer[], $2::text[], $3::bigint[]) with ordinality feed (app, chatroom, after, place)
        cross join lateral (
            select chatroom, n, kind, users, before::text as old, after::text as new, actor, reason, happened_at from events
            where events.app = feed.app and events.chatroom = feed.chatroom and n > feed.after
            order by n limit $4
        ) news
        order by place, n
        "#,
        &apps,
        &rooms,
        &afters,
        limit,
    )
    .fetch_all(db.pool())
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let feed = places.get(usize::try_from(row.place - 1).ok()?)?;
            let position = Position { xact: 0, chatroom: row.chatroom.clone(), n: row.n };
            let event = Event::from(Row {
                chatroom: row.chatroom,
                n: row.n,
                kind: row.kind,
                users: row.users,
                before: row.old,
                after: row.new,
                actor: row.actor,
                reason: row.reason,
                happened_at: row.happened_at,
            });
            Some((*feed, Told { position, event }))
        })
        .collect())
}

async fn news_of_apps(db: &Db, wanted: &[(Topic, Position)], limit: i64) -> Result<Vec<(usize, Told)>, Error> {
    let (mut places, mut apps) = (Vec::new(), Vec::new());
    let (mut xacts, mut rooms, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for (place, (topic, position)) in wanted.iter().enumerate() {
        if let Topic::App(app) = topic {
            places.push(place);
            apps.push(*app);
            xacts.push(position.xact);
            rooms.push(position.chatroom.clone());
            numbers.push(position.n);
        }
    }
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"
        select place as "place!", news.*
        from unnest($1::integer[], $2::bigint[], $3::text[], $4::bigint[])
             with ordinality feed (app, xact, chatroom, n, place)
        cross join lateral (
            select xact, chatroom, n, kind, users, before::text as old, after::text as new, actor, reason, happened_at
            from events
            where events.app = feed.app and (events.xact, events.chatroom, events.n) > (feed.xact, feed.chatroom, feed.n)
              and events.xact < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                                + (select xact_offset from event_clock)
            order by xact, chatroom, n limit $5
        ) news
        order by place, xact, chatroom, n
        "#,
        &apps,
        &xacts,
        &rooms,
        &numbers,
        limit,
    )
    .fetch_all(db.pool())
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let feed = places.get(usize::try_from(row.place - 1).ok()?)?;
            let position = Position { xact: row.xact, chatroom: row.chatroom.clone(), n: row.n };
            let event = Event::from(Row {
                chatroom: row.chatroom,
                n: row.n,
                kind: row.kind,
                users: row.users,
                before: row.old,
                after: row.new,
                actor: row.actor,
                reason: row.reason,
                happened_at: row.happened_at,
            });
            Some((*feed, Told { position, event }))
        })
        .collect())
}
