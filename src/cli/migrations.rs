//! `roomward migrate`: the schema of the database.

use std::process::ExitCode;

use roomward::config::Settings;
use roomward::migrations;

use super::Failure;
use super::database::connect_unmigrated;

pub async fn run(settings: &Settings) -> Result<ExitCode, Failure> {
    drop(connect_unmigrated(settings).await?);
    let applied = migrations::run(settings.database_url()?).await?;
    for name in &applied {
        println!("applied {name}");
    }
    if applied.is_empty() {
        println!("the schema is up to date");
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn status(settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    drop(connect_unmigrated(settings).await?);
    let status = migrations::status(settings.database_url()?).await?;
    for migration in status.iter().filter(|_| !json) {
        match migration.applied_on {
            Some(moment) => println!("{}  applied {moment}", migration.name),
            None => println!("{}  missing", migration.name),
        }
    }
    if json {
        let list = status.iter().map(|migration| {
            let applied_on = migration.applied_on.map(|moment| moment.to_string());
            serde_json::json!({"name": migration.name, "applied_on": applied_on})
        });
        println!("{}", list.collect::<serde_json::Value>());
    }
    let complete = status.iter().all(|migration| migration.applied_on.is_some());
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
