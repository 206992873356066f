//! The background task that takes ended mutes and blocks away, and tells of their ends.
//!
//! What has ended is over in every read, swept or not; but only here is it told, when nobody else meets it before. The
//! task lists rooms in which something has ended without a lock, then takes it room by room, each under the room's own
//! lock, in bounded batches. Any number of instances may do so at once, without a leader; what one has taken, the other
//! does not find.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::chatroom::endings::{self, Ended};
use crate::chatroom::{Db, rooms};
use crate::config::Sweep;
use crate::error::{Causes, Error};

/// How long one look waits for a room that somebody else is changing; the ends of others must not wait for it.
const PATIENCE: Duration = Duration::from_millis(300);

/// Looks for what has ended again and again until told to stop.
pub async fn run(db: Db, settings: Sweep, stop: CancellationToken) {
    let mut ticks = tokio::time::interval_at(Instant::now() + settings.every(), settings.every());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = pass(&db, settings.batch, &stop).await {
            tracing::warn!(
                error = %Causes(&error),
                "cannot take away what has ended; the next pass tries again"
            );
        }
    }
}

/// Takes every ended mute and block away, and returns how many it were. Stops between two batches.
///
/// Rooms that somebody is changing come last, so that none has to wait for another. One that fails does not keep the
/// others from their turn either.
pub async fn pass(db: &Db, batch: u32, stop: &CancellationToken) -> Result<u64, Error> {
    let mut swept = 0;
    loop {
        let mut due = endings::due(db, batch.into()).await?;
        metrics::gauge!("roomward_expiry_lag_seconds").set(due.lag.as_secs_f64());
        let rooms = due.rooms.len();
        if rooms == 0 {
            return Ok(swept);
        }
        // Each instance begins elsewhere, so that they meet less.
        due.rooms.rotate_left(usize::try_from(RandomState::new().hash_one(()) >> 1).unwrap_or(0) % rooms);
        let mut round = Round::default();
        let mut busy = Vec::new();
        // Half of the connections at most: commits that come together cost little more than one, and calls need some, too.
        let at_once = (db.pool().options().get_max_connections() / 2).max(1) as usize;
        let sweep = async |room| {
            let swept = if stop.is_cancelled() { Ok(None) } else { endings::sweep(db, &room, batch.into(), false).await };
            (swept, room)
        };
        let mut sweeps = stream::iter(due.rooms).map(sweep).buffer_unordered(at_once);
        while let Some((swept, room)) = sweeps.next().await {
            match swept {
                Ok(None) => busy.push(room),
                swept => round.add(swept.map(Option::unwrap_or_default)),
            }
        }
        drop(sweeps);
        let wait = async |room| {
            let sweep = async {
                match endings::sweep(db, &room, batch.into(), true).await {
                    // A deleted room: its rows go with the rest of it, and must not stand in the way of the others.
                    Err(Error::RoomNotFound { .. }) => rooms::purge(db, &room, batch.into()).await.map(Swept::Purged),
                    swept => swept.map(|ended| Swept::Ended(ended.unwrap_or_default())),
                }
            };
            let sweep = async { if stop.is_cancelled() { Ok(Swept::Ended(Ended::default())) } else { sweep.await } };
            timeout(PATIENCE, sweep).await.unwrap_or_else(|_| Err(Error::Unavailable("a room is locked for long".into())))
        };
        let mut waits = stream::iter(busy).map(wait).buffer_unordered(at_once);
        while let Some(swept) = waits.next().await {
            match swept {
                Ok(Swept::Ended(ended)) => round.add(Ok(ended)),
                Ok(Swept::Purged(rows)) => round.purged += rows,
                Err(error) => round.failure = Some(error),
            }
        }
        drop(waits);
        swept += round.ended();
        metrics::counter!("roomward_expired_mutes_total").increment(round.mutes);
        metrics::counter!("roomward_expired_blocks_total").increment(round.blocks);
        if round.ended() > 0 {
            let lag_ms = u64::try_from(due.lag.as_millis()).unwrap_or(u64::MAX);
            tracing::info!(mutes = round.mutes, blocks = round.blocks, rooms, lag_ms, "took away what had ended");
        }
        if let Some(error) = round.failure {
            return Err(error);
        }
        if round.ended() + round.purged == 0 {
            // All of it is in the hands of other instances.
            return Ok(swept);
        }
    }
}

/// What came of waiting for a room.
enum Swept {
    Ended(Ended),
    Purged(u64),
}

/// What came of one look at the rooms.
#[derive(Default)]
struct Round {
    mutes: u64,
    blocks: u64,
    purged: u64,
    failure: Option<Error>,
}

impl Round {
    fn ended(&self) -> u64 {
        self.mutes + self.blocks
    }

    /// Adds what was taken away; a failure is kept for the end of the round.
    fn add(&mut self, swept: Result<Ended, Error>) {
        match swept {
            Ok(ended) => {
                self.mutes += ended.mutes as u64;
                self.blocks += ended.blocks as u64;
            }
            Err(error) => self.failure = Some(error),
        }
    }
}
