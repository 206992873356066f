//! The command line: what an operator does with roomward, a file for each family of commands.

mod apps;
mod callbacks;
mod migrations;
mod moderators;
mod serve;
mod tokens;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use roomward::config::Settings;
use roomward::db::Db;
use roomward::telemetry;
use sqlx::postgres::PgPoolOptions;

use self::apps::AppCommand;
use self::callbacks::CallbackCommand;
use self::moderators::ModeratorCommand;

/// What an operator reads after `roomward: `, when a command ends with 1.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Who is in a chatroom, and who may speak there.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Serve,
    /// Bring the database's schema up to this version.
    Migrate {
        /// Only say which migrations are applied; exit with 1 if one is missing.
        #[arg(long)]
        status: bool,
    },
    /// Apps, the tenants of this service.
    #[command(subcommand)]
    App(AppCommand),
    /// Where what happens in an app is sent.
    #[command(subcommand)]
    Callback(CallbackCommand),
    /// Users who read or moderate the rooms of their app.
    #[command(subcommand)]
    Moderator(ModeratorCommand),
    /// Print a new token of an app, or of one of its users.
    Token {
        /// The app, as ORG/APP.
        app: String,
        /// The user; without it: the app itself.
        #[arg(long)]
        user: Option<String>,
        /// Its life in seconds; 0 = until its key goes. Without it: `auth.token_ttl_seconds`.
        #[arg(long)]
        ttl: Option<u32>,
    },
    /// Ask the service on this machine whether it is ready; exit with 1 if not. For a container's health check.
    Health,
}

/// Runs the command that the process was given; its failure goes to standard error.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    let outcome = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::from).and_then(|runtime| {
        let outcome = runtime.block_on(run(command));
        // Does not wait for what is still under way: a task that waits for a dead database must not hold up the exit.
        runtime.shutdown_background();
        outcome
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("roomward: {error}");
        ExitCode::FAILURE
    })
}

async fn run(command: Command) -> Result<ExitCode, Failure> {
    let settings = Settings::load()?;
    telemetry::log(&settings.log)?;
    match command {
        Command::Serve => serve::serve(settings).await,
        Command::Migrate { status: false } => migrations::run(&settings).await,
        Command::Migrate { status: true } => migrations::status(&settings).await,
        Command::App(command) => apps::run(&settings, command).await,
        Command::Callback(command) => callbacks::run(&settings, command).await,
        Command::Moderator(command) => moderators::run(&settings, command).await,
        Command::Token { app, user, ttl } => tokens::print(&settings, &app, user, ttl).await,
        Command::Health => serve::health(&settings),
    }
}

/// One connection: a command does one thing after another.
async fn connect(settings: &Settings) -> Result<Db, Failure> {
    Ok(Db::new(PgPoolOptions::new().max_connections(1).connect(settings.database_url()?).await?))
}
