//! Follows the feeds that clients have open, and passes on what happens there.
//!
//! One task looks for new events for all streams of this process together: at once when this process has changed
//! something, else every so often, since other processes change things, too. No single stream polls, and no change of a
//! room waits for a reader: a stream that is too far behind is closed, and its client comes back with the position that it
//! has reached.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::background::Task;
use crate::config::Events;
use crate::db::Db;
use crate::error::Error;
use crate::events::feeds::{self, FeedEvent, Position};
use crate::figures::Raised;
use crate::names::Scope;

/// The most events of one feed in one look.
const AT_ONCE: i64 = 1000;

/// The shortest time between two looks: many changes in a short while are read together.
const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// The feeds that are followed in this process.
pub struct Following {
    feeds: Mutex<HashMap<Scope, FollowedFeed>>,
    opened: Notify,
    streams: Arc<Semaphore>,
    buffer: usize,
}

/// A feed that is followed: what was passed on last, and to whom.
struct FollowedFeed {
    position: Position,
    readers: Vec<mpsc::Sender<Arc<FeedEvent>>>,
}

/// What happens in a feed from now on. It ends when its reader is too far behind.
pub struct Subscription {
    events: mpsc::Receiver<Arc<FeedEvent>>,
    _permit: OwnedSemaphorePermit,
    _open: Raised,
}

impl Subscription {
    /// The next event, as soon as there is one.
    pub async fn next(&mut self) -> Option<Arc<FeedEvent>> {
        self.events.recv().await
    }
}

impl Following {
    /// Follows nothing yet.
    pub fn new(settings: &Events) -> Self {
        Self {
            feeds: Mutex::default(),
            opened: Notify::new(),
            streams: Arc::new(Semaphore::new(settings.streams)),
            buffer: settings.stream_buffer,
        }
    }

    /// Follows a feed from `last` on, a position that it has reached by now. A caller that then reads the feed up to its end,
    /// and goes on with what the subscription brings, misses nothing: what that reading does not see comes later.
    pub fn subscribe(&self, scope: Scope, last: Position) -> Result<Subscription, Error> {
        let permit = self.streams.clone().try_acquire_owned().map_err(|error| Error::Unavailable(error.into()))?;
        let (reader, events) = mpsc::channel(self.buffer);
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.entry(scope).or_insert_with(|| FollowedFeed { position: last, readers: Vec::new() }).readers.push(reader);
        drop(feeds);
        self.opened.notify_one();
        Ok(Subscription { events, _permit: permit, _open: Raised::new("roomward_streams") })
    }

    /// Looks for new events until told to stop.
    pub async fn run(&self, db: Db, settings: Events, stop: CancellationToken) {
        let mut changes = db.watch_events();
        let mut task = Task::new("streams");
        loop {
            let look = async {
                if self.wanted().is_empty() {
                    self.opened.notified().await;
                } else {
                    let every = Duration::from_millis(settings.every_ms);
                    let _ = tokio::time::timeout(every, changes.changed()).await;
                }
            };
            if stop.run_until_cancelled(look).await.is_none() {
                return;
            }
            task.note(self.pass_on(&db).await);
            tokio::time::sleep(MIN_INTERVAL).await;
        }
    }

    /// Which feeds are followed, and from where on. Those without a reader are forgotten.
    fn wanted(&self) -> Vec<(Scope, Position)> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.retain(|_, feed| {
            feed.readers.retain(|reader| !reader.is_closed());
            !feed.readers.is_empty()
        });
        feeds.iter().map(|(scope, feed)| (scope.clone(), feed.position.clone())).collect()
    }

    async fn pass_on(&self, db: &Db) -> Result<(), Error> {
        loop {
            let wanted = self.wanted();
            let events = feeds::read_since(db, &wanted, AT_ONCE).await?;
            let is_all = i64::try_from(events.len()).is_ok_and(|number| number < AT_ONCE);
            let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
            for (index, event) in events {
                let Some(feed) = feeds.get_mut(&wanted[index].0) else { continue };
                feed.position = event.position.clone();
                let event = Arc::new(event);
                // A reader whose buffer is full loses its connection here; so its stream ends.
                feed.readers.retain(|reader| reader.try_send(event.clone()).is_ok());
            }
            drop(feeds);
            if is_all {
                return Ok(());
            }
        }
    }
}
