//! Changes rooms: many at a time, each as if it were alone.
//!
//! Calls are put in a queue, room by room. A lane takes what waits, for any rooms, and makes one transaction of it: lock the
//! rooms, load what the operations need, decide one after the other in memory, write what is different in the end, commit,
//! and only then answer. A batch is not waited for to fill: it fills while the one before is under way.
//!
//! A room that another transaction holds is waited for aside, so that it delays no other room. A caller who has gone away
//! before the change is taken has it not made; one who goes away later has it made. If a batch fails before its commit, it
//! is made again by halves, so that a bad change fails alone. If the answer to a commit is lost, nothing is known, and
//! nothing is repeated.

mod cycle;
mod job;
mod queue;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use self::cycle::Failure;
use self::job::{Job, KeyedJob, PlainJob};
use self::queue::{Batch, Queue};
use super::operation::Operation;
use super::store::load::Held;
use crate::config::Writes;
use crate::db::{Db, is_conflict, is_refused_statement};
use crate::error::Error;
use crate::events::log::Actor;
use crate::idempotency::{Answer, Claim};
use crate::names::RoomKey;

/// How often a change is made anew when PostgreSQL ends it in favour of another transaction.
const RETRIES: u32 = 5;

/// How long a room rests that another transaction holds, when enough others are waited for already.
const REST: Duration = Duration::from_millis(10);

/// How long a change waits in all for a room that is never free.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to change rooms. Cheap to clone; all clones share one queue.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    db: Db,
    queue: Queue,
    /// How many rooms may be waited for at once: each takes a connection.
    waits: Arc<Semaphore>,
    runtime: Handle,
}

impl Writer {
    /// A writer to a database; its lanes run on the present runtime.
    pub fn new(db: Db, settings: &Writes) -> Self {
        let waits = (db.pool().options().get_max_connections() / 4).max(1) as usize;
        let (queue, waits) = (Queue::new(settings), Arc::new(Semaphore::new(waits)));
        Self { shared: Arc::new(Shared { db, queue, waits, runtime: Handle::current() }) }
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.shared.db
    }

    /// Makes a change, and returns once it is committed. Fails at once if too much waits already.
    pub async fn submit<O: Operation>(&self, key: &RoomKey, actor: &Actor, operation: O) -> Result<O::Outcome, Error> {
        let (answer, answered) = oneshot::channel();
        self.shared.enqueue(key, Box::new(PlainJob::new(key, actor, operation, answer)))?;
        answered.await.unwrap_or_else(|lost| Err(Error::Internal(lost.into())))
    }

    /// The same for a call that must not be made twice: its answer is written in the same transaction, for those who repeat
    /// it. `write` turns the outcome into that answer; it may be asked more than once.
    pub async fn submit_once<O: Operation>(
        &self,
        key: &RoomKey,
        actor: &Actor,
        operation: O,
        claim: Claim,
        write: impl Fn(Result<O::Outcome, Error>) -> Answer + Send + 'static,
    ) -> Result<Answer, Error> {
        let (answer, answered) = oneshot::channel();
        self.shared.enqueue(key, Box::new(KeyedJob::new(key, actor, operation, answer, claim, write)))?;
        answered.await.unwrap_or_else(|lost| Err(Error::Internal(lost.into())))
    }
}

impl Shared {
    fn enqueue(self: &Arc<Self>, key: &RoomKey, job: Box<dyn Job>) -> Result<(), Error> {
        if self.queue.push(key, job)? {
            self.start_lane();
        }
        Ok(())
    }

    fn start_lane(self: &Arc<Self>) {
        let shared = self.clone();
        self.runtime.spawn(async move {
            while let Some(batch) = shared.queue.take(shared.rooms_of_a_batch().await) {
                let rooms: Vec<RoomKey> = batch.keys().cloned().collect();
                let held = AssertUnwindSafe(shared.make(batch, Held::Skip)).catch_unwind().await.unwrap_or_else(|_| {
                    tracing::error!("a batch of changes broke off; its callers are told that it failed");
                    Batch::new()
                });
                for room in rooms.iter().filter(|room| !held.contains_key(*room)) {
                    // This lane goes on by itself.
                    shared.queue.release(room, false);
                }
                for (room, jobs) in held {
                    shared.set_aside(room, jobs);
                }
            }
        });
    }

    /// How many rooms are changed together. On a cluster it is one: its changes stay on its node, and are committed there in
    /// one step. Where the database cannot be asked, no change can be made either.
    async fn rooms_of_a_batch(&self) -> usize {
        match self.db.layout().await {
            Ok(layout) if layout.is_distributed() => 1,
            _ => usize::MAX,
        }
    }

    /// Waits for a room that another transaction holds, while the lane goes on. No other lane takes the room meanwhile.
    fn set_aside(self: &Arc<Self>, room: RoomKey, jobs: Vec<Box<dyn Job>>) {
        let shared = self.clone();
        let permit = self.waits.clone().try_acquire_owned().ok();
        self.runtime.spawn(async move {
            if permit.is_some() {
                let waiting = shared.make(Batch::from([(room.clone(), jobs)]), Held::Wait);
                let left = AssertUnwindSafe(waiting).catch_unwind().await.unwrap_or_else(|_| {
                    tracing::error!("a change broke off; its caller is told that it failed");
                    Batch::new()
                });
                // A room that was made only after its lock was looked for: the next time.
                for (room, jobs) in left {
                    shared.queue.put_back(&room, jobs);
                }
            } else {
                let (late, jobs): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.age() > PATIENCE);
                fail(late, Error::Unavailable("another transaction holds the room".into()));
                shared.queue.put_back(&room, jobs);
                tokio::time::sleep(REST).await;
            }
            drop(permit);
            if shared.queue.release(&room, true) {
                shared.start_lane();
            }
        });
    }

    /// Makes a batch, and answers. Returns the rooms that are held, with what was to be done there.
    async fn make(&self, mut batch: Batch, held: Held) -> Batch {
        match self.attempt(&mut batch, held).await {
            Ok(left) => {
                answer(batch);
                return left;
            }
            Err(Failure::Undone(error)) if is_refused_statement(&error) => {
                let jobs: Vec<Box<dyn Job>> = batch.into_values().flatten().collect();
                return self.make_by_halves(jobs, held, error).await;
            }
            Err(Failure::Undone(error) | Failure::Unknown(error)) => fail(batch.into_values().flatten(), error),
        }
        Batch::new()
    }

    /// Makes a failed batch again by halves, until a change that fails is alone: a bad one among many costs a few transactions
    /// more, not one for each. Only what can succeed is made again alone.
    async fn make_by_halves(&self, jobs: Vec<Box<dyn Job>>, held: Held, error: Error) -> Batch {
        let (mut left, mut parts) = (Batch::new(), Vec::new());
        make_again(&mut parts, jobs, RETRIES, error);
        while let Some((jobs, retries)) = parts.pop() {
            let mut part = Batch::new();
            for job in jobs {
                part.entry(job.room().clone()).or_default().push(job);
            }
            match self.attempt(&mut part, held).await {
                Ok(held) => {
                    answer(part);
                    for (room, jobs) in held {
                        left.entry(room).or_default().extend(jobs);
                    }
                }
                Err(Failure::Undone(error)) if is_refused_statement(&error) => {
                    make_again(&mut parts, part.into_values().flatten().collect(), retries, error);
                }
                Err(Failure::Undone(error) | Failure::Unknown(error)) => fail(part.into_values().flatten(), error),
            }
        }
        left
    }
}

/// Puts what has failed with `error` among the parts that are to be made, the earlier ones last.
fn make_again(parts: &mut Vec<(Vec<Box<dyn Job>>, u32)>, mut jobs: Vec<Box<dyn Job>>, retries: u32, error: Error) {
    if jobs.len() > 1 {
        let later = jobs.split_off(jobs.len() / 2);
        parts.extend([(later, RETRIES), (jobs, RETRIES)]);
    } else if retries > 0 && is_conflict(&error) {
        parts.push((jobs, retries - 1));
    } else {
        fail(jobs, error);
    }
}

fn answer(batch: Batch) {
    for job in batch.into_values().flatten() {
        job.answer();
    }
}

/// Tells all callers of the same failure.
fn fail(jobs: impl IntoIterator<Item = Box<dyn Job>>, error: Error) {
    let error = Arc::new(error);
    for job in jobs {
        job.fail(match *error {
            Error::Unavailable(_) => Error::Unavailable(error.clone().into()),
            _ => Error::Internal(error.clone().into()),
        });
    }
}
