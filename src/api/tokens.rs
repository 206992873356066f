//! `/token`: app tokens for a client's credentials, user tokens for a password or on the word of an app token; and what
//! a user token says.

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::body::Body;
use super::call::{AppRequest, Call, Caller};
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::reply::Reply;
use super::resource;
use super::users::Entity;
use crate::accounts::apps;
use crate::accounts::tokens as good_tokens;
use crate::accounts::users::{self, Account, Registration};
use crate::auth::{self, Life, Subject, TokenKind};
use crate::error::Error;
use crate::names::{MAX_NAME_BYTES, Names, is_username};

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(resource("/token").route(web::post().to(issue)))
        .service(resource("/token/introspect").route(web::post().to(introspect)))
        .service(resource("/token/revoke").route(web::post().to(revoke)));
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::post("/token", "issueToken", "Issue a token")
            .says(
                "`client_credentials`: of the app. `password`: of one of its users. `inherit`: the same on the word of the \
                app, whose token is sent along.",
            )
            .unauthenticated()
            .takes("grant_type", form::one_of("Which kind.", &["client_credentials", "password", "inherit"]))
            .may_take("client_id", form::text("For `client_credentials`."))
            .may_take("client_secret", form::text("For `client_credentials`."))
            .may_take("username", form::text("For `password` and `inherit`."))
            .may_take("password", form::text("For `password`."))
            .may_take("autoCreateUser", form::flag("For `inherit`: registers an unknown user, without a password."))
            .may_take("ttl", form::integer("How long the token lives, in seconds; 0 is for ever."))
            .gives::<IssuedToken>()
            .fails(&[fails::UNAUTHENTICATED, fails::NOT_PERMITTED, fails::NO_APP_TOKEN, fails::INVALID_GRANT])
            .fails(&[fails::GRANT_USER_NOT_FOUND, fails::GRANT_USER_BUSY, fails::ENTITY_NOT_FOUND]),
        operation::post("/token/introspect", "introspectToken", "Say whether a user's token is good, and whose it is")
            .reads()
            .with(&["operator", "reason"])
            .takes("token", form::text("A token of a user."))
            .gives::<Introspection>()
            .fails(&[fails::INVALID_PARAMETER]),
        operation::post("/token/revoke", "revokeToken", "Revoke one token")
            .says("Of the app or of a user: the `token`, or the one of that `jti`. One of the two is needed.")
            .repeatable()
            .may_take("token", form::text("The token."))
            .may_take("jti", form::text("The id of the token."))
            .answers::<Revoked>()
            .fails(&[fails::JSON_PARSE]),
    ]
}

async fn issue(request: AppRequest) -> Result<HttpResponse, Error> {
    let body = request.body()?;
    match text(&body, "grant_type", "grant_type must be provided")? {
        "client_credentials" => app_token(&request, &body).await,
        "password" => token_for_password(&request, &body).await,
        "inherit" => token_on_the_word_of_the_app(&request, &body).await,
        _ => Err(Error::InvalidGrant("grant_type is not supported")),
    }
}

/// Not wrapped in an envelope, unlike every other answer.
#[derive(Serialize, JsonSchema)]
struct AppToken {
    access_token: String,
    expires_in: u32,
    application: Uuid,
}

async fn app_token(request: &AppRequest, body: &Body) -> Result<HttpResponse, Error> {
    let client_id = text(body, "client_id", "client_id must be provided.")?;
    let client_secret = text(body, "client_secret", "client_secret must be provided")?;
    let life = life(request, body)?;
    let app = &request.app;
    let attempt = async {
        let credentials = apps::credentials(&request.state.db, app.id).await?;
        if credentials.client_id != client_id {
            return Err(Error::InvalidGrant("client_id does not match"));
        }
        if !auth::client_secret_matches(app.uuid, client_secret, &credentials.client_secret_hash) {
            return Err(Error::InvalidGrant("client_secret does not match"));
        }
        Ok(())
    };
    request.state.limits.sign_in(app.id, client_id, request.address(), attempt).await?;
    let token = request.state.keys.issue(app.audience(), &Subject::Client(client_id), life)?;
    Ok(HttpResponse::Ok().json(AppToken { access_token: token.text, expires_in: token.expires_in, application: app.uuid }))
}

#[derive(Serialize, JsonSchema)]
struct UserToken {
    access_token: String,
    expires_in: u32,
    user: Entity,
}

async fn token_for_password(request: &AppRequest, body: &Body) -> Result<HttpResponse, Error> {
    let username = text(body, "username", "username must be provided")?;
    let password = text(body, "password", "password must be provided")?;
    let life = life(request, body)?;
    let attempt = async {
        let account = users::account(&request.state.db, request.app.id, &Names::new([username])).await?;
        let account = account.ok_or(Error::GrantUserNotFound)?;
        let matches = match &account.password_hash {
            Some(hash) => request.state.passwords.matches(password.to_owned(), hash.clone()).await?,
            None => false,
        };
        if matches { Ok(account) } else { Err(Error::InvalidGrant("invalid username or password")) }
    };
    let account = request.state.limits.sign_in(request.app.id, username, request.address(), attempt).await?;
    user_token(request, account, life)
}

/// Needs the token of the app; registers an unknown user if asked to, without a password.
async fn token_on_the_word_of_the_app(request: &AppRequest, body: &Body) -> Result<HttpResponse, Error> {
    if let (_, Caller::User(_)) = request.authenticate().await? {
        return Err(request.not_permitted());
    }
    let username = text(body, "username", "username must be provided")?;
    if username.len() > MAX_NAME_BYTES {
        return Err(Error::IllegalArgument("USERNAME_TOO_LONG".into()));
    }
    let name = Names::new([username]);
    if !is_username(&name.given()[0]) {
        return Err(Error::IllegalArgument(format!("username [{username}] is not legal")));
    }
    let life = life(request, body)?;
    let (db, app) = (&request.state.db, request.app.id);
    if let Some(account) = users::account(db, app, &name).await? {
        return user_token(request, account, life);
    }
    if body.get("autoCreateUser").and_then(serde_json::Value::as_bool) != Some(true) {
        return Err(Error::EntityNotFound);
    }
    let registration = Registration { username: name.given()[0].clone(), password_hash: None, nickname: None };
    users::register(db, app, &[registration]).await?.commit().await?;
    // Registered here, or by another call at this moment; missing only while a former user of that name is being deleted.
    let account = users::account(db, app, &name).await?.ok_or(Error::GrantUserBusy)?;
    user_token(request, account, life)
}

fn user_token(request: &AppRequest, account: Account, life: Life) -> Result<HttpResponse, Error> {
    let Account { user, token_generation: generation, .. } = account;
    if !user.activated {
        return Err(Error::InvalidGrant("user not activated"));
    }
    let subject = Subject::User { name: &user.username, uuid: user.uuid, generation };
    let token = request.state.keys.issue(request.app.audience(), &subject, life)?;
    Ok(HttpResponse::Ok().json(UserToken { access_token: token.text, expires_in: token.expires_in, user: user.into() }))
}

/// What is issued, in its two forms.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "tells the form of the answer")]
enum IssuedToken {
    OfApp(AppToken),
    OfUser(UserToken),
}

/// As RFC 7662 has it, for a gateway that must know whose token it was shown.
#[derive(Default, Serialize, JsonSchema)]
struct Introspection {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<Uuid>,
}

/// Whether a user token is good: of this app, not expired, not revoked, and of a user who may sign in. As it is now: nothing
/// that was looked up before is taken for granted.
async fn introspect(call: Call) -> Result<HttpResponse, Error> {
    call.params().only(&[])?;
    let body = call.body()?;
    let token = text(&body, "token", "token must be provided")?;
    let mut answer = Introspection::default();
    if let Ok(claims) = call.state.keys.claims(token)
        && claims.typ == TokenKind::User
        && call.opens_this_app(&claims)
        && let name = Names::new([claims.sub.as_str()])
        && let Some(holder) = good_tokens::holder(&call.state.db, call.app.id, &name, claims.jti).await?
        && holder.may_show(&claims)
    {
        answer = Introspection {
            active: true,
            username: Some(claims.sub.clone()),
            iat: Some(claims.iat),
            exp: Some(claims.exp),
            jti: Some(claims.jti),
        };
    }
    Ok(HttpResponse::Ok().json(answer))
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TokenRevoked")]
struct Revoked {
    result: bool,
}

/// Revokes one token of the app or of a user of it: that `token`, or the one called `jti`. One that was revoked or has ended
/// stays so.
async fn revoke(call: Call) -> Result<Reply<Revoked>, Error> {
    call.params().only(&[])?;
    let body = call.body()?;
    let (jti, exp) = match (body.text("token")?, body.text("jti")?) {
        (Some(token), None) => {
            let claims = call.state.keys.claims(token).ok().filter(|claims| claims.app == call.app.uuid);
            let claims = claims.ok_or_else(|| Error::invalid("token"))?;
            (claims.jti, i64::try_from(claims.exp).ok().and_then(|exp| OffsetDateTime::from_unix_timestamp(exp).ok()))
        }
        (None, Some(jti)) => (Uuid::try_parse(jti).map_err(|_| Error::invalid("jti"))?, None),
        _ => return Err(Error::InvalidParameter("token or jti must be provided".into())),
    };
    good_tokens::revoke(&call.state.db, call.app.id, jti, exp).await?;
    Ok(call.reply(Revoked { result: true }))
}

/// A text that must be there; if it is not, the call is refused in the words of this path.
fn text<'b>(body: &'b Body, field: &str, refusal: &str) -> Result<&'b str, Error> {
    match body.text(field) {
        Ok(Some(text)) if !text.is_empty() => Ok(text),
        _ => Err(Error::IllegalArgument(refusal.into())),
    }
}

/// `ttl` in seconds; 0 is for ever.
fn life(request: &AppRequest, body: &Body) -> Result<Life, Error> {
    match body.integer("ttl") {
        Ok(None) => Ok(Life::Seconds(request.state.settings.auth.token_ttl_seconds)),
        Ok(Some(0)) => Ok(Life::Forever),
        Ok(Some(seconds @ 1..)) => Ok(Life::Seconds(u32::try_from(seconds).unwrap_or(u32::MAX))),
        Ok(Some(_)) | Err(_) => Err(Error::IllegalArgument("ttl is invalid".into())),
    }
}
