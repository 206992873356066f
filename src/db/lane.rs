//! Connections that are used again at once.
//!
//! sqlx's pool asks the server for a sign of life whenever a connection comes back, and hands it to any thread next,
//! though its events go to the thread that has opened it. For a small statement that is most of the cost. So a lane keeps
//! what has come back unharmed, and each thread of the service has one of its own; a connection on which something
//! failed, or was given up in the middle, goes back to sqlx's pool, which tests or closes it.

use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use sqlx::error::BoxDynError;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection as _, Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::standby::{self, Standby};
use super::{Begin, Layout, Transaction, is_connection_lost};
use crate::figures::Raised;

/// A connection that was not used for so long is tried before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// After so long a connection goes back to sqlx's pool once, which replaces it when it is too old.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// How long a statement waits for the lane of its thread before it waits for the common one, too.
const OWN_LANE_PATIENCE: Duration = Duration::from_millis(50);

/// How long a connection that is tried may take to answer.
const TRIED_FOR: Duration = Duration::from_secs(1);

/// A pool, and those of its connections that are used again at once.
pub struct Lane {
    pool: PgPool,
    permits: Arc<Semaphore>,
    begin: Begin,
    /// How long a statement may go without an answer. PostgreSQL ends it earlier: after that, nobody is there.
    patience: Duration,
    /// `None`: nothing is kept, since others use the pool, too.
    kept: Option<Mutex<Vec<Kept>>>,
}

struct Kept {
    connection: PoolConnection<Postgres>,
    taken_at: Instant,
    used_at: Instant,
}

impl Kept {
    fn is_trusted(&self) -> bool {
        self.used_at.elapsed() < TRUSTED_FOR
    }
}

impl Lane {
    /// A lane over a pool that nothing else uses; `patience` is longer than PostgreSQL lets a statement take.
    pub fn new(pool: PgPool, patience: Duration) -> Self {
        let mut lane = Self::shared(pool, patience);
        lane.kept = Some(Mutex::default());
        lane
    }

    /// One over a pool that others use, too.
    pub fn shared(pool: PgPool, patience: Duration) -> Self {
        let permits = pool.options().get_max_connections() as usize;
        Self { pool, permits: Arc::new(Semaphore::new(permits)), begin: Begin::default(), patience, kept: None }
    }

    /// The same, whose transactions begin so.
    pub fn begun_by(mut self, begin: Begin) -> Self {
        self.begin = begin;
        self
    }

    /// A connection, after a wait for a permit.
    async fn lease(self: &Arc<Self>) -> Result<Lease, sqlx::Error> {
        if let Some(lease) = self.lease_at_once() {
            return Ok(lease);
        }
        let (_waiting, patience) = (Raised::new("roomward_database_waiting"), self.pool.options().get_acquire_timeout());
        let permit = tokio::time::timeout(patience, self.permits.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        while let Some(mut kept) = self.last_kept() {
            if kept.is_trusted() || answers(&mut kept.connection, TRIED_FOR).await {
                return Ok(self.lend(kept, permit));
            }
            kept.connection.close_on_drop();
        }
        let (connection, now) = (self.connect().await?, Instant::now());
        Ok(self.lend(Kept { connection, taken_at: now, used_at: now }, permit))
    }

    /// The same if a connection is free at once.
    fn lease_at_once(self: &Arc<Self>) -> Option<Lease> {
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        let mut free = self.kept.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = free.pop_if(|kept| kept.is_trusted())?;
        Some(self.lend(kept, permit))
    }

    /// One of the pool, a new one if need be. That is made to its end if its caller waits no longer, and is in the pool for the
    /// next one: where it takes longer than callers wait, none would ever come about.
    async fn connect(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let pool = self.pool.clone();
        tokio::spawn(async move { pool.acquire().await }).await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    fn lend(self: &Arc<Self>, kept: Kept, permit: OwnedSemaphorePermit) -> Lease {
        Lease {
            kept: Some(kept),
            lane: self.clone(),
            is_closing: false,
            permit,
            in_use: Raised::new("roomward_database_connections_in_use"),
        }
    }

    fn last_kept(&self) -> Option<Kept> {
        self.kept.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn close(&self) {
        self.permits.close();
        while let Some(kept) = self.last_kept() {
            drop(kept);
        }
        self.pool.close().await;
    }
}

impl Drop for Lane {
    /// The thread may be at its end, and sqlx's pool would look for a runtime to say goodbye in.
    fn drop(&mut self) {
        while let Some(kept) = self.last_kept() {
            drop(kept.connection.detach());
        }
    }
}

/// Whether a connection still works: sqlx's pool would wait for it without an end.
pub async fn answers(connection: &mut PgConnection, patience: Duration) -> bool {
    tokio::time::timeout(patience, connection.ping()).await.is_ok_and(|tried| tried.is_ok())
}

/// Waits for a statement as long as PostgreSQL could take for it. A connection may be lost without a word: its machine is
/// gone, or one on the way has forgotten it.
pub(super) async fn in_time<T>(
    patience: Duration,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let silence = || Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database does not answer")));
    tokio::time::timeout(patience, statement).await.unwrap_or_else(|_| silence())
}

/// A connection for a while. It is used again at once if it is [kept](Self::keep); when it is dropped, it is tried first.
pub struct Lease {
    kept: Option<Kept>,
    lane: Arc<Lane>,
    is_closing: bool,
    #[expect(dead_code, reason = "held, and given back when this is dropped")]
    permit: OwnedSemaphorePermit,
    #[expect(dead_code, reason = "counted as long as this lives")]
    in_use: Raised,
}

impl Lease {
    /// How a transaction begins on it.
    pub(super) fn begin(&self) -> &Begin {
        &self.lane.begin
    }

    /// How long a statement may go without an answer on it.
    pub(super) fn patience(&self) -> Duration {
        self.lane.patience
    }

    /// Gives it back: nothing is under way on it, and nothing went wrong.
    pub(super) fn keep(mut self) {
        if let (Some(mut kept), Some(lane)) = (self.kept.take(), &self.lane.kept)
            && kept.taken_at.elapsed() < KEPT_FOR
        {
            kept.used_at = Instant::now();
            lane.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        }
    }

    /// Closes it instead of giving it back.
    pub(super) fn close_on_drop(&mut self) {
        self.is_closing = true;
        if let Some(kept) = &mut self.kept {
            kept.connection.close_on_drop();
        }
    }
}

/// A connection for one statement, which gives it back if it succeeds. Behind a pooler that statement is a transaction: it is
/// prepared before it is run, and both must come to the same connection of the server.
enum Single {
    Plain(Lease),
    Pooled(Transaction),
}

impl Single {
    fn patience(&self) -> Duration {
        match self {
            Self::Plain(lease) => lease.patience(),
            Self::Pooled(transaction) => transaction.patience,
        }
    }

    async fn end<T>(self, done: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        match self {
            Self::Plain(lease) => done.inspect(|_| lease.keep()),
            Self::Pooled(transaction) => transaction.finish(done).await,
        }
    }
}

impl Deref for Single {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Plain(lease) => lease,
            Self::Pooled(transaction) => transaction,
        }
    }
}

impl DerefMut for Single {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Plain(lease) => lease,
            Self::Pooled(transaction) => transaction,
        }
    }
}

impl Drop for Lease {
    /// What was given up on it may still be under way: when that has ended, the connection is as good as new, and sqlx's pool
    /// has it back.
    fn drop(&mut self) {
        let (Some(mut kept), patience, false) = (self.kept.take(), self.lane.patience, self.is_closing) else { return };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if !answers(&mut kept.connection, patience).await {
                    kept.connection.close_on_drop();
                }
            });
        }
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.kept.as_ref().expect("there until it is given back").connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.kept.as_mut().expect("there until it is given back").connection
    }
}

/// The ways to the database: one for all, and one of this thread's own.
#[derive(Clone)]
pub struct Lanes {
    common: Arc<Lane>,
    own: Option<Arc<Lane>>,
    standby: Option<Arc<Standby>>,
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Lanes").finish_non_exhaustive()
    }
}

impl Lanes {
    pub(super) fn new(common: Lane) -> Self {
        Self { common: Arc::new(common), own: None, standby: None }
    }

    pub(super) fn with_own(&self, lane: Lane) -> Self {
        Self { own: Some(Arc::new(lane)), ..self.clone() }
    }

    pub(super) fn preferring(self, standby: Arc<Standby>) -> Self {
        Self { standby: Some(standby), ..self }
    }

    /// How the common pool is set up.
    pub fn options(&self) -> &PoolOptions<Postgres> {
        self.common.pool.options()
    }

    /// How long a statement may go without an answer.
    pub(super) fn patience(&self) -> Duration {
        self.common.patience
    }

    /// Whether all that belongs to a session ends with its transaction.
    pub(super) fn is_pooled(&self) -> bool {
        self.common.begin.is_pooled()
    }

    /// A connection for single statements.
    async fn acquire(&self) -> Result<Lease, sqlx::Error> {
        let Some(own) = &self.own else { return self.acquire_common().await };
        if let Some(lease) = own.lease_at_once() {
            return Ok(lease);
        }
        let mut from_own = pin!(own.lease());
        if let Ok(lease) = tokio::time::timeout(OWN_LANE_PATIENCE, &mut from_own).await {
            return lease;
        }
        // Whichever is free first.
        tokio::select! {
            lease = from_own => lease,
            lease = self.acquire_common() => lease,
        }
    }

    /// The same, as it is used for one of them.
    async fn single(&self) -> Result<Single, sqlx::Error> {
        let lease = self.acquire().await?;
        if !lease.begin().is_pooled() {
            return Ok(Single::Plain(lease));
        }
        self.begin(lease, Layout::Single, || self.acquire()).await.map(Single::Pooled)
    }

    /// Begins a transaction. A pooled connection may have died unnoticed with its server: that shows here, where nothing has
    /// been done yet, and the next connection is tried. Nothing else is ever tried twice on another connection.
    pub(super) async fn begin<F: Future<Output = Result<Lease, sqlx::Error>>>(
        &self,
        mut lease: Lease,
        layout: Layout,
        acquire: impl Fn() -> F,
    ) -> Result<Transaction, sqlx::Error> {
        let mut tries_left = self.options().get_max_connections();
        loop {
            match Transaction::begin(lease, layout).await {
                Err(error) if tries_left > 0 && is_connection_lost(&error) => tries_left -= 1,
                begun => return begun,
            }
            lease = acquire().await?;
        }
    }

    /// A connection for more than that.
    pub(super) async fn acquire_common(&self) -> Result<Lease, sqlx::Error> {
        self.common.lease().await
    }

    /// Waits until the connections that all threads share are closed.
    pub async fn close(&self) {
        self.common.close().await;
    }
}

/// A statement that can be run once more, on another server.
#[derive(Clone)]
struct Statement {
    sql: SqlStr,
    arguments: Option<PgArguments>,
    persistent: bool,
}

impl Statement {
    fn of<'q>(mut query: impl Execute<'q, Postgres>) -> Result<Self, sqlx::Error> {
        let arguments = query.take_arguments().map_err(sqlx::Error::Encode)?;
        let persistent = query.persistent();
        Ok(Self { sql: query.sql(), arguments, persistent })
    }
}

impl Execute<'_, Postgres> for Statement {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&PgStatement> {
        None
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        Ok(self.arguments.take())
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}

impl Lanes {
    /// Runs a statement on the standby, if it may be asked. What it cannot answer, whatever the cause, the primary does; and what
    /// is not there may be new.
    async fn all_by_standby(&self, statement: &Statement) -> Option<Vec<Either<PgQueryResult, PgRow>>> {
        let standby = self.standby.as_ref().filter(|standby| standby.is_recent())?;
        let all = standby.lanes.fetch_many(statement.clone()).try_collect::<Vec<_>>();
        let answer = tokio::time::timeout(standby::PATIENCE, all).await.ok().and_then(Result::ok);
        standby.note(answer.is_some());
        answer.filter(|steps| steps.iter().any(Either::is_right))
    }

    async fn all<'q>(&self, query: impl Execute<'q, Postgres> + 'q) -> Result<Vec<Either<PgQueryResult, PgRow>>, sqlx::Error> {
        let mut connection = self.single().await?;
        let steps = in_time(connection.patience(), connection.fetch_many(query).try_collect()).await;
        connection.end(steps).await
    }
}

/// Every statement has a connection for itself.
impl<'p> Executor<'p> for &Lanes {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let lanes = self.clone();
        let all = async move {
            let steps = if lanes.standby.is_some() {
                let statement = Statement::of(query)?;
                match lanes.all_by_standby(&statement).await {
                    Some(steps) => steps,
                    None => lanes.all(statement).await?,
                }
            } else {
                lanes.all(query).await?
            };
            Ok::<_, sqlx::Error>(stream::iter(steps.into_iter().map(Ok)))
        };
        stream::once(all).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let lanes = self.clone();
        Box::pin(async move {
            if lanes.standby.is_some() {
                let steps = lanes.fetch_many(query).try_collect::<Vec<_>>().await?;
                return Ok(steps.into_iter().find_map(Either::right));
            }
            let mut connection = lanes.single().await?;
            let row = in_time(connection.patience(), connection.fetch_optional(query)).await;
            connection.end(row).await
        })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        let lanes = self.clone();
        Box::pin(async move {
            let mut connection = lanes.single().await?;
            let statement = in_time(connection.patience(), connection.prepare_with(sql, parameters)).await;
            connection.end(statement).await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        let lanes = self.clone();
        Box::pin(async move {
            let mut connection = lanes.single().await?;
            let description = connection.describe(sql).await;
            connection.end(description).await
        })
    }
}
