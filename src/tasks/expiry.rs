//! The background task that takes ended mutes and blocks away, and tells of their ends.
//!
//! What has ended is over in every read, swept or not; but only here is it told, when nobody else meets it before. The
//! task lists rooms in which something has ended without a lock, then takes it room by room, each under the room's own
//! lock, in bounded batches. Any number of instances may do so at once, without a leader; what one has taken, the other
//! does not find.

use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::ready;
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Sweep;
use crate::db::Db;
use crate::error::{Causes, Error};
use crate::names::RoomKey;
use crate::rooms::expiry::{self, Ended};
use crate::rooms::room_deletion;

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
        let mut due = expiry::due(db, batch.into()).await?;
        metrics::gauge!("roomward_expiry_lag_seconds").set(due.lag.as_secs_f64());
        let rooms = due.rooms.len();
        if rooms == 0 || stop.is_cancelled() {
            return Ok(swept);
        }
        // Each instance begins elsewhere, so that they meet less.
        due.rooms.rotate_left(usize::try_from(RandomState::new().hash_one(()) >> 1).unwrap_or(0) % rooms);
        let mut round = Round::default();
        let busy = round.sweep_free(db, due.rooms, batch.into(), stop).await;
        round.sweep_busy(db, busy, batch.into(), stop).await;

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

/// How many rooms are swept at once: half of the connections at most. Commits that come together cost little more than
/// one, and calls need some, too.
fn at_once(db: &Db) -> usize {
    (db.pool().options().get_max_connections() / 2).max(1) as usize
}

/// What came of one look at the rooms.
#[derive(Default)]
struct Round {
    mutes: u64,
    blocks: u64,
    /// Rows of deleted rooms.
    purged: u64,
    /// The last one; it is told at the end of the round.
    failure: Option<Error>,
}

impl Round {
    fn ended(&self) -> u64 {
        self.mutes + self.blocks
    }

    /// Sweeps those rooms that nobody is changing, and returns the others.
    async fn sweep_free(&mut self, db: &Db, rooms: Vec<RoomKey>, batch: i64, stop: &CancellationToken) -> Vec<RoomKey> {
        let sweep = async |room| (expiry::sweep(db, &room, batch, false).await, room);
        let mut sweeps =
            pin!(stream::iter(rooms).take_while(|_| ready(!stop.is_cancelled())).map(sweep).buffer_unordered(at_once(db)));
        let mut busy = Vec::new();
        while let Some((swept, room)) = sweeps.next().await {
            match swept {
                Ok(Some(ended)) => self.add(ended),
                Ok(None) => busy.push(room),
                Err(error) => self.failure = Some(error),
            }
        }
        busy
    }

    /// Sweeps rooms that somebody is changing: waits for each, but not for long.
    async fn sweep_busy(&mut self, db: &Db, rooms: Vec<RoomKey>, batch: i64, stop: &CancellationToken) {
        let sweep = async |room| (timeout(PATIENCE, expiry::sweep(db, &room, batch, true)).await, room);
        let mut sweeps =
            pin!(stream::iter(rooms).take_while(|_| ready(!stop.is_cancelled())).map(sweep).buffer_unordered(at_once(db)));
        let mut deleted = Vec::new();
        while let Some((swept, room)) = sweeps.next().await {
            match swept {
                Ok(Ok(ended)) => self.add(ended.unwrap_or_default()),
                Ok(Err(Error::RoomNotFound { .. })) => deleted.push(room),
                Ok(Err(error)) => self.failure = Some(error),
                Err(_) => self.failure = Some(Error::Unavailable("somebody keeps a room locked".into())),
            }
        }
        // Their rows go with the rest of them, and must not stand in the way of the others.
        for room in deleted {
            match room_deletion::purge(db, &room, batch).await {
                Ok(rows) => self.purged += rows,
                Err(error) => self.failure = Some(error),
            }
        }
    }

    fn add(&mut self, ended: Ended) {
        self.mutes += ended.mutes as u64;
        self.blocks += ended.blocks as u64;
    }
}
