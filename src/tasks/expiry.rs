//! The background task that ends mutes and blocks in time, also in rooms that no call changes, so that their ends are told.
//!
//! What has ended is over in every read, told or not. The task finds rooms in which something has ended, each once, and asks
//! the writer to end it there, as any other change; and apps with global mutes that have. The task does not wait for rooms
//! and apps that are held elsewhere: it looks for others meanwhile. Any number of instances may do so at once, without a
//! leader; what one has ended, the other does not find.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::accounts::global_mutes::expiry::{self as global_mutes, IfLocked};
use crate::background::Task;
use crate::config::Sweep;
use crate::error::{Causes, Error};
use crate::events::log::Actor;
use crate::names::{RoomKey, Scope};
use crate::rooms::expiry::EndExpired;
use crate::rooms::read::due::{self, DueRoom};
use crate::rooms::state::Ended;
use crate::rooms::store::purge;
use crate::rooms::writer::Writer;

/// How many rooms, and apps, one look finds at a time.
const FOUND_AT_ONCE: i64 = 1000;

/// How many rooms one look begins at most. Those that are under way do not count: rooms that are held hide no other.
const BEGUN_AT_ONCE: usize = 4000;

/// Looks for what has ended again and again until told to stop.
pub async fn run(writer: Writer, settings: Sweep, stop: CancellationToken) {
    let mut ticks = tokio::time::interval_at(Instant::now() + settings.every(), settings.every());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let sweep = Arc::new(Sweeper::new(writer.clone(), settings.batch));
    let mut under_way: HashSet<Scope> = HashSet::new();
    // They go on while this looks for others: they hold locks, and connections that a look may wait for.
    let mut endings = JoinSet::new();
    let mut task = Task::new("expiry");
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(ended) = endings.join_next() => {
                let (scope, ended) = ended.expect("no ending panics, or is told to stop");
                if report(ended) {
                    endings.spawn(sweep.clone().end(scope));
                } else {
                    under_way.remove(&scope);
                }
            }
            _ = ticks.tick() => {
                let found = task.note(due(&writer, &under_way).await);
                if found.is_none() {
                    metrics::gauge!("roomward_expiry_lag_seconds").set(f64::NAN);
                }
                for scope in found.into_iter().flatten() {
                    under_way.insert(scope.clone());
                    endings.spawn(sweep.clone().end(scope));
                }
            }
        }
    }
}

/// Ends everything that has ended by now, and returns how many mutes and blocks.
pub async fn pass(writer: &Writer, batch: u32, stop: &CancellationToken) -> Result<u64, Error> {
    let sweep = Arc::new(Sweeper::new(writer.clone(), batch));
    let mut all = 0;
    loop {
        let found = due(writer, &HashSet::new()).await?;
        if found.is_empty() || stop.is_cancelled() {
            return Ok(all);
        }
        let mut endings: FuturesUnordered<_> = found.into_iter().map(|scope| sweep.clone().end(scope)).collect();
        let mut ended_now = 0;
        while let Some((_, ended)) = endings.next().await {
            let Done { ended, global_mutes, purged, .. } = ended?;
            let ended = (ended.mutes + ended.blocks + global_mutes) as u64;
            ended_now += ended + purged;
            all += ended;
        }
        if ended_now == 0 {
            // Other instances end the rest.
            return Ok(all);
        }
    }
}

/// Apps and rooms in which something has ended and that are not under way, the longest waiting first.
async fn due(writer: &Writer, under_way: &HashSet<Scope>) -> Result<Vec<Scope>, Error> {
    let is_app = |scope: &Scope| matches!(scope, Scope::App(_)).then(|| scope.app());
    let apps_under_way: Vec<i32> = under_way.iter().filter_map(is_app).collect();
    let apps = global_mutes::due_apps(writer.db(), &apps_under_way, FOUND_AT_ONCE).await?;
    let mut waiting = apps.first().map_or(0.0, |due| due.waiting.as_secs_f64());
    let mut found: Vec<Scope> = apps.into_iter().map(|due| Scope::App(due.app)).collect();
    let mut after = None;
    loop {
        let page = due::rooms(writer.db(), after.as_ref(), FOUND_AT_ONCE).await?;
        if after.is_none() {
            waiting = page.first().map_or(0.0, |due| due.waiting.as_secs_f64()).max(waiting);
            metrics::gauge!("roomward_expiry_lag_seconds").set(waiting);
        }
        let is_last = i64::try_from(page.len()).is_ok_and(|number| number < FOUND_AT_ONCE);
        after = page.last().cloned();
        let rooms = page.into_iter().map(|DueRoom { room, .. }| Scope::Room(room));
        found.extend(rooms.filter(|room| !under_way.contains(room)));
        if is_last || found.len() >= BEGUN_AT_ONCE {
            return Ok(found);
        }
    }
}

/// What came of one room, or of one app.
#[derive(Default)]
struct Done {
    ended: Ended,
    global_mutes: usize,
    /// Rows of a deleted room that were removed.
    purged: u64,
    /// Whether there may be more.
    has_more: bool,
}

/// How what has ended is taken away.
struct Sweeper {
    writer: Writer,
    batch: u32,
    /// How many deleted rooms are removed at once: each costs a connection.
    deleted_rooms: Semaphore,
    /// The same for apps.
    apps: Semaphore,
    /// How many apps that are held elsewhere are waited for at once. Those that are not held do not wait behind them.
    held_apps: Semaphore,
}

impl Sweeper {
    fn new(writer: Writer, batch: u32) -> Self {
        let one = || Semaphore::new(1);
        Self { writer, batch, deleted_rooms: one(), apps: one(), held_apps: one() }
    }

    async fn end(self: Arc<Self>, scope: Scope) -> (Scope, Result<Done, Error>) {
        let done = match &scope {
            Scope::App(app) => self.end_in_app(*app).await,
            Scope::Room(room) => self.end_in_room(room).await,
        };
        (scope, done)
    }

    async fn end_in_room(&self, room: &RoomKey) -> Result<Done, Error> {
        match self.writer.submit(room, &Actor::system(), EndExpired { batch: self.batch }).await {
            Ok(ended) => {
                let has_more = ended.mutes.max(ended.blocks) >= self.batch as usize;
                Ok(Done { ended, has_more, ..Done::default() })
            }
            // Its rows go with the rest of the room.
            Err(Error::RoomNotFound { .. }) => {
                let _permit = self.deleted_rooms.acquire().await;
                let purged = purge::purge(self.writer.db(), room, self.batch.into()).await?;
                Ok(Done { purged, ..Done::default() })
            }
            Err(error) => Err(error),
        }
    }

    async fn end_in_app(&self, app: i32) -> Result<Done, Error> {
        let end = async |permits: &Semaphore, if_locked| {
            let _permit = permits.acquire().await;
            global_mutes::end_expired(self.writer.db(), app, self.batch, if_locked).await
        };
        let global_mutes = match end(&self.apps, IfLocked::Skip).await? {
            Some(ended) => ended,
            None => end(&self.held_apps, IfLocked::Wait).await?.unwrap_or_default(),
        };
        Ok(Done { global_mutes, has_more: global_mutes >= self.batch as usize, ..Done::default() })
    }
}

/// Reports what came of a room, or of an app. Returns whether there may be more in it.
fn report(done: Result<Done, Error>) -> bool {
    match done {
        Ok(Done { ended, global_mutes, has_more, .. }) => {
            metrics::counter!("roomward_expired_mutes_total").increment(ended.mutes as u64);
            metrics::counter!("roomward_expired_blocks_total").increment(ended.blocks as u64);
            metrics::counter!("roomward_expired_room_mutes_total").increment(ended.mute_all.into());
            metrics::counter!("roomward_expired_global_mutes_total").increment(global_mutes as u64);
            has_more
        }
        Err(error) => {
            tracing::warn!(error = %Causes(&error), "cannot end what has ended in a room or an app; the next look tries again");
            false
        }
    }
}
