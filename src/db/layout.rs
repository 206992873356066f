//! Where the rows of the tables lie: in one PostgreSQL, or all over a cluster of them that Citus keeps together.
//!
//! On a cluster the rows of a room are together on one node, those of users lie by their names, and small tables are on every
//! node. All transactions go through the coordinator: its numbers of transactions order the feeds of apps, and its advisory
//! locks hold what has its rows on several nodes.

use sqlx::{AssertSqlSafe, PgConnection, PgExecutor, SqlSafeStr as _, SqlStr};

use super::Transaction;
use crate::error::Error;

/// How the tables lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All rows are in one PostgreSQL.
    Single,
    /// Rooms are distributed over a cluster.
    Distributed {
        /// How long a statement waits for a lock; 0 = for ever. Nodes are told: they know nothing of our connection.
        lock_timeout_ms: i32,
    },
}

impl Layout {
    /// Looks how they lie. Citus guards each table that it has distributed by a trigger of its own.
    pub async fn of(connection: impl PgExecutor<'_>) -> Result<Self, sqlx::Error> {
        let row = sqlx::query!(
            r#"select exists (
                   select from pg_trigger join pg_proc on pg_proc.oid = tgfoid
                   where tgrelid = to_regclass('chatrooms') and proname = 'citus_truncate_trigger'
               ) as "is_distributed!",
               (select setting::integer from pg_settings where name = 'lock_timeout') as "lock_timeout_ms!""#
        )
        .fetch_one(connection)
        .await?;
        Ok(if row.is_distributed { Self::Distributed { lock_timeout_ms: row.lock_timeout_ms } } else { Self::Single })
    }

    /// Whether rooms are on several nodes.
    pub fn is_distributed(self) -> bool {
        self != Self::Single
    }

    /// What is said first in a transaction. Citus repeats it on the nodes, and takes the whole message for it: so it comes alone.
    pub(super) fn opening(self) -> Option<SqlStr> {
        match self {
            Self::Single => None,
            Self::Distributed { lock_timeout_ms } => {
                Some(AssertSqlSafe(format!("set local lock_timeout = {lock_timeout_ms}")).into_sql_str())
            }
        }
    }
}

/// Makes a new connection fit its database. One plan is good for all values on a single PostgreSQL, and saves most of the work;
/// Citus must know the room to find its node, and tell the nodes what a transaction is set to.
pub async fn set_by_layout(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    if Layout::of(&mut *connection).await?.is_distributed() {
        sqlx::query!(
            "select set_config('plan_cache_mode', 'auto', false) as plans,
                    set_config('citus.propagate_set_commands', 'local', false) as told"
        )
        .fetch_one(connection)
        .await?;
    }
    Ok(())
}

/// What is held by a number where its rows are on several nodes, and is nothing to do elsewhere. The lock of a row ends
/// when its own node commits, which may be before all of the transaction can be seen; that of a number ends after all.
impl Transaction {
    const APPS: i32 = 0x726f_6f61;
    const USERS: i32 = 0x726f_6f75;

    /// Holds an app.
    pub async fn hold_app(&mut self, app: i32) -> Result<(), Error> {
        if self.layout().is_distributed() {
            sqlx::query!("select pg_advisory_xact_lock($1, $2)", Self::APPS, app).execute(&mut **self).await?;
        }
        Ok(())
    }

    /// The same without waiting. Whether it is held.
    pub async fn try_hold_app(&mut self, app: i32) -> Result<bool, Error> {
        if !self.layout().is_distributed() {
            return Ok(true);
        }
        let held = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1, $2) as "held!""#, Self::APPS, app);
        Ok(held.fetch_one(&mut **self).await?)
    }

    /// Keeps others from holding an app.
    pub async fn share_app(&mut self, app: i32) -> Result<(), Error> {
        if self.layout().is_distributed() {
            sqlx::query!("select pg_advisory_xact_lock_shared($1, $2)", Self::APPS, app).execute(&mut **self).await?;
        }
        Ok(())
    }

    /// Holds users of an app: some `alone`, and others so that nobody holds them alone. All of them at once, and no more later
    /// in the transaction: they are taken in one order, so that no two transactions wait for each other. A number stands for
    /// several users, so that no batch takes too many.
    pub async fn hold_users(&mut self, app: i32, alone: &[String], shared: &[String]) -> Result<(), Error> {
        if !self.layout().is_distributed() || (alone.is_empty() && shared.is_empty()) {
            return Ok(());
        }
        sqlx::query!(
            "select case when alone then pg_advisory_xact_lock($1, number)::text
                         else pg_advisory_xact_lock_shared($1, number)::text end as held
             from (
                 select hashtext($2::integer || '/' || username) & 1023 as number, bool_or(alone) as alone
                 from (select unnest($3::text[]), true union all select unnest($4::text[]), false) given (username, alone)
                 group by number order by number offset 0
             ) numbers",
            Self::USERS,
            app,
            alone,
            shared,
        )
        .fetch_all(&mut **self)
        .await?;
        Ok(())
    }
}
