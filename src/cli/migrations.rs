//! `roomward migrate`: the schema of the database.

use std::process::ExitCode;

use roomward::config::Settings;
use roomward::db::Layout;
use roomward::migrations::{self, distribution};

use super::Failure;
use super::database::connect_unmigrated;

pub async fn run(settings: &Settings, distribute: bool) -> Result<ExitCode, Failure> {
    let url = direct_url(settings).await?;
    let is_distributed = Layout::of(&mut connect_unmigrated(settings).await?).await?.is_distributed();
    let applied = migrations::run(url).await?;
    for name in &applied {
        println!("applied {name}");
    }
    // A table that a migration has made comes after the others.
    let wanted = distribute || is_distributed;
    let distributed = if wanted { distribution::run(url).await? } else { Vec::new() };
    for name in &distributed {
        println!("distributed {name}");
    }
    if applied.is_empty() && distributed.is_empty() {
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
