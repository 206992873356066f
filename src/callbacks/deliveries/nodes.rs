//! The same on a cluster, where queues and deliveries lie beside their rooms, and rules are on every node.

use std::time::Duration;

use uuid::Uuid;

use super::{Attempt, DueRule, ListRequest, Listed, Queue, Settled, Timeouts};
use crate::db::{Db, Transaction};
use crate::error::Error;

pub(super) async fn due(db: &Db) -> Result<Vec<DueRule>, Error> {
    let rows = sqlx::query!(
        r#"
        select rule.id, extract(epoch from now() - min(queue.next_at))::float8 as "lag!"
        from callback_lines queue join callback_rules rule on rule.id = queue.rule
        where queue.next_at <= now() and not paused and deleted_at is null
        group by rule.id
        "#
    )
    .fetch_all(db.pool())
    .await?;
    Ok(rows.into_iter().map(|row| DueRule { rule: row.id, lag: Duration::from_secs_f64(row.lag.max(0.0)) }).collect())
}

/// Looks for queues on all nodes, and claims them one by one, each on its own.
pub(super) async fn claim(db: &Db, rule: Uuid, count: usize, lease: Duration) -> Result<Vec<Queue>, Error> {
    let due = sqlx::query_scalar!(
        "select chatroom from callback_lines where rule = $1 and next_at <= now() order by next_at limit $2",
        rule,
        i64::try_from(count).unwrap_or(i64::MAX),
    )
    .fetch_all(db.pool())
    .await?;
    let mut claimed = Vec::new();
    for chatroom in due {
        let claim = Uuid::new_v4();
        let updated = sqlx::query!(
            "update callback_lines set claim = $3, next_at = now() + make_interval(secs => $4)
             where rule = $1 and chatroom = $2 and next_at <= now()",
            rule,
            chatroom,
            claim,
            lease.as_secs_f64(),
        )
        .execute(db.pool())
        .await?;
        if updated.rows_affected() > 0 {
            claimed.push(Queue { rule, chatroom, claim });
        }
    }
    Ok(claimed)
}

/// In steps, which are one transaction on the node of the queue; the rule is noted afterwards.
pub(super) async fn settle(db: &Db, queue: &Queue, id: i64, attempt: &Attempt, timeouts: &Timeouts) -> Result<Settled, Error> {
    let mut transaction = db.begin().await?;
    let settled = settle_on_node(&mut transaction, queue, id, attempt, timeouts).await;
    let settled = transaction.end(settled).await?;
    if settled != Settled::Lost {
        note_failure(db, queue.rule, !attempt.succeeded).await?;
    }
    Ok(settled)
}

async fn settle_on_node(
    transaction: &mut Transaction,
    queue: &Queue,
    id: i64,
    attempt: &Attempt,
    timeouts: &Timeouts,
) -> Result<Settled, Error> {
    let latency = attempt.latency.as_secs_f64();
    let verdict = sqlx::query!(
        r#"
        select attempts, first_at as "first_at!", now() as "now!",
               case when $3 then 'done'
                    when first_at <= now() - make_interval(secs => $5) then 'dead'
                    else 'pending' end as "state!",
               now() + make_interval(secs => case
                    when $3 or first_at <= now() - make_interval(secs => $5) then $6
                    else least(3600, power(2, least(attempts, 12)) * (0.8 + 0.4 * random())) end) as "next_at!"
        from (
            select attempts, coalesce(first_at, now() - make_interval(secs => $4)) as first_at
            from deliveries where chatroom = $1 and id = $2 and state = 'pending'
        ) delivery
        "#,
        queue.chatroom,
        id,
        attempt.succeeded,
        latency,
        timeouts.give_up_after.as_secs_f64(),
        timeouts.lease.as_secs_f64(),
    )
    .fetch_optional(&mut **transaction)
    .await?;
    let Some(verdict) = verdict else { return Ok(Settled::Lost) };
    let has_ended = verdict.state != "pending";
    let held = sqlx::query!(
        "update callback_lines set claim = case when $4 then claim end, next_at = $5
         where rule = $1 and chatroom = $2 and claim = $3",
        queue.rule,
        queue.chatroom,
        queue.claim,
        has_ended,
        verdict.next_at,
    )
    .execute(&mut **transaction)
    .await?;
    if held.rows_affected() == 0 {
        return Ok(Settled::Lost);
    }
    sqlx::query!(
        "update deliveries set state = $3, attempts = $4, status = $5, error = $6, latency_ms = ($7::float8 * 1000)::integer,
             first_at = $8, ended_at = $9
         where chatroom = $1 and id = $2",
        queue.chatroom,
        id,
        verdict.state,
        verdict.attempts + 1,
        attempt.status.map(i32::from),
        attempt.error,
        latency,
        verdict.first_at,
        has_ended.then_some(verdict.now),
    )
    .execute(&mut **transaction)
    .await?;
    Ok(Settled::of(Some(&verdict.state)))
}

/// Notes at a rule whether its last attempt has failed, if that is news.
async fn note_failure(db: &Db, rule: Uuid, failed: bool) -> Result<(), Error> {
    let is_news =
        sqlx::query_scalar!("select 1 from callback_rules where id = $1 and (failing_since is null) = $2", rule, failed);
    if is_news.fetch_optional(db.pool()).await?.is_none() {
        return Ok(());
    }
    if failed {
        sqlx::query!("update callback_rules set failing_since = now() where id = $1 and failing_since is null", rule)
            .execute(db.pool())
            .await?;
    } else {
        sqlx::query!("update callback_rules set failing_since = null where id = $1", rule).execute(db.pool()).await?;
    }
    Ok(())
}

pub(super) async fn count(db: &Db) -> Result<(i64, i64), Error> {
    let mut counts = [0, 0];
    for (count, state) in counts.iter_mut().zip(["pending", "dead"]) {
        *count = sqlx::query_scalar!(
            r#"select count(*) as "count!" from (
                   select 1 from deliveries join callback_rules rule on rule.id = deliveries.rule
                   where state = $1 and deleted_at is null limit 100000
               ) counted"#,
            state,
        )
        .fetch_one(db.pool())
        .await?;
    }
    Ok((counts[0], counts[1]))
}

/// Each node gives its newest deliveries, with their queues.
pub(super) async fn list(db: &Db, request: &ListRequest<'_>, wanted: &[String], walk: i64) -> Result<Vec<Listed>, Error> {
    Ok(sqlx::query_as!(
        Listed,
        r#"
        with walked as materialized (
            select delivery.id, call_id, delivery.chatroom, n, state, status, attempts, latency_ms, error,
                   case when state = 'pending' then queue.next_at end as next_at
            from deliveries delivery
            left join callback_lines queue on queue.rule = delivery.rule and queue.chatroom = delivery.chatroom
            where delivery.rule = $1 and state = any($2::text[]) and id < $3 order by id desc limit $4
        )
        select walk.last as "last?", walk.count as "count!", delivery.id as "id?", delivery.call_id as "call_id?",
               delivery.chatroom as "chatroom?", delivery.n as "n?", delivery.state as "state?", delivery.status,
               delivery.attempts as "attempts?", delivery.latency_ms, delivery.error, delivery.next_at as "next_at?"
        from (select min(id) as last, count(*) as count from walked) walk
        left join (
            select * from walked where $5::text is null or chatroom = $5 order by id desc limit $6
        ) delivery on true
        order by delivery.id desc
        "#,
        request.rule,
        wanted,
        request.before,
        walk,
        request.room,
        request.size + 1,
    )
    .fetch_all(db.pool())
    .await?)
}
