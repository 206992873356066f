//! The service: builds the app around [`crate::api::routes`], binds, and serves until told to stop.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::{Data, PayloadConfig};
use actix_web::{App, HttpServer};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{self, State};
use crate::callbacks::dispatcher;
use crate::callbacks::sender::Sender;
use crate::config::{self, Settings};
use crate::db::standby::Standby;
use crate::db::{Db, Lane, Session, answers, layout};
use crate::events::subscriptions::Following;
use crate::rooms::writer::Writer;
use crate::tasks::{backlog, expiry, purge, retention};
use crate::telemetry;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A connection that has been idle for longer is tried before it is used, and has as long to answer.
const IDLE_TRUST: Duration = Duration::from_secs(1);

/// How many connections may wait to be accepted. With the usual 128 the thousands that come back after a restart are
/// turned away, and try again only a second later.
const BACKLOG: u32 = 4096;

/// How often figures that are not read are compacted.
const UPKEEP: Duration = Duration::from_secs(5);

/// A service that has its port and its background tasks, and is ready to [`run`](Self::run).
pub struct Service {
    address: SocketAddr,
    server: Server,
    /// `/metrics` where it has a port of its own.
    metrics: Option<Server>,
    background: JoinSet<()>,
    stop: CancellationToken,
    /// What says that the service is about to stop, and how long it goes on then.
    drain: (CancellationToken, Duration),
    db: Db,
    patience: Duration,
}

/// Stops a running [`Service`] from elsewhere.
#[derive(Clone)]
pub struct Stop {
    server: ServerHandle,
    background: CancellationToken,
    drain: (CancellationToken, Duration),
}

impl Service {
    /// Builds a service and binds its port. The database need not be there yet.
    pub fn new(settings: Settings) -> Result<Self, Failure> {
        let shares = Shares::of(&settings);
        let session = session(&settings.database, settings.database_url()?)?;
        let mut db = Db::of(lane(&settings.database, &session, shares.common));
        let standby = settings.read_url()?.map(|url| standby(&settings.database, url)).transpose()?;
        if let Some(standby) = &standby {
            db = db.with_standby(standby.clone());
        }
        let writer = Writer::new(db.clone(), &settings.writes);
        let (following, stop) = (Arc::new(Following::new(&settings.events)), CancellationToken::new());
        // The state has another one for trials: connections to targets live with the threads that made them.
        let sender = Sender::new(&settings.token_secrets()?, &settings.callbacks)?;
        let state = State::new(writer.clone(), following.clone(), stop.clone(), settings)?;
        let settings = &state.settings;
        let unread = Duration::from_secs(settings.server.unread_seconds.into());
        let listener = bind(&settings.server.host, settings.server.port, unread)?;
        let address = listener.local_addr()?;

        telemetry::figures();
        let mut background = JoinSet::new();
        background.spawn(expiry::run(writer.clone(), settings.expiry.clone(), stop.clone()));
        background.spawn(purge::run(writer, settings.purge.clone(), stop.clone()));
        background.spawn(retention::run(db.clone(), settings.clone(), stop.clone()));
        background.spawn({
            let (db, settings, stop) = (db.clone(), settings.events.clone(), stop.clone());
            async move { following.run(db, settings, stop).await }
        });
        background.spawn(dispatcher::run(db.clone(), sender, settings.callbacks.clone(), stop.clone()));
        background.spawn(backlog::run(db.clone(), stop.clone()));
        background.spawn(upkeep(stop.clone()));
        if let Some(standby) = standby {
            let (db, stop) = (db.clone(), stop.clone());
            background.spawn(async move { standby.watch(db.pool(), &stop).await });
        }

        let own_metrics = &settings.metrics;
        let metrics = (own_metrics.port != 0).then(|| bind(&own_metrics.host, own_metrics.port, unread));
        let metrics = metrics.transpose()?.map(serve_metrics);
        let patience = Duration::from_secs(settings.server.shutdown_seconds);
        let drain = (state.draining.clone(), Duration::from_secs(settings.server.drain_seconds));
        let server = serve(listener, state, shares, session)?;
        Ok(Self { address, server, metrics: metrics.transpose()?, background, stop, drain, db, patience })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it.
    pub fn stop(&self) -> Stop {
        Stop { server: self.server.handle(), background: self.stop.clone(), drain: self.drain.clone() }
    }

    /// Serves until stopped: requests in flight finish, then the background tasks, then the connections to the database.
    pub async fn run(mut self) -> std::io::Result<()> {
        let metrics = self.metrics.map(|server| (server.handle(), tokio::spawn(server)));
        let served = self.server.await;
        self.stop.cancel();
        if let Some((metrics, _)) = metrics {
            metrics.stop(false).await;
        }
        // A database that does not answer must not keep a service from stopping.
        let rest = async {
            while self.background.join_next().await.is_some() {}
            self.db.pool().close().await;
        };
        if tokio::time::timeout(self.patience, rest).await.is_err() {
            tracing::warn!("stopped without waiting for the database any longer");
            self.background.detach_all();
        }
        served
    }
}

impl Stop {
    /// Says that the service is not ready, and after `server.drain_seconds` takes no more requests, and lets those in flight
    /// finish within `server.shutdown_seconds`.
    pub async fn stop(&self) {
        let (draining, time) = &self.drain;
        draining.cancel();
        tokio::time::sleep(*time).await;
        self.background.cancel();
        self.server.stop(true).await;
    }
}

fn bind(host: &str, port: u16, unread: Duration) -> Result<TcpListener, Failure> {
    listen(host, port, unread).map_err(|error| format!("cannot listen on {host}:{port}: {error}").into())
}

/// Binds the first address of the host that can be bound.
fn listen(host: &str, port: u16, unread: Duration) -> std::io::Result<TcpListener> {
    let mut failure = std::io::Error::other("the host has no address");
    for address in (host, port).to_socket_addrs()? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        close_unread(&socket, unread)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return listener.into_std(),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Has the connections that the socket will accept closed by the system when their clients leave what they are sent unread
/// for so long; zero: never.
#[cfg(target_os = "linux")]
fn close_unread(socket: &TcpSocket, after: Duration) -> std::io::Result<()> {
    /// The system counts in milliseconds, in 31 bits.
    const LONGEST: Duration = Duration::from_millis(i32::MAX.unsigned_abs() as u64);
    socket2::SockRef::from(socket).set_tcp_user_timeout(Some(after.min(LONGEST)))
}

/// Other systems have no such option: a proxy is to give up on those who do not read.
#[cfg(not(target_os = "linux"))]
fn close_unread(_: &TcpSocket, _: Duration) -> std::io::Result<()> {
    Ok(())
}

/// Who gets how many of `database.max_connections`.
#[derive(Clone, Copy)]
struct Shares {
    workers: usize,
    /// For the single statements of one HTTP worker: of all workers together half, and none if that is less than one each.
    worker: u32,
    /// For all the rest.
    common: u32,
}

impl Shares {
    fn of(settings: &Settings) -> Self {
        let all = settings.database.max_connections;
        let workers = match settings.server.workers {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            workers => workers,
        };
        let worker = u32::try_from(workers).map_or(0, |workers| all / 2 / workers);
        let common = u32::try_from(workers).map_or(all, |workers| all - worker * workers);
        Self { workers, worker, common }
    }
}

fn serve(listener: TcpListener, state: State, shares: Shares, session: Session) -> std::io::Result<Server> {
    let (settings, max_body_bytes) = (state.settings.server.clone(), state.settings.server.max_body_bytes);
    let (has_metrics, has_console) = (state.settings.metrics.port == 0, state.settings.console.enabled);
    // Runs once in the thread of each worker.
    let app = move || {
        let db = match shares.worker {
            0 => state.db.clone(),
            share => state.db.with_own(lane(&state.settings.database, &session, share)),
        };
        App::new()
            .app_data(Data::new(state.reaching(db)))
            .app_data(PayloadConfig::new(max_body_bytes))
            .wrap(from_fn(api::reply::write_errors))
            .wrap(from_fn(api::observe::observe))
            .configure(move |config| {
                if has_metrics {
                    api::metrics_routes(config);
                }
                if has_console {
                    api::console_routes(config);
                }
            })
            .configure(api::routes)
    };
    let server = HttpServer::new(app)
        .workers(shares.workers)
        .max_connections(settings.max_connections.div_ceil(shares.workers))
        .keep_alive(Duration::from_secs(settings.keep_alive_seconds))
        // Pools of clients open connections ahead of their requests. One that waits too long for its first request is told
        // so by an empty 408, which the client takes for the answer to the request that it sends at that moment.
        .client_request_timeout(Duration::from_secs(settings.keep_alive_seconds))
        .shutdown_timeout(settings.shutdown_seconds)
        // A client that hangs up takes its call with it: what has not been made yet is not made.
        .h1_allow_half_closed(false)
        .disable_signals();
    Ok(server.listen(listener)?.run())
}

fn serve_metrics(listener: TcpListener) -> std::io::Result<Server> {
    let server = HttpServer::new(|| App::new().configure(api::metrics_routes)).workers(1).disable_signals();
    Ok(server.listen(listener)?.run())
}

/// How the database is reached, by the settings and the URL. Fails on a URL that is none of PostgreSQL's.
pub fn session(database: &config::Database, url: &str) -> Result<Session, Failure> {
    // The parser's own message may carry the URL, and the URL a password.
    let options: PgConnectOptions = url.parse().map_err(|_| "settings: database.url is not a PostgreSQL URL")?;
    let settings = [
        ("statement_timeout", database.statement_timeout_ms.to_string()),
        ("lock_timeout", database.lock_timeout_ms.to_string()),
        ("idle_in_transaction_session_timeout", database.statement_timeout_ms.to_string()),
        // Planning a statement costs more than running it, and all of them are written so that one plan is good for all.
        ("plan_cache_mode", "force_generic_plan".into()),
    ];
    // A little longer than PostgreSQL lets it take.
    let patience = Duration::from_millis(database.statement_timeout_ms) + Duration::from_secs(1);
    let open = if database.transaction_pooling { Session::pooled } else { Session::direct };
    Ok(open(options.application_name("roomward"), settings, patience))
}

/// What all pools of connections have that the service and its commands make.
pub fn pool_options(session: &Session) -> PgPoolOptions {
    if session.begin.is_pooled() {
        return PgPoolOptions::new();
    }
    PgPoolOptions::new().after_connect(|connection, _| Box::pin(layout::set_by_layout(connection)))
}

/// Connections are made when they are needed: the service starts without a database, and outlives one.
fn lane(settings: &config::Database, session: &Session, max_connections: u32) -> Lane {
    let pool = pool_options(session)
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_millis(settings.acquire_timeout_ms))
        // A round trip for each use would cost some 6 %; a connection that was just used is trusted.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move { Ok(meta.idle_for <= IDLE_TRUST || answers(connection, IDLE_TRUST).await) })
        })
        .connect_lazy_with(session.options.clone());
    Lane::new(pool, session.patience).begun_by(session.begin.clone())
}

fn standby(settings: &config::Database, url: &str) -> Result<Arc<Standby>, Failure> {
    let lane = lane(settings, &session(settings, url)?, settings.max_connections);
    Ok(Arc::new(Standby::new(lane, Duration::from_millis(settings.read_max_age_ms))))
}

async fn upkeep(stop: CancellationToken) {
    let mut ticks = tokio::time::interval(UPKEEP);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        telemetry::figures().run_upkeep();
    }
}
