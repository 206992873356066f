//! The background task that makes the deliveries of callbacks.
//!
//! Any number of instances may do so at once, without a leader: each claims queues (one rule, one room) that are due, and
//! works on each in a task of its own. Only such a task waits for a target: no connection to the database, no other rule,
//! and no other room does. An instance that dies loses its claims, and others go on where it was; so a target may be told
//! a thing twice, but never not at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::sender::{Outcome, OutgoingCallback, Sender};
use super::target::SendError;
use crate::background::Task;
use crate::callbacks::deliveries::{self, Attempt, Delivery, Next, Queue, Settled, Timeouts};
use crate::callbacks::rules;
use crate::config::Callbacks;
use crate::db::Db;
use crate::error::{Causes, Error};

/// How much longer a claim holds than a target may take: time for the statements before and after.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// The shortest time between two passes, however much happens.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// The most deliveries for one claim of a queue; then the rule's other queues are next.
const DELIVERIES_PER_CLAIM: usize = 100;

/// The most connections to the database for all this: the rest is for calls.
const MAX_CONNECTIONS: usize = 4;

/// How long a statement waits before it is tried again when the database is away; each time twice as long, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// The most secrets that one statement reads.
const SECRETS_AT_ONCE: i64 = 1000;

/// What the tasks of all queues share.
struct Dispatcher {
    db: Db,
    sender: Sender,
    timeouts: Timeouts,
    db_permits: Semaphore,
    stop: CancellationToken,
}

/// Makes deliveries until told to stop; then what is under way comes to its end, and nothing new begins.
pub async fn run(db: Db, sender: Sender, settings: Callbacks, stop: CancellationToken) {
    let mut committed = db.watch_events();
    let mut ticks = tokio::time::interval(settings.every());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (request, give_up_after) = (settings.timeout(), settings.give_up_after());
    let timeouts = Timeouts { request, lease: request + LEASE_MARGIN, give_up_after };
    let db_permits = Semaphore::new(MAX_CONNECTIONS);
    let dispatcher = Arc::new(Dispatcher { db, sender, timeouts, db_permits, stop: stop.clone() });
    let mut slots = RuleSlots { at_once: settings.at_once, of_rules: HashMap::new() };
    let mut tasks = JoinSet::new();
    let (mut is_resealed, mut is_saturated) = (false, false);
    let mut task = Task::new("callbacks");
    loop {
        while let Some(ended) = tasks.try_join_next() {
            report(ended);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
            // The sending end lives in the database's handle, which this task holds.
            _ = committed.changed() => {}
            Some(ended) = tasks.join_next() => {
                if !report(ended) && !is_saturated {
                    continue;
                }
            }
        }
        let started = Instant::now();
        match task.note(dispatcher.dispatch_due(&mut slots, &mut tasks, &mut is_resealed).await) {
            Some(saturated) => is_saturated = saturated,
            None => metrics::gauge!("roomward_callback_lag_seconds").set(f64::NAN),
        }
        // Where passes are slow, they take no more than half of the time.
        stop.run_until_cancelled(tokio::time::sleep(MIN_INTERVAL.max(started.elapsed()))).await;
    }
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
}

/// Whether a queue was given back in which more is due.
fn report(ended: Result<bool, tokio::task::JoinError>) -> bool {
    ended.unwrap_or_else(|error| {
        tracing::error!(error = %Causes(&error), "a queue of callbacks broke off; its claim ends by itself");
        false
    })
}

/// The slots of each rule: a queue that is worked on holds one.
struct RuleSlots {
    at_once: usize,
    of_rules: HashMap<Uuid, Arc<Semaphore>>,
}

impl RuleSlots {
    /// Takes all that are free.
    fn take(&mut self, rule: Uuid) -> Vec<OwnedSemaphorePermit> {
        let slots = self.of_rules.entry(rule).or_insert_with(|| Arc::new(Semaphore::new(self.at_once)));
        std::iter::from_fn(|| slots.clone().try_acquire_owned().ok()).collect()
    }

    fn forget_idle_rules(&mut self) {
        self.of_rules.retain(|_, slots| slots.available_permits() < self.at_once);
    }
}

impl Dispatcher {
    /// Begins what is due, as far as there are slots. Returns whether more may be due than there were slots for.
    async fn dispatch_due(
        self: &Arc<Self>,
        slots: &mut RuleSlots,
        tasks: &mut JoinSet<bool>,
        is_resealed: &mut bool,
    ) -> Result<bool, Error> {
        if !*is_resealed {
            self.reseal_all().await?;
            *is_resealed = true;
        }
        let due = deliveries::due(&self.db).await?;
        let lag = due.iter().map(|due| due.lag).max().unwrap_or_default();
        metrics::gauge!("roomward_callback_lag_seconds").set(lag.as_secs_f64());
        let (mut is_saturated, mut failure) = (false, None);
        for due in due {
            let free = slots.take(due.rule);
            if free.is_empty() {
                is_saturated = true;
                continue;
            }
            let claimed = deliveries::claim(&self.db, due.rule, free.len(), self.timeouts.lease).await.unwrap_or_else(|error| {
                failure.get_or_insert(error);
                Vec::new()
            });
            is_saturated |= claimed.len() == free.len();
            for (queue, slot) in claimed.into_iter().zip(free) {
                let dispatcher = self.clone();
                tasks.spawn(async move {
                    let more = dispatcher.work(&queue).await.unwrap_or_else(|error| {
                        let error = Causes(&error);
                        tracing::warn!(rule = %queue.rule, room = queue.chatroom, %error, "a queue of callbacks stays where it is for now");
                        false
                    });
                    drop(slot);
                    more
                });
            }
        }
        slots.forget_idle_rules();
        failure.map_or(Ok(is_saturated), Err)
    }

    /// Works on a queue until it is empty, or a delivery fails, or the claim is lost; and no longer than one claim may take.
    /// Returns whether more is due in it.
    async fn work(&self, queue: &Queue) -> Result<bool, Error> {
        for _ in 0..DELIVERIES_PER_CLAIM {
            if self.stop.is_cancelled() {
                break;
            }
            match self.with_retry(|| deliveries::next(&self.db, queue, self.timeouts.request)).await? {
                Next::Send(delivery) => match self.deliver(queue, &delivery).await? {
                    Settled::Done | Settled::Dead => {}
                    Settled::Waits | Settled::Lost => return Ok(false),
                },
                Next::MarkDead { id, n } => {
                    if !self.with_retry(|| deliveries::mark_dead(&self.db, queue, id, self.timeouts.lease)).await? {
                        return Ok(false);
                    }
                    given_up(queue, n, None, None);
                }
                Next::Nothing => {
                    if self.with_retry(|| deliveries::close(&self.db, queue)).await? {
                        return Ok(false);
                    }
                }
                Next::Paused => break,
                Next::Lost => return Ok(false),
            }
        }
        self.with_retry(|| deliveries::give_back(&self.db, queue)).await?;
        Ok(true)
    }

    /// Sends a delivery, and records what came of it.
    async fn deliver(&self, queue: &Queue, delivery: &Delivery) -> Result<Settled, Error> {
        let attempt = self.send(queue, delivery).await.attempt();
        metrics::histogram!("roomward_callback_seconds").record(attempt.latency.as_secs_f64());
        let settled = self.with_retry(|| deliveries::settle(&self.db, queue, delivery.id, &attempt, &self.timeouts)).await?;
        match settled {
            Settled::Done => count("done"),
            Settled::Waits => {
                count("failed");
                let (n, attempts, Attempt { status, error, .. }) = (delivery.event.n, delivery.attempts + 1, attempt);
                tracing::warn!(rule = %queue.rule, room = queue.chatroom, n, attempts, status, error, "a callback failed, and is tried again");
            }
            Settled::Dead => given_up(queue, delivery.event.n, attempt.status, attempt.error),
            Settled::Lost => count("lost"),
        }
        Ok(settled)
    }

    /// A secret that cannot be opened is a failure like any other: an instance with other settings may open it.
    async fn send(&self, queue: &Queue, delivery: &Delivery) -> Outcome {
        let Some(unsealed) = self.sender.open(queue.rule, &delivery.target.sealed) else {
            return Outcome { answer: Err(SendError::SecretUnreadable), latency: Duration::ZERO };
        };
        let Delivery { call_id, attempts, target, appkey, event, .. } = delivery;
        let callback = OutgoingCallback { appkey, call_id: *call_id, attempt: attempts + 1, event };
        self.sender.send(&target.url, &unsealed.secret, &callback).await
    }

    /// Runs a statement, with a permit. If the database is away, or a connection was lost, runs it again for a while: a
    /// delivery that is not recorded is sent again. All these statements may run twice.
    async fn with_retry<T, F: Future<Output = Result<T, Error>>>(&self, statement: impl Fn() -> F) -> Result<T, Error> {
        let _permit = self.db_permits.acquire().await.map_err(|error| Error::Internal(error.into()))?;
        let mut pause = FIRST_PAUSE;
        loop {
            match statement().await {
                Err(Error::Unavailable(_)) if pause <= LAST_PAUSE => tokio::time::sleep(pause).await,
                done => return done,
            }
            pause *= 2;
        }
    }

    /// Seals with the present key what was sealed with a previous one, before that is taken away.
    async fn reseal_all(&self) -> Result<(), Error> {
        let mut after = Uuid::nil();
        loop {
            let secrets = rules::secrets(&self.db, after, SECRETS_AT_ONCE).await?;
            let Some((last, _)) = secrets.last() else { return Ok(()) };
            after = *last;
            for (rule, sealed) in secrets {
                if let Some(unsealed) = self.sender.open(rule, &sealed).filter(|unsealed| unsealed.is_stale) {
                    rules::reseal(&self.db, rule, &sealed, &self.sender.seal(rule, &unsealed.secret)?).await?;
                }
            }
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("roomward_callbacks_total", "outcome" => outcome).increment(1);
}

fn given_up(queue: &Queue, n: i64, status: Option<u16>, error: Option<&str>) {
    count("dead");
    tracing::warn!(rule = %queue.rule, room = queue.chatroom, n, status, error, "gave up a callback");
}
