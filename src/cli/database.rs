//! How a command reaches the database: at once, or with a sentence that says what is wrong and what helps.

use std::time::Duration;

use roomward::config::{self, Settings};
use roomward::db::{Db, Lane, Session};
use roomward::migrations;
use roomward::server::{pool_options, session};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgConnection};

use super::Failure;

/// How long a database may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The way to a database that is there and has this version's schema, for a command that does one thing after another.
pub async fn connect(settings: &Settings) -> Result<Db, Failure> {
    let mut connection = connect_unmigrated(settings).await?;
    require_migrations(&mut connection).await?;
    let session = session(&settings.database, settings.database_url()?)?;
    Ok(db(pool_options(&session).max_connections(1).acquire_timeout(PATIENCE), session))
}

/// The same with several connections, for what takes its time: statements that read or write a whole app, and that wait for
/// what reads at the other end of a pipe.
pub async fn connect_patiently(settings: &Settings, connections: u32) -> Result<Db, Failure> {
    let mut connection = connect_unmigrated(settings).await?;
    require_migrations(&mut connection).await?;
    let without_limits = config::Database { statement_timeout_ms: 0, lock_timeout_ms: 0, ..settings.database.clone() };
    let session = Session { patience: Duration::MAX, ..session(&without_limits, settings.database_url()?)? };
    Ok(db(pool_options(&session).max_connections(connections), session))
}

fn db(pool: PgPoolOptions, Session { options, begin, patience }: Session) -> Db {
    Db::of(Lane::shared(pool.connect_lazy_with(options), patience).begun_by(begin))
}

/// A connection to a database that is there, whatever its schema.
pub async fn connect_unmigrated(settings: &Settings) -> Result<PgConnection, Failure> {
    connect_to("database.url", session(&settings.database, settings.database_url()?)?).await
}

/// A connection to the standby, if there is to be one.
pub async fn connect_standby(settings: &Settings) -> Option<Result<PgConnection, Failure>> {
    let url = settings.read_url().transpose()?;
    let connect = async { connect_to("database.read_url", session(&settings.database, url?)?).await };
    Some(connect.await)
}

/// A connection to the server that a setting leads to.
async fn connect_to(setting: &str, Session { options, begin, .. }: Session) -> Result<PgConnection, Failure> {
    let connect = async {
        let mut connection = options.connect().await?;
        if begin.is_pooled() {
            // All that a command asks is one transaction then.
            sqlx::raw_sql(begin.statement()).execute(&mut connection).await?;
        }
        Ok(connection)
    };
    match tokio::time::timeout(PATIENCE, connect).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(explain(setting, &options, &error).into()),
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            let place = place(&options);
            Err(format!("{place} does not answer within {seconds} s: is the host in {setting} right, and not cut off?").into())
        }
    }
}

/// Fails unless none of this version's migrations is missing.
pub async fn require_migrations(connection: &mut PgConnection) -> Result<(), Failure> {
    match migrations::missing(connection).await? {
        0 => Ok(()),
        missing => Err(format!("{missing} migrations are missing in the database: run `roomward migrate`").into()),
    }
}

fn place(options: &PgConnectOptions) -> String {
    format!("PostgreSQL at {}:{}", options.get_host(), options.get_port())
}

/// What is wrong, and what helps. PostgreSQL's own words carry no password.
fn explain(setting: &str, options: &PgConnectOptions, error: &sqlx::Error) -> String {
    let place = place(options);
    match error {
        sqlx::Error::Io(cause) => format!("cannot reach {place}: {cause}: is it running, and is {setting} right?"),
        sqlx::Error::Tls(cause) => format!("{place} cannot be trusted: {cause}: see sslmode and sslrootcert in {setting}"),
        sqlx::Error::Database(cause) => {
            let remedy = match cause.code().as_deref() {
                Some("28P01" | "28000") => {
                    format!(": are the user and the password in {setting} right, and does pg_hba.conf let them in?")
                }
                Some("3D000") => format!(": make it with `createdb`, or name another one in {setting}"),
                Some("53300") => ": raise its max_connections, or lower database.max_connections of the instances".into(),
                Some("57P03") => ": try again in a moment".into(),
                _ => String::new(),
            };
            format!("{place} refuses: {}{remedy}", cause.message())
        }
        other => format!("cannot reach {place}: {other}"),
    }
}
