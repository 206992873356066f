//! The way to the database: connections, and the turns in which one instance changes one room.

mod columns;
mod lane;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use self::lane::Lane;
use self::lane::{Lanes, Lease};
use crate::error::Error;
use crate::names::RoomKey;

/// How many connections one room may occupy in this process. One changes the room, the next waits for its lock: more
/// would only wait as well, and a single busy room could take every connection from all the others.
const CHANGES_AT_ONCE: usize = 2;

/// How long the turns of a room that nobody changes are remembered.
const TURNS_LIFE: Duration = Duration::from_mins(1);

/// Most rooms whose turns are remembered. One that is forgotten too early is only less fair: its lock is PostgreSQL's.
const TURNS_REMEMBERED: u64 = 100_000;

/// The database of this process.
#[derive(Clone)]
pub struct Db {
    lanes: Lanes,
    turns: Cache<RoomKey, Arc<Semaphore>>,
    news: Arc<watch::Sender<()>>,
}

impl Db {
    /// The database behind a pool that others use, too.
    pub fn new(pool: PgPool) -> Self {
        Self::of(Lane::shared(pool))
    }

    /// The database behind a lane.
    pub fn of(lane: Lane) -> Self {
        let turns = Cache::builder().max_capacity(TURNS_REMEMBERED).time_to_idle(TURNS_LIFE).build();
        Self { lanes: Lanes::new(lane), turns, news: Arc::new(watch::Sender::new(())) }
    }

    /// The same for one thread, whose single statements go through a lane of their own.
    pub fn with_own(&self, lane: Lane) -> Self {
        Self { lanes: self.lanes.with_own(lane), ..self.clone() }
    }

    /// What runs single statements.
    pub fn pool(&self) -> &Lanes {
        &self.lanes
    }

    /// Tells when this process has written events, so that nobody here needs to look for them all the time. What other
    /// processes have written is for the reader to look for.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Says that events were written, and are committed.
    pub(crate) fn tell_news(&self) {
        self.news.send_replace(());
    }

    /// Waits for a turn to change a room, without a connection. Whoever came first goes first.
    pub(crate) async fn turn(&self, key: &RoomKey) -> Result<OwnedSemaphorePermit, Error> {
        let turns = self.turns.get_with(key.clone(), async { Arc::new(Semaphore::new(CHANGES_AT_ONCE)) }).await;
        turns.acquire_owned().await.map_err(|error| Error::Internal(error.into()))
    }

    /// Does `work` in a transaction: kept if it succeeds, undone if not.
    pub async fn transact<T>(&self, work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>) -> Result<T, Error> {
        let mut transaction = self.begin().await?;
        let done = work(&mut transaction).await;
        transaction.end(done).await
    }

    /// Begins a transaction. A pooled connection may have died unnoticed with its server: that shows here, where nothing
    /// has been done yet, and the next connection is tried. Nothing else is ever tried twice on another connection.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        let mut tries_left = self.lanes.options().get_max_connections();
        loop {
            let mut transaction = Transaction { connection: Some(self.lanes.acquire_common().await?) };
            match transaction.say("begin").await {
                Err(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) if tries_left > 0 => tries_left -= 1,
                Err(sqlx::Error::Database(cause)) if tries_left > 0 && is_gone(&*cause) => tries_left -= 1,
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(transaction),
            }
        }
    }
}

/// A transaction that is not brought to its [end](Self::end) takes its connection with it when it is dropped.
///
/// Calls are dropped at any point: clients hang up, and time runs out. sqlx's own transaction gives the connection back
/// to the pool then, and if that happens while `begin` is on its way, the connection is in a transaction that nobody
/// knows of: what others write on it afterwards is acknowledged, and lost.
pub struct Transaction {
    connection: Option<Lease>,
}

impl Transaction {
    /// Keeps what was done if it has succeeded, and undoes it if not.
    pub async fn end<T>(mut self, done: Result<T, Error>) -> Result<T, Error> {
        let said = self.say(if done.is_ok() { "commit" } else { "rollback" }).await;
        match said {
            Ok(()) => self.connection.take().into_iter().for_each(Lease::keep),
            Err(error) if done.is_ok() => return Err(error.into()),
            // A failed rollback has nothing to add: the connection is gone, and the transaction with it.
            Err(_) => {}
        }
        done
    }

    async fn say(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statement).execute(&mut **self).await.map(drop)
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("there until the transaction is over")
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("there until the transaction is over")
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.close_on_drop();
        }
    }
}

/// The server has ended the connection: it stops, has crashed, or is starting.
fn is_gone(cause: &dyn sqlx::error::DatabaseError) -> bool {
    cause.code().is_some_and(|code| code.starts_with("57P0"))
}
