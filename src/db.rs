//! The way to the database: connections, and transactions that are safe to drop.

mod columns;
mod horizon;
mod lane;
pub mod layout;
mod session;
pub mod standby;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool, SqlStr};
use tokio::sync::{OnceCell, watch};

use self::horizon::Horizon;
pub use self::lane::{Lane, answers};
use self::lane::{Lanes, Lease, in_time};
pub use self::layout::Layout;
pub use self::session::{Begin, Session};
use self::standby::Standby;
use crate::error::Error;

/// How long a statement may go without an answer where the settings are not at hand.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the undoing of a transaction may take; closing its connection undoes it, too.
const UNDONE_IN: Duration = Duration::from_secs(1);

/// The database of this process.
#[derive(Clone)]
pub struct Db {
    lanes: Lanes,
    standby: Option<Arc<Standby>>,
    events: Arc<watch::Sender<()>>,
    layout: Arc<OnceCell<Layout>>,
    horizon: Arc<Horizon>,
}

impl Db {
    /// The database behind a pool that others use, too.
    pub fn new(pool: PgPool) -> Self {
        Self::of(Lane::shared(pool, PATIENCE))
    }

    /// The database behind a lane.
    pub fn of(lane: Lane) -> Self {
        Self {
            lanes: Lanes::new(lane),
            standby: None,
            events: Arc::new(watch::Sender::new(())),
            layout: Arc::default(),
            horizon: Arc::default(),
        }
    }

    /// The same for one thread, whose single statements go through a lane of their own.
    pub fn with_own(&self, lane: Lane) -> Self {
        Self { lanes: self.lanes.with_own(lane), ..self.clone() }
    }

    /// The same, with a standby for reads that may be a little old.
    pub fn with_standby(&self, standby: Arc<Standby>) -> Self {
        Self { standby: Some(standby), ..self.clone() }
    }

    /// The same for lists: its single statements are answered by the standby, if there is one and it is not too far behind.
    pub fn for_lists(&self) -> Self {
        let lanes = self.standby.iter().fold(self.lanes.clone(), |lanes, standby| lanes.preferring(standby.clone()));
        Self { lanes, ..self.clone() }
    }

    /// What runs single statements.
    pub fn pool(&self) -> &Lanes {
        &self.lanes
    }

    /// Tells when this process has committed events, so that no reader here needs to look for them all the time. What other
    /// processes have committed is for the reader to look for.
    pub fn watch_events(&self) -> watch::Receiver<()> {
        self.events.subscribe()
    }

    /// Says that events were written, and are committed.
    pub fn events_committed(&self) {
        self.events.send_replace(());
    }

    /// How the tables lie: looked at once, and then known.
    pub async fn layout(&self) -> Result<Layout, Error> {
        let layout = *self.layout.get_or_try_init(|| Layout::of(&self.lanes)).await?;
        if layout.is_distributed() && (self.standby.is_some() || self.lanes.is_pooled()) {
            let reason = "the database is a cluster, for which database.read_url and transaction_pooling are not meant";
            return Err(Error::Unavailable(reason.into()));
        }
        Ok(layout)
    }

    /// On a cluster: the number of a transaction below which no event is written any more, and all can be seen.
    pub async fn horizon(&self) -> Result<i64, Error> {
        self.horizon.look(&self.lanes).await
    }

    /// On a cluster: waits until all transactions have ended that are under way by now, and write. Whether they have, in time.
    pub async fn settle(&self, patience: Duration) -> Result<bool, Error> {
        horizon::settle(&self.lanes, patience).await
    }

    /// Begins a transaction.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        let layout = self.layout().await?;
        let lease = self.lanes.acquire_common().await?;
        Ok(self.lanes.begin(lease, layout, || self.lanes.acquire_common()).await?)
    }

    /// Waits for the statements of a transaction no longer than a database that is there could take. What goes on in the
    /// background has no caller who gives up, and a connection may be lost without a word.
    pub async fn in_time<T>(&self, statements: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        // Each has a limit of its own, and few come near it.
        let limit = 2 * self.lanes.patience();
        let silence = |_| Err(Error::Unavailable("the database does not answer".into()));
        tokio::time::timeout(limit, statements).await.unwrap_or_else(silence)
    }
}

/// A transaction that is not brought to its [end](Self::end) takes its connection with it when it is dropped.
///
/// Calls are dropped at any point: clients hang up, and time runs out. sqlx's own transaction gives the connection back
/// to the pool then, and if that happens while `begin` is on its way, the connection is in a transaction that its
/// next users do not know of: what they write on it is acknowledged, and lost.
pub struct Transaction {
    connection: Option<Lease>,
    patience: Duration,
    layout: Layout,
}

impl Transaction {
    async fn begin(lease: Lease, layout: Layout) -> Result<Self, sqlx::Error> {
        let (begin, patience) = (lease.begin().statement(), lease.patience());
        let mut transaction = Self { connection: Some(lease), patience, layout };
        transaction.say(begin, patience).await?;
        if let Some(opening) = layout.opening() {
            transaction.say(opening, patience).await?;
        }
        Ok(transaction)
    }

    /// How the tables lie that it is about.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Keeps what was done if it has succeeded, and undoes it if not.
    pub async fn end<T>(self, done: Result<T, Error>) -> Result<T, Error> {
        self.finish(done).await
    }

    async fn finish<T, E: From<sqlx::Error>>(mut self, done: Result<T, E>) -> Result<T, E> {
        let said =
            if done.is_ok() { self.say_last("commit", self.patience).await } else { self.say_last("rollback", UNDONE_IN).await };
        match said {
            Ok(()) => self.connection.take().into_iter().for_each(Lease::keep),
            Err(error) if done.is_ok() => return Err(error.into()),
            // A failed rollback has nothing to add: the connection is gone, and the transaction with it.
            Err(_) => {}
        }
        done
    }

    /// Keeps what was done.
    pub async fn commit(mut self) -> Result<(), CommitError> {
        let patience = self.patience;
        self.forget_statements(patience).await.map_err(|error| CommitError::Refused(error.into()))?;
        match self.say(SqlStr::from_static("commit"), patience).await {
            Ok(()) => {
                self.connection.take().into_iter().for_each(Lease::keep);
                Ok(())
            }
            // PostgreSQL itself has said no: nothing was kept. Where rows are elsewhere, it may have lost the answer from there.
            Err(error @ sqlx::Error::Database(_)) if !is_gone_error(&error) && self.layout == Layout::Single => {
                Err(CommitError::Refused(error.into()))
            }
            Err(error) => Err(CommitError::Lost(error.into())),
        }
    }

    /// Undoes what was done. If that fails, the connection is gone, and the transaction with it.
    pub async fn undo(mut self) {
        if self.say_last("rollback", UNDONE_IN).await.is_ok() {
            self.connection.take().into_iter().for_each(Lease::keep);
        }
    }

    async fn say_last(&mut self, statement: &'static str, patience: Duration) -> Result<(), sqlx::Error> {
        self.forget_statements(patience).await?;
        self.say(SqlStr::from_static(statement), patience).await
    }

    /// Behind a pooler, nothing that was prepared may stay behind for whom the connection is lent to next.
    async fn forget_statements(&mut self, patience: Duration) -> Result<(), sqlx::Error> {
        if self.connection.as_ref().is_some_and(|lease| lease.begin().is_pooled()) {
            in_time(patience, self.clear_cached_statements()).await?;
        }
        Ok(())
    }

    async fn say(&mut self, statement: SqlStr, patience: Duration) -> Result<(), sqlx::Error> {
        in_time(patience, sqlx::raw_sql(statement).execute(&mut **self)).await.map(drop)
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

/// Why a transaction was not kept, or may not have been.
pub enum CommitError {
    /// It was not kept.
    Refused(Error),
    /// The answer was lost: the outcome is unknown.
    Lost(Error),
}

/// Serialization failure or deadlock: made again, the same may succeed.
pub fn is_conflict(error: &Error) -> bool {
    matches!(sql_state(error).as_deref(), Some("40001" | "40P01"))
}

/// Whether PostgreSQL has refused a statement: another one on another connection may do better. Not so if the server or the
/// way to it is what fails.
pub fn is_refused_statement(error: &Error) -> bool {
    sql_state(error).is_some_and(|state| !matches!(&state[..2.min(state.len())], "08" | "53" | "57") && state != "55P03")
}

fn sql_state(error: &Error) -> Option<String> {
    let (Error::Unavailable(cause) | Error::Internal(cause)) = error else { return None };
    match cause.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Database(cause)) => cause.code().map(std::borrow::Cow::into_owned),
        _ => None,
    }
}

/// The connection is of no use any more; another one may be.
fn is_connection_lost(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) || is_gone_error(error)
}

fn is_gone_error(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(cause) if is_gone(&**cause))
}

/// The server has ended the connection: it stops, has crashed, or is starting. A pooler in between says so as a failure of
/// the connection (08), whatever it has sent on to the server before.
fn is_gone(cause: &dyn sqlx::error::DatabaseError) -> bool {
    cause.code().is_some_and(|code| code.starts_with("57P0") || code.starts_with("08"))
}
