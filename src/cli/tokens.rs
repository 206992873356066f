//! `roomward token`: a token of an app, or of one of its users, for an operator's own calls.

use std::process::ExitCode;

use roomward::accounts::users;
use roomward::auth::{Keys, Life, Subject};
use roomward::config::Settings;
use roomward::names::Names;

use super::Failure;
use super::apps::find;
use super::database::connect;

pub async fn print(settings: &Settings, app: &str, user: Option<String>, ttl: Option<u32>) -> Result<ExitCode, Failure> {
    let keys = Keys::new(&settings.token_secrets()?);
    let db = connect(settings).await?;
    let app = find(&db, app).await?;
    let life = match ttl {
        None => Life::Seconds(settings.auth.token_ttl_seconds),
        Some(0) => Life::Forever,
        Some(seconds) => Life::Seconds(seconds),
    };
    let token = match user {
        None => keys.issue(app.audience(), &Subject::Client("cli"), life)?,
        Some(name) => {
            let account = users::account(&db, app.id, &Names::new([&name])).await?;
            let account = account.filter(|account| account.user.activated);
            let account = account.ok_or_else(|| format!("there is no active user {name}"))?;
            let (name, uuid, generation) = (&*account.user.username, account.user.uuid, account.token_generation);
            keys.issue(app.audience(), &Subject::User { name, uuid, generation }, life)?
        }
    };
    println!("{}", token.text);
    Ok(ExitCode::SUCCESS)
}
