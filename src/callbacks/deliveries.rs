//! What is sent to the targets of callbacks, and what came of it.
//!
//! Deliveries wait in queues, one for each rule and room, and are made in the order of the room's events. The instance
//! that works on a queue holds its claim for a while; without the claim nothing is written. Nothing in here asks for a
//! room's lock, and a queue's lock is held for a statement or two at most.
//!
//! The table of the queues is called `callback_lines`, after the word that they had when it was made.

mod nodes;

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::callbacks::rules::Target;
use crate::db::Db;
use crate::error::Error;

/// A rule that has something to send.
pub struct DueRule {
    /// The rule.
    pub rule: Uuid,
    /// How long the queue that waits longest has been due.
    pub lag: Duration,
}

/// A queue that this instance works on, as long as its claim holds.
#[derive(Debug, Clone)]
pub struct Queue {
    /// The rule whose deliveries wait in it.
    pub rule: Uuid,
    /// The room that they are about; empty: the app as a whole.
    pub chatroom: String,
    claim: Uuid,
}

/// What comes next in a queue.
pub enum Next {
    /// This delivery is to be sent.
    Send(Box<Delivery>),
    /// This delivery can never be sent, since its event is gone: it is to be [marked dead](mark_dead).
    MarkDead {
        /// The delivery.
        id: i64,
        /// The number of its event.
        n: i64,
    },
    /// The queue is empty, and to be [closed](close).
    Nothing,
    /// The rule is paused: the queue is to be [given back](give_back).
    Paused,
    /// The rule is deleted, or the claim is lost, or ends before a request could: this instance leaves the queue alone.
    Lost,
}

/// A delivery with all that its message says.
pub struct Delivery {
    /// Its number.
    pub id: i64,
    /// Its id on the wire, the same for every attempt.
    pub call_id: Uuid,
    /// How many attempts have failed.
    pub attempts: i32,
    /// Where to.
    pub target: Target,
    /// The app, as ORG#APP.
    pub appkey: String,
    /// The event.
    pub event: CallbackEvent,
}

/// An event as callbacks tell it.
pub struct CallbackEvent {
    /// The room's id; empty: the app as a whole.
    pub chatroom: String,
    /// Its number within the room.
    pub n: i64,
    /// What has happened; see [`crate::events::log::Kind::text`].
    pub kind: String,
    /// Whom it is about.
    pub users: Vec<String>,
    /// What was so before, as JSON.
    pub before: Option<String>,
    /// What is so since, as JSON.
    pub after: Option<String>,
    /// Who has done it.
    pub actor: String,
    /// How many members there are after it.
    pub member_count: Option<i32>,
    /// When.
    pub happened_at: OffsetDateTime,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// Whether the target took it.
    pub succeeded: bool,
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// Why none came, for the operator.
    pub error: Option<&'static str>,
    /// How long it took.
    pub latency: Duration,
}

/// The time limits of deliveries.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// How long one request to a target may take.
    pub request: Duration,
    /// How long a claim holds that is not renewed.
    pub lease: Duration,
    /// How long after the first attempt failures are tried again.
    pub give_up_after: Duration,
}

/// What a delivery is after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Made. The queue goes on.
    Done,
    /// To be tried again later; the queue waits for it.
    Waits,
    /// Given up. The queue goes on.
    Dead,
    /// Another instance has the queue by now, and settles it.
    Lost,
}

/// The rules that have queues that are due.
pub async fn due(db: &Db) -> Result<Vec<DueRule>, Error> {
    if db.layout().await?.is_distributed() {
        return nodes::due(db).await;
    }
    let rows = sqlx::query!(
        r#"
        select rule.id, extract(epoch from now() - queue.next_at)::float8 as "lag!"
        from callback_rules rule
        cross join lateral (
            select next_at from callback_lines where rule = rule.id and next_at <= now() order by next_at limit 1
        ) queue
        where not paused and deleted_at is null
        "#
    )
    .fetch_all(db.pool())
    .await?;
    Ok(rows.into_iter().map(|row| DueRule { rule: row.id, lag: Duration::from_secs_f64(row.lag.max(0.0)) }).collect())
}

/// Claims up to `count` due queues of a rule, the longest waiting first. Leaves out those that another instance is claiming.
pub async fn claim(db: &Db, rule: Uuid, count: usize, lease: Duration) -> Result<Vec<Queue>, Error> {
    if db.layout().await?.is_distributed() {
        return nodes::claim(db, rule, count, lease).await;
    }
    let rows = sqlx::query!(
        r#"
        with due as (
            select chatroom from callback_lines where rule = $1 and next_at <= now()
            order by next_at limit $2 for no key update skip locked
        )
        update callback_lines queue set claim = gen_random_uuid(), next_at = now() + make_interval(secs => $3)
        from due where queue.rule = $1 and queue.chatroom = due.chatroom
        returning queue.chatroom, queue.claim as "claim!"
        "#,
        rule,
        i64::try_from(count).unwrap_or(i64::MAX),
        lease.as_secs_f64(),
    )
    .fetch_all(db.pool())
    .await?;
    Ok(rows.into_iter().map(|row| Queue { rule, chatroom: row.chatroom, claim: row.claim }).collect())
}

/// What comes next in a queue, whose claim must hold for as long as a request may take.
pub async fn next(db: &Db, queue: &Queue, request: Duration) -> Result<Next, Error> {
    let row = sqlx::query!(
        r#"
        select rule.paused, rule.url, rule.secret, apps.org || '#' || apps.name as "appkey!",
               first.id as "id?", first.n as "n?", first.call_id as "call_id?", first.attempts as "attempts?",
               event.kind as "kind?", event.users as "users?", event.before::text as before, event.after::text as after,
               event.actor as "actor?", event.member_count, event.happened_at as "happened_at?"
        from callback_lines queue
        join callback_rules rule on rule.id = queue.rule and rule.deleted_at is null
        join apps on apps.id = rule.app
        left join lateral (
            select id, n, call_id, attempts, app from deliveries
            where rule = $1 and chatroom = $2 and state = 'pending'
            order by n, id limit 1
        ) first on true
        left join events event on event.app = first.app and event.chatroom = $2 and event.n = first.n
        where queue.rule = $1 and queue.chatroom = $2 and queue.claim = $3
          and queue.next_at > now() + make_interval(secs => $4)
        "#,
        queue.rule,
        queue.chatroom,
        queue.claim,
        request.as_secs_f64(),
    )
    .fetch_optional(db.pool())
    .await?;
    let Some(row) = row else { return Ok(Next::Lost) };
    if row.paused {
        return Ok(Next::Paused);
    }
    let (Some(id), Some(n), Some(call_id), Some(attempts)) = (row.id, row.n, row.call_id, row.attempts) else {
        return Ok(Next::Nothing);
    };
    let (Some(kind), Some(users), Some(actor), Some(happened_at)) = (row.kind, row.users, row.actor, row.happened_at) else {
        return Ok(Next::MarkDead { id, n });
    };
    let (chatroom, before, after, member_count) = (queue.chatroom.clone(), row.before, row.after, row.member_count);
    let event = CallbackEvent { chatroom, n, kind, users, before, after, actor, member_count, happened_at };
    let target = Target { url: row.url, sealed: row.secret };
    Ok(Next::Send(Box::new(Delivery { id, call_id, attempts, target, appkey: row.appkey, event })))
}

/// Records what came of an attempt.
///
/// After a success the claim holds for another `lease`. After a failure the queue waits for 1 s, 2 s, 4 s and so on up to
/// an hour, each some 20 % more or less, so that a target that comes back is not run over.
pub async fn settle(db: &Db, queue: &Queue, id: i64, attempt: &Attempt, timeouts: &Timeouts) -> Result<Settled, Error> {
    if db.layout().await?.is_distributed() {
        return nodes::settle(db, queue, id, attempt, timeouts).await;
    }
    let state = sqlx::query_scalar!(
        r#"
        with delivery as (
            select attempts, coalesce(first_at, now() - make_interval(secs => $7)) as first_at
            from deliveries where id = $4 and state = 'pending'
        ),
        verdict as (
            select *, case when $5 then 'done'
                           when first_at <= now() - make_interval(secs => $9) then 'dead'
                           else 'pending' end as state
            from delivery
        ),
        held as (
            update callback_lines queue
            set claim = case when verdict.state <> 'pending' then queue.claim end,
                next_at = now() + make_interval(secs => case
                    when verdict.state <> 'pending' then $8
                    else least(3600, power(2, least(attempts, 12)) * (0.8 + 0.4 * random())) end)
            from verdict where queue.rule = $1 and queue.chatroom = $2 and queue.claim = $3
            returning verdict.*
        ),
        rule as (
            update callback_rules set failing_since = case when not $5 then now() end
            where id = $1 and (failing_since is null) <> $5 and exists (select from held)
        )
        update deliveries
        set state = held.state, attempts = held.attempts + 1, status = $6, error = $10,
            latency_ms = ($7 * 1000)::integer, first_at = held.first_at,
            ended_at = case when held.state <> 'pending' then now() end
        from held where id = $4
        returning deliveries.state
        "#,
        queue.rule,
        queue.chatroom,
        queue.claim,
        id,
        attempt.succeeded,
        attempt.status.map(i32::from),
        attempt.latency.as_secs_f64(),
        timeouts.lease.as_secs_f64(),
        timeouts.give_up_after.as_secs_f64(),
        attempt.error,
    )
    .fetch_optional(db.pool())
    .await?;
    Ok(Settled::of(state.as_deref()))
}

impl Settled {
    fn of(state: Option<&str>) -> Self {
        match state {
            Some("done") => Self::Done,
            Some("pending") => Self::Waits,
            Some(_) => Self::Dead,
            None => Self::Lost,
        }
    }
}

/// Gives up a delivery that can never be made. Returns whether the claim still holds.
pub async fn mark_dead(db: &Db, queue: &Queue, id: i64, lease: Duration) -> Result<bool, Error> {
    let marked = sqlx::query!(
        "with held as (
             update callback_lines set next_at = now() + make_interval(secs => $5)
             where rule = $1 and chatroom = $2 and claim = $3 returning claim
         )
         update deliveries set state = 'dead', ended_at = now()
         where id = $4 and chatroom = $2 and state = 'pending' and exists (select from held)",
        queue.rule,
        queue.chatroom,
        queue.claim,
        id,
        lease.as_secs_f64(),
    )
    .execute(db.pool())
    .await?;
    Ok(marked.rows_affected() > 0)
}

/// Gives up the claim of a queue: it is due at once, for any instance.
pub async fn give_back(db: &Db, queue: &Queue) -> Result<(), Error> {
    sqlx::query!(
        "update callback_lines set next_at = now(), claim = null where rule = $1 and chatroom = $2 and claim = $3",
        queue.rule,
        queue.chatroom,
        queue.claim,
    )
    .execute(db.pool())
    .await?;
    Ok(())
}

/// Removes a queue in which nothing waits. `false`: a delivery has come meanwhile, and the claim still holds.
///
/// A change that adds a delivery holds the queue's lock until its commit. So the queue is locked first, and only the next
/// statement, which sees what was committed during the wait, decides.
pub async fn close(db: &Db, queue: &Queue) -> Result<bool, Error> {
    let mut transaction = db.begin().await?;
    let done = async {
        let held = sqlx::query!(
            "select from callback_lines where rule = $1 and chatroom = $2 and claim = $3 for update",
            queue.rule,
            queue.chatroom,
            queue.claim,
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let closed = sqlx::query!(
            "delete from callback_lines where rule = $1 and chatroom = $2 and claim = $3
             and not exists (select from deliveries where rule = $1 and chatroom = $2 and state = 'pending')",
            queue.rule,
            queue.chatroom,
            queue.claim,
        )
        .execute(&mut *transaction)
        .await?;
        Ok(held.is_none() || closed.rows_affected() > 0)
    };
    let done = db.in_time(done).await;
    transaction.end(done).await
}

/// A delivery as its list shows it.
pub struct Entry {
    /// Its number, in the order in which they were made.
    pub id: i64,
    /// Its id on the wire.
    pub call_id: Uuid,
    /// The room.
    pub chatroom: String,
    /// The event's number within the room.
    pub n: i64,
    /// `pending`, `done` or `dead`.
    pub state: String,
    /// The HTTP status of the last attempt.
    pub status: Option<i32>,
    /// Why the last attempt brought no answer.
    pub error: Option<String>,
    /// How many attempts were made.
    pub attempts: i32,
    /// How long the last one took, in milliseconds.
    pub latency_ms: Option<i32>,
    /// When the room's queue is due, if the delivery waits.
    pub next_at: Option<OffsetDateTime>,
}

/// How many deliveries are pending, and how many dead; up to 100,000 for each rule.
pub async fn count(db: &Db) -> Result<(i64, i64), Error> {
    if db.layout().await?.is_distributed() {
        return nodes::count(db).await;
    }
    let row = sqlx::query!(
        r#"
        select coalesce(sum(counted.count) filter (where state = 'pending'), 0)::bigint as "pending!",
               coalesce(sum(counted.count) filter (where state = 'dead'), 0)::bigint as "dead!"
        from callback_rules rule
        cross join unnest(array['pending', 'dead']) wanted (state)
        cross join lateral (
            select count(*) from (
                select from deliveries where rule = rule.id and state = wanted.state limit 100000
            ) counted
        ) counted
        where deleted_at is null
        "#
    )
    .fetch_one(db.pool())
    .await?;
    Ok((row.pending, row.dead))
}

/// Which deliveries of a rule are to be listed.
pub struct ListRequest<'a> {
    /// The rule.
    pub rule: Uuid,
    /// In one of these states.
    pub states: &'a [&'a str],
    /// Of this room only.
    pub room: Option<&'a str>,
    /// With a smaller id than this.
    pub before: i64,
    /// The most entries.
    pub size: i64,
}

/// The most deliveries that one page of a room's deliveries looks at.
const WINDOW: i64 = 10_000;

/// Reads deliveries, the newest first, and the id before which the next page begins, if more may follow.
///
/// There is no index by room, which every delivery would pay for: a page looks at a bounded number of the rule's newest
/// deliveries, and tells how far it got. So a page of a room may be short, or empty, and yet not be the last.
pub async fn list(db: &Db, request: &ListRequest<'_>) -> Result<(Vec<Entry>, Option<i64>), Error> {
    let walk = if request.room.is_some() { WINDOW.max(request.size + 1) } else { request.size + 1 };
    let wanted: Vec<String> = request.states.iter().map(ToString::to_string).collect();
    let rows = if db.layout().await?.is_distributed() {
        nodes::list(db, request, &wanted, walk).await?
    } else {
        walk_newest(db, request, &wanted, walk).await?
    };
    let (last, count) = rows.first().map_or((None, 0), |row| (row.last, row.count));
    let mut entries: Vec<Entry> = rows
        .into_iter()
        .filter_map(|row| {
            let (status, error, latency_ms, next_at) = (row.status, row.error, row.latency_ms, row.next_at);
            let (id, call_id, chatroom) = (row.id?, row.call_id?, row.chatroom?);
            let (n, state, attempts) = (row.n?, row.state?, row.attempts?);
            Some(Entry { id, call_id, chatroom, n, state, status, error, attempts, latency_ms, next_at })
        })
        .collect();
    let size = usize::try_from(request.size).unwrap_or(usize::MAX);
    if entries.len() > size {
        entries.truncate(size);
        let next = entries.last().map(|entry| entry.id);
        return Ok((entries, next));
    }
    Ok((entries, last.filter(|_| count >= walk)))
}

/// A delivery on the walk, if it is one that is asked for, and how far the walk has come.
struct Listed {
    last: Option<i64>,
    count: i64,
    id: Option<i64>,
    call_id: Option<Uuid>,
    chatroom: Option<String>,
    n: Option<i64>,
    state: Option<String>,
    status: Option<i32>,
    attempts: Option<i32>,
    latency_ms: Option<i32>,
    error: Option<String>,
    next_at: Option<OffsetDateTime>,
}

async fn walk_newest(db: &Db, request: &ListRequest<'_>, wanted: &[String], walk: i64) -> Result<Vec<Listed>, Error> {
    Ok(sqlx::query_as!(
        Listed,
        r#"
        with walked as (
            select delivery.* from unnest($2::text[]) wanted (state)
            cross join lateral (
                select * from deliveries where rule = $1 and state = wanted.state and id < $3 order by id desc limit $4
            ) delivery
            order by id desc limit $4
        )
        select walk.last as "last?", walk.count as "count!", delivery.id as "id?", delivery.call_id as "call_id?",
               delivery.chatroom as "chatroom?", delivery.n as "n?", delivery.state as "state?", delivery.status,
               delivery.attempts as "attempts?", delivery.latency_ms, delivery.error, queue.next_at as "next_at?"
        from (select min(id) as last, count(*) as count from walked) walk
        left join (
            select * from walked where $5::text is null or chatroom = $5 order by id desc limit $6
        ) delivery on true
        left join callback_lines queue
            on queue.rule = $1 and queue.chatroom = delivery.chatroom and delivery.state = 'pending'
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
