//! Moderators of an app: `/moderators`, for the app's own token.

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::call::Call;
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::reply::Reply;
use crate::accounts::moderators::{self, MAX_ROOMS, ModeratorRole};
use crate::error::Error;
use crate::names::{RoomKey, unix_ms};
use crate::rooms::read;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(idempotent_resource("/moderators").route(web::get().to(list)).route(web::post().to(add)))
        .service(idempotent_resource("/moderators/{usernames}").route(web::delete().to(remove)));
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/moderators", "listModerators", "List the moderators, the longest standing first")
            .answers::<Vec<Moderator>>()
            .counted()
            .fails(&[fails::INVALID_PARAMETER]),
        operation::post("/moderators", "addModerator", "Make a user a moderator, or change that")
            .takes("username", form::text("A registered user."))
            .takes("role", form::one_of("Reads, or acts too.", &["viewer", "moderator"]))
            .may_take("rooms", form::texts("Ids of rooms; absent for all."))
            .answers::<Moderator>()
            .fails(&[fails::USER_NOT_FOUND, fails::ROOM_NOT_FOUND, fails::EXCEED_LIMIT]),
        operation::delete("/moderators/{usernames}", "removeModerator", "Make a moderator a plain user again")
            .answers::<Removed>()
            .fails(&[fails::USER_NOT_FOUND]),
    ]
}

/// `rooms` is absent for one who moderates them all; `created` is in Unix milliseconds.
#[derive(Serialize, JsonSchema)]
struct Moderator {
    username: String,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<Vec<String>>,
    added_by: String,
    created: i64,
}

impl From<moderators::Moderator> for Moderator {
    fn from(moderator: moderators::Moderator) -> Self {
        let created = unix_ms(moderator.created_at);
        let moderators::Moderator { username, role, rooms, added_by, .. } = moderator;
        Self { username, role: role.text(), rooms, added_by, created }
    }
}

/// All of them, the longest standing first.
async fn list(call: Call) -> Result<Reply<Vec<Moderator>>, Error> {
    call.params().only(&[])?;
    let moderators = moderators::list(&call.state.db, call.app.id).await?;
    let count = moderators.len();
    Ok(call.reply(moderators.into_iter().map(Moderator::from).collect()).count(count))
}

/// Makes a user a moderator, of the rooms that are named or of all; or changes that.
async fn add(call: Call) -> Result<HttpResponse, Error> {
    call.params().only(&[])?;
    let (body, name) = (call.body()?, call.user_in_body("username")?);
    let role = match body.get("role") {
        None | Some(Value::Null) => return Err(Error::missing("role")),
        Some(role) => role.as_str().and_then(ModeratorRole::parse),
    };
    let role = role.ok_or_else(|| Error::not_among("role", &["viewer", "moderator"]))?;
    let rooms = match body.get("rooms") {
        None | Some(Value::Null) => None,
        Some(_) => Some(rooms(&call, body.texts("rooms")?).await?),
    };
    let (db, app) = (&call.state.db, call.app.id);
    let added = moderators::add(db, app, &call.actor()?, &name, role, rooms.as_deref()).await?;
    call.commit(added, |call, moderator| Ok(call.reply(Moderator::from(moderator)))).await
}

/// The rooms that are named, each once, all of which must exist.
async fn rooms(call: &Call, given: Vec<String>) -> Result<Vec<String>, Error> {
    if given.is_empty() || given.len() > MAX_ROOMS {
        return Err(Error::InvalidParameter(format!("rooms is invalid: 1 to {MAX_ROOMS} ids, or absent for all rooms")));
    }
    let mut rooms: Vec<RoomKey> = Vec::with_capacity(given.len());
    for room in given {
        let key = RoomKey::parse(call.app.id, &room).ok_or(Error::RoomNotFound { room })?;
        if !rooms.contains(&key) {
            rooms.push(key);
        }
    }
    read::details::require_all(&call.state.db, call.app.id, &rooms).await?;
    Ok(rooms.iter().map(|key| key.id().to_owned()).collect())
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModeratorRemoved")]
struct Removed {
    username: String,
    result: bool,
}

/// Makes a moderator a plain user again; `result` says whether the user was one.
async fn remove(call: Call) -> Result<HttpResponse, Error> {
    call.params().only(&[])?;
    let name = call.single_user()?;
    let removed = moderators::remove(&call.state.db, call.app.id, &call.actor()?, &name).await?;
    call.commit(removed, |call, result| Ok(call.reply(Removed { username: name.given().concat(), result }))).await
}
