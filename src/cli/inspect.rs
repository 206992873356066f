//! `roomward status` and `roomward doctor`: how the service fares, and what may be wrong with the installation.

use std::process::ExitCode;

use roomward::config::Settings;
use roomward::doctor::{self, Level};
use roomward::status::{self, Status};

use super::Failure;
use super::database::{connect, connect_standby, connect_unmigrated};

pub async fn status(settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    let status = status::read(&connect(settings).await?).await?;
    if json {
        println!("{}", serde_json::to_string(&status)?);
    } else {
        print(&status);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(status: &Status) {
    let Status { database, .. } = status;
    println!("roomward       {}", status.version);
    println!("database       {}, PostgreSQL {}, {} MiB", database.name, database.server_version, database.size_bytes / (1 << 20));
    println!("migrations     {} missing", status.migrations_missing);
    println!(
        "connections    {} of roomward ({} at work), {} in all, {} at most",
        database.connections, database.connections_active, database.server_connections, database.max_connections
    );
    println!("apps           {}", status.apps);
    println!("rooms          about {}", status.rooms);
    println!("users          about {}", status.users);
    println!("members        about {}", status.members);
    println!("expiry lag     {} ms", status.expiry_lag_ms);
    println!("purge backlog  {} rooms, {} users", status.purge_backlog_rooms, status.purge_backlog_users);
    println!("deliveries     {} pending, {} dead", status.deliveries_pending, status.deliveries_dead);
    for rule in &status.rules {
        let state = match (rule.paused, rule.failing) {
            (true, _) => "paused",
            (_, true) => "failing",
            _ => "active",
        };
        println!("rule           {}  {}  {}  {state}  lag {} ms", rule.app, rule.id, rule.target, rule.lag_ms);
    }
}

pub async fn doctor(settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    let mut primary = connect_unmigrated(settings).await?;
    let standby = connect_standby(settings).await.map(|connection| connection.map_err(|error| error.to_string()));
    let findings = doctor::examine(settings, &mut primary, standby).await?;
    if json {
        println!("{}", serde_json::to_string(&findings)?);
    } else {
        for finding in &findings {
            let mark = match finding.level {
                Level::Ok => "ok     ",
                Level::Warning => "WARNING",
                Level::Failure => "FAILURE",
            };
            println!("{mark}  {}: {}", finding.check, finding.seen);
            if let Some(remedy) = &finding.remedy {
                println!("         {remedy}");
            }
        }
    }
    let is_working = findings.iter().all(|finding| finding.level < Level::Failure);
    Ok(if is_working { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
