//! The background task that ends mutes and blocks in time, also in rooms that no call changes, so that their ends are told.
//!
//! What has ended is over in every read, told or not. The task finds rooms in which something has ended, each once, and asks
//! the writer to end it there, as any other change. The task does not wait for rooms that are held elsewhere: it looks for
//! others meanwhile. Any number of instances may do so at once, without a leader; what one has ended, the other does not find.

use std::collections::HashSet;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Sweep;
use crate::error::{Causes, Error};
use crate::events::log::Actor;
use crate::names::RoomKey;
use crate::rooms::expiry::EndExpired;
use crate::rooms::read::due::{self, DueRoom};
use crate::rooms::state::Ended;
use crate::rooms::store::purge;
use crate::rooms::writer::Writer;

/// How many rooms one look finds at a time.
const FOUND_AT_ONCE: i64 = 1000;

/// How many rooms one look begins at most. Those that are under way do not count: rooms that are held hide no other.
const BEGUN_AT_ONCE: usize = 4000;

/// Looks for what has ended again and again until told to stop.
pub async fn run(writer: Writer, settings: Sweep, stop: CancellationToken) {
    let mut ticks = tokio::time::interval_at(Instant::now() + settings.every(), settings.every());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut under_way: HashSet<RoomKey> = HashSet::new();
    let mut endings = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some((room, ended)) = endings.next(), if !endings.is_empty() => {
                under_way.remove(&room);
                let has_more = report(ended);
                if !has_more {
                    continue;
                }
                under_way.insert(room.clone());
                endings.push(end(&writer, room, settings.batch));
            }
            _ = ticks.tick() => {
                let found = due_rooms(&writer, &under_way).await.unwrap_or_else(|error| {
                    tracing::warn!(error = %Causes(&error), "cannot look for what has ended; the next look tries again");
                    Vec::new()
                });
                for room in found {
                    under_way.insert(room.clone());
                    endings.push(end(&writer, room, settings.batch));
                }
            }
        }
    }
}

/// Ends everything that has ended by now, and returns how many mutes and blocks.
pub async fn pass(writer: &Writer, batch: u32, stop: &CancellationToken) -> Result<u64, Error> {
    let mut all = 0;
    loop {
        let rooms = due_rooms(writer, &HashSet::new()).await?;
        if rooms.is_empty() || stop.is_cancelled() {
            return Ok(all);
        }
        let mut endings: FuturesUnordered<_> = rooms.into_iter().map(|room| end(writer, room, batch)).collect();
        let mut ended_now = 0;
        while let Some((_, ended)) = endings.next().await {
            let Done { ended, purged, .. } = ended?;
            ended_now += (ended.mutes + ended.blocks) as u64 + purged;
            all += (ended.mutes + ended.blocks) as u64;
        }
        if ended_now == 0 {
            // Other instances end the rest.
            return Ok(all);
        }
    }
}

/// Rooms in which something has ended and that are not under way, the longest waiting first.
async fn due_rooms(writer: &Writer, under_way: &HashSet<RoomKey>) -> Result<Vec<RoomKey>, Error> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = due::rooms(writer.db(), after.as_ref(), FOUND_AT_ONCE).await?;
        if after.is_none() {
            metrics::gauge!("roomward_expiry_lag_seconds").set(page.first().map_or(0.0, |due| due.waiting.as_secs_f64()));
        }
        let is_last = i64::try_from(page.len()).is_ok_and(|number| number < FOUND_AT_ONCE);
        after = page.last().cloned();
        found.extend(page.into_iter().map(|DueRoom { room, .. }| room).filter(|room| !under_way.contains(room)));
        if is_last || found.len() >= BEGUN_AT_ONCE {
            return Ok(found);
        }
    }
}

/// What came of one room.
struct Done {
    ended: Ended,
    /// Rows of a deleted room that were removed.
    purged: u64,
    /// Whether there may be more.
    has_more: bool,
}

async fn end(writer: &Writer, room: RoomKey, batch: u32) -> (RoomKey, Result<Done, Error>) {
    let done = match writer.submit(&room, &Actor::system(), EndExpired { batch }).await {
        Ok(ended) => {
            let has_more = ended.mutes.max(ended.blocks) >= batch as usize;
            Ok(Done { ended, purged: 0, has_more })
        }
        // Its rows go with the rest of the room.
        Err(Error::RoomNotFound { .. }) => purge::purge(writer.db(), &room, batch.into()).await.map(|purged| Done {
            ended: Ended::default(),
            purged,
            has_more: false,
        }),
        Err(error) => Err(error),
    };
    (room, done)
}

/// Reports what came of a room. Returns whether there may be more in it.
fn report(done: Result<Done, Error>) -> bool {
    match done {
        Ok(Done { ended, has_more, .. }) => {
            metrics::counter!("roomward_expired_mutes_total").increment(ended.mutes as u64);
            metrics::counter!("roomward_expired_blocks_total").increment(ended.blocks as u64);
            metrics::counter!("roomward_expired_room_mutes_total").increment(ended.mute_all.into());
            has_more
        }
        Err(error) => {
            tracing::warn!(error = %Causes(&error), "cannot end what has ended in a room; the next look tries again");
            false
        }
    }
}
