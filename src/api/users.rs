//! Users: `/users`.

use std::collections::{BTreeMap, HashMap};

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Responder as _};
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::body::Body;
use super::call::Call;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::paging::{self, Page};
use super::reply::{Reply, UserReply, now_ms};
use super::{idempotent_resource, resource};
use crate::accounts::users::{self, Registration, User};
use crate::accounts::{user_list, user_search};
use crate::error::Error;
use crate::names::{MAX_NAME_BYTES, Names, is_username, unix_ms};
use crate::rooms::user_deletion;
use crate::search::Prefix;

/// The most users in one registration.
const MAX_BATCH: usize = 60;

/// The longest password and the longest nickname, in characters.
const MAX_PASSWORD: usize = 64;
const MAX_NICKNAME: usize = 100;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            idempotent_resource("/users")
                .route(web::get().to(list))
                .route(web::post().to(register))
                .route(web::delete().to(delete_several)),
        )
        .service(
            idempotent_resource("/users/{usernames}")
                .route(web::get().to(get))
                .route(web::put().to(set_nickname))
                .route(web::delete().to(delete)),
        )
        .service(
            idempotent_resource("/users/{usernames}/password")
                .route(web::put().to(set_password))
                .route(web::post().to(set_password)),
        )
        .service(idempotent_resource("/users/{usernames}/activate").route(web::post().to(activate)))
        .service(idempotent_resource("/users/{usernames}/deactivate").route(web::post().to(deactivate)))
        .service(idempotent_resource("/users/{usernames}/disconnect").route(web::get().to(disconnect)))
        .service(
            idempotent_resource("/users/{usernames}/disconnect/{resource}")
                .route(web::get().to(disconnect))
                .route(web::delete().to(disconnect)),
        )
        .service(resource("/users/{usernames}/resources").route(web::get().to(resources)))
        .service(resource("/users/{usernames}/status").route(web::get().to(status)).route(web::post().to(status_of_several)))
        .service(idempotent_resource("/users/{usernames}/joined_chatrooms").route(web::get().to(joined)));
}

/// A user to be registered, or an array of them.
fn new_users() -> Value {
    let user = form::object(&[
        ("username", form::text("1 to 64 of the characters a to z, 0 to 9, `_`, `-` and `.`."), true),
        ("password", form::text("1 to 64 characters."), true),
        ("nickname", form::text("At most 100 characters."), false),
    ]);
    json!({"oneOf": [user, {"type": "array", "items": user, "maxItems": MAX_BATCH}]})
}

pub fn operations() -> Vec<Operation> {
    let user = |path: &str| format!("/users/{{usernames}}{path}");
    vec![
        operation::post("/users", "registerUsers", "Register a user, or up to 60")
            .says("In an array, a name that is taken is told in `data`; alone, it fails the call.")
            .takes_body(new_users())
            .answers_users::<Entity>()
            .and_data::<Vec<RegistrationFailure>>()
            .fails(&[fails::USERNAME_TAKEN]),
        operation::get("/users", "listUsers", "List the users, the earliest first")
            .says("At most 100 on a page. With `q`, those whose name or nickname begins so.")
            .by_cursor()
            .with(&["q"])
            .answers_read_users::<Entity>(),
        operation::delete("/users", "deleteUsers", "Delete the users that a list would show")
            .by_cursor()
            .answers_users::<Entity>(),
        operation::get(&user(""), "getUser", "Show a user").answers_read_users::<Entity>().fails(&[fails::ACCOUNT_NOT_FOUND]),
        operation::put(&user(""), "setNickname", "Set the name that a user shows")
            .takes("nickname", form::text("At most 100 characters."))
            .answers_users::<Entity>()
            .fails(&[fails::ACCOUNT_NOT_FOUND]),
        operation::delete(&user(""), "deleteUser", "Delete a user")
            .says("With the rooms that the user owns, and every standing in others.")
            .answers_users::<Entity>()
            .fails(&[fails::ACCOUNT_NOT_FOUND]),
        operation::put(&user("/password"), "setPassword", "Set a user's password")
            .takes("newpassword", form::text("1 to 64 characters."))
            .gives::<Done>()
            .fails(&[fails::ENTITY_NOT_FOUND]),
        operation::post(&user("/password"), "setPasswordByPost", "Set a user's password")
            .says("As `PUT` does, for clients that send `POST`.")
            .takes("newpassword", form::text("1 to 64 characters."))
            .gives::<Done>()
            .fails(&[fails::ENTITY_NOT_FOUND]),
        operation::post(&user("/activate"), "activateUser", "Let a user sign in again")
            .gives::<Done>()
            .fails(&[fails::ACCOUNT_NOT_FOUND]),
        operation::post(&user("/deactivate"), "deactivateUser", "Let a user not sign in any more")
            .says("The tokens that the user has are revoked.")
            .gives::<Done>()
            .fails(&[fails::ACCOUNT_NOT_FOUND]),
        operation::get(&user("/disconnect"), "disconnectUser", "Revoke a user's tokens")
            .says("The only `GET` that changes something.")
            .with(&["operator", "reason"])
            .answers::<Disconnected>()
            .fails(&[fails::ACCOUNT_NOT_FOUND, fails::INVALID_PARAMETER]),
        operation::get(&user("/disconnect/{resource}"), "disconnectDeviceByGet", "Revoke a user's tokens")
            .says("As `DELETE` does.")
            .with(&["operator", "reason"])
            .answers::<Disconnected>()
            .fails(&[fails::ACCOUNT_NOT_FOUND, fails::INVALID_PARAMETER]),
        operation::delete(&user("/disconnect/{resource}"), "disconnectDevice", "Revoke a user's tokens")
            .says("Devices are not known here: one of them is as good as all.")
            .answers::<Disconnected>()
            .fails(&[fails::ACCOUNT_NOT_FOUND]),
        operation::get(&user("/resources"), "listDevices", "List a user's devices")
            .says("None is connected to a service that carries no messages.")
            .answers::<[(); 0]>()
            .fails(&[fails::ACCOUNT_NOT_FOUND]),
        operation::get(&user("/status"), "getStatus", "Say whether a user is online")
            .says("No user is, to a service that carries no messages.")
            .answers::<BTreeMap<String, &'static str>>()
            .fails(&[fails::ACCOUNT_NOT_FOUND]),
        operation::post(&user("/status"), "getStatuses", "Say whether users are online")
            .says("The path is `/users/batch/status`.")
            .reads()
            .with(&["operator", "reason"])
            .takes("usernames", form::texts("At most 100, registered or not."))
            .answers::<Vec<BTreeMap<String, &'static str>>>()
            .fails(&[fails::WRONG_METHOD, fails::INVALID_PARAMETER, fails::TOO_MANY_NAMES]),
        operation::get(&user("/joined_chatrooms"), "listJoinedChatrooms", "List the rooms that a user is in")
            .says("The latest joined first; 500 where no page is named.")
            .by_number()
            .answers::<Vec<JoinedRoom>>()
            .counted()
            .fails(&[fails::USER_NOT_FOUND]),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "User")]
pub struct Entity {
    uuid: Uuid,
    r#type: &'static str,
    created: i64,
    modified: i64,
    username: String,
    activated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    nickname: Option<String>,
}

impl From<User> for Entity {
    fn from(user: User) -> Self {
        Self {
            uuid: user.uuid,
            r#type: "user",
            created: unix_ms(user.created_at),
            modified: unix_ms(user.modified_at),
            username: user.username,
            activated: user.activated,
            nickname: user.nickname,
        }
    }
}

/// U1 and U2: one user, or an array of up to 60. A taken name fails the single call; in an array it is told in `data`.
async fn register(call: Call) -> Result<HttpResponse, Error> {
    let single;
    let items = match call.json()? {
        Value::Array(items) => {
            single = false;
            items
        }
        item => {
            single = true;
            vec![item]
        }
    };
    if items.len() > MAX_BATCH {
        return Err(Error::IllegalArgument(format!(
            "Request body array size[{}] had almost reached or been greater than the upper range value[{MAX_BATCH}]",
            items.len()
        )));
    }
    let wanted = distinct(items.into_iter().map(NewUser::read).collect::<Result<_, _>>()?)?;
    let names: Vec<String> = wanted.iter().map(|user| user.username.clone()).collect();
    let registrations = try_join_all(wanted.into_iter().map(async |user| {
        let password_hash = call.state.passwords.hash(user.password).await?;
        Ok::<_, Error>(Registration { username: user.username, password_hash: Some(password_hash), nickname: user.nickname })
    }))
    .await?;

    let registered = users::register(&call.state.db, call.app.id, &registrations).await?;
    call.commit(registered, |call, registered| {
        let mut taken = names.into_iter().filter(|name| registered.iter().all(|user| user.username != *name));
        let http = call.http().clone();
        if single {
            return match taken.next() {
                Some(user) => Err(Error::UsernameTaken { app: call.app.uuid, user }),
                None => Ok(call.user_reply(entities(registered)).respond_to(&http)),
            };
        }
        let failures: Vec<RegistrationFailure> =
            taken.map(|username| RegistrationFailure { reason: format!("the {username} already exists"), username }).collect();
        Ok(call.user_reply(entities(registered)).data(failures).respond_to(&http))
    })
    .await
}

#[derive(Serialize, JsonSchema)]
struct RegistrationFailure {
    username: String,
    #[serde(rename = "registerUserFailReason")]
    reason: String,
}

struct NewUser {
    username: String,
    password: String,
    nickname: Option<String>,
}

impl NewUser {
    fn read(item: Value) -> Result<Self, Error> {
        let refuse = |text: &str| Error::IllegalArgument(text.into());
        let body = Body::from(item);
        let given = match body.get("username") {
            Some(Value::String(name)) if !name.is_empty() => name,
            Some(Value::String(_)) | None => return Err(refuse("Entity user requires a property named username")),
            Some(other) => return Err(refuse(&format!("username [{other}] is not legal"))),
        };
        let username = given.to_ascii_lowercase();
        if username.len() > MAX_NAME_BYTES {
            return Err(refuse("USERNAME_TOO_LONG"));
        }
        if !is_username(&username) {
            return Err(refuse(&format!("username [{given}] is not legal")));
        }
        let password = match body.get("password") {
            Some(Value::String(password)) if !password.is_empty() => password.clone(),
            _ => return Err(refuse("password or pin must provided")),
        };
        if password.chars().count() > MAX_PASSWORD {
            return Err(refuse("PASSWORD_TOO_LONG"));
        }
        Ok(Self { username, password, nickname: nickname(&body)? })
    }
}

/// Each name once. The contract prints the passwords of a name that comes with several; a password is never shown, so
/// only their number is.
fn distinct(wanted: Vec<NewUser>) -> Result<Vec<NewUser>, Error> {
    let mut passwords: HashMap<&str, Vec<&str>> = HashMap::new();
    for user in &wanted {
        let known = passwords.entry(&user.username).or_default();
        if !known.contains(&user.password.as_str()) {
            known.push(&user.password);
        }
    }
    if let Some(user) = wanted.iter().find(|user| passwords[user.username.as_str()].len() > 1) {
        let hidden = vec!["***"; passwords[user.username.as_str()].len()].join(", ");
        let name = &user.username;
        return Err(Error::IllegalArgument(format!(
            "the same user {name} has a different password, the passwords are [{hidden}]"
        )));
    }
    let mut distinct: Vec<NewUser> = Vec::with_capacity(wanted.len());
    for user in wanted {
        if distinct.iter().all(|known| known.username != user.username) {
            distinct.push(user);
        }
    }
    Ok(distinct)
}

/// U3.
async fn get(call: Call) -> Result<UserReply<Entity>, Error> {
    let user = users::find(&call.state.db, call.app.id, &call.user()).await?.ok_or(Error::AccountNotFound)?;
    Ok(call.user_reply(entities(vec![user])).read())
}

/// U5: the user goes, with the rooms that the user owns and every standing in others.
async fn delete(call: Call) -> Result<HttpResponse, Error> {
    let names = call.user();
    delete_all(call, &names, |call, deleted| {
        if deleted.is_empty() { Err(Error::AccountNotFound) } else { Ok(call.user_reply(entities(deleted))) }
    })
    .await
}

/// Rooms begin to forget the users before the answer; the background task does the rest.
async fn delete_all(
    call: Call,
    names: &Names,
    reply: impl FnOnce(Call, Vec<User>) -> Result<UserReply<Entity>, Error>,
) -> Result<HttpResponse, Error> {
    let (state, app, actor) = (call.state.clone(), call.app.id, call.actor()?);
    let mut gone = Vec::new();
    let deleted = user_deletion::delete(&state.db, app, &actor, names).await?;
    let answer = call.commit(deleted, |call, deleted| {
        gone.clone_from(&deleted);
        reply(call, deleted)
    });
    let answer = answer.await?;
    user_deletion::begin_forgetting(&state.writer, app, &actor, &gone).await;
    Ok(answer)
}

/// Users on a page where no limit is named, and at most.
const DEFAULT_LIMIT: i64 = 10;
const MAX_LIMIT: i64 = 100;

/// U4: the users, the earliest first. With `q`, those whose name or nickname begins so.
async fn list(call: Call) -> Result<UserReply<Entity>, Error> {
    let (users, cursor) = match paging::searched(&call.params()) {
        Some(text) => search(&call, text).await?,
        None => page(&call).await?,
    };
    Ok(call.user_reply(entities(users)).read().cursor(cursor))
}

/// U6: deletes the users that U4 would list, and answers with them.
async fn delete_several(call: Call) -> Result<HttpResponse, Error> {
    // A search finds other users than those who would go.
    call.params().without("q")?;
    let (users, cursor) = page(&call).await?;
    let names = Names::new(users.into_iter().map(|user| user.username));
    delete_all(call, &names, |call, deleted| Ok(call.user_reply(entities(deleted)).cursor(cursor))).await
}

async fn page(call: &Call) -> Result<(Vec<User>, Option<String>), Error> {
    let params = call.params();
    let limit = paging::limit(&params, DEFAULT_LIMIT, MAX_LIMIT);
    let scope = format!("users/by seq/{}", call.app.id);
    let after = call.state.cursors.read(&scope, &params)?.unwrap_or(0);
    let mut users = user_list::list(&call.state.db, call.app.id, after, limit + 1).await?;
    let cursor = paging::cut(&mut users, limit).map(|last| call.state.cursors.write(&scope, &last.seq));
    Ok((users.into_iter().map(|listed| listed.user).collect(), cursor))
}

/// The users whose name begins so, by name, and then those whose nickname does, by nickname. A page may be short, or empty,
/// and have a cursor all the same.
async fn search(call: &Call, text: &str) -> Result<(Vec<User>, Option<String>), Error> {
    let (params, app) = (call.params(), call.app.id);
    let scope = format!("users/{app}/{}", text.to_ascii_lowercase());
    let after = call.state.cursors.read(&scope, &params)?;
    let Some(prefix) = Prefix::new(text) else { return Ok((Vec::new(), None)) };
    let limit = paging::limit(&params, DEFAULT_LIMIT, MAX_LIMIT);
    let page = user_search::search(&call.state.db.for_lists(), app, &prefix, after, limit).await?;
    Ok((page.entries, page.next.map(|next| call.state.cursors.write(&scope, &next))))
}

/// The answer of calls that only say what was done.
#[derive(Serialize, JsonSchema)]
struct Done {
    action: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entities: Vec<Entity>,
    timestamp: u128,
    duration: u128,
}

fn done(call: &Call, action: &'static str, entities: Vec<Entity>) -> HttpResponse {
    HttpResponse::Ok().json(Done { action, entities, timestamp: now_ms(), duration: call.duration_ms() })
}

/// U7.
async fn set_password(call: Call) -> Result<HttpResponse, Error> {
    let refuse = |text: &str| Error::IllegalArgument(text.into());
    let body = call.body()?;
    let password = match body.get("newpassword") {
        Some(Value::String(password)) if !password.is_empty() => password.clone(),
        _ => return Err(refuse("newpassword is required")),
    };
    if password.chars().count() > MAX_PASSWORD {
        return Err(refuse("PASSWORD_TOO_LONG"));
    }
    // Hashing is expensive: not for a user who does not exist.
    users::find(&call.state.db, call.app.id, &call.user()).await?.ok_or(Error::EntityNotFound)?;
    let hash = call.state.passwords.hash(password).await?;
    if !users::set_password(&call.state.db, call.app.id, &call.user(), &hash).await? {
        return Err(Error::EntityNotFound);
    }
    Ok(done(&call, "set user password", Vec::new()))
}

/// U8: the user may sign in again.
async fn activate(call: Call) -> Result<HttpResponse, Error> {
    users::set_activated(&call.state.db, call.app.id, &call.user(), true).await?.ok_or(Error::AccountNotFound)?;
    Ok(done(&call, "activate user", Vec::new()))
}

/// U8: the user gets no token any more, and those that were given are revoked.
async fn deactivate(call: Call) -> Result<HttpResponse, Error> {
    let user = users::set_activated(&call.state.db, call.app.id, &call.user(), false).await?.ok_or(Error::AccountNotFound)?;
    Ok(done(&call, "Deactivate user", entities(vec![user])))
}

#[derive(Serialize, JsonSchema)]
struct Disconnected {
    result: bool,
}

/// U9: revokes the user's tokens. Devices are not known here, so one of them is as good as all.
async fn disconnect(call: Call) -> Result<Reply<Disconnected>, Error> {
    // The only GET that changes something.
    call.actor()?;
    if !users::revoke_tokens(&call.state.db, call.app.id, &call.user()).await? {
        return Err(Error::AccountNotFound);
    }
    Ok(call.reply(Disconnected { result: true }))
}

/// The devices of a user: none is connected to a service that carries no messages.
async fn resources(call: Call) -> Result<Reply<[(); 0]>, Error> {
    users::find(&call.state.db, call.app.id, &call.user()).await?.ok_or(Error::AccountNotFound)?;
    Ok(call.reply([]))
}

/// No user is connected to a service that carries no messages.
const OFFLINE: &str = "offline";

/// U10.
async fn status(call: Call) -> Result<Reply<BTreeMap<String, &'static str>>, Error> {
    let user = users::find(&call.state.db, call.app.id, &call.user()).await?.ok_or(Error::AccountNotFound)?;
    Ok(call.reply(BTreeMap::from([(user.username, OFFLINE)])))
}

/// The most users in one question for their status.
const MAX_STATUS: usize = 100;

/// U11: `POST /users/batch/status`. Unknown users are offline, too.
async fn status_of_several(call: Call) -> Result<Reply<Vec<BTreeMap<String, &'static str>>>, Error> {
    if call.user_segment() != "batch" {
        return Err(Error::NoSuchCall { status: 405 });
    }
    let names = call.body()?.texts("usernames")?;
    if names.is_empty() {
        return Err(Error::missing("usernames"));
    }
    if names.len() > MAX_STATUS {
        return Err(Error::TooManyNames { limit: "usernames size is more than max limit", max: MAX_STATUS });
    }
    let statuses = Names::new(names).given().iter().map(|name| BTreeMap::from([(name.clone(), OFFLINE)])).collect();
    Ok(call.reply(statuses))
}

/// U12: the display name in pushes.
async fn set_nickname(call: Call) -> Result<UserReply<Entity>, Error> {
    let body = call.body()?;
    let nickname = nickname(&body)?.ok_or_else(|| Error::IllegalArgument("nickname must be provided".into()))?;
    let user = users::set_nickname(&call.state.db, call.app.id, &call.user(), &nickname).await?;
    let user = user.ok_or(Error::AccountNotFound)?;
    Ok(call.user_reply(entities(vec![user])))
}

fn nickname(body: &Body) -> Result<Option<String>, Error> {
    let refuse = |text: &str| Error::IllegalArgument(text.into());
    let nickname = body.text("nickname").map_err(|error| refuse(&error.to_string()))?.map(str::to_owned);
    if nickname.as_ref().is_some_and(|nickname| nickname.chars().count() > MAX_NICKNAME) {
        return Err(refuse("NICKNAME_TOO_LONG"));
    }
    Ok(nickname)
}

#[derive(Serialize, JsonSchema)]
struct JoinedRoom {
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled: Option<&'static str>,
}

/// How many rooms are answered where no page is named.
const LATEST_ROOMS: i64 = 500;

/// The rooms that a user is in, the latest joined first.
async fn joined(call: Call) -> Result<Reply<Vec<JoinedRoom>>, Error> {
    let params = call.params();
    let page = match (params.first("pagenum"), params.first("pagesize")) {
        (None, None) => Page { skip: 0, size: LATEST_ROOMS },
        _ => Page::of(&params),
    };
    let rooms = users::joined(&call.state.db.for_lists(), call.app.id, &call.user(), page.skip, page.size).await?;
    let count = rooms.len();
    // A text in today's documents; no room is ever disabled here.
    let disabled = call.rules.compat.shows_disabled().then_some("false");
    let rooms = rooms.into_iter().map(|room| JoinedRoom { id: room.id, name: room.name, disabled }).collect();
    Ok(call.reply(rooms).count(count))
}

fn entities(users: Vec<User>) -> Vec<Entity> {
    users.into_iter().map(Entity::from).collect()
}
