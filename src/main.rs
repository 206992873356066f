//! The command line: what an operator does with roomward.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use roomward::auth::{self, Keys, Life, Subject};
use roomward::chatroom::Db;
use roomward::chatroom::apps::{self, App, Credentials};
use roomward::config::Settings;
use roomward::server::Service;
use roomward::{migrations, telemetry};
use sqlx::postgres::PgPoolOptions;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Client secrets shorter than this are for development only.
const MIN_CLIENT_SECRET: usize = 16;

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
    /// Print a new app token.
    Token {
        /// The app, as ORG/APP.
        app: String,
        /// Its life in seconds; 0 = until its key goes. Without it: `auth.token_ttl_seconds`.
        #[arg(long)]
        ttl: Option<u32>,
    },
    /// Ask the service on this machine whether it is ready; exit with 1 if not. For a container's health check.
    Health,
}

#[derive(Subcommand)]
enum AppCommand {
    /// Make an app, and print the credentials of its clients. The secret is shown this once.
    Create {
        /// The app, as ORG/APP.
        app: String,
        /// Without it: a random one.
        #[arg(long)]
        client_id: Option<String>,
        /// Without it: a random one.
        #[arg(long)]
        client_secret: Option<String>,
        /// Leave an app of that name as it is.
        #[arg(long)]
        if_not_exists: bool,
    },
    /// List all apps.
    List,
    /// Set what an app has differently from the service, as KEY=VALUE; KEY= takes it away again.
    Set {
        /// The app, as ORG/APP.
        app: String,
        /// For example `compat.max_batch=100`; `config/default.toml` tells which there are.
        #[arg(required = true)]
        settings: Vec<String>,
    },
    /// Give an app another client secret, and print it this once. Tokens stay good.
    RotateSecret {
        /// The app, as ORG/APP.
        app: String,
    },
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let outcome = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::from).and_then(|runtime| {
        let outcome = runtime.block_on(run(command));
        // What is still under way has had its time: nothing that waits for a dead database holds up the exit.
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
        Command::Serve => serve(settings).await,
        Command::Migrate { status: false } => migrate(&settings).await,
        Command::Migrate { status: true } => migration_status(&settings).await,
        Command::App(command) => app(&settings, command).await,
        Command::Token { app, ttl } => token(&settings, &app, ttl).await,
        Command::Health => health(&settings),
    }
}

async fn serve(settings: Settings) -> Result<ExitCode, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let service = Service::new(settings)?;
    tracing::info!(address = %service.address(), version = env!("CARGO_PKG_VERSION"), "serving");
    let stop = service.stop();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping: requests in flight may finish");
        stop.stop().await;
    });
    service.run().await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn migrate(settings: &Settings) -> Result<ExitCode, Failure> {
    let applied = migrations::run(settings.database_url()?).await?;
    for name in &applied {
        println!("applied {name}");
    }
    if applied.is_empty() {
        println!("the schema is up to date");
    }
    Ok(ExitCode::SUCCESS)
}

async fn migration_status(settings: &Settings) -> Result<ExitCode, Failure> {
    let status = migrations::status(settings.database_url()?).await?;
    for migration in &status {
        match migration.applied_on {
            Some(moment) => println!("{}  applied {moment}", migration.name),
            None => println!("{}  missing", migration.name),
        }
    }
    let complete = status.iter().all(|migration| migration.applied_on.is_some());
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn app(settings: &Settings, command: AppCommand) -> Result<ExitCode, Failure> {
    let db = connect(settings).await?;
    match command {
        AppCommand::Create { app, client_id, client_secret, if_not_exists } => {
            create_app(settings, &db, &app, client_id, client_secret, if_not_exists).await?;
        }
        AppCommand::List => {
            for (app, client_id) in apps::list(&db).await? {
                let overrides = serde_json::to_string(&app.overrides.0)?;
                println!("{}/{}  application {}  client_id {client_id}  settings {overrides}", app.org, app.name, app.uuid);
            }
        }
        AppCommand::Set { app, settings } => {
            let app = find(&db, &app).await?;
            let mut overrides = app.overrides.0;
            for setting in &settings {
                let (key, value) = setting.split_once('=').ok_or_else(|| format!("{setting}: a setting is KEY=VALUE"))?;
                overrides.set(key, value)?;
            }
            apps::set_overrides(&db, app.id, overrides).await?;
        }
        AppCommand::RotateSecret { app } => {
            let app = find(&db, &app).await?;
            let secret = auth::new_client_secret()?;
            apps::set_client_secret(&db, app.id, &auth::hash_client_secret(app.uuid, &secret)).await?;
            println!("client_secret {secret}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create_app(
    settings: &Settings,
    db: &Db,
    name: &str,
    client_id: Option<String>,
    client_secret: Option<String>,
    if_not_exists: bool,
) -> Result<(), Failure> {
    let (org, app) = split(name)?;
    if !apps::is_app_name(org) || !apps::is_app_name(app) {
        return Err(format!("{name}: both halves need 1 to 64 of A-Z a-z 0-9 _ . -").into());
    }
    if let Some(secret) = &client_secret
        && !settings.server.development
        && (secret == "demo-secret" || secret.len() < MIN_CLIENT_SECRET)
    {
        return Err(format!(
            "the client secret needs at least {MIN_CLIENT_SECRET} characters (server.development = true lifts this)"
        )
        .into());
    }
    let (uuid, secret) = (Uuid::new_v4(), client_secret.map_or_else(auth::new_client_secret, Ok)?);
    let credentials = Credentials {
        client_id: client_id.unwrap_or_else(|| Uuid::new_v4().simple().to_string()),
        client_secret_hash: auth::hash_client_secret(uuid, &secret),
    };
    match apps::create(db, uuid, org, app, &credentials).await? {
        Some(app) => println!("application {}\nclient_id {}\nclient_secret {secret}", app.uuid, credentials.client_id),
        None if if_not_exists => println!("{name} exists already; nothing changed"),
        None => return Err(format!("{name} exists already").into()),
    }
    Ok(())
}

async fn token(settings: &Settings, app: &str, ttl: Option<u32>) -> Result<ExitCode, Failure> {
    let keys = Keys::new(&settings.token_secrets()?);
    let app = find(&connect(settings).await?, app).await?;
    let life = match ttl {
        None => Life::Seconds(settings.auth.token_ttl_seconds),
        Some(0) => Life::Forever,
        Some(seconds) => Life::Seconds(seconds),
    };
    println!("{}", keys.issue(app.uuid, &Subject::Client("cli"), life)?.text);
    Ok(ExitCode::SUCCESS)
}

/// Asks by hand: one request is no reason to carry an HTTP client.
fn health(settings: &Settings) -> Result<ExitCode, Failure> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let host = match settings.server.host.as_str() {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    let mut connection = TcpStream::connect((host, settings.server.port))?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    write!(connection, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    println!("{body}");
    Ok(if head.starts_with("HTTP/1.1 200 ") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn connect(settings: &Settings) -> Result<Db, Failure> {
    Ok(Db::new(PgPoolOptions::new().max_connections(1).connect(settings.database_url()?).await?))
}

async fn find(db: &Db, name: &str) -> Result<App, Failure> {
    let (org, app) = split(name)?;
    if !apps::is_app_name(org) || !apps::is_app_name(app) {
        return Err(format!("there is no app {name}").into());
    }
    Ok(apps::find(db, org, app).await?.ok_or_else(|| format!("there is no app {name} (`roomward app list` shows all)"))?)
}

fn split(name: &str) -> Result<(&str, &str), Failure> {
    name.split_once('/').ok_or_else(|| format!("{name}: an app is named ORG/APP").into())
}
