//! The command line: what an operator does with roomward.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use roomward::accounts::apps::{self, App, Credentials};
use roomward::auth::{self, Keys, Life, Subject};
use roomward::callbacks::replay::{self, Range};
use roomward::callbacks::rules::{self, Changes, NewRule};
use roomward::callbacks::sender::Sender;
use roomward::config::Settings;
use roomward::db::Db;
use roomward::names::RoomKey;
use roomward::server::Service;
use roomward::{migrations, telemetry};
use secrecy::{ExposeSecret as _, SecretString};
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
    /// Where what happens in an app is sent.
    #[command(subcommand)]
    Callback(CallbackCommand),
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

#[derive(Subcommand)]
enum CallbackCommand {
    /// Send what happens in an app to a URL, and print the rule's id.
    Create {
        /// The app, as ORG/APP.
        app: String,
        /// Where to.
        url: String,
        /// What is signed with. Without it: the environment's `ROOMWARD_CALLBACK_SECRET`, else a random one, printed this once.
        #[arg(long)]
        secret: Option<String>,
        /// Which events, separated by commas: operations such as MUTE, or kinds such as LEAVE/KICK.
        #[arg(long, value_delimiter = ',', default_value = rules::EVERYTHING)]
        kinds: Vec<String>,
        /// Send nothing before `resume`.
        #[arg(long)]
        paused: bool,
    },
    /// List the rules of an app.
    List {
        /// The app, as ORG/APP.
        app: String,
    },
    /// Send a test at once; exit with 1 unless it is answered with 200.
    Test(RuleName),
    /// Let what happens wait.
    Pause(RuleName),
    /// Send what has waited, and go on.
    Resume(RuleName),
    /// Delete a rule, and what waits for it.
    Delete(RuleName),
    /// Send again what has happened: by the numbers of a room's events, or by moments.
    Replay {
        #[command(flatten)]
        rule: RuleName,
        /// The room.
        #[arg(long, requires = "from", required_unless_present = "from_ms")]
        room: Option<String>,
        /// The number of the first event.
        #[arg(long, requires = "room")]
        from: Option<i64>,
        /// The number of the last event. Without it: up to now.
        #[arg(long, requires = "room")]
        to: Option<i64>,
        /// The first moment, in Unix milliseconds.
        #[arg(long, requires = "to_ms", conflicts_with = "room")]
        from_ms: Option<i64>,
        /// The first moment that is too late, in Unix milliseconds.
        #[arg(long, requires = "from_ms")]
        to_ms: Option<i64>,
    },
}

#[derive(clap::Args)]
struct RuleName {
    /// The app, as ORG/APP.
    app: String,
    /// The rule's id.
    id: Uuid,
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
        Command::Callback(command) => callback(&settings, command).await,
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
            let secret = auth::new_secret()?;
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
    let (uuid, secret) = (Uuid::new_v4(), client_secret.map_or_else(auth::new_secret, Ok)?);
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

async fn callback(settings: &Settings, command: CallbackCommand) -> Result<ExitCode, Failure> {
    let db = connect(settings).await?;
    let sender = || Sender::new(&settings.token_secrets()?, &settings.callbacks).map_err(Failure::from);
    let pause = async |rule: RuleName, paused: bool| -> Result<(), Failure> {
        let changes = Changes { paused: Some(paused), ..Changes::default() };
        Ok(rules::update(&db, find(&db, &rule.app).await?.id, rule.id, &changes).await?)
    };
    match command {
        CallbackCommand::Create { app, url, secret, kinds, paused } => {
            let app = find(&db, &app).await?;
            let (id, made) = create_callback(&db, &sender()?, &app, &url, secret, &kinds, paused).await?;
            println!("id {id}");
            if let Some(secret) = made {
                println!("secret {}", secret.expose_secret());
            }
        }
        CallbackCommand::List { app } => {
            for rule in rules::list(&db, find(&db, &app).await?.id).await? {
                let state = match (rule.paused, rule.failing_since) {
                    (true, _) => "paused".into(),
                    (false, Some(moment)) => format!("failing since {moment}"),
                    (false, None) => "active".into(),
                };
                println!("{}  {}  kinds {}  {state}  lag {} ms", rule.id, rule.url, rule.kinds.join(","), rule.lag_ms);
            }
        }
        CallbackCommand::Test(rule) => {
            let app = find(&db, &rule.app).await?;
            let target = rules::target(&db, app.id, rule.id).await?;
            let outcome = sender()?.test(&app.key(), rule.id, &target).await?;
            let answer = outcome.answer.map_or_else(|why| why.to_string(), |status| format!("status {status}"));
            println!("{answer} after {} ms", outcome.latency.as_millis());
            return Ok(if outcome.attempt().succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        CallbackCommand::Pause(rule) => pause(rule, true).await?,
        CallbackCommand::Resume(rule) => pause(rule, false).await?,
        CallbackCommand::Delete(rule) => rules::delete(&db, find(&db, &rule.app).await?.id, rule.id).await?,
        CallbackCommand::Replay { rule, room, from, to, from_ms, to_ms } => {
            let app = find(&db, &rule.app).await?.id;
            let range = match room {
                Some(room) => {
                    Range::Numbers { room: RoomKey::new(app, room), from: from.unwrap_or(0), to: to.unwrap_or(i64::MAX) }
                }
                None => Range::between_ms(from_ms.unwrap_or(0), to_ms.unwrap_or(0)),
            };
            println!("{} events", replay::replay(&db, app, rule.id, &range).await?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a rule, and returns its id, and its secret if that was made up here.
async fn create_callback(
    db: &Db,
    sender: &Sender,
    app: &App,
    url: &str,
    given: Option<String>,
    kinds: &[String],
    paused: bool,
) -> Result<(Uuid, Option<SecretString>), Failure> {
    let given = given.or_else(|| std::env::var("ROOMWARD_CALLBACK_SECRET").ok().filter(|secret| !secret.is_empty()));
    let (secret, is_given) = (given.clone().map_or_else(auth::new_secret, Ok)?, given.is_some());
    for (is_good, sentence) in [
        (sender.accepts(url), "the URL is none that can be sent to (callbacks.allow_private_targets = true allows this network)"),
        (rules::is_secret(&secret), "the secret needs 1 to 256 characters"),
        (rules::are_kinds(kinds), "the kinds are operations such as MUTE, or kinds such as LEAVE/KICK, or *"),
    ] {
        if !is_good {
            return Err(sentence.into());
        }
    }
    let (id, secret) = (Uuid::new_v4(), SecretString::from(secret));
    let sealed = sender.seal(id, &secret)?;
    rules::create(db, app.id, &NewRule { id, url, sealed: &sealed, kinds, paused }).await?;
    Ok((id, Some(secret).filter(|_| !is_given)))
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
