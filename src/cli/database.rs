//! How a command reaches the database: at once, or with a sentence that says what is wrong and what helps.

use std::time::Duration;

use roomward::config::Settings;
use roomward::db::Db;
use roomward::migrations;
use roomward::server::connect_options;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgConnection};

use super::Failure;

/// How long a database may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The way to a database that is there and has this version's schema, for a command that does one thing after another.
pub async fn connect(settings: &Settings) -> Result<Db, Failure> {
    let mut connection = connect_unmigrated(settings).await?;
    require_migrations(&mut connection).await?;
    let options = options(settings)?;
    Ok(Db::new(PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_lazy_with(options)))
}

/// The same with several connections, for what takes its time: statements that read or write a whole app, and that wait for
/// what reads at the other end of a pipe.
pub async fn connect_patiently(settings: &Settings, connections: u32) -> Result<Db, Failure> {
    let mut connection = connect_unmigrated(settings).await?;
    require_migrations(&mut connection).await?;
    let limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
    let options = options(settings)?.options(limits.map(|limit| (limit, "0")));
    Ok(Db::new(PgPoolOptions::new().max_connections(connections).connect_lazy_with(options)))
}

/// A connection to a database that is there, whatever its schema.
pub async fn connect_unmigrated(settings: &Settings) -> Result<PgConnection, Failure> {
    let options = options(settings)?;
    match tokio::time::timeout(PATIENCE, options.connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(explain(&options, &error).into()),
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            Err(format!(
                "{} does not answer within {seconds} s: is the host in database.url right, and not cut off?",
                place(&options)
            )
            .into())
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

fn options(settings: &Settings) -> Result<PgConnectOptions, Failure> {
    connect_options(&settings.database, settings.database_url()?)
}

fn place(options: &PgConnectOptions) -> String {
    format!("PostgreSQL at {}:{}", options.get_host(), options.get_port())
}

/// What is wrong, and what helps. PostgreSQL's own words carry no password.
fn explain(options: &PgConnectOptions, error: &sqlx::Error) -> String {
    let place = place(options);
    match error {
        sqlx::Error::Io(cause) => format!("cannot reach {place}: {cause}: is it running, and is database.url right?"),
        sqlx::Error::Tls(cause) => format!("{place} cannot be trusted: {cause}: see sslmode and sslrootcert in database.url"),
        sqlx::Error::Database(cause) => {
            let remedy = match cause.code().as_deref() {
                Some("28P01" | "28000") => {
                    ": are the user and the password in database.url right, and does pg_hba.conf let them in?"
                }
                Some("3D000") => ": make it with `createdb`, or name another one in database.url",
                Some("53300") => ": raise its max_connections, or lower database.max_connections of the instances",
                Some("57P03") => ": try again in a moment",
                _ => "",
            };
            format!("{place} refuses: {}{remedy}", cause.message())
        }
        other => format!("cannot reach {place}: {other}"),
    }
}
