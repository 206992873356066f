//! The same on a cluster: rows of a batch are on several nodes, which cannot lock them together. What another instance
//! removes at the same time is waited for, and then is gone.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{Old, RetentionPeriod};
use crate::db::{Db, Transaction};
use crate::error::Error;
use crate::events::cursor::EventCursor;

pub(super) async fn apps_with_old_events(db: &Db, period: RetentionPeriod) -> Result<Vec<i32>, Error> {
    let mut old = Vec::new();
    for app in sqlx::query_scalar!("select id from apps order by id").fetch_all(db.pool()).await? {
        let has_old = sqlx::query_scalar!(
            "select 1 from events where app = $1 and happened_at < now() - make_interval(days => $2) limit 1",
            app,
            period.keep,
        );
        old.extend(has_old.fetch_optional(db.pool()).await?.map(|_| app));
    }
    Ok(old)
}

/// Returns how many deliveries are dead now.
pub(super) async fn give_up(db: &Db, app: i32, after: &EventCursor, period: RetentionPeriod, batch: i64) -> Result<u64, Error> {
    let dead = sqlx::query!(
        "with old as materialized (
             select chatroom, n from events
             where app = $1 and happened_at < now() - make_interval(days => $2) and (happened_at, chatroom, n) > ($3, $4, $5)
             order by happened_at, chatroom, n limit $6
         )
         update deliveries set state = 'dead', ended_at = now() from old
         where deliveries.app = $1 and deliveries.chatroom = old.chatroom and deliveries.n = old.n and state = 'pending'",
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

pub(super) async fn old_events(
    transaction: &mut Transaction,
    app: i32,
    after: &EventCursor,
    period: RetentionPeriod,
    batch: i64,
) -> Result<Vec<Old>, Error> {
    let looked = sqlx::query!(
        r#"
        select happened_at as "happened_at!", chatroom as "chatroom!", n as "n!", xact as "xact!" from (
            select *, sum(rows) over (order by happened_at, chatroom, n) - rows as rows_before from (
                select happened_at, chatroom, n, xact, 1 + cardinality(users) as rows from events
                where app = $1 and happened_at < now() - make_interval(days => $2) and (happened_at, chatroom, n) > ($3, $4, $5)
                order by happened_at, chatroom, n limit $6
            ) old
        ) counted where rows_before < $6
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
    .await?;
    let rooms: HashSet<&str> = looked.iter().map(|row| &*row.chatroom).collect();
    let rooms: Vec<&str> = rooms.into_iter().collect();
    let first = sqlx::query!(
        r#"select chatroom, min(n) as "n!" from events where app = $1 and chatroom = any($2::text[]) group by chatroom"#,
        app,
        &rooms as &[&str],
    )
    .fetch_all(&mut **transaction)
    .await?;
    let waiting = sqlx::query!(
        r#"select deliveries.chatroom, min(deliveries.n) as "n!" from deliveries
           join events on events.app = deliveries.app and events.chatroom = deliveries.chatroom and events.n = deliveries.n
           where deliveries.app = $1 and deliveries.chatroom = any($2::text[]) and state = 'pending'
           group by deliveries.chatroom"#,
        app,
        &rooms as &[&str],
    )
    .fetch_all(&mut **transaction)
    .await?;
    // The number up to which the events of a room go, as far as they follow each other.
    let mut next: HashMap<&str, i64> = first.iter().map(|row| (&*row.chatroom, row.n)).collect();
    let waiting: HashMap<&str, i64> = waiting.iter().map(|row| (&*row.chatroom, row.n)).collect();
    let mut in_order: Vec<usize> = (0..looked.len()).collect();
    in_order.sort_by_key(|index| (&looked[*index].chatroom, looked[*index].n));
    let mut goes = vec![false; looked.len()];
    for index in in_order {
        let row = &looked[index];
        let Some(next) = next.get_mut(&*row.chatroom).filter(|next| **next == row.n) else { continue };
        *next += 1;
        goes[index] = waiting.get(&*row.chatroom).is_none_or(|waiting| row.n < *waiting);
    }
    let old = looked.into_iter().zip(goes).map(|(row, goes)| Old {
        happened_at: row.happened_at,
        chatroom: row.chatroom,
        n: row.n,
        xact: row.xact,
        goes,
    });
    Ok(old.collect())
}

pub(super) async fn delete(transaction: &mut Transaction, app: i32, chatrooms: &[String], numbers: &[i64]) -> Result<(), Error> {
    sqlx::query!(
        "with gone as (
             delete from events using unnest($2::text[], $3::bigint[]) doomed (chatroom, n)
             where events.app = $1 and events.chatroom = doomed.chatroom and events.n = doomed.n
             returning events.chatroom, events.n, happened_at, users
         ),
         named as materialized (select chatroom, n, happened_at, unnest(users) as username from gone)
         delete from event_users using named
         where event_users.app = $1 and event_users.username = named.username and event_users.happened_at = named.happened_at
           and event_users.chatroom = named.chatroom and event_users.n = named.n",
        app,
        chatrooms,
        numbers,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

pub(super) async fn forget_deliveries(db: &Db, days: i32, batch: i64) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        "with old as materialized (
             select chatroom, id from deliveries where ended_at < now() - make_interval(days => $1) order by ended_at limit $2
         )
         delete from deliveries using old where deliveries.chatroom = old.chatroom and deliveries.id = old.id",
        days,
        batch,
    )
    .execute(db.pool())
    .await?;
    Ok(forgotten.rows_affected())
}

pub(super) async fn forget_rule(db: &Db, rule: Uuid, batch: i64) -> Result<u64, Error> {
    let lines = sqlx::query!(
        "with doomed as materialized (select chatroom from callback_lines where rule = $1 order by chatroom limit $2)
         delete from callback_lines using doomed where rule = $1 and callback_lines.chatroom = doomed.chatroom",
        rule,
        batch,
    )
    .execute(db.pool())
    .await?
    .rows_affected();
    if lines > 0 {
        return Ok(lines);
    }
    let deliveries = sqlx::query!(
        "with doomed as materialized (select chatroom, id from deliveries where rule = $1 order by state, id limit $2)
         delete from deliveries using doomed where deliveries.chatroom = doomed.chatroom and deliveries.id = doomed.id",
        rule,
        batch,
    )
    .execute(db.pool())
    .await?
    .rows_affected();
    if deliveries > 0 {
        return Ok(deliveries);
    }
    let rules = sqlx::query!(
        "delete from callback_rules where id = $1 and deleted_at is not null
         and not exists (select 1 from callback_lines where rule = $1)
         and not exists (select 1 from deliveries where rule = $1)",
        rule,
    )
    .execute(db.pool())
    .await?;
    Ok(rules.rows_affected())
}
