//! The background task that takes ended mutes away.
//!
//! Housekeeping only: a mute whose end has come is none in every read, swept or not. The task lists rooms with ended
//! mutes without a lock, then takes them room by room, each under the room's own lock, in bounded batches. Any number
//! of instances may do so at once, without a leader; what one has taken, the other does not find.

use std::hash::{BuildHasher as _, RandomState};

use tokio_util::sync::CancellationToken;

use crate::chatroom::{Db, mutes, rooms};
use crate::config::Sweep;
use crate::error::Error;

/// Looks for ended mutes again and again until told to stop.
pub async fn run(db: Db, settings: Sweep, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(settings.every());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = pass(&db, settings.batch, &stop).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot take ended mutes away; the next pass tries again");
        }
    }
}

/// Takes every ended mute away, and returns how many it were. Stops between two batches.
///
/// Rooms that somebody is changing come last, so that none has to wait for another. One that fails does not keep the
/// others from their turn either.
pub async fn pass(db: &Db, batch: u32, stop: &CancellationToken) -> Result<u64, Error> {
    let mut swept = 0;
    loop {
        let mut due = mutes::due(db, batch.into()).await?;
        metrics::gauge!("roomward_expiry_lag_seconds").set(due.lag.as_secs_f64());
        let rooms = due.rooms.len();
        if rooms == 0 {
            return Ok(swept);
        }
        // Each instance begins elsewhere, so that they meet less.
        due.rooms.rotate_left(usize::try_from(RandomState::new().hash_one(()) >> 1).unwrap_or(0) % rooms);
        let mut round = Round::default();
        let mut busy = Vec::new();
        for room in due.rooms {
            if stop.is_cancelled() {
                return Ok(swept + round.mutes);
            }
            match mutes::sweep(db, &room, batch.into(), false).await {
                Ok(None) => busy.push(room),
                swept => round.mutes += round.unless_failed(swept.map(Option::unwrap_or_default)),
            }
        }
        for room in busy {
            if stop.is_cancelled() {
                return Ok(swept + round.mutes);
            }
            match mutes::sweep(db, &room, batch.into(), true).await {
                // A deleted room: its mutes go with the rest of it, and must not stand in the way of the others.
                Err(Error::RoomNotFound { .. }) => {
                    round.purged += round.unless_failed(rooms::purge(db, &room, batch.into()).await);
                }
                swept => round.mutes += round.unless_failed(swept.map(Option::unwrap_or_default)),
            }
        }
        swept += round.mutes;
        metrics::counter!("roomward_expired_mutes_total").increment(round.mutes);
        if round.mutes > 0 {
            let lag_ms = u64::try_from(due.lag.as_millis()).unwrap_or(u64::MAX);
            tracing::info!(mutes = round.mutes, rooms, lag_ms, "took ended mutes away");
        }
        if let Some(error) = round.failure {
            return Err(error);
        }
        if round.mutes + round.purged == 0 {
            // All of it is in the hands of other instances.
            return Ok(swept);
        }
    }
}

/// What came of one look at the rooms.
#[derive(Default)]
struct Round {
    mutes: u64,
    purged: u64,
    failure: Option<Error>,
}

impl Round {
    /// How many rows were taken away; a failure is kept for the end of the round.
    fn unless_failed(&mut self, rows: Result<u64, Error>) -> u64 {
        rows.unwrap_or_else(|error| {
            self.failure = Some(error);
            0
        })
    }
}
