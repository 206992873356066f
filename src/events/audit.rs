//! What has happened, asked for by whom it is about, who did it, where, what and when.
//!
//! A page begins at a position in an index and reads on from there, so that its depth costs nothing. Nor does a search that
//! finds little cost much: it ends after a window of entries, says how far it has come, and may go on from there.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, Row as _};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use crate::db::Db;
use crate::error::Error;
use crate::events::cursor::EventCursor;
use crate::events::log::{self, CLIENT, Event};
use crate::names::{Order, is_room_id, is_username};

/// How many entries of an index are looked at for one page.
const WINDOW: i64 = 10_000;

/// How many names the events of a page may be about, together: the page ends with the event that reaches it. An event may
/// be about a thousand, so that a thousand events could be too large to hold.
const MOST_NAMES: i64 = 10_000;

/// How long an export waits for transactions that were running when it began, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Which events of an app are asked for: those that fit all that is named.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The app, by its key in the database.
    pub app: i32,
    /// Whom they are about.
    pub user: Option<String>,
    /// The room in which they happened.
    pub room: Option<String>,
    /// Who did it.
    pub actor: Option<String>,
    /// What has happened, one of these.
    pub kinds: Option<Vec<String>>,
}

/// The events from one position up to another, which is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub from: EventCursor,
    /// Before which it ends.
    pub to: EventCursor,
}

/// Some of the events that are asked for.
#[derive(Debug, Default)]
pub struct AuditPage {
    /// As many as were wanted, or fewer, or none.
    pub events: Vec<Event>,
    /// Where there may be more.
    pub rest: Option<Span>,
}

impl Span {
    /// What is left of it when a page has come as far as the event at `last`.
    fn behind(self, last: EventCursor, order: Order) -> Self {
        match order {
            Order::NewestFirst => Self { to: last, ..self },
            Order::OldestFirst => Self { from: EventCursor { n: last.n + 1, ..last }, ..self },
        }
    }

    /// The same by the numbers of a room's events.
    pub(super) async fn in_room(mut self, db: &Db, app: i32, room: &str) -> Result<Self, Error> {
        for end in [&mut self.from, &mut self.to] {
            if end.n == 0 {
                end.n = first_number(db, app, room, end.happened_at).await?;
            }
        }
        Ok(self)
    }

    /// As much of it as lies in the past, by the database's clock. Comes back when nothing is added to that any more: an
    /// event has the moment at which it was written, but is there only when its transaction has ended.
    pub async fn until_now(mut self, db: &Db) -> Result<Self, Error> {
        let now = sqlx::query_scalar!(r#"select statement_timestamp() as "now!""#).fetch_one(db.pool()).await?;
        let deadline = Instant::now() + PATIENCE;
        let is_late = || Error::Unavailable("a transaction that began before the export is still running".into());
        if db.layout().await?.is_distributed() {
            db.settle(PATIENCE).await?.then_some(()).ok_or_else(is_late)?;
        } else {
            while is_being_written(db, now).await? {
                if Instant::now() > deadline {
                    return Err(is_late());
                }
                sleep(PAUSE).await;
            }
        }
        if self.to.happened_at > now {
            self.to = EventCursor::at(now);
        }
        Ok(self)
    }
}

/// Whether a transaction of this database that began before a moment, and writes, is still running.
async fn is_being_written(db: &Db, moment: OffsetDateTime) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"select exists (
               select from pg_stat_activity
               where datname = current_database() and backend_xid is not null and xact_start <= $1
           ) as "any!""#,
        moment,
    )
    .fetch_one(db.pool())
    .await?)
}

/// A way through an index: its entries for a filter, those of them within a span, and its order from either end.
///
/// In all of them `$1` is the app, `$2` to `$4` where the span begins and `$5` to `$7` where it ends, `$8` the user,
/// `$9` the room, `$10` the actor, `$11` the kinds, and `$12` how many.
struct Way {
    entries: &'static str,
    within: &'static str,
    newest_first: &'static str,
    oldest_first: &'static str,
}

impl Way {
    const ALL: Self = Self {
        entries: "events where app = $1",
        within: "(happened_at, chatroom, n) >= ($2, $3, $4) and (happened_at, chatroom, n) < ($5, $6, $7)",
        newest_first: "happened_at desc, chatroom desc, n desc",
        oldest_first: "happened_at, chatroom, n",
    };
    const OF_USER: Self = Self { entries: "event_users where app = $1 and username = $8", ..Self::ALL };
    const OF_ACTOR: Self = Self { entries: "events where app = $1 and actor = $10 and actor <> '@ppAdmin'", ..Self::ALL };
    /// Within a room the order of the numbers is the order of time.
    const OF_ROOM: Self = Self {
        entries: "events where app = $1 and chatroom = $9",
        within: "n >= $4 and n < $7",
        newest_first: "n desc",
        oldest_first: "n",
    };

    /// The way that leads past the fewest entries in vain.
    fn of(filter: &Filter) -> Self {
        match filter {
            Filter { user: Some(_), .. } => Self::OF_USER,
            Filter { room: Some(_), .. } => Self::OF_ROOM,
            Filter { actor: Some(name), .. } if name != CLIENT => Self::OF_ACTOR,
            _ => Self::ALL,
        }
    }

    /// The statement that goes this way: a window of entries, and the event of each until there are enough. The last
    /// entry of a full window comes in any case: it tells that more may follow, and where.
    ///
    /// The limits stand where they do so that there is only one way to do it: walk the index, and look up each event by
    /// its key. The planner cannot begin with the filter, whatever it expects of it.
    fn statement(&self, order: Order) -> String {
        let Self { entries, within, .. } = self;
        let order = match order {
            Order::NewestFirst => self.newest_first,
            Order::OldestFirst => self.oldest_first,
        };
        format!(
            "select * from (
                 select chatroom, n, happened_at, kind, users, before::text, after::text, actor, reason, undoes,
                        is_meant, nth = {WINDOW} as ends_window, sum(cardinality(users)) over (order by {order}) as names
                 from (
                     select chatroom, n, happened_at, row_number() over (order by {order}) as nth
                     from {entries} and {within} order by {order} limit {WINDOW}
                 ) entry
                 left join lateral (
                     select kind, users, before, after, actor, reason, undoes from events
                     where app = $1 and chatroom = entry.chatroom and n = entry.n limit 1
                 ) event on true
                 cross join lateral (
                     select kind is not null
                        and ($9::text is null or chatroom = $9)
                        and ($10::text is null or actor = $10)
                        and ($11::text[] is null or kind = any($11)) as is_meant
                 ) judged
                 where is_meant or nth = {WINDOW}
                 order by {order} limit $12
             ) found
             where names is null or names - cardinality(users) < {MOST_NAMES}
             order by {order}"
        )
    }
}

impl Way {
    /// The same on a cluster, without what the events say: each node gives its window of entries, and judges the events
    /// beside them.
    fn statement_on_nodes(&self, order: Order) -> String {
        let Self { within, .. } = self;
        let (table, which) = match self.entries.split_once(" where ") {
            Some(("events", which)) => ("events entry", which),
            Some((_, which)) => ("event_users entry join events event using (app, chatroom, n)", which),
            None => ("events entry", "true"),
        };
        let event = if table.contains("join") { "event" } else { "entry" };
        let within = within.replace("happened_at", "entry.happened_at");
        let order = match order {
            Order::NewestFirst => self.newest_first,
            Order::OldestFirst => self.oldest_first,
        };
        let of_entry = order.replace("happened_at", "entry.happened_at");
        format!(
            "select * from (
                 select chatroom, n, happened_at, is_meant, nth = {WINDOW} as ends_window,
                        case when is_meant then sum(names_of) filter (where is_meant) over (order by {order}) end as names, names_of
                 from (
                     select *, row_number() over (order by {order}) as nth
                     from (
                         select chatroom, n, entry.happened_at, cardinality({event}.users) as names_of,
                                ($9::text is null or chatroom = $9)
                                and ($10::text is null or {event}.actor = $10)
                                and ($11::text[] is null or {event}.kind = any($11)) as is_meant
                         from {table}
                         where {which} and {within} and ($8::text is null or true)
                         order by {of_entry} limit {WINDOW}
                     ) entry
                 ) judged
                 where is_meant or nth = {WINDOW}
                 order by {order} limit $12
             ) found
             where names is null or names - names_of < {MOST_NAMES}
             order by {order}"
        )
    }
}

/// What the statement of a way finds: an entry of the index, and the event if it is one that is asked for.
struct Found {
    cursor: EventCursor,
    event: Option<Event>,
    /// Whether the page ends here, even if more follows: with the window, or because it is about enough names.
    ends_page: bool,
}

impl FromRow<'_, PgRow> for Found {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let (happened_at, chatroom, n) = (row.try_get("happened_at")?, row.try_get("chatroom")?, row.try_get("n")?);
        let cursor = EventCursor { happened_at, chatroom, n };
        let is_meant: bool = row.try_get("is_meant")?;
        let event = is_meant.then(|| log::EventRow::from_row(row)).transpose()?.map(Event::from);
        let names: Option<i64> = row.try_get("names")?;
        let ends_page = row.try_get("ends_window")? || names.is_some_and(|names| names >= MOST_NAMES);
        Ok(Self { cursor, event, ends_page })
    }
}

impl Filter {
    /// Whether it names what cannot exist. That never reaches SQL.
    fn is_hopeless(&self) -> bool {
        self.user.as_deref().is_some_and(|user| !is_username(user))
            || self.room.as_deref().is_some_and(|room| !is_room_id(room))
            || self.actor.as_deref().is_some_and(|actor| actor.contains('\0'))
    }
}

/// Reads up to `limit` of the events within `span` that fit the filter.
pub async fn read(db: &Db, filter: &Filter, mut span: Span, order: Order, limit: i64) -> Result<AuditPage, Error> {
    if filter.is_hopeless() {
        return Ok(AuditPage::default());
    }
    if let Filter { app, user: None, room: Some(room), .. } = filter {
        span = span.in_room(db, *app, room).await?;
    }
    let mut found = if db.layout().await?.is_distributed() {
        found_on_nodes(db, filter, &span, order, limit + 1).await?
    } else {
        search(db, filter, &span, limit + 1, Way::of(filter).statement(order)).await?
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|last| more || last.ends_page).map(|last| last.cursor.clone());
    let rest = last.map(|last| span.behind(last, order));
    Ok(AuditPage { events: found.into_iter().filter_map(|found| found.event).collect(), rest })
}

/// Runs the statement of a way.
async fn search<O>(db: &Db, filter: &Filter, span: &Span, limit: i64, statement: String) -> Result<Vec<O>, Error>
where
    O: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    #[expect(clippy::disallowed_methods, reason = "put together from fixed pieces; tests run every combination")]
    let statement = sqlx::query_as(AssertSqlSafe(statement));
    // Planned for each reading: a plan that was made when there was hardly an event is no good among millions.
    Ok(statement
        .persistent(false)
        .bind(filter.app)
        .bind(span.from.happened_at)
        .bind(&span.from.chatroom)
        .bind(span.from.n)
        .bind(span.to.happened_at)
        .bind(&span.to.chatroom)
        .bind(span.to.n)
        .bind(&filter.user)
        .bind(&filter.room)
        .bind(&filter.actor)
        .bind(&filter.kinds)
        .bind(limit)
        .fetch_all(db.pool())
        .await?)
}

/// An entry that a cluster finds, and the judgement of its event.
#[derive(FromRow)]
struct Entry {
    chatroom: String,
    n: i64,
    happened_at: OffsetDateTime,
    is_meant: bool,
    ends_window: bool,
    names: Option<i64>,
}

/// Finds entries on a cluster, and then reads what the events say that are asked for.
async fn found_on_nodes(db: &Db, filter: &Filter, span: &Span, order: Order, limit: i64) -> Result<Vec<Found>, Error> {
    let entries: Vec<Entry> = search(db, filter, span, limit, Way::of(filter).statement_on_nodes(order)).await?;
    let (chatrooms, numbers): (Vec<&str>, Vec<i64>) =
        entries.iter().filter(|entry| entry.is_meant).map(|entry| (&*entry.chatroom, entry.n)).unzip();
    let rows = sqlx::query_as!(
        log::EventRow,
        r#"select events.chatroom, events.n, kind, users, before::text, after::text, actor, reason, undoes, happened_at
           from unnest($2::text[], $3::bigint[]) entry (chatroom, n)
           join events on events.app = $1 and events.chatroom = entry.chatroom and events.n = entry.n"#,
        filter.app,
        &chatrooms as &[&str],
        &numbers,
    )
    .fetch_all(db.pool())
    .await?;
    let mut events: HashMap<(String, i64), Event> =
        rows.into_iter().map(|row| ((row.chatroom.clone(), row.n), Event::from(row))).collect();
    Ok(entries
        .into_iter()
        .map(|Entry { chatroom, n, happened_at, ends_window, names, .. }| Found {
            event: events.remove(&(chatroom.clone(), n)),
            ends_page: ends_window || names.is_some_and(|names| names >= MOST_NAMES),
            cursor: EventCursor { happened_at, chatroom, n },
        })
        .collect())
}

/// The number of a room's first event that is not before a moment, or the one that its next event will have.
///
/// Within a room, numbers are in the order of time: halving finds it with a few looks, wherever it is.
async fn first_number(db: &Db, app: i32, room: &str, moment: OffsetDateTime) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"
        with recursive half (low, high) as (
            select (select n from events where app = $1 and chatroom = $2 order by n limit 1),
                   (select n + 1 from events where app = $1 and chatroom = $2 order by n desc limit 1)
            union all
            select case when is_before then middle + 1 else low end, case when is_before then high else middle end
            from (select low, high, (low + high) / 2 as middle from half where low < high) halved
            cross join lateral (
                select happened_at < $3 as is_before from events
                where app = $1 and chatroom = $2 and n >= middle order by n limit 1
            ) looked_at
        )
        select low as "low!" from half where low = high
        "#,
        app,
        room,
        moment,
    )
    .fetch_optional(db.pool())
    .await?
    .unwrap_or(1))
}
