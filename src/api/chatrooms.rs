//! Chatrooms themselves: `/chatrooms`.

use actix_web::web::{self, ServiceConfig};
use serde::Serialize;

use super::call::Call;
use super::reply::Reply;
use super::{at, members::Affiliation};
use crate::chatroom::rooms::{self, AppKey, Detail, NewRoom, Quota};
use crate::chatroom::{Names, RoomKey, is_room_id, unix_ms};
use crate::error::Error;

/// The longest name, description and custom text of a room, in characters.
const MAX_NAME: usize = 128;
const MAX_DESCRIPTION: usize = 512;
const MAX_CUSTOM: usize = 8192;

/// The most rooms in one reading of details.
const MAX_DETAILS: usize = 100;

pub fn routes(config: &mut ServiceConfig) {
    config.service(at("/chatrooms").route(web::post().to(create))).service(
        at("/chatrooms/{chatroom_id}")
            .route(web::get().to(details))
            .route(web::put().to(transfer))
            .route(web::delete().to(delete)),
    );
}

#[derive(Serialize)]
struct Created {
    id: String,
}

async fn create(call: Call) -> Result<Reply<Created>, Error> {
    let app_key = format!("{}#{}", call.app.org, call.app.name);
    let room = new_room(&call)?;
    let quota = Quota { rooms_per_app: call.rules.rooms_per_app, rooms_per_user: call.rules.rooms_per_user };
    let id = rooms::create(&call.state.db, &AppKey { app: call.app.id, text: &app_key }, &room, quota).await?;
    Ok(call.reply(Created { id }))
}

fn new_room(call: &Call) -> Result<NewRoom, Error> {
    let body = call.body()?;
    let name = body.text("name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Error::InvalidParameter("chatroom must contain title/name field!".into()))?;
    let description = body.text("description")?.ok_or_else(|| Error::missing("description"))?;
    let owner = body.text("owner")?.filter(|owner| !owner.is_empty()).ok_or_else(|| Error::missing("owner"))?;
    let custom = body.text("custom")?.unwrap_or_default();
    let members = if body.get("members").is_some() { body.texts("members")? } else { Vec::new() };
    let id = body.text("roomid")?.map(str::to_owned);
    if id.as_deref().is_some_and(|id| !is_room_id(id)) {
        return Err(Error::InvalidParameter("roomid is invalid".into()));
    }
    at_most("title", name, MAX_NAME)?;
    at_most("desc", description, MAX_DESCRIPTION)?;
    at_most("custom", custom, MAX_CUSTOM)?;

    let ceiling = call.state.settings.limits.members_per_room;
    let default = call.state.settings.limits.default_maxusers.min(ceiling);
    let maxusers = match body.integer("maxusers")? {
        None => default,
        Some(..=0) => return Err(Error::InvalidParameter("maxusers is invalid".into())),
        Some(wanted) => match u32::try_from(wanted) {
            Ok(wanted) if wanted <= ceiling => wanted,
            _ => return Err(Error::ExceedLimit(format!("maxUsers cannot exceed {ceiling}"))),
        },
    };
    let members = members.iter().map(String::as_str).filter(|name| !name.is_empty());
    let people = Names::new(std::iter::once(owner).chain(members));
    if people.len() > maxusers as usize {
        return Err(Error::ExceedLimit("members size is greater than max user size !".into()));
    }
    Ok(NewRoom {
        id,
        name: name.into(),
        description: description.into(),
        custom: custom.into(),
        maxusers: i32::try_from(maxusers).unwrap_or(i32::MAX),
        people,
    })
}

fn at_most(what: &str, text: &str, characters: usize) -> Result<(), Error> {
    if text.chars().count() > characters {
        return Err(Error::ExceedLimit(format!("{what} cannot exceed to {characters}")));
    }
    Ok(())
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the contract has five")]
struct RoomDetail {
    id: String,
    name: String,
    description: String,
    membersonly: bool,
    allowinvites: bool,
    maxusers: i32,
    owner: String,
    created: i64,
    custom: String,
    mute: bool,
    affiliations_count: i32,
    affiliations: Vec<Affiliation>,
    public: bool,
    disabled: bool,
}

impl From<Detail> for RoomDetail {
    fn from(room: Detail) -> Self {
        Self {
            id: room.id,
            name: room.name,
            description: room.description,
            membersonly: false,
            allowinvites: false,
            maxusers: room.maxusers,
            created: unix_ms(room.created_at),
            custom: room.custom,
            mute: room.mute_all,
            affiliations_count: room.member_count,
            affiliations: Affiliation::list(Some(room.owner.clone()), room.members),
            owner: room.owner,
            public: true,
            disabled: false,
        }
    }
}

/// The details of one room, or of up to 100; those that do not exist are left out, unless none does.
async fn details(call: Call) -> Result<Reply<Vec<RoomDetail>>, Error> {
    let ids: Vec<RoomKey> =
        call.room_segment().split(',').filter(|id| !id.is_empty()).map(|id| RoomKey::new(call.app.id, id)).collect();
    if ids.len() > MAX_DETAILS {
        return Err(Error::TooManyNames { limit: "chatroom ids size is more than max limit", max: MAX_DETAILS });
    }
    let affiliations = call.state.settings.limits.affiliations_in_detail;
    let found = rooms::details(&call.state.db, call.app.id, &ids, affiliations).await?;
    if found.is_empty() {
        return Err(Error::RoomNotFoundOnRead { room: call.room_segment().into() });
    }
    let count = found.len();
    Ok(call.reply(found.into_iter().map(RoomDetail::from).collect()).count(count))
}

#[derive(Serialize)]
struct Transferred {
    newowner: bool,
}

/// Makes another member the owner.
async fn transfer(call: Call) -> Result<Reply<Transferred>, Error> {
    let new_owner = call.user_in_body("newowner")?;
    rooms::transfer(&call.state.db, &call.room(), &new_owner).await?;
    Ok(call.reply(Transferred { newowner: true }))
}

#[derive(Serialize)]
struct Deleted {
    success: bool,
    id: String,
}

async fn delete(call: Call) -> Result<Reply<Deleted>, Error> {
    let room = call.room();
    rooms::delete(&call.state.db, &room).await?;
    Ok(call.reply(Deleted { success: true, id: room.given().into() }))
}
