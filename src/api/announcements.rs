//! The announcement of a chatroom: `/chatrooms/{chatroom_id}/announcement`.

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;

use super::call::Call;
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::reply::Reply;
use crate::error::Error;
use crate::rooms::details::{MAX_ANNOUNCEMENT, SetAnnouncement};
use crate::rooms::read;

pub fn routes(config: &mut ServiceConfig) {
    config.service(
        idempotent_resource("/chatrooms/{chatroom_id}/announcement").route(web::get().to(get)).route(web::post().to(set)),
    );
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/chatrooms/{chatroom_id}/announcement", "getAnnouncement", "Show the announcement")
            .answers::<Announcement>(),
        operation::post("/chatrooms/{chatroom_id}/announcement", "setAnnouncement", "Set the announcement")
            .takes("announcement", form::text("At most 512 characters; none at all takes it away."))
            .answers::<Announced>()
            .fails(&[fails::ANNOUNCEMENT_TOO_LONG]),
    ]
}

#[derive(Serialize, JsonSchema)]
struct Announcement {
    announcement: String,
}

/// The text; empty, but never `null`, if there is none.
async fn get(call: Call) -> Result<Reply<Announcement>, Error> {
    let announcement = read::announcement::get(&call.state.db, &call.room()?).await?;
    Ok(call.reply(Announcement { announcement }))
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AnnouncementSet")]
struct Announced {
    id: String,
    result: bool,
}

async fn set(call: Call) -> Result<HttpResponse, Error> {
    let body = call.body()?;
    let text = body.text("announcement")?.ok_or_else(|| Error::missing("announcement"))?;
    if text.chars().count() > MAX_ANNOUNCEMENT {
        return Err(Error::AnnouncementTooLong);
    }
    let (room, text) = (call.room_segment().to_owned(), text.to_owned());
    call.change(SetAnnouncement { text }, move |()| Ok(Announced { id: room.clone(), result: true })).await
}
