//! The background task that takes away what was deleted: the rows of deleted rooms, and deleted users' traces in rooms.
//!
//! Housekeeping only: what is deleted is gone from every answer once its deletion is answered. The task works in
//! bounded batches, on any number of instances at once, and may be late or dead without harm.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::background::Task;
use crate::config::Sweep;
use crate::error::Error;
use crate::rooms::store::purge;
use crate::rooms::user_deletion::{self, Effort};
use crate::rooms::writer::Writer;

/// How many rooms or users one look finds.
const FOUND_AT_ONCE: i64 = 100;

/// Looks for work again and again until told to stop.
pub async fn run(writer: Writer, settings: Sweep, stop: CancellationToken) {
    let mut ticks = tokio::time::interval_at(Instant::now() + settings.every(), settings.every());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut task = Task::new("purge");
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Some(rows @ 1..) = task.note(pass(&writer, settings.batch, &stop).await) {
            tracing::info!(rows, "removed what was deleted");
        }
    }
}

/// Removes everything that was deleted. Returns the number of rows and standings removed. Stops between two batches.
///
/// Goes on with the others when one room or user fails, and returns the first failure at the end.
pub async fn pass(writer: &Writer, batch: u32, stop: &CancellationToken) -> Result<u64, Error> {
    let (db, mut removed) = (writer.db(), 0);
    loop {
        let mut failure = None;
        let mut count = |done: Result<u64, Error>| match done {
            Ok(rows) => rows,
            Err(error) => {
                failure.get_or_insert(error);
                0
            }
        };
        let before = removed;
        let rooms = purge::deleted(db, FOUND_AT_ONCE).await?;
        let users = user_deletion::deleted(db, FOUND_AT_ONCE).await?;
        for user in &users {
            if stop.is_cancelled() {
                return Ok(removed);
            }
            let effort = Effort { rooms: batch as usize, until: None };
            removed += count(user_deletion::forget(writer, user, &effort).await.map(|rooms| rooms as u64));
        }
        for room in &rooms {
            loop {
                if stop.is_cancelled() {
                    return Ok(removed);
                }
                let rows = count(purge::purge(db, room, batch.into()).await);
                removed += rows;
                if rows == 0 {
                    break;
                }
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        // A short page: nothing is left. Nothing removed: other instances remove the rest.
        let found = i64::try_from(rooms.len().max(users.len())).unwrap_or(i64::MAX);
        if found < FOUND_AT_ONCE || removed == before {
            return Ok(removed);
        }
    }
}
