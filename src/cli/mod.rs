//! The command line: what an operator does with roomward, a file for each family of commands.

mod apps;
mod callbacks;
mod database;
mod inspect;
mod migrations;
mod moderators;
mod moving;
mod openapi;
mod serve;
mod tokens;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use roomward::config::Settings;
use roomward::error::Causes;
use roomward::telemetry;

use self::apps::AppCommand;
use self::callbacks::CallbackCommand;
use self::moderators::ModeratorCommand;
use self::moving::{ExportArguments, ImportArguments};

/// What an operator reads after `roomward: `, when a command ends with 1.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What every command reads, and how it ends.
const ENVIRONMENT: &str = "\
Environment:
  ROOMWARD__DATABASE__URL   postgres://user:password@host:port/database
  ROOMWARD__AUTH__SECRET    32 bytes or more; signs tokens
  ROOMWARD__SECTION__NAME   any other setting; config/default.toml explains them all
  ROOMWARD_CONFIG           a file of settings, which the environment overrides

Exit codes:
  0  done
  1  not done, or something is wrong; standard error says what, and what helps
  2  the command line cannot be read";

/// Who is in a chatroom, and who may speak there.
#[derive(Parser)]
#[command(version, after_help = ENVIRONMENT)]
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
        /// Say it as JSON.
        #[arg(long, requires = "status")]
        json: bool,
        /// Lay it out over a cluster of PostgreSQL servers, by room; the database must have Citus.
        #[arg(long, conflicts_with = "status")]
        distribute: bool,
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
    /// How the service fares: version, migrations, connections, lags, callback rules.
    Status {
        /// Say it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look for what may be wrong: settings, the database and its settings, clocks, indexes, dead rows, long transactions.
    /// Exits with 1 if something loses data or does not work.
    Doctor {
        /// Say it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what a shell needs to complete commands; for example `roomward completions bash > /etc/bash_completion.d/roomward`.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write all of an app to a file: its users, its rooms and their lists.
    Export(ExportArguments),
    /// Bring such a file into an app, or an app straight out of a service with the same API; exit with 1 if something was refused.
    Import(ImportArguments),
    /// Print the description of every call, as OpenAPI 3.1.
    Openapi,
    /// Ask the service on this machine whether it is ready; exit with 1 if not. For a container's health check.
    Health {
        /// Only ask whether it answers, also if its database does not: what a restart can help.
        #[arg(long)]
        alive: bool,
    },
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
        eprintln!("roomward: {}", Causes(&*error));
        ExitCode::FAILURE
    })
}

async fn run(command: Command) -> Result<ExitCode, Failure> {
    if let Command::Completions { shell } = command {
        clap_complete::generate(shell, &mut Cli::command(), "roomward", &mut std::io::stdout());
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Openapi = command {
        return openapi::print();
    }
    let settings = Settings::load()?;
    telemetry::log(&settings.log)?;
    match command {
        Command::Serve => serve::serve(settings).await,
        Command::Migrate { status: false, distribute, .. } => migrations::run(&settings, distribute).await,
        Command::Migrate { status: true, json, .. } => migrations::status(&settings, json).await,
        Command::App(command) => apps::run(&settings, command).await,
        Command::Callback(command) => callbacks::run(&settings, command).await,
        Command::Moderator(command) => moderators::run(&settings, command).await,
        Command::Token { app, user, ttl } => tokens::print(&settings, &app, user, ttl).await,
        Command::Status { json } => inspect::status(&settings, json).await,
        Command::Doctor { json } => inspect::doctor(&settings, json).await,
        Command::Export(arguments) => moving::export(&settings, arguments).await,
        Command::Import(arguments) => moving::import(&settings, arguments).await,
        Command::Health { alive } => serve::health(&settings, alive),
        Command::Completions { .. } | Command::Openapi => Ok(ExitCode::SUCCESS),
    }
}
