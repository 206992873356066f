//! Brings the schema up to this version: the files of `migrations/`, embedded, run by refinery over sqlx.
//!
//! The history table is refinery's own, so that its command line and ours read each other's work.
//!
//! A migration never waits long for a lock: all calls that come after it would wait behind it. It gives up, lets them pass,
//! and tries again. One that is online (`ONLINE`) holds no lock for long either, however large the tables are.

use std::time::Duration;

use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use refinery_core::{Migration, Runner};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub mod distribution;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The database refused, or cannot be reached.
    #[error("cannot migrate: {0}")]
    Database(#[from] sqlx::Error),
    /// A migration failed, or what was applied before is not what we carry.
    #[error("cannot migrate: {0}")]
    Refinery(#[from] refinery::Error),
    /// The database is none over which rooms can be distributed, or not now; says what helps.
    #[error("cannot distribute: {0}")]
    Undistributable(String),
}

/// A migration of this version, and when it was applied, if it was.
pub struct Status {
    /// As the file is called, without its ending.
    pub name: String,
    /// When it was applied.
    pub applied_on: Option<OffsetDateTime>,
}

/// Any number will do, as long as every instance takes the same one ("roomward" in ASCII).
const LOCK: i64 = 0x726f_6f6d_7761_7264;

/// How often an instance looks whether its turn has come.
const TURN: Duration = Duration::from_millis(100);

/// What a migration says that is run statement by statement, its indexes built concurrently. Broken off, it is run again from
/// the start: each statement is to change nothing where it has been run already (`if not exists`).
const ONLINE: &str = "\n-- Online: ";

/// How such a migration begins to say that it builds an index.
const BUILD: &str = "create index if not exists ";

/// How long a migration waits for a lock, and live traffic behind it.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '500ms'";

/// How long live traffic has before the next attempt.
const PAUSE: Duration = Duration::from_millis(500);

/// How often a migration is tried while others hold what it locks: for about two minutes.
const MAX_ATTEMPTS: usize = 120;

/// Applies what is missing and returns its names. Instances that start together take turns: refinery takes no lock.
pub async fn run(url: &str) -> Result<Vec<String>, MigrationError> {
    apply(url, &ours()).await
}

/// Applies those of `migrations` that are missing.
pub async fn apply(url: &str, migrations: &[Migration]) -> Result<Vec<String>, MigrationError> {
    let mut connection = PgConnection::connect(url).await?;
    take_turns(&mut connection).await?;
    let mut history = History(connection);
    let report = Runner::new(migrations).run_async(&mut history).await?;
    go_on_counting(&mut history.0).await?;
    // Closing the session gives the lock back.
    history.0.close().await?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}

/// Waits until no other session migrates. Closing the session lets the next one go on.
async fn take_turns(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // Not by waiting in PostgreSQL: an index that is built concurrently waits for all statements that are under way.
    while sqlx::query_scalar!("select pg_try_advisory_lock($1)", LOCK).fetch_one(&mut *connection).await? != Some(true) {
        tokio::time::sleep(TURN).await;
    }
    Ok(())
}

/// Makes new events come behind those that are there. A database that was restored into another cluster has events with
/// transaction numbers that this cluster has not reached; from now on it counts on from the greatest of them.
async fn go_on_counting(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update event_clock set xact_offset = seen.xact - pg_snapshot_xmin(pg_current_snapshot())::text::bigint + 1
         from (
             select max(xact) as xact from (
                 select last_xact as xact from room_counters
                 union all select last_xact from apps
                 union all select last_xact from retired_rooms
             ) last
         ) seen
         where seen.xact >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint + xact_offset",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Every migration of this version, in order.
pub async fn status(url: &str) -> Result<Vec<Status>, MigrationError> {
    let mut connection = PgConnection::connect(url).await?;
    let applied = applied(&mut connection).await?;
    connection.close().await?;
    Ok(ours()
        .into_iter()
        .map(|migration| Status {
            name: migration.to_string(),
            applied_on: applied
                .iter()
                .find(|done| done.version() == migration.version())
                .and_then(|done| done.applied_on().copied()),
        })
        .collect())
}

/// How many migrations of this version the database lacks.
pub async fn missing(connection: &mut PgConnection) -> Result<usize, sqlx::Error> {
    let applied = applied(connection).await?;
    Ok(ours().iter().filter(|migration| applied.iter().all(|done| done.version() != migration.version())).count())
}

/// The migrations of this version, in order.
pub fn ours() -> Vec<Migration> {
    let mut migrations = embedded::migrations::runner().get_migrations().clone();
    migrations.sort();
    migrations
}

/// The names of the indexes that they make and do not drop again.
pub fn indexes() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for migration in ours() {
        for line in migration.sql().unwrap_or_default().lines() {
            let mut words = line
                .trim()
                .trim_end_matches(';')
                .split_whitespace()
                .filter(|word| !["unique", "concurrently", "if", "not", "exists"].contains(word));
            match (words.next(), words.next(), words.next()) {
                (Some("create"), Some("index"), Some(name)) => names.push(name.to_owned()),
                (Some("drop"), Some("index"), Some(name)) => names.retain(|made| made != name),
                _ => {}
            }
        }
    }
    names
}

async fn applied(connection: &mut PgConnection) -> Result<Vec<Migration>, sqlx::Error> {
    let table =
        sqlx::query_scalar!("select to_regclass('refinery_schema_history') is not null").fetch_one(&mut *connection).await?;
    if table != Some(true) {
        return Ok(Vec::new());
    }
    read_history(connection, "select version, name, applied_on, checksum from refinery_schema_history order by version").await
}

async fn read_history(connection: &mut PgConnection, query: &str) -> Result<Vec<Migration>, sqlx::Error> {
    let rows = connection.fetch_all(AssertSqlSafe(query)).await?;
    rows.iter()
        .map(|row| {
            let text = |column: usize| row.try_get::<String, _>(column);
            let decode = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
            Ok(Migration::applied(
                row.try_get(0)?,
                text(1)?,
                OffsetDateTime::parse(&text(2)?, &Rfc3339).map_err(|error| decode(error.into()))?,
                text(3)?.parse().map_err(|error: std::num::ParseIntError| decode(error.into()))?,
            ))
        })
        .collect()
}

/// Our connection, as refinery drives it.
struct History(PgConnection);

impl History {
    /// Runs `queries` in one transaction, again and again while others hold what they lock.
    async fn run(&mut self, queries: &[&str]) -> Result<(), sqlx::Error> {
        let mut attempts_left = MAX_ATTEMPTS;
        loop {
            attempts_left -= 1;
            match self.attempt(queries).await {
                Err(error) if attempts_left > 0 && is_in_the_way(&error) => {
                    tracing::warn!(%error, attempts_left, "a migration waits for others to finish");
                    tokio::time::sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }

    /// Builds an index while others read and write its table. One that was broken off stays behind, is of no use, and would
    /// count as there: it goes first.
    async fn build_index(&mut self, index: &str) -> Result<(), sqlx::Error> {
        let name = index.split_whitespace().next().unwrap_or_default();
        let is_valid = sqlx::query_scalar!("select indisvalid from pg_index where indexrelid = to_regclass($1)", name);
        if is_valid.fetch_optional(&mut self.0).await? == Some(false) {
            sqlx::raw_sql(AssertSqlSafe(format!("drop index concurrently {name}"))).execute(&mut self.0).await?;
        }
        tracing::info!(name, "building an index");
        let build = format!("create index concurrently if not exists {index}");
        sqlx::raw_sql(AssertSqlSafe(build)).execute(&mut self.0).await.map(drop)
    }

    async fn attempt(&mut self, queries: &[&str]) -> Result<(), sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *transaction).await?;
        for query in queries {
            sqlx::raw_sql(AssertSqlSafe(*query)).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }
}

impl AsyncTransaction for History {
    type Error = sqlx::Error;

    /// One migration and its line in the history: both or neither, or the line when the migration is done.
    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(&'a mut self, queries: T) -> Result<usize, sqlx::Error> {
        let queries: Vec<&str> = queries.collect();
        match queries.split_first() {
            Some((migration, line)) if migration.contains(ONLINE) => {
                for statement in statements(migration) {
                    match statement.strip_prefix(BUILD) {
                        Some(index) => self.build_index(index).await?,
                        None => self.run(&[&*statement]).await?,
                    }
                }
                self.run(line).await?;
            }
            _ => self.run(&queries).await?,
        }
        Ok(queries.len())
    }
}

/// The statements of a migration, each of which ends with a line, without its comments.
fn statements(migration: &str) -> Vec<String> {
    let code: Vec<&str> = migration.lines().map(|line| line.split("--").next().unwrap_or_default().trim_end()).collect();
    let statements = code.join("\n");
    statements.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

/// Others hold what the migration locks (`lock_timeout`, deadlock, conflict): later it may succeed.
fn is_in_the_way(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("55P03" | "40P01" | "40001"))
}

impl AsyncQuery<Vec<Migration>> for History {
    async fn query<'a>(&'a mut self, query: &'a str) -> Result<Vec<Migration>, sqlx::Error> {
        read_history(&mut self.0, query).await
    }
}

impl AsyncMigrate for History {}
