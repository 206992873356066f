//! `roomward migrate`: the schema of the database.

use std::process::ExitCode;

use roomward::config::Settings;
use roomward::migrations;

use super::Failure;

pub async fn run(settings: &Settings) -> Result<ExitCode, Failure> {
    let applied = migrations::run(settings.database_url()?).await?;
    for name in &applied {
        println!("applied {name}");
    }
    if applied.is_empty() {
        println!("the schema is up to date");
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn status(settings: &Settings) -> Result<ExitCode, Failure> {
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
