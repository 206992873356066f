//! The block list of a chatroom: `/chatrooms/{chatroom_id}/blocks/users`, calls 9 to 13.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Responder as _};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::body::Body;
use super::call::Call;
use super::change::OneOrAll;
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::paging;
use super::restrictions::Restriction;
use crate::config::ListCall;
use crate::error::Error;
use crate::names::{CursorPage, Names, PERMANENT_MS, unix_ms};
use crate::rooms::blocks::{self, Blocked};
use crate::rooms::read;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            idempotent_resource("/chatrooms/{chatroom_id}/blocks/users")
                .route(web::get().to(list))
                .route(web::post().to(block_several)),
        )
        .service(
            idempotent_resource("/chatrooms/{chatroom_id}/blocks/users/{usernames}")
                .route(web::post().to(block_one))
                .route(web::delete().to(unblock)),
        );
}

pub fn operations() -> Vec<Operation> {
    let duration = || form::integer("Milliseconds until the block ends by itself; -1 is for ever, as is nothing.");
    let allow = || form::flag("Whether users who are not in the room are kept out, too.");
    let refused = [fails::NOT_MEMBERS, fails::NOT_MEMBERS_TODAY, fails::OWNER_IS_PROTECTED, fails::EXCEED_LIMIT];
    vec![
        operation::get("/chatrooms/{chatroom_id}/blocks/users", "listBlocks", "List the blocked users")
            .says("In the order in which they were blocked: all of them; with a `limit` or a `cursor`, page by page.")
            .by_cursor()
            .with(&["detail"])
            .answers::<BlockList>()
            .counted(),
        operation::post("/chatrooms/{chatroom_id}/blocks/users/{usernames}", "blockMember", "Block a member")
            .says("Who is blocked is removed and kept out.")
            .may_take("block_duration", duration())
            .may_take("allow_non_member", allow())
            .answers::<BlockResult>()
            .fails(&refused),
        operation::post("/chatrooms/{chatroom_id}/blocks/users", "blockMembers", "Block members")
            .says("One result for each; it fails if none was blocked.")
            .takes("usernames", form::texts("Members of the room, at most 60."))
            .may_take("block_duration", duration())
            .may_take("allow_non_member", allow())
            .answers::<Vec<BlockResult>>()
            .fails(&refused)
            .fails(&[fails::TOO_MANY_NAMES]),
        operation::delete("/chatrooms/{chatroom_id}/blocks/users/{usernames}", "unblockUsers", "Lift blocks")
            .says(
                "One, answered with an object; or up to 60 with commas between them, answered with an array. It fails if none \
                was blocked. Who was blocked is not in the room again.",
            )
            .answers::<OneOrAll<BlockResult>>()
            .fails(&[fails::TOO_MANY_NAMES, fails::NOT_MEMBERS, fails::NOT_MEMBERS_TODAY]),
    ]
}

/// E9: the blocked users, in the order in which they were blocked; all of them, or by cursor, then with the details of their
/// blocks if asked to.
async fn list(call: Call) -> Result<HttpResponse, Error> {
    let (http, db, params) = (call.http().clone(), call.state.db.for_lists(), call.params());
    if paging::wants_detail(&params) {
        let asked = call.cursor_request("blocks")?;
        let CursorPage { entries, next } = read::restrictions::blocks_after(&db, &call.room()?, asked.after, asked.limit).await?;
        let blocks: Vec<Restriction> = entries.into_iter().map(Restriction::from).collect();
        let count = blocks.len();
        return Ok(call.reply(blocks).count(count).next(&asked, next).respond_to(&http));
    }
    if paging::is_by_cursor(&params) {
        let asked = call.cursor_request("blocks")?;
        let CursorPage { entries, next } = read::blocks::list_after(&db, &call.room()?, asked.after, asked.limit).await?;
        let count = entries.len();
        return Ok(call.reply(entries).count(count).next(&asked, next).respond_to(&http));
    }
    let blocks = read::blocks::list(&db, &call.room()?).await?;
    let count = blocks.len();
    Ok(call.reply(blocks).count(count).respond_to(&http))
}

/// What the list is, in its two forms.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "tells the form of the answer")]
enum BlockList {
    Plain(Vec<String>),
    Detailed(Vec<Restriction>),
}

/// The room's id is called `chatroomid` here.
#[derive(Serialize, JsonSchema)]
struct BlockResult {
    result: bool,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    user: String,
    chatroomid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire: Option<i64>,
}

/// E10: blocks one member. A body is not asked for, and what cannot be read in it counts as none.
async fn block_one(call: Call) -> Result<HttpResponse, Error> {
    let (options, names) = (options(&call.body().unwrap_or_default())?, call.single_user()?);
    block(call, names, options, false).await
}

/// E11: blocks up to 60 members.
async fn block_several(call: Call) -> Result<HttpResponse, Error> {
    let options = options(&call.body()?)?;
    let names = call.users_in_body(ListCall::Block, "userNames is more than max limit").await?;
    block(call, names, options, true).await
}

/// What a body may ask for beyond the hosted service: `block_duration` in milliseconds (-1 or nothing is for ever),
/// and `allow_non_member`, so that users who are not in the room are kept out of it.
#[derive(Clone, Copy)]
struct BlockOptions {
    duration_ms: i64,
    include_non_members: bool,
    /// Whether anything of it was sent.
    beyond: bool,
}

fn options(body: &Body) -> Result<BlockOptions, Error> {
    let duration_ms = match body.integer("block_duration") {
        Ok(None | Some(-1)) => PERMANENT_MS,
        Ok(Some(duration @ 1..)) => duration,
        Ok(Some(_)) => return Err(Error::invalid("block_duration")),
        Err(_) => return Err(Error::missing("block_duration")),
    };
    let include_non_members = match body.get("allow_non_member") {
        None => false,
        Some(Value::Bool(allow)) => *allow,
        Some(_) => return Err(Error::invalid("allow_non_member")),
    };
    let beyond = ["block_duration", "allow_non_member"].iter().any(|field| body.get(field).is_some());
    Ok(BlockOptions { duration_ms, include_non_members, beyond })
}

/// One result for each name; but if no user was blocked, the call fails.
async fn block(call: Call, names: Names, options: BlockOptions, are_several: bool) -> Result<HttpResponse, Error> {
    let BlockOptions { duration_ms, include_non_members, beyond } = options;
    let (room, given, not_members) = (call.room_segment().to_owned(), names.given().to_vec(), call.not_members(ListCall::Block));
    let limit = call.state.settings.limits.blocks_per_room;
    let data = move |(blocked, ends_at): (Vec<Blocked>, OffsetDateTime)| {
        if !blocked.contains(&Blocked::Out) {
            return Err(if blocked.contains(&Blocked::Owner) { Error::OwnerIsProtected } else { not_members(given.clone()) });
        }
        let result = |(user, blocked): (&String, Blocked)| BlockResult {
            result: blocked == Blocked::Out,
            action: "add_blocks",
            reason: match blocked {
                Blocked::Out => None,
                Blocked::NotMember => Some(format!("user: {user} doesn't exist in chatroom: {room}")),
                Blocked::Owner => Some(Error::OwnerIsProtected.to_string()),
            },
            user: user.clone(),
            chatroomid: room.clone(),
            expire: (beyond && blocked == Blocked::Out).then(|| unix_ms(ends_at)),
        };
        Ok(OneOrAll::of(given.iter().zip(blocked).map(result).collect(), are_several))
    };
    call.change(blocks::Block { names, duration_ms, include_non_members, move_end: beyond, limit }, data).await
}

/// E12 and E13 share their path: a comma in it asks for several users, and is answered with an array.
///
/// One result for each name; but if no user was on the list, the call fails.
async fn unblock(call: Call) -> Result<HttpResponse, Error> {
    let are_several = call.names_several_users();
    let names = if are_several {
        call.users(ListCall::Unblock, "removeBlacklist: list size more than max limit").await?
    } else {
        call.user()
    };
    let (room, given, not_members) =
        (call.room_segment().to_owned(), names.given().to_vec(), call.not_members(ListCall::Unblock));
    let data = move |unblocked: Vec<bool>| {
        if !unblocked.contains(&true) {
            return Err(not_members(given.clone()));
        }
        let result = |(user, result): (&String, bool)| BlockResult {
            result,
            action: "remove_blocks",
            reason: None,
            user: user.clone(),
            chatroomid: room.clone(),
            expire: None,
        };
        Ok(OneOrAll::of(given.iter().zip(unblocked).map(result).collect(), are_several))
    };
    call.change(blocks::Unblock { names }, data).await
}
