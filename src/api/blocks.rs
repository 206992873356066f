//! The block list of a chatroom: `/chatrooms/{chatroom_id}/blocks/users`, calls 9 to 13.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Responder as _};
use serde::Serialize;

use super::at;
use super::call::Call;
use super::paging;
use super::reply::Reply;
use crate::chatroom::blocks::{self, Blocked};
use crate::chatroom::{Names, RoomKey, Slice};
use crate::error::Error;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(at("/chatrooms/{chatroom_id}/blocks/users").route(web::get().to(list)).route(web::post().to(block_several)))
        .service(
            at("/chatrooms/{chatroom_id}/blocks/users/{usernames}")
                .route(web::post().to(block_one))
                .route(web::delete().to(unblock)),
        );
}

/// E9: the blocked users, in the order in which they were blocked; all of them, or by cursor.
async fn list(call: Call) -> Result<Reply<Vec<String>>, Error> {
    if paging::is_by_cursor(&call.params()) {
        let asked = call.slice("blocks")?;
        let Slice { entries, next } = blocks::slice(&call.state.db, &call.room(), asked.after, asked.limit).await?;
        let count = entries.len();
        return Ok(call.reply(entries).count(count).next(&asked, next));
    }
    let blocks = blocks::list(&call.state.db, &call.room()).await?;
    let count = blocks.len();
    Ok(call.reply(blocks).count(count))
}

/// The room's id is called `chatroomid` here.
#[derive(Serialize)]
struct BlockResult {
    result: bool,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    user: String,
    chatroomid: String,
}

/// E10: blocks one member.
async fn block_one(call: Call) -> Result<Reply<Option<BlockResult>>, Error> {
    let result = block_each(&call, &call.room(), &call.single_user()?).await?.into_iter().next();
    Ok(call.reply(result))
}

/// E11: blocks up to 60 members.
async fn block_several(call: Call) -> Result<Reply<Vec<BlockResult>>, Error> {
    let names = call.users_in_body("userNames is more than max limit").await?;
    let results = block_each(&call, &call.room(), &names).await?;
    Ok(call.reply(results))
}

/// One result for each name; but if nobody was blocked, the call fails.
async fn block_each(call: &Call, room: &RoomKey, names: &Names) -> Result<Vec<BlockResult>, Error> {
    let blocked = blocks::block(&call.state.db, room, names, call.state.settings.limits.blocks_per_room).await?;
    if !blocked.contains(&Blocked::Out) {
        if blocked.contains(&Blocked::Owner) {
            return Err(Error::OwnerIsProtected);
        }
        return Err(call.not_members(names.given().to_vec()));
    }
    let result = |(user, blocked): (&String, Blocked)| BlockResult {
        result: blocked == Blocked::Out,
        action: "add_blocks",
        reason: match blocked {
            Blocked::Out => None,
            Blocked::NotMember => Some(format!("user: {user} doesn't exist in chatroom: {}", room.given())),
            Blocked::Owner => Some(Error::OwnerIsProtected.to_string()),
        },
        user: user.clone(),
        chatroomid: room.given().into(),
    };
    Ok(names.given().iter().zip(blocked).map(result).collect())
}

/// E12 and E13 share their path: a comma in it asks for several users, and is answered with an array.
async fn unblock(call: Call) -> Result<HttpResponse, Error> {
    let http = call.http().clone();
    if call.names_several_users() {
        let names = call.users("removeBlacklist: list size more than max limit").await?;
        let results = unblock_each(&call, &call.room(), &names).await?;
        return Ok(call.reply(results).respond_to(&http));
    }
    let result = unblock_each(&call, &call.room(), &call.user()).await?.into_iter().next();
    Ok(call.reply(result).respond_to(&http))
}

/// One result for each name; but if nobody was on the list, the call fails.
async fn unblock_each(call: &Call, room: &RoomKey, names: &Names) -> Result<Vec<BlockResult>, Error> {
    let unblocked = blocks::unblock(&call.state.db, room, names).await?;
    if !unblocked.contains(&true) {
        return Err(call.not_members(names.given().to_vec()));
    }
    let result = |(user, result): (&String, bool)| BlockResult {
        result,
        action: "remove_blocks",
        reason: None,
        user: user.clone(),
        chatroomid: room.given().into(),
    };
    Ok(names.given().iter().zip(unblocked).map(result).collect())
}
