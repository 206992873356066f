//! What is said over HTTP: the paths, and how a call is read and answered. No SQL in here.
//!
//! A call goes down once and up once: the route below, [`call::Call`] (which app, which token, which body), the handler
//! in the file named after the list, the operation of the same name in [`crate::rooms`], and back through [`reply`].

pub mod actor;
pub mod body;
pub mod call;
pub mod observe;
pub mod openapi;
pub mod paging;
pub mod reply;

pub mod cursor;

mod admins;
mod announcements;
mod attributes;
mod audit;
mod blocks;
mod callbacks;
mod change;
mod chatrooms;
mod console;
mod counts;
mod docs;
mod events;
mod global_mutes;
mod health;
mod idempotency;
mod limits;
mod members;
mod moderators;
mod mutes;
mod permissions;
mod restrictions;
mod speech;
mod standing;
mod super_admins;
mod tokens;
mod undo;
mod users;
mod whitelist;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{Resource, web};
use moka::future::Cache;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::cursor::Cursors;
use self::limits::Limits;
use crate::accounts::apps::{self, App};
use crate::accounts::tokens::{self as good_tokens, Holder};
use crate::auth::{Claims, Keys, Passwords};
use crate::callbacks::sender::Sender;
use crate::config::Settings;
use crate::db::Db;
use crate::error::Error;
use crate::events::subscriptions::Following;
use crate::names::Names;
use crate::rooms::writer::Writer;

/// How long an app or a token that was looked up is taken for granted: so long does a change of settings or roles need to
/// be seen, or a revocation.
const LIFE: Duration = Duration::from_millis(500);

/// Most apps that are remembered at once.
const APPS_REMEMBERED: u64 = 10_000;

/// Most tokens that are remembered at once, of apps and of users.
const TOKENS_REMEMBERED: u64 = 100_000;

/// What every call works with. Nothing in it outlives the process, or needs to.
#[derive(Clone)]
pub struct State {
    /// The database, as the thread of the call reaches it.
    pub db: Db,
    shared: Arc<Shared>,
}

/// What the calls of all threads share.
pub struct Shared {
    /// The way to change rooms.
    pub writer: Writer,
    /// The keys of tokens.
    pub keys: Keys,
    /// How users' passwords are hashed.
    pub passwords: Passwords,
    /// How positions in lists are handed out.
    pub cursors: Cursors,
    /// How callbacks are tried.
    pub sender: Sender,
    /// The feeds that clients have open.
    pub following: Arc<Following>,
    /// Says that the service is about to stop: it is not ready for more.
    pub draining: CancellationToken,
    /// Says that the service stops: what would go on for ever ends.
    pub stop: CancellationToken,
    /// Why the service was not ready when that was asked last.
    unready: Mutex<Option<String>>,
    /// How much one may ask for.
    limits: Limits,
    /// The settings of this process.
    pub settings: Settings,
    apps: Cache<(String, String), Option<Arc<App>>>,
    /// Tokens of apps by their own names, and whether they are revoked.
    revoked: Cache<(i32, Uuid), bool>,
    /// Tokens of users by their own names, and whose they are.
    holders: Cache<(i32, Uuid), Option<Arc<Holder>>>,
}

impl State {
    /// The state of a service that has just started. Fails on settings that cannot be used.
    pub fn new(
        writer: Writer,
        following: Arc<Following>,
        stop: CancellationToken,
        settings: Settings,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let secrets = settings.token_secrets()?;
        let shared = Shared {
            writer,
            keys: Keys::new(&secrets),
            passwords: Passwords::new(&settings.passwords).map_err(|error| format!("settings: passwords: {error}"))?,
            cursors: Cursors::new(&secrets),
            sender: Sender::new(&secrets, &settings.callbacks)?,
            limits: Limits::new(&settings.limits),
            following,
            draining: CancellationToken::new(),
            unready: Mutex::default(),
            stop,
            apps: Cache::builder().max_capacity(APPS_REMEMBERED).time_to_live(LIFE).build(),
            revoked: Cache::builder().max_capacity(TOKENS_REMEMBERED).time_to_live(LIFE).build(),
            holders: Cache::builder().max_capacity(TOKENS_REMEMBERED).time_to_live(LIFE).build(),
            settings,
        };
        Ok(Self { db: shared.writer.db().clone(), shared: Arc::new(shared) })
    }

    /// The same for a thread that reaches the database in its own way.
    pub fn reaching(&self, db: Db) -> Self {
        Self { db, shared: self.shared.clone() }
    }

    /// The app of that name, asked for twice a second at most.
    async fn app(&self, org: &str, name: &str) -> Result<Option<Arc<App>>, Error> {
        // What cannot be one is not worth remembering.
        if !apps::is_app_name(org) || !apps::is_app_name(name) {
            return Ok(None);
        }
        let look_up = async { apps::find(&self.db, org, name).await.map(|app| app.map(Arc::new)) };
        self.apps.try_get_with((org.into(), name.into()), look_up).await.map_err(shared)
    }

    /// Whether the app's token of that name is revoked, asked for twice a second at most.
    async fn is_revoked(&self, app: i32, jti: Uuid) -> Result<bool, Error> {
        self.revoked.try_get_with((app, jti), good_tokens::is_revoked(&self.db, app, jti)).await.map_err(shared)
    }

    /// Whose token it is, asked for twice a second at most. Whether it is a good one is for the caller to see.
    async fn holder(&self, app: i32, claims: &Claims) -> Result<Option<Arc<Holder>>, Error> {
        let look_up = async {
            let holder = good_tokens::holder(&self.db, app, &Names::new([claims.sub.as_str()]), claims.jti).await;
            holder.map(|holder| holder.map(Arc::new))
        };
        self.holders.try_get_with((app, claims.jti), look_up).await.map_err(shared)
    }
}

/// A failure that several calls share.
fn shared(error: Arc<Error>) -> Error {
    match *error {
        Error::Unavailable(_) => Error::Unavailable(error.into()),
        _ => Error::Internal(error.into()),
    }
}

impl std::ops::Deref for State {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// Every path of the service.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .configure(health::routes)
        .configure(openapi::routes)
        .configure(docs::routes)
        .service(
            web::scope("/{org_name}/{app_name}")
                .configure(tokens::routes)
                .configure(users::routes)
                // Before the rooms, so that no room is ever called so.
                .configure(super_admins::routes)
                .configure(moderators::routes)
                .configure(permissions::routes)
                .configure(undo::routes)
                .configure(global_mutes::routes)
                .configure(members::routes)
                .configure(admins::routes)
                .configure(blocks::routes)
                .configure(whitelist::routes)
                .configure(mutes::routes)
                .configure(speech::routes)
                .configure(standing::routes)
                .configure(events::routes)
                .configure(audit::routes)
                .configure(counts::routes)
                .configure(restrictions::routes)
                .configure(announcements::routes)
                .configure(attributes::routes)
                .configure(callbacks::routes)
                .configure(chatrooms::routes)
                .default_service(web::to(unknown_path)),
        )
        .default_service(web::to(unknown_path));
}

/// The paths of the console, which may not be served.
pub fn console_routes(config: &mut web::ServiceConfig) {
    config.configure(console::routes);
}

/// The path of figures, where it has a port of its own.
pub fn metrics_routes(config: &mut web::ServiceConfig) {
    config.configure(health::metrics_routes);
}

/// A path of calls, of which each change is made once per `Idempotency-Key`.
fn idempotent_resource(
    path: &str,
) -> Resource<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse, Error = actix_web::Error, InitError = ()>,
> {
    resource(path).wrap(from_fn(idempotency::once))
}

/// The same where nothing is changed that a repetition could change again: the answer is always the present one.
fn resource(path: &str) -> Resource {
    web::resource([path.to_owned(), format!("{path}/")]).default_service(web::to(wrong_method))
}

async fn unknown_path() -> Result<&'static str, Error> {
    Err(Error::NoSuchCall { status: 404 })
}

async fn wrong_method() -> Result<&'static str, Error> {
    Err(Error::NoSuchCall { status: 405 })
}
