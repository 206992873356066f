//! The whitelist of a chatroom: `/chatrooms/{chatroom_id}/white/users`, calls 14 to 17.

use actix_web::web::{self, ServiceConfig};
use serde::Serialize;

use super::call::Call;
use super::idempotent_resource;
use super::paging;
use super::reply::Reply;
use crate::error::Error;
use crate::names::{CursorPage, Names, RoomKey};
use crate::rooms::read;
use crate::rooms::whitelist;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            idempotent_resource("/chatrooms/{chatroom_id}/white/users")
                .route(web::get().to(list))
                .route(web::post().to(add_several)),
        )
        .service(
            idempotent_resource("/chatrooms/{chatroom_id}/white/users/{usernames}")
                .route(web::post().to(add_one))
                .route(web::delete().to(remove)),
        );
}

/// E14: the users on the list, in the order in which they were put there; all of them, or by cursor.
async fn list(call: Call) -> Result<Reply<Vec<String>>, Error> {
    if paging::is_by_cursor(&call.params()) {
        let asked = call.slice("whitelist")?;
        let CursorPage { entries, next } = read::whitelist::slice(&call.state.db, &call.room(), asked.after, asked.limit).await?;
        let count = entries.len();
        return Ok(call.reply(entries).count(count).next(&asked, next));
    }
    let whitelist = read::whitelist::list(&call.state.db, &call.room()).await?;
    let count = whitelist.len();
    Ok(call.reply(whitelist).count(count))
}

/// The room's id is called `chatroomid` here.
#[derive(Serialize)]
struct WhitelistResult {
    result: bool,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    user: String,
    chatroomid: String,
}

/// E15: puts one member on the list.
async fn add_one(call: Call) -> Result<Reply<Option<WhitelistResult>>, Error> {
    let result = add_each(&call, &call.room(), &call.single_user()?).await?.into_iter().next();
    Ok(call.reply(result))
}

/// E16: puts up to 60 members on the list.
async fn add_several(call: Call) -> Result<Reply<Vec<WhitelistResult>>, Error> {
    let names = call.users_in_body("usernames size is more than max limit").await?;
    let results = add_each(&call, &call.room(), &names).await?;
    Ok(call.reply(results))
}

/// One result for each name; but if none of them is a member, the call fails.
async fn add_each(call: &Call, room: &RoomKey, names: &Names) -> Result<Vec<WhitelistResult>, Error> {
    let added = whitelist::add(&call.state.db, room, &call.actor()?, names).await?;
    if !added.contains(&true) {
        return Err(call.not_members(names.given().to_vec()));
    }
    let result = |(user, result): (&String, bool)| WhitelistResult {
        result,
        action: "add_user_whitelist",
        reason: (!result).then(|| format!("user: {user} doesn't exist in chatroom: {}", room.given())),
        user: user.clone(),
        chatroomid: room.given().into(),
    };
    Ok(names.given().iter().zip(added).map(result).collect())
}

/// E17: takes up to 60 members off the list; always an array, even for one name.
async fn remove(call: Call) -> Result<Reply<Vec<WhitelistResult>>, Error> {
    let names = call.users("removeWhitelist size is more than max limit").await?;
    let room = call.room();
    let removed = whitelist::remove(&call.state.db, &room, &call.actor()?, &names).await?;
    if !removed.contains(&true) {
        return Err(call.not_members(names.given().to_vec()));
    }
    let result = |(user, result): (&String, bool)| WhitelistResult {
        result,
        action: "remove_user_whitelist",
        reason: None,
        user: user.clone(),
        chatroomid: room.given().into(),
    };
    let results = names.given().iter().zip(removed).map(result).collect();
    Ok(call.reply(results))
}
