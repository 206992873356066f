//! `roomward token`: a token of an app, for an operator's own calls.

use std::process::ExitCode;

use roomward::auth::{Keys, Life, Subject};
use roomward::config::Settings;

use super::apps::find;
use super::{Failure, connect};

pub async fn print(settings: &Settings, app: &str, ttl: Option<u32>) -> Result<ExitCode, Failure> {
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
