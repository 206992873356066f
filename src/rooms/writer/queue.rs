//! What waits to be made, room by room. No other lane takes a room that was taken until it is released, so that no two lanes
//! meet in one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::job::Job;
use crate::config::Writes;
use crate::error::Error;
use crate::names::RoomKey;

/// What is made together, in the order of rooms, which is the order of their locks.
pub(super) type Batch = BTreeMap<RoomKey, Vec<Box<dyn Job>>>;

pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// The most names that a batch is about.
    batch: usize,
    /// The most changes that wait.
    most: usize,
    /// The most lanes that work.
    lanes: usize,
}

#[derive(Default)]
struct Waiting {
    rooms: HashMap<RoomKey, RoomQueue>,
    /// Rooms with something to do that no lane has taken, the longest waiting first.
    ready: VecDeque<RoomKey>,
    changes: usize,
    lanes: usize,
}

#[derive(Default)]
struct RoomQueue {
    jobs: VecDeque<Box<dyn Job>>,
    is_taken: bool,
}

impl Queue {
    pub(super) fn new(settings: &Writes) -> Self {
        Self { waiting: Mutex::default(), batch: settings.batch, most: settings.queue, lanes: settings.lanes }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a change in the queue. Returns whether a lane is to be started for it.
    pub(super) fn push(&self, key: &RoomKey, job: Box<dyn Job>) -> Result<bool, Error> {
        let mut waiting = self.lock();
        if waiting.changes >= self.most {
            // Many may have gone away by now; those are as good as served.
            waiting.forget_the_unwanted();
            if waiting.changes >= self.most {
                return Err(Error::Unavailable("too many changes wait already".into()));
            }
        }
        waiting.changes += 1;
        waiting.tell();
        if !waiting.rooms.contains_key(key) {
            waiting.rooms.insert(key.clone(), RoomQueue::default());
            waiting.ready.push_back(key.clone());
        }
        waiting.rooms.entry(key.clone()).or_default().jobs.push_back(job);
        Ok(waiting.wants_lane(self.lanes))
    }

    /// Takes what waits, as much as makes a batch, of so many rooms at most. `None`: nothing waits, and the lane that asks is
    /// over.
    pub(super) fn take(&self, rooms: usize) -> Option<Batch> {
        let mut waiting = self.lock();
        let (mut batch, mut names) = (Batch::new(), 0);
        while names < self.batch && batch.len() < rooms {
            let Some(key) = waiting.ready.pop_front() else { break };
            let jobs = waiting.take(&key, self.batch, &mut names);
            if jobs.is_empty() {
                waiting.rooms.remove(&key);
            } else {
                waiting.rooms.entry(key.clone()).or_default().is_taken = true;
                batch.insert(key, jobs);
            }
        }
        waiting.tell();
        if batch.is_empty() {
            waiting.lanes -= 1;
            return None;
        }
        Some(batch)
    }

    /// Takes what has come to a room meanwhile that the caller has taken.
    pub(super) fn take_more(&self, key: &RoomKey) -> Vec<Box<dyn Job>> {
        // A batch of one is alone even here.
        let mut names = usize::from(self.batch == 1);
        let mut waiting = self.lock();
        let jobs = waiting.take(key, self.batch, &mut names);
        waiting.tell();
        jobs
    }

    /// Gives changes of a taken room back, to its beginning.
    pub(super) fn put_back(&self, key: &RoomKey, jobs: Vec<Box<dyn Job>>) {
        let mut waiting = self.lock();
        waiting.changes += jobs.len();
        waiting.tell();
        let room = waiting.rooms.entry(key.clone()).or_default();
        jobs.into_iter().rev().for_each(|job| room.jobs.push_front(job));
    }

    /// Gives a taken room back. Returns whether a lane is to be started for what waits there; never unless `start`.
    pub(super) fn release(&self, key: &RoomKey, start: bool) -> bool {
        let mut waiting = self.lock();
        let Some(room) = waiting.rooms.get_mut(key) else { return false };
        room.is_taken = false;
        if room.jobs.is_empty() {
            waiting.rooms.remove(key);
            return false;
        }
        waiting.ready.push_back(key.clone());
        start && waiting.wants_lane(self.lanes)
    }
}

impl Waiting {
    /// Notes how many wait, for the operator.
    fn tell(&self) {
        metrics::gauge!("roomward_changes_waiting").set(f64::from(u32::try_from(self.changes).unwrap_or(u32::MAX)));
    }

    fn wants_lane(&mut self, most: usize) -> bool {
        let wants = self.lanes < most && !self.ready.is_empty();
        self.lanes += usize::from(wants);
        wants
    }

    /// Takes changes of a room until they are about so many names. Drops those whose callers have gone away.
    fn take(&mut self, key: &RoomKey, most: usize, names: &mut usize) -> Vec<Box<dyn Job>> {
        let mut taken = Vec::new();
        let Some(room) = self.rooms.get_mut(key) else { return taken };
        while *names < most {
            let Some(job) = room.jobs.pop_front() else { break };
            self.changes -= 1;
            if job.is_wanted() {
                *names += job.names();
                taken.push(job);
            }
        }
        taken
    }

    fn forget_the_unwanted(&mut self) {
        for room in self.rooms.values_mut() {
            let before = room.jobs.len();
            room.jobs.retain(|job| job.is_wanted());
            self.changes -= before - room.jobs.len();
        }
    }
}
