//! What a session with the database is set to: when it is opened, or, behind a pooler, by each of its transactions.
//!
//! A pooler in transaction mode (PgBouncer) lends a connection of the server for one transaction. What outlives that
//! belongs to the next one who is lent it: so nothing is set, and nothing stays prepared, beyond its end.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

/// How sessions are opened, and how transactions begin in them.
#[derive(Clone)]
pub struct Session {
    /// How a connection is made.
    pub options: PgConnectOptions,
    /// How a transaction begins on it.
    pub begin: Begin,
    /// How long a statement may go without an answer.
    pub patience: Duration,
}

impl Session {
    /// Sessions that are opened with `settings`.
    pub fn direct<const N: usize>(options: PgConnectOptions, settings: [(&'static str, String); N], patience: Duration) -> Self {
        Self { options: options.options(settings), begin: Begin(None), patience }
    }

    /// Sessions behind a pooler, each transaction of which is begun with `settings`.
    pub fn pooled<const N: usize>(options: PgConnectOptions, settings: [(&'static str, String); N], patience: Duration) -> Self {
        let settings = settings.map(|(name, value)| format!("; set local {name} = '{value}'"));
        Self { options, begin: Begin(Some(format!("begin{}", settings.concat()).into())), patience }
    }
}

/// How a transaction begins: with all that is to hold in it, if it is its own session.
#[derive(Clone, Default)]
pub struct Begin(Option<Arc<str>>);

impl Begin {
    /// Whether all that belongs to a session ends with its transaction.
    pub fn is_pooled(&self) -> bool {
        self.0.is_some()
    }

    /// What is to be said.
    pub fn statement(&self) -> SqlStr {
        match &self.0 {
            None => SqlStr::from_static("begin"),
            Some(text) => AssertSqlSafe(text.clone()).into_sql_str(),
        }
    }
}
