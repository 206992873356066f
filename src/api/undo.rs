//! `/undo`: makes good what one event of a room has changed.

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::call::Call;
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use crate::error::Error;
use crate::events::feeds;
use crate::events::log::Kind;
use crate::names::{Names, RoomKey};
use crate::rooms::undo::Undo;

pub fn routes(config: &mut ServiceConfig) {
    config.service(idempotent_resource("/undo").route(web::post().to(undo)));
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::post("/undo", "undo", "Undo an event of a room")
            .says("If what followed does not forbid it.")
            .takes("room", form::text("The room."))
            .takes("n", form::integer("The number of the event in the room."))
            .answers::<Answer>()
            .fails(&[fails::ROOM_NOT_FOUND, fails::EVENT_NOT_FOUND, fails::EVENTS_GONE, fails::CANNOT_BE_UNDONE])
            .fails(&[fails::EXCEED_LIMIT, fails::TOO_MANY_ROOMS, fails::ROOM_FULL, fails::USER_NOT_FOUND]),
    ]
}

/// `undone_by` is the number of the first event that says so.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Undone")]
struct Answer {
    room: String,
    n: i64,
    undone_by: i64,
}

/// Undoes the event `n` of `room`, if what followed does not forbid it.
async fn undo(call: Call) -> Result<HttpResponse, Error> {
    call.params().only(&[])?;
    let body = call.body()?;
    let room = body.text("room")?.ok_or_else(|| Error::missing("room"))?.to_owned();
    let n = body.integer("n")?.ok_or_else(|| Error::missing("n"))?;
    if n < 1 {
        return Err(Error::invalid("n"));
    }
    let key = RoomKey::parse(call.app.id, &room).ok_or_else(|| Error::RoomNotFound { room: room.clone() })?;
    let events = feeds::of_room(&call.state.db, &key, Some(n - 1), 1, None).await?.events;
    let event = events.into_iter().find(|event| event.n == n).ok_or(Error::EventNotFound { n, room: room.clone() })?;
    let kind = Kind::named(&event.kind).into_iter().find(|kind| kind.text() == event.kind);
    let kind = kind.ok_or_else(|| Error::Internal("an event of no kind".into()))?;
    let limits = &call.state.settings.limits;
    let operation = Undo {
        n,
        kind,
        before: fields(event.before.as_deref()),
        after: fields(event.after.as_deref()),
        limits: (limits.mutes_per_room, limits.blocks_per_room),
        rooms_per_user: call.rules.rooms_per_user,
        users: Names::new(event.users),
    };
    let action = operation.action();
    call.change_room(key, action, operation, move |undone_by| Ok(Answer { room: room.clone(), n, undone_by })).await
}

fn fields(json: Option<&RawValue>) -> Map<String, Value> {
    json.and_then(|json| serde_json::from_str(json.get()).ok()).unwrap_or_default()
}
