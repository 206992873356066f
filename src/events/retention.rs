//! What is kept of what has happened, and for how long.
//!
//! Events go when they are old, in the order of their numbers, so that what is left of a room is always an unbroken end of
//! them. What was not delivered yet holds back its event and all later ones of the room; but not for ever.
//!
//! Each function does one batch, which is one short transaction. Rows are looked up one by one (`limit 1`, `offset 0`): the
//! planner takes a batch for much of a table, and would read all of it.

mod nodes;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::{Db, Transaction};
use crate::error::Error;
use crate::events::cursor::EventCursor;

/// How long events are kept.
#[derive(Debug, Clone, Copy)]
pub struct RetentionPeriod {
    /// In days.
    pub keep: i32,
    /// The same, for those that could not be delivered; longer.
    pub keep_undelivered: i32,
}

/// What one batch of an app's old events came to.
#[derive(Debug, Default)]
pub struct Pruned {
    /// The number of events removed.
    pub removed: u64,
    /// Behind the last event of the batch; `None` if there was none, or if another instance prunes this app.
    pub next: Option<EventCursor>,
}

/// An old event; `goes` says whether nothing holds it back.
struct Old {
    happened_at: OffsetDateTime,
    chatroom: String,
    n: i64,
    xact: i64,
    goes: bool,
}

impl Old {
    fn cursor(&self) -> EventCursor {
        EventCursor { happened_at: self.happened_at, chatroom: self.chatroom.clone(), n: self.n }
    }
}

/// The apps that have old events.
pub async fn apps_with_old_events(db: &Db, period: RetentionPeriod) -> Result<Vec<i32>, Error> {
    if db.layout().await?.is_distributed() {
        return nodes::apps_with_old_events(db, period).await;
    }
    Ok(sqlx::query_scalar!(
        "select id from apps cross join lateral (
             select true from events where app = id and happened_at < now() - make_interval(days => $1)
             order by happened_at limit 1
         ) old
         order by id",
        period.keep,
    )
    .fetch_all(db.pool())
    .await?)
}

/// Removes some old events of an app, behind `after`, as far as nothing holds them back: about `batch` rows, the names
/// that occur in events counted. One instance at a time, so that no other leaves a gap for a moment.
pub async fn prune(db: &Db, app: i32, after: &EventCursor, period: RetentionPeriod, batch: i64) -> Result<Pruned, Error> {
    // In a transaction of its own: a dispatcher holds deliveries while it waits for others, and must not wait for this one.
    give_up(db, app, after, period, batch).await?;
    let mut transaction = db.begin().await?;
    let done = async {
        if !try_lock(&mut transaction, app).await? {
            return Ok(Pruned::default());
        }
        let mut looked = old_events(&mut transaction, app, after, period, batch).await?;
        let next = looked.last().map(Old::cursor);
        looked.retain(|old| old.goes);
        delete(&mut transaction, app, &looked).await?;
        // Last, since each change of the app as a whole waits for this row.
        if let Some(greatest) = looked.iter().max_by_key(|old| (old.xact, &old.chatroom, old.n)) {
            raise(&mut transaction, app, greatest).await?;
        }
        Ok(Pruned { removed: looked.len() as u64, next })
    };
    let done = db.in_time(done).await;
    transaction.end(done).await
}

/// Locks the retention of an app, unless another instance has. Not the app's row, which others need: an advisory lock
/// beside the app's number, which ends with the transaction.
async fn try_lock(transaction: &mut Transaction, app: i32) -> Result<bool, Error> {
    const RETENTION: i32 = 0x726f_6f6d;
    Ok(sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1, $2) as "ours!""#, RETENTION, app)
        .fetch_one(&mut **transaction)
        .await?)
}

/// Gives up on deliveries whose events are too old even for those that wait.
async fn give_up(db: &Db, app: i32, after: &EventCursor, period: RetentionPeriod, batch: i64) -> Result<(), Error> {
    let dead = if db.layout().await?.is_distributed() {
        nodes::give_up(db, app, after, period, batch).await?
    } else {
        mark_late_ones(db, app, after, period, batch).await?
    };
    if dead > 0 {
        tracing::warn!(app, deliveries = dead, "gave up callbacks whose events are too old to be kept");
    }
    Ok(())
}

/// Marks them as dead, and returns how many.
async fn mark_late_ones(db: &Db, app: i32, after: &EventCursor, period: RetentionPeriod, batch: i64) -> Result<u64, Error> {
    let dead = sqlx::query!(
        "update deliveries set state = 'dead', ended_at = now() where id = any(array(
             select late.id from (
                 select chatroom, n from events
                 where app = $1 and happened_at < now() - make_interval(days => $2) and (happened_at, chatroom, n) > ($3, $4, $5)
                 order by happened_at, chatroom, n limit $6
             ) old
             cross join lateral (
                 select id from deliveries
                 where app = $1 and deliveries.chatroom = old.chatroom and deliveries.n = old.n and state = 'pending' offset 0
             ) late
             limit $6
         )) and state = 'pending'",
        app,
        period.keep_undelivered,
        after.happened_at,
        after.chatroom,
        after.n,
        batch,
    )
    .execute(db.pool())
    .await?;
    Ok(dead.rows_affected())
}

/// Old events by age, up to `batch` rows of theirs. One goes if every event of its room before it goes, or is gone, and
/// nothing waits to be delivered up to it. The moments of events are nearly, but not always, in the order of their numbers.
async fn old_events(
    transaction: &mut Transaction,
    app: i32,
    after: &EventCursor,
    period: RetentionPeriod,
    batch: i64,
) -> Result<Vec<Old>, Error> {
    if transaction.layout().is_distributed() {
        return nodes::old_events(transaction, app, after, period, batch).await;
    }
    Ok(sqlx::query_as!(
        Old,
        r#"
        with looked as materialized (
            select happened_at, chatroom, n, xact from (
                select *, sum(rows) over (order by happened_at, chatroom, n) - rows as rows_before from (
                    select happened_at, chatroom, n, xact, 1 + cardinality(users) as rows from events
                    where app = $1 and happened_at < now() - make_interval(days => $2) and (happened_at, chatroom, n) > ($3, $4, $5)
                    order by happened_at, chatroom, n limit $6
                ) old
            ) counted where rows_before < $6
        ),
        rooms as materialized (
            select room.chatroom, first.n as first, waiting.n as waiting
            from (select distinct chatroom from looked) room
            cross join lateral (
                select n from events where app = $1 and events.chatroom = room.chatroom order by n limit 1
            ) first
            left join lateral (
                select n from deliveries
                where app = $1 and deliveries.chatroom = room.chatroom and state = 'pending' and n >= first.n order by n limit 1
            ) waiting on true
        )
        select happened_at, chatroom, n, xact,
               n - first + 1 = row_number() over (partition by chatroom order by n) and (waiting is null or n < waiting) as "goes!"
        from looked join rooms using (chatroom)
        order by happened_at, chatroom, n
        "#,
        app,
        period.keep,
        after.happened_at,
        after.chatroom,
        after.n,
        batch,
    )
    .fetch_all(&mut **transaction)
    .await?)
}

async fn delete(transaction: &mut Transaction, app: i32, doomed: &[Old]) -> Result<(), Error> {
    let chatrooms: Vec<String> = doomed.iter().map(|old| old.chatroom.clone()).collect();
    let numbers: Vec<i64> = doomed.iter().map(|old| old.n).collect();
    if transaction.layout().is_distributed() {
        return nodes::delete(transaction, app, &chatrooms, &numbers).await;
    }
    sqlx::query!(
        "with gone as (
             delete from events where ctid = any(array(
                 select found.ctid from unnest($2::text[], $3::bigint[]) doomed (chatroom, n)
                 cross join lateral (
                     select ctid from events where app = $1 and events.chatroom = doomed.chatroom and events.n = doomed.n limit 1
                 ) found
             ))
             returning chatroom, n, happened_at, users
         )
         delete from event_users where ctid = any(array(
             select found.ctid from gone cross join lateral unnest(gone.users) named (username)
             cross join lateral (
                 select ctid from event_users
                 where app = $1 and event_users.username = named.username and event_users.happened_at = gone.happened_at
                   and event_users.chatroom = gone.chatroom and event_users.n = gone.n limit 1
             ) found
         ))",
        app,
        &chatrooms,
        &numbers,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Records up to which position of the app's feed some events are missing. Never lowered: what is gone stays gone.
async fn raise(transaction: &mut Transaction, app: i32, greatest: &Old) -> Result<(), Error> {
    sqlx::query!(
        "update apps set gone_xact = $2, gone_chatroom = $3, gone_n = $4
         where id = $1 and (gone_xact, gone_chatroom, gone_n) < ($2, $3, $4)",
        app,
        greatest.xact,
        greatest.chatroom,
        greatest.n,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Removes up to `batch` deliveries that ended more than `days` days ago. Returns the number removed.
pub async fn forget_deliveries(db: &Db, days: i32, batch: i64) -> Result<u64, Error> {
    if db.layout().await?.is_distributed() {
        return nodes::forget_deliveries(db, days, batch).await;
    }
    let forgotten = sqlx::query!(
        "delete from deliveries where id = any(array(
             select id from deliveries where ended_at < now() - make_interval(days => $1)
             order by ended_at limit $2 for update skip locked
         ))",
        days,
        batch,
    )
    .execute(db.pool())
    .await?;
    Ok(forgotten.rows_affected())
}

/// Rules that were deleted so long ago that no change which still knew them is under way.
pub async fn deleted_rules(db: &Db, limit: i64) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar!(
        "select id from callback_rules where deleted_at < now() - interval '1 minute' order by deleted_at limit $1",
        limit,
    )
    .fetch_all(db.pool())
    .await?)
}

/// Removes up to `batch` rows of a deleted rule: its queues, so that no instance works on them any more, then its
/// deliveries, and last the rule itself. Returns the number removed; 0 as well if another instance removes the rest.
pub async fn forget_rule(db: &Db, rule: Uuid, batch: i64) -> Result<u64, Error> {
    if db.layout().await?.is_distributed() {
        return nodes::forget_rule(db, rule, batch).await;
    }
    let mut transaction = db.begin().await?;
    let done = async {
        let mut gone = sqlx::query!(
            "delete from callback_lines where rule = $1 and chatroom = any(array(
                 select chatroom from callback_lines where rule = $1 order by chatroom limit $2 for update skip locked
             ))",
            rule,
            batch,
        )
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        if gone == 0 {
            gone = sqlx::query!(
                "delete from deliveries where id = any(array(
                     select id from deliveries where rule = $1 order by state, id limit $2 for update skip locked
                 ))",
                rule,
                batch,
            )
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        }
        if gone == 0 {
            gone = sqlx::query!(
                "delete from callback_rules where id = $1 and deleted_at is not null
                 and not exists (select 1 from callback_lines where rule = $1)
                 and not exists (select 1 from deliveries where rule = $1)",
                rule,
            )
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        }
        Ok(gone)
    };
    let done = db.in_time(done).await;
    transaction.end(done).await
}
