//! The background task that takes away what is too old: events, deliveries that have ended, kept answers, what is
//! left of deleted callback rules, and revocations of tokens that have ended by themselves.
//!
//! It works in bounded batches, on any number of instances at once, and may be late or dead without harm.

use std::collections::HashMap;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::accounts::tokens;
use crate::background::Task;
use crate::config::Settings;
use crate::db::Db;
use crate::error::Error;
use crate::events::cursor::EventCursor;
use crate::events::retention::{self, Pruned, RetentionPeriod};
use crate::idempotency;

/// How many batches of each kind, and of each app's events, one pass does at most: the next pass comes soon, and other
/// things have to be done as well.
const BATCHES: u32 = 100;

/// How many batches of an app's events may find nothing but what is held back. The next pass goes on behind them.
const FRUITLESS: u32 = 10;

/// How many deleted rules one look finds.
const FOUND_AT_ONCE: i64 = 100;

/// More days than anything is kept, and yet so few that one can count them back from today.
const FOR_EVER: i32 = 1_000_000;

/// How many rows went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after what they count")]
pub struct Removed {
    pub events: u64,
    pub deliveries: u64,
    pub rules: u64,
    pub answers: u64,
    pub tokens: u64,
}

/// In which apps the last pass did not come to the end of the old events, and how far it came.
#[derive(Debug, Default)]
pub struct Unfinished(HashMap<i32, EventCursor>);

/// Looks for what is too old again and again until told to stop.
pub async fn run(db: Db, settings: Settings, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(settings.purge.every());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut unfinished = Unfinished::default();
    let mut task = Task::new("retention");
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let removed = task.note(pass(&db, &settings, &mut unfinished, &stop).await).unwrap_or_default();
        if removed != Removed::default() {
            let Removed { events, deliveries, rules, answers, tokens } = removed;
            tracing::info!(events, deliveries, rules, answers, tokens, "removed what was too old");
        }
    }
}

/// Removes what is too old. Stops between two batches. Goes on with the other kinds when one fails.
pub async fn pass(db: &Db, settings: &Settings, unfinished: &mut Unfinished, stop: &CancellationToken) -> Result<Removed, Error> {
    let batch = settings.purge.batch.into();
    let period = RetentionPeriod { keep: days(settings.events.keep_days), keep_undelivered: days(settings.callbacks.keep_days) };
    let events = events(db, period, batch, unfinished, stop).await;
    let deliveries = again(stop, || retention::forget_deliveries(db, period.keep_undelivered, batch)).await;
    let rules = rules(db, batch, stop).await;
    let tokens = again(stop, || tokens::forget_ended(db, batch)).await;
    let answers = again(stop, || idempotency::forget(db, &settings.idempotency, batch)).await;
    Ok(Removed { events: events?, deliveries: deliveries?, rules: rules?, answers: answers?, tokens: tokens? })
}

/// Removes old events: a batch of each app, then the next of each, so that none has to wait for the end of another. What
/// is held back is passed over; one pass does not look at all of it, but the next goes on where this one has stopped.
async fn events(
    db: &Db,
    period: RetentionPeriod,
    batch: i64,
    unfinished: &mut Unfinished,
    stop: &CancellationToken,
) -> Result<u64, Error> {
    let (mut removed, mut failure) = (0, None);
    let apps = retention::apps_with_old_events(db, period).await?;
    let mut apps: Vec<(i32, u32)> = apps.into_iter().map(|app| (app, FRUITLESS)).collect();
    for _ in 0..BATCHES {
        let mut rest = Vec::new();
        for (app, mut looks_left) in apps {
            if stop.is_cancelled() {
                return Ok(removed);
            }
            let after = unfinished.0.remove(&app).unwrap_or(EventCursor::at(OffsetDateTime::UNIX_EPOCH));
            match retention::prune(db, app, &after, period, batch).await {
                Ok(Pruned { next: None, .. }) => {}
                Ok(Pruned { removed: some, next: Some(next) }) => {
                    removed += some;
                    unfinished.0.insert(app, next);
                    looks_left -= u32::from(some == 0);
                    if looks_left > 0 {
                        rest.push((app, looks_left));
                    }
                }
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        apps = rest;
    }
    failure.map_or(Ok(removed), Err)
}

/// Removes deleted rules, each with what belongs to it.
async fn rules(db: &Db, batch: i64, stop: &CancellationToken) -> Result<u64, Error> {
    let mut removed = 0;
    for rule in retention::deleted_rules(db, FOUND_AT_ONCE).await? {
        removed += again(stop, || retention::forget_rule(db, rule, batch)).await?;
    }
    Ok(removed)
}

/// Does batch after batch, until one comes back empty.
async fn again<F: Future<Output = Result<u64, Error>>>(stop: &CancellationToken, batch: impl Fn() -> F) -> Result<u64, Error> {
    let mut removed = 0;
    for _ in 0..BATCHES {
        if stop.is_cancelled() {
            break;
        }
        match batch().await? {
            0 => break,
            rows => removed += rows,
        }
    }
    Ok(removed)
}

fn days(days: u32) -> i32 {
    i32::try_from(days).unwrap_or(FOR_EVER).min(FOR_EVER)
}
