//! Admins of a chatroom: `/chatrooms/{chatroom_id}/admin`, calls 6 to 8.

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use serde::Serialize;

use super::call::Call;
use super::idempotent_resource;
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

/// E6: the admins, in the order in which they became so; all of them, or by cursor where a limit or a cursor is named.
async fn list(call: Call) -> Result<Reply<Vec<String>>, Error> {
    if paging::is_by_cursor(&call.params()) {
        let asked = call.cursor_request("admins")?;
        let CursorPage { entries, next } =
            read::admins::list_after(&call.state.db, &call.room()?, asked.after, asked.limit).await?;
        let count = entries.len();
        return Ok(call.reply(entries).count(count).next(&asked, next));
    }
    let admins = read::admins::list(&call.state.db, &call.room()?).await?;
    let count = admins.len();
    Ok(call.reply(admins).count(count))
}

/// The result is a text here, and only here.
#[derive(Serialize)]
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

#[derive(Serialize)]
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
