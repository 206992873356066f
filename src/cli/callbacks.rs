//! `roomward callback`: where what happens in an app is sent.

use std::process::ExitCode;

use clap::Subcommand;
use roomward::accounts::apps::App;
use roomward::auth;
use roomward::callbacks::replay::{self, Range};
use roomward::callbacks::rules::{self, Changes, NewRule};
use roomward::callbacks::sender::Sender;
use roomward::config::Settings;
use roomward::db::Db;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Failure;
use super::apps::find;
use super::database::connect;

#[derive(Subcommand)]
pub enum CallbackCommand {
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
        /// Say it as JSON.
        #[arg(long)]
        json: bool,
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
pub struct RuleName {
    /// The app, as ORG/APP.
    app: String,
    /// The rule's id.
    id: Uuid,
}

pub async fn run(settings: &Settings, command: CallbackCommand) -> Result<ExitCode, Failure> {
    let db = connect(settings).await?;
    let sender = || Sender::new(&settings.token_secrets()?, &settings.callbacks).map_err(Failure::from);
    let pause = async |rule: RuleName, paused: bool| -> Result<(), Failure> {
        let changes = Changes { paused: Some(paused), ..Changes::default() };
        Ok(rules::update(&db, find(&db, &rule.app).await?.id, rule.id, &changes).await?)
    };
    match command {
        CallbackCommand::Create { app, url, secret, kinds, paused } => {
            let app = find(&db, &app).await?;
            let (id, made) = create_rule(&db, &sender()?, &app, &url, secret, &kinds, paused).await?;
            println!("id {id}");
            if let Some(secret) = made {
                println!("secret {}", secret.expose_secret());
            }
        }
        CallbackCommand::List { app, json: true } => {
            let list = rules::list(&db, find(&db, &app).await?.id).await?.into_iter().map(|rule| {
                let failing_since = rule.failing_since.map(|moment| moment.to_string());
                json!({"id": rule.id, "url": rule.url, "kinds": rule.kinds, "paused": rule.paused,
                       "failing_since": failing_since, "lag_ms": rule.lag_ms})
            });
            println!("{}", list.collect::<Value>());
        }
        CallbackCommand::List { app, json: false } => {
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
        CallbackCommand::Delete(rule) => rules::delete(&db, find(&db, &rule.app).await?.id, rule.id).await?.commit().await?,
        CallbackCommand::Replay { rule, room, from, to, from_ms, to_ms } => {
            let app = find(&db, &rule.app).await?.id;
            let range = match room {
                Some(room) => Range::numbers(app, &room, from.unwrap_or(0), to.unwrap_or(i64::MAX)),
                None => Range::between_ms(from_ms.unwrap_or(0), to_ms.unwrap_or(0)),
            };
            println!("{} events", replay::replay(&db, app, rule.id, &range).await?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a rule, and returns its id, and its secret if that was made up here.
async fn create_rule(
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
    rules::create(db, app.id, &NewRule { id, url, sealed: &sealed, kinds, paused }).await?.commit().await?;
    Ok((id, Some(secret).filter(|_| !is_given)))
}
