//! Sending again what has happened: new deliveries to one rule, for events that are still kept.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::callbacks::rules;
use crate::db::Db;
use crate::error::Error;
use crate::events::cursor::EventCursor;
use crate::names::{RoomKey, Scope};

/// The most events that one statement looks at: some tens of milliseconds.
const BATCH: i64 = 5_000;

/// Which events.
pub enum Range {
    /// Those of one room, or of the app as a whole, by their numbers.
    Numbers {
        /// Whose they are.
        scope: Scope,
        /// The first number.
        from: i64,
        /// The last one.
        to: i64,
    },
    /// Those of the app by their moments.
    Times {
        /// The first moment.
        from: OffsetDateTime,
        /// The first one that is too late.
        to: OffsetDateTime,
    },
    /// Those of a room that cannot exist: none.
    None,
}

impl Range {
    /// By numbers from one to another; an empty `room` is the app as a whole.
    pub fn numbers(app: i32, room: &str, from: i64, to: i64) -> Self {
        let scope = if room.is_empty() { Some(Scope::App(app)) } else { RoomKey::parse(app, room).map(Scope::Room) };
        scope.map_or(Self::None, |scope| Self::Numbers { scope, from, to })
    }

    /// From one moment to another in Unix milliseconds. What is beyond all time is the start or the end of it: 1970, and
    /// 9999-12-31.
    pub fn between_ms(from: i64, to: i64) -> Self {
        const LAST_MS: i64 = 253_402_214_400_000;
        let moment = |ms: i64| {
            let nanos = i128::from(ms.clamp(0, LAST_MS)) * 1_000_000;
            OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
        };
        Self::Times { from: moment(from), to: moment(to) }
    }

    /// Before its first event.
    fn start(&self) -> Option<EventCursor> {
        let epoch = EventCursor::at(OffsetDateTime::UNIX_EPOCH);
        match self {
            Self::Numbers { from, .. } => Some(EventCursor { n: from.saturating_sub(1), ..epoch }),
            Self::Times { from, .. } => Some(EventCursor::at(*from)),
            Self::None => None,
        }
    }
}

/// Gives a rule the events in `range` that it asks for once more, and returns how many those are.
///
/// Step by step, each kept by itself: what was done of a replay that breaks off is sent.
pub async fn replay(db: &Db, app: i32, rule: Uuid, range: &Range) -> Result<u64, Error> {
    rules::target(db, app, rule).await?;
    let mut events = 0;
    let mut cursor = range.start();
    while let Some(after) = cursor {
        let (made, next) = step(db, app, rule, range, after).await?;
        (events, cursor) = (events + made, next);
        if made > 0 {
            db.events_committed();
        }
    }
    Ok(events)
}

/// Replays one batch of events. Numbers of a room are walked by themselves: moments need not be in their order. Queues are
/// made in the order of rooms, so that no two replays wait for each other.
async fn step(db: &Db, app: i32, rule: Uuid, range: &Range, after: EventCursor) -> Result<(u64, Option<EventCursor>), Error> {
    let (room, last, to) = match range {
        Range::Numbers { scope, to, .. } => (Some(scope.chatroom()), *to, None),
        Range::Times { to, .. } => (None, i64::MAX, Some(*to)),
        Range::None => return Ok((0, None)),
    };
    let row = sqlx::query!(
        r#"
        with looked as (
            (select chatroom, n, kind, happened_at from events
             where $3::text is not null and app = $1 and chatroom = $3 and n > $6 and n <= $7
             order by n limit $9)
            union all
            (select chatroom, n, kind, happened_at from events
             where $3::text is null and app = $1 and (happened_at, chatroom, n) > ($4, $5, $6) and happened_at < $8
             order by happened_at, chatroom, n limit $9)
        ),
        chosen as (
            select chatroom, n from looked
            join callback_rules rule on rule.id = $2 and rule.deleted_at is null
                 and rule.kinds && array['*', looked.kind, split_part(looked.kind, '/', 1)]
        ),
        queues as (
            insert into callback_lines (rule, app, chatroom)
            select distinct $2::uuid, $1::integer, chatroom from chosen order by chatroom
            on conflict (rule, chatroom) do update set next_at = callback_lines.next_at
        ),
        made as (
            insert into deliveries (rule, app, chatroom, n)
            select $2, $1, chatroom, n from chosen order by chatroom, n
        )
        select (select count(*) from chosen) as "chosen!", (select count(*) from looked) as "looked!",
               last.chatroom as "chatroom?", last.n as "n?", last.happened_at as "happened_at?"
        from (values (1)) one
        left join (
            select * from looked
            order by case when $3::text is null then happened_at end desc, chatroom desc, n desc limit 1
        ) last on true
        "#,
        app,
        rule,
        room,
        after.happened_at,
        after.chatroom,
        after.n,
        last,
        to,
        BATCH,
    )
    .fetch_one(db.pool())
    .await?;
    let next = match (row.happened_at, row.chatroom, row.n) {
        (Some(happened_at), Some(chatroom), Some(n)) if row.looked >= BATCH => Some(EventCursor { happened_at, chatroom, n }),
        _ => None,
    };
    Ok((row.chosen.unsigned_abs(), next))
}
