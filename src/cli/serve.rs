//! `roomward serve`, and `roomward health`, which asks it whether it is ready, or alive at all.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use roomward::config::Settings;
use roomward::server::{Service, session};
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::database::{connect_unmigrated, require_migrations};

pub async fn serve(settings: Settings) -> Result<ExitCode, Failure> {
    check_database(&settings).await?;
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
    #[cfg(feature = "otel")]
    roomward::telemetry::otel::flush();
    Ok(ExitCode::SUCCESS)
}

/// Refuses a database that is there and cannot be served from. One that is not there may come: that is only said.
async fn check_database(settings: &Settings) -> Result<(), Failure> {
    session(&settings.database, settings.database_url()?)?;
    match connect_unmigrated(settings).await {
        Ok(mut connection) => require_migrations(&mut connection).await,
        Err(error) => {
            tracing::warn!("{error}; calls are answered with 503 until then");
            Ok(())
        }
    }
}

/// Asks by hand: one request is no reason to carry an HTTP client.
pub fn health(settings: &Settings, alive: bool) -> Result<ExitCode, Failure> {
    const TIMEOUT: Duration = Duration::from_secs(5);
    let path = if alive { "/healthz" } else { "/readyz" };
    let host = match settings.server.host.as_str() {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    let port = settings.server.port;
    let mut connection =
        TcpStream::connect((host, port)).map_err(|error| format!("no service answers on {host}:{port}: {error}"))?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    write!(connection, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    println!("{body}");
    Ok(if head.starts_with("HTTP/1.1 200 ") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
