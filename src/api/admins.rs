//! Admins of a chatroom: `/chatrooms/{chatroom_id}/admin`, calls 6 to 8.

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;

use super::call::Call;
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::paging;
use super::reply::Reply;
use crate::error::Error;
use crate::names::CursorPage;
use crate::rooms::admins;
use crate::rooms::read;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(idempotent_resource("/chatrooms/{chatroom_id}/admin").route(web::get().to(list)).route(web::post().to(promote)))
        .service(idempotent_resource("/chatrooms/{chatroom_id}/admin/{usernames}").route(web::delete().to(demote)));
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/chatrooms/{chatroom_id}/admin", "listAdmins", "List the admins")
            .says("In the order in which they became so: all of them; with a `limit` or a `cursor`, page by page.")
            .by_cursor()
            .answers::<Vec<String>>()
            .counted(),
        operation::post("/chatrooms/{chatroom_id}/admin", "addAdmin", "Make a member an admin")
            .takes("newadmin", form::text("A member."))
            .answers::<Promoted>()
            .fails(&[fails::USER_NOT_FOUND, fails::NOT_IN_ROOM, fails::OWNER_IS_PROTECTED, fails::EXCEED_LIMIT]),
        operation::delete("/chatrooms/{chatroom_id}/admin/{usernames}", "removeAdmin", "Make an admin a plain member again")
            .answers::<Demoted>()
            .fails(&[fails::USER_NOT_FOUND, fails::NOT_ADMIN]),
    ]
}

/// E6: the admins, in the order in which they became so; all of them, or by cursor where a limit or a cursor is named.
async fn list(call: Call) -> Result<Reply<Vec<String>>, Error> {
    if paging::is_by_cursor(&call.params()) {
        let asked = call.cursor_request("admins")?;
        let CursorPage { entries, next } =
            read::admins::list_after(&call.state.db.for_lists(), &call.room()?, asked.after, asked.limit).await?;
        let count = entries.len();
        return Ok(call.reply(entries).count(count).next(&asked, next));
    }
    let admins = read::admins::list(&call.state.db.for_lists(), &call.room()?).await?;
    let count = admins.len();
    Ok(call.reply(admins).count(count))
}

/// The result is a text here, and only here.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AdminPromoted")]
struct Promoted {
    result: &'static str,
    newadmin: String,
}

/// E7: makes a member an admin.
async fn promote(call: Call) -> Result<HttpResponse, Error> {
    let name = call.user_in_body("newadmin")?;
    let newadmin = name.given()[0].clone();
    call.change(admins::Promote { name }, move |()| Ok(Promoted { result: "success", newadmin: newadmin.clone() })).await
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AdminDemoted")]
struct Demoted {
    result: &'static str,
    oldadmin: String,
}

/// E8: makes an admin a plain member again.
async fn demote(call: Call) -> Result<HttpResponse, Error> {
    let name = call.user();
    let oldadmin = name.given()[0].clone();
    call.change(admins::Demote { name }, move |()| Ok(Demoted { result: "success", oldadmin: oldadmin.clone() })).await
}
