//! The background task that makes the deliveries of callbacks.
//!
//! Any number of instances may do so at once, without a leader: each claims lines of deliveries (one rule, one room) that
//! are due, and works on each in a task of its own. What waits for a target is such a task and nothing else: no
//! connection to the database, no other rule, no other room. An instance that dies loses its claims, and others go on
//! where it was; so a target may be told a thing twice, but never not at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::sender::{Outcome, Parcel, Sender, UNREADABLE};
use super::target::Unanswered;
use crate::callbacks::deliveries::{self, Delivery, Line, Next, Patience, Settled};
use crate::callbacks::rules;
use crate::config::Callbacks;
use crate::db::Db;
use crate::error::{Causes, Error};

/// How much longer a claim holds than a target may take: time for the statements before and after.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// The shortest time between two looks, however much news there is.
const BREATH: Duration = Duration::from_millis(10);

/// So many deliveries are made of one line before the others of its rule have their turn.
const TURN: usize = 100;

/// How many connections to the database may be in use for all this: the rest is for calls.
const STATEMENTS_AT_ONCE: usize = 4;

/// How long a statement waits before it is tried again when the database is away; each time twice as long, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// How many secrets one statement reads.
const SECRETS_AT_ONCE: i64 = 1000;

/// What all lines are worked on with.
struct Dispatcher {
    db: Db,
    sender: Sender,
    patience: Patience,
    desk: Semaphore,
    stop: CancellationToken,
}

/// Makes deliveries until told to stop; then what is under way comes to its end, and nothing new is begun.
pub async fn run(db: Db, sender: Sender, settings: Callbacks, stop: CancellationToken) {
    let mut news = db.watch_events();
    let mut ticks = tokio::time::interval(settings.every());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (sending, give_up_after) = (settings.timeout(), settings.give_up_after());
    let patience = Patience { sending, lease: sending + LEASE_MARGIN, give_up_after };
    let dispatcher = Arc::new(Dispatcher { db, sender, patience, desk: Semaphore::new(STATEMENTS_AT_ONCE), stop: stop.clone() });
    let mut places = Places { at_once: settings.at_once, of_rules: HashMap::new() };
    let mut lines = JoinSet::new();
    let (mut is_resealed, mut is_saturated) = (false, false);
    loop {
        while let Some(ended) = lines.try_join_next() {
            report(ended);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
            // The sender of news lives in the database's handle, which this task holds.
            _ = news.changed() => {}
            Some(ended) = lines.join_next() => {
                if !report(ended) && !is_saturated {
                    continue;
                }
            }
        }
        let started = Instant::now();
        match dispatcher.look(&mut places, &mut lines, &mut is_resealed).await {
            Ok(saturated) => is_saturated = saturated,
            Err(error) => {
                tracing::warn!(error = %Causes(&error), "cannot look for callbacks; the next look tries again");
            }
        }
        // Where there is much to look at, looking takes no more than half of the time.
        stop.run_until_cancelled(tokio::time::sleep(BREATH.max(started.elapsed()))).await;
    }
    while let Some(ended) = lines.join_next().await {
        report(ended);
    }
}

/// Whether a line was given back on which more is due.
fn report(ended: Result<bool, tokio::task::JoinError>) -> bool {
    ended.unwrap_or_else(|error| {
        tracing::error!(error = %Causes(&error), "a line of callbacks broke off; its claim ends by itself");
        false
    })
}

/// How many lines of each rule may still be begun.
struct Places {
    at_once: usize,
    of_rules: HashMap<Uuid, Arc<Semaphore>>,
}

impl Places {
    /// All that are free, taken.
    fn take(&mut self, rule: Uuid) -> Vec<OwnedSemaphorePermit> {
        let places = self.of_rules.entry(rule).or_insert_with(|| Arc::new(Semaphore::new(self.at_once)));
        std::iter::from_fn(|| places.clone().try_acquire_owned().ok()).collect()
    }

    fn forget_the_idle(&mut self) {
        self.of_rules.retain(|_, places| places.available_permits() < self.at_once);
    }
}

impl Dispatcher {
    /// Begins what is due, as far as there are places. Whether more may be due than there were places for.
    async fn look(
        self: &Arc<Self>,
        places: &mut Places,
        lines: &mut JoinSet<bool>,
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
            let free = places.take(due.rule);
            if free.is_empty() {
                is_saturated = true;
                continue;
            }
            let claimed = deliveries::claim(&self.db, due.rule, free.len(), self.patience.lease).await.unwrap_or_else(|error| {
                failure.get_or_insert(error);
                Vec::new()
            });
            is_saturated |= claimed.len() == free.len();
            for (line, place) in claimed.into_iter().zip(free) {
                let dispatcher = self.clone();
                lines.spawn(async move {
                    let more = dispatcher.work(&line).await.unwrap_or_else(|error| {
                        let error = Causes(&error);
                        tracing::warn!(rule = %line.rule, room = line.chatroom, %error, "a line of callbacks stays where it is for now");
                        false
                    });
                    drop(place);
                    more
                });
            }
        }
        places.forget_the_idle();
        failure.map_or(Ok(is_saturated), Err)
    }

    /// Works on a line until nothing is left on it, or its first delivery fails, or it is somebody else's; or until its turn
    /// is over: then more is due on it.
    async fn work(&self, line: &Line) -> Result<bool, Error> {
        for _ in 0..TURN {
            if self.stop.is_cancelled() {
                break;
            }
            match self.ask(|| deliveries::next(&self.db, line, self.patience.sending)).await? {
                Next::Send(delivery) => match self.deliver(line, &delivery).await? {
                    Settled::Done | Settled::Dead => {}
                    Settled::Waits | Settled::Lost => return Ok(false),
                },
                Next::Bury { id, n } => {
                    if !self.ask(|| deliveries::bury(&self.db, line, id, self.patience.lease)).await? {
                        return Ok(false);
                    }
                    given_up(line, n, None);
                }
                Next::Nothing => {
                    if self.ask(|| deliveries::close(&self.db, line)).await? {
                        return Ok(false);
                    }
                }
                Next::Paused => break,
                Next::Lost => return Ok(false),
            }
        }
        self.ask(|| deliveries::give_back(&self.db, line)).await?;
        Ok(true)
    }

    /// Sends a delivery, and writes down what came of it.
    async fn deliver(&self, line: &Line, delivery: &Delivery) -> Result<Settled, Error> {
        let attempt = self.send(line, delivery).await.attempt();
        metrics::histogram!("roomward_callback_seconds").record(attempt.latency.as_secs_f64());
        let settled = self.ask(|| deliveries::settle(&self.db, line, delivery.id, &attempt, &self.patience)).await?;
        match settled {
            Settled::Done => count("done"),
            Settled::Waits => count("failed"),
            Settled::Dead => given_up(line, delivery.event.n, attempt.status),
            Settled::Lost => count("lost"),
        }
        Ok(settled)
    }

    /// A secret that cannot be opened is a failure like any other: it may be an instance with other settings that can.
    async fn send(&self, line: &Line, delivery: &Delivery) -> Outcome {
        let Some(unsealed) = self.sender.open(line.rule, &delivery.target.sealed) else {
            tracing::error!(rule = %line.rule, "{UNREADABLE}");
            return Outcome { answer: Err(Unanswered::Forbidden), latency: Duration::ZERO };
        };
        let Delivery { call_id, attempts, target, appkey, event, .. } = delivery;
        let parcel = Parcel { appkey, call_id: *call_id, attempt: attempts + 1, event };
        self.sender.send(&target.url, &unsealed.secret, &parcel).await
    }

    /// Asks the database something, when it is this question's turn. If the database is away, or a connection was lost,
    /// it is asked again for a while: what is not written down is sent again. Asking twice does no harm.
    async fn ask<T, F: Future<Output = Result<T, Error>>>(&self, question: impl Fn() -> F) -> Result<T, Error> {
        let _turn = self.desk.acquire().await.map_err(|error| Error::Internal(error.into()))?;
        let mut pause = FIRST_PAUSE;
        loop {
            match question().await {
                Err(Error::Unavailable(_)) if pause <= LAST_PAUSE => tokio::time::sleep(pause).await,
                answer => return answer,
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

fn given_up(line: &Line, n: i64, status: Option<u16>) {
    count("dead");
    tracing::warn!(rule = %line.rule, room = line.chatroom, n, status, "gave up a callback");
}
