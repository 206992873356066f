//! The whitelist of a chatroom: `/chatrooms/{chatroom_id}/white/users`, calls 14 to 17.

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;

use super::call::Call;
use super::change::OneOrAll;
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::paging;
use super::reply::Reply;
use crate::config::ListCall;
use crate::error::Error;
use crate::names::{CursorPage, Names};
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

pub fn operations() -> Vec<Operation> {
    let refused = [fails::NOT_MEMBERS, fails::NOT_MEMBERS_TODAY];
    vec![
        operation::get("/chatrooms/{chatroom_id}/white/users", "listWhitelist", "List the users on the whitelist")
            .says("In the order in which they were put there: all of them; with a `limit` or a `cursor`, page by page.")
            .by_cursor()
            .answers::<Vec<String>>()
            .counted(),
        operation::post("/chatrooms/{chatroom_id}/white/users/{usernames}", "whitelistMember", "Put a member on the whitelist")
            .answers::<WhitelistResult>()
            .fails(&refused),
        operation::post("/chatrooms/{chatroom_id}/white/users", "whitelistMembers", "Put members on the whitelist")
            .says("One result for each; it fails if none is a member.")
            .takes("usernames", form::texts("Members of the room, at most 60."))
            .answers::<Vec<WhitelistResult>>()
            .fails(&refused)
            .fails(&[fails::TOO_MANY_NAMES]),
        operation::delete(
            "/chatrooms/{chatroom_id}/white/users/{usernames}",
            "unwhitelistMembers",
            "Take members off the whitelist",
        )
        .says("Up to 60, with commas between them; it fails if none is a member.")
        .answers::<Vec<WhitelistResult>>()
        .fails(&refused)
        .fails(&[fails::TOO_MANY_NAMES]),
    ]
}

/// E14: the users on the list, in the order in which they were put there; all of them, or by cursor.
async fn list(call: Call) -> Result<Reply<Vec<String>>, Error> {
    if paging::is_by_cursor(&call.params()) {
        let asked = call.cursor_request("whitelist")?;
        let CursorPage { entries, next } =
            read::whitelist::list_after(&call.state.db.for_lists(), &call.room()?, asked.after, asked.limit).await?;
        let count = entries.len();
        return Ok(call.reply(entries).count(count).next(&asked, next));
    }
    let whitelist = read::whitelist::list(&call.state.db.for_lists(), &call.room()?).await?;
    let count = whitelist.len();
    Ok(call.reply(whitelist).count(count))
}

/// The room's id is called `chatroomid` here.
#[derive(Serialize, JsonSchema)]
struct WhitelistResult {
    result: bool,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    user: String,
    chatroomid: String,
}

/// E15: puts one member on the list.
async fn add_one(call: Call) -> Result<HttpResponse, Error> {
    let names = call.single_user()?;
    add(call, ListCall::WhitelistOne, names).await
}

/// E16: puts up to 60 members on the list.
async fn add_several(call: Call) -> Result<HttpResponse, Error> {
    let names = call.users_in_body(ListCall::WhitelistSeveral, "usernames size is more than max limit").await?;
    add(call, ListCall::WhitelistSeveral, names).await
}

async fn add(call: Call, list_call: ListCall, names: Names) -> Result<HttpResponse, Error> {
    let data = results(&call, list_call, &names, "add_user_whitelist", true);
    let are_several = list_call == ListCall::WhitelistSeveral;
    call.change(whitelist::Add { names }, move |added| Ok(OneOrAll::of(data(added)?, are_several))).await
}

/// E17: takes up to 60 members off the list; always an array, even for one name.
async fn remove(call: Call) -> Result<HttpResponse, Error> {
    let names = call.users(ListCall::Unwhitelist, "removeWhitelist size is more than max limit").await?;
    let data = results(&call, ListCall::Unwhitelist, &names, "remove_user_whitelist", false);
    call.change(whitelist::Remove { names }, data).await
}

/// One result for each name; but if none of them is a member, the call fails.
fn results(
    call: &Call,
    list_call: ListCall,
    names: &Names,
    action: &'static str,
    has_reasons: bool,
) -> impl Fn(Vec<bool>) -> Result<Vec<WhitelistResult>, Error> + Send + 'static + use<> {
    let (room, given, not_members) = (call.room_segment().to_owned(), names.given().to_vec(), call.not_members(list_call));
    move |are_members| {
        if !are_members.contains(&true) {
            return Err(not_members(given.clone()));
        }
        let result = |(user, result): (&String, bool)| WhitelistResult {
            result,
            action,
            reason: (has_reasons && !result).then(|| format!("user: {user} doesn't exist in chatroom: {room}")),
            user: user.clone(),
            chatroomid: room.clone(),
        };
        Ok(given.iter().zip(are_members).map(result).collect())
    }
}
