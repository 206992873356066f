//! `roomward app`: the tenants of the service, their credentials and settings.

use std::process::ExitCode;

use clap::Subcommand;
use roomward::accounts::apps::{self, App, Credentials};
use roomward::accounts::{tokens, users};
use roomward::auth;
use roomward::config::Settings;
use roomward::db::Db;
use roomward::names::Names;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Failure;
use super::database::connect;

/// Client secrets shorter than this are for development only.
const MIN_CLIENT_SECRET: usize = 16;

#[derive(Subcommand)]
pub enum AppCommand {
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
    List {
        /// Say it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Set what an app has differently from the service, as KEY=VALUE; KEY= takes it away again.
    Set {
        /// The app, as ORG/APP.
        app: String,
        /// For example `compat.edition=present`; `config/default.toml` tells which there are.
        #[arg(required = true)]
        settings: Vec<String>,
    },
    /// Revoke all tokens of an app and of its users; with `--user` or `--jti`: those of one user, or a single one. Every
    /// instance refuses them within a second.
    RevokeTokens {
        /// The app, as ORG/APP.
        app: String,
        /// Only this user's.
        #[arg(long, conflicts_with = "jti")]
        user: Option<String>,
        /// Only the token of this id; `POST …/token/introspect` tells it.
        #[arg(long)]
        jti: Option<Uuid>,
    },
    /// Give an app another client secret, and print it this once. Tokens stay good.
    RotateSecret {
        /// The app, as ORG/APP.
        app: String,
    },
}

pub async fn run(settings: &Settings, command: AppCommand) -> Result<ExitCode, Failure> {
    let db = connect(settings).await?;
    match command {
        AppCommand::Create { app, client_id, client_secret, if_not_exists } => {
            create_app(settings, &db, &app, client_id, client_secret, if_not_exists).await?;
        }
        AppCommand::List { json: true } => {
            let list = apps::list(&db).await?.into_iter().map(|(app, client_id)| {
                json!({"org": app.org, "name": app.name, "application": app.uuid, "client_id": client_id, "settings": app.overrides.0})
            });
            println!("{}", list.collect::<Value>());
        }
        AppCommand::List { json: false } => {
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
        AppCommand::RevokeTokens { app, user, jti } => {
            let app = find(&db, &app).await?;
            match (user, jti) {
                (Some(user), _) => {
                    if !users::revoke_tokens(&db, app.id, &Names::new([&user])).await? {
                        return Err(format!("there is no user {user}").into());
                    }
                }
                (None, Some(jti)) => tokens::revoke(&db, app.id, jti, None).await?,
                (None, None) => tokens::revoke_all(&db, app.id).await?,
            }
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

/// The app that the operator named as ORG/APP.
pub async fn find(db: &Db, name: &str) -> Result<App, Failure> {
    let (org, app) = split(name)?;
    if !apps::is_app_name(org) || !apps::is_app_name(app) {
        return Err(format!("there is no app {name}").into());
    }
    Ok(apps::find(db, org, app).await?.ok_or_else(|| format!("there is no app {name} (`roomward app list` shows all)"))?)
}

fn split(name: &str) -> Result<(&str, &str), Failure> {
    name.split_once('/').ok_or_else(|| format!("{name}: an app is named ORG/APP").into())
}
