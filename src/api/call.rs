//! A call: what is known of a request once it is clear which app it means and that it may act there.
//!
//! Only a good token yields a [`Call`], and only a [`Call`] builds a reply: a handler cannot forget to ask. An app's token
//! may do all; a user's, what `api::permissions` says.
//! What is wrong with a request is found in one order: the app, the token, the body, the operator, what a user may not do,
//! and then the handler's own rules.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix_web::dev::Payload;
use actix_web::http::{Method, header};
use actix_web::web::{Bytes, Data, Path};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use serde::Deserialize;

use super::State;
use super::body::Body;
use super::limits::{self, Allowance, Subject};
use super::observe::ActsFor;
use super::paging::{self, Params};
use super::permissions;
use crate::accounts::apps::App;
use crate::accounts::moderators::ModeratorRole;
use crate::accounts::tokens::Holder;
use crate::auth::{Claims, TokenKind};
use crate::config::{ListCall, Rules};
use crate::error::Error;
use crate::events::log::Actor;
use crate::names::{Names, RoomKey};
use crate::rooms::permissions::{Action, Permit, Role};
use crate::rooms::read;

/// A request to an app that exists. Whether it may act there is not known yet.
pub struct AppRequest {
    /// The app.
    pub app: Arc<App>,
    /// The settings as they hold for the app.
    pub rules: Rules,
    /// What every call works with.
    pub state: Data<State>,
    http: HttpRequest,
    segments: Segments,
    body: Bytes,
    started: Instant,
}

/// A request with a good token of the app that it is for.
pub struct Call {
    request: AppRequest,
    token: Arc<Claims>,
    caller: Caller,
}

/// On whose behalf a token acts.
pub enum Caller {
    /// The app itself.
    App,
    /// One of its users.
    User(User),
}

/// A user who acts, and what the user is in the app.
pub struct User {
    /// The user's name.
    pub name: Names,
    /// Whether the user may make rooms.
    pub is_super_admin: bool,
    /// What the user moderates, if anything: how, and in which rooms (`None`: in all).
    pub moderates: Option<(Role, Option<Vec<String>>)>,
}

/// A page by cursor that is asked for.
pub struct CursorRequest {
    /// The list, as its cursors know it.
    pub scope: String,
    /// The number behind which the page begins.
    pub after: Option<i64>,
    /// How many entries it has at most.
    pub limit: i64,
}

/// The parts of a path that differ from call to call, decoded once.
#[derive(Deserialize)]
struct Segments {
    org_name: String,
    app_name: String,
    chatroom_id: Option<String>,
    usernames: Option<String>,
    rule: Option<String>,
}

impl FromRequest for Call {
    type Error = Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(http: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (http, mut payload) = (http.clone(), payload.take());
        Box::pin(async move {
            let request = AppRequest::open(http).await?;
            let (token, caller) = request.authenticate().await?;
            let call = Self { request: request.read_body(&mut payload).await?, token, caller };
            if let Caller::User(user) = &call.caller {
                call.http.extensions_mut().insert(ActsFor(user.name.given().concat().into()));
            }
            if call.http.method() != Method::GET {
                // Rejects an invalid `X-Operator` even if the call records no event.
                let actor = call.actor()?;
                if actor.name != Actor::client().name {
                    call.http.extensions_mut().insert(ActsFor(actor.name.as_ref().into()));
                }
            }
            permissions::require(&call.request, &call.caller).await?;
            Ok(call)
        })
    }
}

impl FromRequest for AppRequest {
    type Error = Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(http: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (http, mut payload) = (http.clone(), payload.take());
        Box::pin(async move { Self::open(http).await?.read_body(&mut payload).await })
    }
}

impl AppRequest {
    pub(super) async fn open(http: HttpRequest) -> Result<Self, Error> {
        let started = Instant::now();
        let state = http.app_data::<Data<State>>().cloned().ok_or_else(|| Error::Internal("no state".into()))?;
        let segments =
            Path::<Segments>::extract(&http).await.map_err(|error| Error::Internal(error.to_string().into()))?.into_inner();
        let Some(app) = state.app(&segments.org_name, &segments.app_name).await? else {
            let rest = http.uri().path().splitn(4, '/').nth(3).unwrap_or_default().to_owned();
            return Err(Error::AppNotFound { org: segments.org_name, app: segments.app_name, rest });
        };
        let rules = state.settings.rules(&app.overrides);
        Ok(Self { app, rules, state, http, segments, body: Bytes::new(), started })
    }

    /// The literal `Bearer`, a blank, and a token of this app.
    ///
    /// Whether it was revoked, and what its user is in the app, is as it was half a second ago at most.
    pub async fn authenticate(&self) -> Result<(Arc<Claims>, Caller), Error> {
        let authorization = self.http.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let token = token.ok_or(Error::Unauthenticated { why: "no_token" })?;
        let claims = self.state.keys.claims(token).map_err(|bad| Error::Unauthenticated { why: bad.as_str() })?;
        self.count(&claims)?;
        match claims.typ {
            TokenKind::App if self.is_good_app_token(&claims).await? => Ok((claims, Caller::App)),
            TokenKind::App => Err(self.not_good(&claims)),
            TokenKind::User => {
                let holder = self.holder(&claims).await?.ok_or_else(|| self.not_good(&claims))?;
                let caller = Caller::User(User::new(&claims.sub, &holder));
                Ok((claims, caller))
            }
        }
    }

    /// Counts the call, once however often it is looked at, against what the app and the token of a user may do.
    fn count(&self, claims: &Claims) -> Result<(), Error> {
        if self.http.extensions().contains::<Vec<Allowance>>() || !self.opens_this_app(claims) {
            return Ok(());
        }
        let of_user = match claims.typ {
            TokenKind::App => 0,
            TokenKind::User => self.state.settings.limits.calls_per_second_of_user_token,
        };
        let counted = [
            self.state.limits.count(Subject::UserToken(claims.jti), of_user),
            self.state.limits.count(Subject::App(self.app.id), self.rules.calls_per_second_of_app),
        ];
        let (allowances, refusals): (Vec<_>, Vec<_>) = counted.into_iter().flatten().unzip();
        if !allowances.is_empty() {
            self.http.extensions_mut().insert(allowances);
        }
        refusals.into_iter().collect()
    }

    /// Whether a token is one of this app's own, and not revoked.
    pub(super) async fn is_good_app_token(&self, claims: &Claims) -> Result<bool, Error> {
        Ok(claims.typ == TokenKind::App && self.opens_this_app(claims) && !self.state.is_revoked(self.app.id, claims.jti).await?)
    }

    /// Whose token it is, if it is a good one of a user of this app.
    pub(super) async fn holder(&self, claims: &Claims) -> Result<Option<Arc<Holder>>, Error> {
        if claims.typ != TokenKind::User || !self.opens_this_app(claims) {
            return Ok(None);
        }
        Ok(self.state.holder(self.app.id, claims).await?.filter(|holder| holder.may_show(claims)))
    }

    pub(super) fn opens_this_app(&self, claims: &Claims) -> bool {
        claims.app == self.app.uuid && claims.app_generation == self.app.token_generation
    }

    /// That the caller's token does not go so far, in the words of the app's edition.
    pub(super) fn not_permitted(&self) -> Error {
        self.refusal()()
    }

    /// The same for where it is found out later.
    fn refusal(&self) -> fn() -> Error {
        if self.rules.compat.has_user_tokens() { || Error::NotPermitted } else { || Error::NoAppToken }
    }

    /// Why a token that was signed here does not open the app after all.
    fn not_good(&self, claims: &Claims) -> Error {
        Error::Unauthenticated { why: if claims.app == self.app.uuid { "revoked" } else { "another_app" } }
    }

    /// What the call does, as far as it matters which users may.
    pub(super) fn action(&self) -> Action {
        permissions::action(self.http.method(), self.http.match_pattern().as_deref())
    }

    /// Reads the body of any method and any Content-Type: clients send JSON without one, and with DELETE.
    pub(super) async fn read_body(mut self, payload: &mut Payload) -> Result<Self, Error> {
        self.body = Bytes::from_request(&self.http, payload).await.map_err(|error| {
            match error.as_response_error().status_code().as_u16() {
                413 => Error::BodyTooLarge,
                _ => Error::BodyUnreadable,
            }
        })?;
        Ok(self)
    }

    /// The body as it was sent.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The room that the path names.
    pub fn room(&self) -> Result<RoomKey, Error> {
        let room = self.room_segment();
        RoomKey::parse(self.app.id, room).ok_or_else(|| Error::RoomNotFound { room: room.into() })
    }

    /// The same, in the words of the paged member list.
    pub fn room_on_read(&self) -> Result<RoomKey, Error> {
        self.room().map_err(|_| Error::RoomNotFoundOnRead { room: self.room_segment().into() })
    }

    /// The part of the path that names the room, or several.
    pub fn room_segment(&self) -> &str {
        self.segments.chatroom_id.as_deref().unwrap_or_default()
    }

    /// The part of the path that names the user, or several.
    pub fn user_segment(&self) -> &str {
        self.segments.usernames.as_deref().unwrap_or_default()
    }

    /// The query string, as it is to be echoed and asked.
    pub fn params(&self) -> Params {
        Params::parse(self.http.query_string())
    }

    /// Where the request comes from.
    pub fn address(&self) -> IpAddr {
        limits::address(&self.http, self.state.settings.server.trust_forwarded_for)
    }

    /// Whether there is a body.
    pub fn has_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// The body, which must be JSON of any form.
    pub fn json(&self) -> Result<serde_json::Value, Error> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The body, which must be JSON, field by field.
    pub fn body(&self) -> Result<Body, Error> {
        Ok(Body::from(self.json()?))
    }
}

impl std::ops::Deref for Call {
    type Target = AppRequest;

    fn deref(&self) -> &AppRequest {
        &self.request
    }
}

impl User {
    fn new(name: &str, holder: &Holder) -> Self {
        let moderates = holder.moderates.as_ref().map(|(role, rooms)| {
            let role = match role {
                ModeratorRole::Viewer => Role::Viewer,
                ModeratorRole::Moderator => Role::Moderator,
            };
            (role, rooms.clone())
        });
        Self { name: Names::new([name]), is_super_admin: holder.is_super_admin, moderates }
    }
}

impl Call {
    /// Who makes the call.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// That the caller may do so much to the room; `None`: all.
    pub(super) fn permit(&self, room: &RoomKey, action: Action) -> Option<Permit> {
        match &self.caller {
            Caller::App => None,
            Caller::User(user) => Some(Permit {
                user: user.name.clone(),
                action,
                app_roles: user.roles(Some(room.id())),
                refusal: self.request.refusal(),
            }),
        }
    }

    /// The user that the path names.
    pub fn user(&self) -> Names {
        Names::new([self.user_segment()])
    }

    /// The user that the path names, where it may name only one.
    pub fn single_user(&self) -> Result<Names, Error> {
        if self.names_several_users() {
            return Err(Error::invalid("username"));
        }
        Ok(self.user())
    }

    /// Whether the path names users with a comma, even if only one.
    pub fn names_several_users(&self) -> bool {
        self.user_segment().contains(',')
    }

    /// The users that the path names; see [`Self::batch`].
    pub async fn users(&self, call: ListCall, limit: &'static str) -> Result<Names, Error> {
        self.batch(call, self.user_segment().split(',').map(str::to_owned).collect(), limit).await
    }

    /// The users that the body names in `usernames`; see [`Self::batch`].
    pub async fn users_in_body(&self, call: ListCall, limit: &'static str) -> Result<Names, Error> {
        self.batch(call, self.body()?.texts("usernames")?, limit).await
    }

    /// The one user that the body names in `field`.
    pub fn user_in_body(&self, field: &str) -> Result<Names, Error> {
        match self.body()?.get(field) {
            Some(serde_json::Value::String(name)) if !name.is_empty() => Ok(Names::new([name])),
            _ => Err(Error::missing(field)),
        }
    }

    /// The distinct names among `names`, empty ones left out. More than the call may have, repeated ones counted, are
    /// refused with the call's own sentence `limit`, unless the room does not exist: that comes first.
    pub async fn batch(&self, call: ListCall, names: Vec<String>, limit: &'static str) -> Result<Names, Error> {
        self.batch_up_to(self.rules.compat.max_batch(call), names, limit).await
    }

    /// The same where a call has a limit of its own.
    pub async fn batch_up_to(&self, max: usize, mut names: Vec<String>, limit: &'static str) -> Result<Names, Error> {
        names.retain(|name| !name.is_empty());
        if names.is_empty() {
            return Err(Error::missing("usernames"));
        }
        if names.len() > max {
            read::details::require(&self.state.db, &self.room()?).await?;
            return Err(Error::TooManyNames { limit, max });
        }
        Ok(Names::new(names))
    }

    /// The part of the path that names a callback rule.
    pub fn rule_segment(&self) -> &str {
        self.segments.rule.as_deref().unwrap_or_default()
    }

    /// That none of `users` is in the room (or on the list that was meant).
    pub fn not_members(&self, call: ListCall) -> impl Fn(Vec<String>) -> Error + Send + 'static + use<> {
        let status = self.rules.compat.non_member_status(call);
        move |users| Error::NotMembers { users, status }
    }

    /// Where the page by cursor of the room's list of that name begins, how many entries it has at most, and what the
    /// cursor of the next one is called by.
    pub fn cursor_request(&self, list: &str) -> Result<CursorRequest, Error> {
        let params = self.params();
        let scope = format!("{list}/{}/{}", self.app.id, self.room_segment());
        let after = self.state.cursors.read(&scope, &params)?;
        Ok(CursorRequest { scope, after, limit: paging::limit(&params, paging::MAX_LIMIT, paging::MAX_LIMIT) })
    }

    /// Whether the same call would still be let in; for answers that go on. What cannot be asked stays as it was.
    pub async fn is_still_permitted(&self) -> bool {
        let asked = async {
            let app = self.state.app(&self.app.org, &self.app.name).await?;
            if app.is_none_or(|app| app.token_generation != self.token.app_generation) {
                return Err(Error::Unauthenticated { why: "revoked" });
            }
            let (_, caller) = self.authenticate().await?;
            permissions::require(&self.request, &caller).await
        };
        !matches!(asked.await, Err(Error::Unauthenticated { .. } | Error::NotPermitted | Error::NoAppToken))
    }

    /// How long the token is still good; for answers that go on.
    pub fn token_life(&self) -> Duration {
        const LONGEST: Duration = Duration::from_hours(24 * 365);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(self.token.exp).saturating_sub(now).min(LONGEST)
    }

    /// The request as it came in.
    pub fn http(&self) -> &HttpRequest {
        &self.http
    }

    /// The HTTP method in lower case.
    pub(super) fn method(&self) -> String {
        self.http.method().as_str().to_ascii_lowercase()
    }

    /// When the request came in.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Milliseconds since the request came in.
    pub(super) fn duration_ms(&self) -> u128 {
        self.started.elapsed().as_millis()
    }

    /// The URL of the request without its query, its path exactly as it was sent.
    pub(super) fn uri(&self) -> String {
        let header = |name: header::HeaderName| self.http.headers().get(name).and_then(|value| value.to_str().ok());
        let scheme = match header(header::X_FORWARDED_PROTO) {
            Some("https") if self.state.settings.server.trust_forwarded_proto => "https",
            _ => "http",
        };
        let server = &self.state.settings.server;
        let host = header(header::HOST).map_or_else(|| format!("{}:{}", server.host, server.port), str::to_owned);
        format!("{scheme}://{host}{}", self.http.uri().path())
    }
}
