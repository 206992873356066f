//! `roomward migrate`: the schema of the database.

use std::process::ExitCode;

use roomward::config::Settings;
use roomward::migrations;

use super::Failure;
use super::database::connect_unmigrated;

pub async fn run(settings: &Settings) -> Result<ExitCode, Failure> {
    let applied = migrations::run(direct_url(settings).await?).await?;
    for name in &applied {
        println!("applied {name}");
    }
    if applied.is_empty() {
        println!("the schema is up to date");
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn status(settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    let status = migrations::status(direct_url(settings).await?).await?;
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

/// The URL of a database that is there. A migration holds a lock between its transactions, which a pooler would take away.
async fn direct_url(settings: &Settings) -> Result<&str, Failure> {
    if settings.database.transaction_pooling {
        return Err("a migration cannot go through a pooler: set database.url to PostgreSQL's own, and \
                    database.transaction_pooling to false, for this command"
            .into());
    }
    drop(connect_unmigrated(settings).await?);
    Ok(settings.database_url()?)
}
