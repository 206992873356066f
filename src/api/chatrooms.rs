//! Chatrooms themselves: `/chatrooms`.

use std::fmt;
use std::str::FromStr;

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;

use super::body::Body;
use super::call::Call;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::paging::{self, Page};
use super::reply::Reply;
use super::{
    idempotent_resource,
    members::{Affiliation, Affiliations},
};
use crate::error::Error;
use crate::names::{Names, RoomKey, unix_ms};
use crate::rooms::details::{Delete, MAX_CUSTOM, MAX_DESCRIPTION, MAX_NAME, Update};
use crate::rooms::read;
use crate::rooms::read::details::{Detail, Summary};
use crate::rooms::room_deletion;
use crate::rooms::store::create::{self, AppKey, NewRoom, Quota};
use crate::search::Prefix;

/// The most rooms in one reading of details.
const MAX_DETAILS: usize = 100;

pub fn routes(config: &mut ServiceConfig) {
    config.service(idempotent_resource("/chatrooms").route(web::get().to(list)).route(web::post().to(create))).service(
        idempotent_resource("/chatrooms/{chatroom_id}")
            .route(web::get().to(details))
            .route(web::put().to(update))
            .route(web::delete().to(delete)),
    );
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/chatrooms", "listChatrooms", "List the rooms, the newest first")
            .says("By cursor, or by number where one is named. With `q`, those whose id or name begins so.")
            .by_cursor()
            .by_number()
            .with(&["q"])
            .answers::<Vec<RoomSummary>>()
            .counted(),
        operation::post("/chatrooms", "createChatroom", "Create a room")
            .takes("name", form::text("1 to 128 characters."))
            .takes("description", form::text("At most 512 characters."))
            .takes("owner", form::text("A registered user."))
            .may_take("maxusers", form::integer("The most members that the room can have, the owner included; 0 is the default."))
            .may_take("members", form::texts("Registered users who are in from the start."))
            .may_take("custom", form::text("At most 8192 characters of the client's own."))
            .may_take("roomid", form::text("An id of the client's choice."))
            .answers::<Created>()
            .fails(&[fails::EXCEED_LIMIT, fails::USER_NOT_FOUND, fails::ROOM_ID_TAKEN, fails::ROOM_ID_BUSY]),
        operation::get("/chatrooms/{chatroom_id}", "getChatrooms", "Show a room")
            .says("Or up to 100, with commas between their ids. Those that do not exist are left out, unless none does.")
            .query("affiliations", form::integer("How many of their people are told of at most, of all rooms together."))
            .query("detail", form::flag("Whether it also tells until when a whole room is muted, and why."))
            .answers::<Vec<RoomDetail>>()
            .counted()
            .fails(&[fails::ROOM_NOT_FOUND_ON_READ, fails::INVALID_PARAMETER, fails::TOO_MANY_NAMES]),
        operation::put("/chatrooms/{chatroom_id}", "updateChatroom", "Change a room")
            .says("What is sent, and nothing else. With `newowner`, another member becomes the owner.")
            .may_take("name", form::text("1 to 128 characters."))
            .may_take("description", form::text("At most 512 characters."))
            .may_take("maxusers", form::integer("No fewer than are in the room."))
            .may_take("custom", form::text("At most 8192 characters of the client's own."))
            .may_take("newowner", form::text("A member."))
            .may_take("need_verify", form::flag("Says nothing here."))
            .answers::<Updated>()
            .fails(&[fails::JSON_PARSE, fails::EXCEED_LIMIT, fails::SEATS_TAKEN, fails::USER_NOT_FOUND])
            .fails(&[fails::OWNER_ALREADY, fails::NEW_OWNER_NOT_IN_ROOM]),
        operation::delete("/chatrooms/{chatroom_id}", "deleteChatroom", "Delete a room")
            .says("It is gone at once, with all its lists.")
            .answers::<Deleted>(),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RoomCreated")]
struct Created {
    id: String,
}

async fn create(call: Call) -> Result<HttpResponse, Error> {
    let app_key = call.app.key();
    let room = new_room(&call)?;
    let quota = Quota { rooms_per_app: call.rules.rooms_per_app, rooms_per_user: call.rules.rooms_per_user };
    let key = AppKey { app: call.app.id, text: &app_key };
    let created = create::create(&call.state.db, &key, &call.actor()?, &room, quota).await?;
    call.commit(created, |call, id| Ok(call.reply(Created { id }))).await
}

fn new_room(call: &Call) -> Result<NewRoom, Error> {
    let body = call.body()?;
    let name = body.text("name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Error::InvalidParameter("chatroom must contain title/name field!".into()))?;
    let description = body.text("description")?.ok_or_else(|| Error::missing("description"))?;
    let owner = body.text("owner")?.filter(|owner| !owner.is_empty()).ok_or_else(|| Error::missing("owner"))?;
    let custom = body.text("custom")?.unwrap_or_default();
    let members = if body.get("members").is_some() { body.texts("members")? } else { Vec::new() };
    let key = |id| RoomKey::parse(call.app.id, id).ok_or_else(|| Error::invalid("roomid"));
    let key = body.text("roomid")?.map(key).transpose()?;
    at_most("title", name, MAX_NAME)?;
    at_most("desc", description, MAX_DESCRIPTION)?;
    at_most("custom", custom, MAX_CUSTOM)?;

    let limits = &call.state.settings.limits;
    let default = i32::try_from(limits.default_maxusers.min(limits.members_per_room)).unwrap_or(i32::MAX);
    let maxusers = match body.integer("maxusers")? {
        // So says a client that leaves it unset.
        Some(0) => default,
        _ => maxusers(call, &body)?.unwrap_or(default),
    };
    let members = members.iter().map(String::as_str).filter(|name| !name.is_empty());
    let people = Names::new(std::iter::once(owner).chain(members));
    if people.len() > usize::try_from(maxusers).unwrap_or(0) {
        return Err(Error::ExceedLimit("members size is greater than max user size !".into()));
    }
    Ok(NewRoom { key, name: name.into(), description: description.into(), custom: custom.into(), maxusers, people })
}

/// `maxusers` of a body, if it is there: at least 1, and no more than the service allows.
fn maxusers(call: &Call, body: &Body) -> Result<Option<i32>, Error> {
    let ceiling = call.state.settings.limits.members_per_room;
    match body.integer("maxusers")? {
        None => Ok(None),
        Some(..=0) => Err(Error::invalid("maxusers")),
        Some(wanted) if wanted > i64::from(ceiling) => Err(Error::ExceedLimit(format!("maxUsers cannot exceed {ceiling}"))),
        Some(wanted) => Ok(i32::try_from(wanted).ok()),
    }
}

fn at_most(what: &str, text: &str, characters: usize) -> Result<(), Error> {
    if text.chars().count() > characters {
        return Err(Error::ExceedLimit(format!("{what} cannot exceed to {characters}")));
    }
    Ok(())
}

#[derive(Serialize, JsonSchema)]
struct RoomSummary {
    id: String,
    name: String,
    owner: String,
    affiliations_count: i32,
}

/// Rooms on a page where no limit is named.
const DEFAULT_LIMIT: i64 = 10;

/// The rooms of the app, the newest first: by cursor, or by page number where one is named. With `q`, those whose id or name
/// begins so.
async fn list(call: Call) -> Result<Reply<Vec<RoomSummary>>, Error> {
    let params = call.params();
    let (db, app) = (&call.state.db.for_lists(), call.app.id);
    let (rooms, cursor) = if let Some(text) = paging::searched(&params) {
        if let Some(number) = ["pagenum", "pagesize"].into_iter().find(|key| params.first(key).is_some()) {
            return Err(Error::InvalidParameter(format!("{number} is invalid: a search goes by limit and cursor")));
        }
        search(&call, text).await?
    } else if params.first("pagenum").is_some() || params.first("pagesize").is_some() {
        let page = Page::of(&params);
        (read::details::list_by_number(db, app, page.skip, page.size).await?, None)
    } else {
        let limit = paging::limit(&params, DEFAULT_LIMIT, paging::MAX_LIMIT);
        let scope = format!("chatrooms/{app}");
        let after = call.state.cursors.read::<RoomCursor>(&scope, &params)?.map(|RoomCursor(created_at, id)| (created_at, id));
        let mut rooms = read::details::list(db, app, after, limit + 1).await?;
        let last = paging::cut(&mut rooms, limit).map(|last| RoomCursor(last.created_at, last.id.clone()));
        (rooms, last.map(|last| call.state.cursors.write(&scope, &last)))
    };
    let rooms: Vec<RoomSummary> = rooms
        .into_iter()
        .map(|room| RoomSummary { id: room.id, name: room.name, owner: room.owner, affiliations_count: room.member_count })
        .collect();
    let count = rooms.len();
    Ok(call.reply(rooms).count(count).cursor(cursor))
}

/// The rooms whose id begins so, by id, and then those whose name does, by name. A page may be short, or empty, and have a
/// cursor all the same.
async fn search(call: &Call, text: &str) -> Result<(Vec<Summary>, Option<String>), Error> {
    let (params, app) = (call.params(), call.app.id);
    let scope = format!("chatrooms/{app}/{}", text.to_ascii_lowercase());
    let after = call.state.cursors.read(&scope, &params)?;
    let Some(prefix) = Prefix::new(text) else { return Ok((Vec::new(), None)) };
    let limit = paging::limit(&params, DEFAULT_LIMIT, paging::MAX_LIMIT);
    let page = read::search::rooms(&call.state.db.for_lists(), app, &prefix, after, limit).await?;
    Ok((page.entries, page.next.map(|next| call.state.cursors.write(&scope, &next))))
}

/// A position in the list of rooms, as a cursor holds it: the moment at which a room was made, and its id.
struct RoomCursor(OffsetDateTime, String);

impl fmt::Display for RoomCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", unix_ms(self.0), self.1)
    }
}

impl FromStr for RoomCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (ms, id) = text.split_once('/').ok_or(())?;
        let ms: i128 = ms.parse().map_err(drop)?;
        Ok(Self(OffsetDateTime::from_unix_timestamp_nanos(ms * 1_000_000).map_err(drop)?, id.into()))
    }
}

#[derive(Serialize, JsonSchema)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    mute_expire: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mute_reason: Option<String>,
    affiliations_count: i32,
    #[schemars(with = "Vec<Affiliation<'static>>")]
    affiliations: Affiliations,
    public: bool,
    disabled: bool,
}

impl RoomDetail {
    /// `in_detail`: with what the hosted service does not tell.
    fn of(room: Detail, in_detail: bool) -> Self {
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
            mute_expire: room.mute_ends_at.filter(|_| in_detail).map(unix_ms),
            mute_reason: room.mute_reason.filter(|_| in_detail),
            affiliations_count: room.member_count,
            affiliations: Affiliations { owner: room.shows_owner.then(|| room.owner.clone()), members: room.members },
            owner: room.owner,
            public: true,
            disabled: false,
        }
    }
}

/// The details of one room, or of up to 100; those that do not exist are left out, unless none does.
async fn details(call: Call) -> Result<Reply<Vec<RoomDetail>>, Error> {
    let ids: Vec<&str> = call.room_segment().split(',').filter(|id| !id.is_empty()).collect();
    if ids.is_empty() {
        return Err(Error::missing("chatroom_id"));
    }
    if ids.len() > MAX_DETAILS {
        return Err(Error::TooManyNames { limit: "chatroom ids size is more than max limit", max: MAX_DETAILS });
    }
    let params = call.params();
    let affiliations = paging::at_most(&params, "affiliations", call.state.settings.limits.affiliations_in_detail);
    let in_detail = paging::wants_detail(&params);
    let keys: Vec<RoomKey> = ids.iter().filter_map(|id| RoomKey::parse(call.app.id, id)).collect();
    let found = read::details::details(&call.state.db, call.app.id, &keys, affiliations).await?;
    if found.is_empty() {
        return Err(Error::RoomNotFoundOnRead { room: call.room_segment().into() });
    }
    let count = found.len();
    Ok(call.reply(found.into_iter().map(|room| RoomDetail::of(room, in_detail)).collect()).count(count))
}

/// The fields that an update may have. `need_verify` says nothing to us, but clients send it.
const UPDATABLE: [&str; 6] = ["name", "description", "maxusers", "custom", "need_verify", "newowner"];

/// `true` for each field that was sent; `name` is called `groupname` here.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[schemars(rename = "RoomUpdated")]
struct Updated {
    #[serde(skip_serializing_if = "Option::is_none")]
    groupname: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maxusers: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    newowner: Option<bool>,
}

/// Changes what is sent, and nothing else; with `newowner`, makes another member the owner.
async fn update(call: Call) -> Result<HttpResponse, Error> {
    let body = call.body()?;
    let unknown: Vec<&str> = body.fields().filter(|field| !UPDATABLE.contains(field)).collect();
    if !unknown.is_empty() {
        return Err(Error::InvalidParameter(format!("some of [{}] are not valid fields", unknown.join(", "))));
    }
    if UPDATABLE.iter().all(|field| body.get(field).is_none()) {
        return Err(Error::missing("name, description, maxusers, custom or newowner"));
    }
    let text = |field| Ok::<_, Error>(body.text(field)?.map(str::to_owned));
    let update = Update {
        name: text("name")?,
        description: text("description")?,
        custom: text("custom")?,
        maxusers: maxusers(&call, &body)?,
        new_owner: if body.get("newowner").is_some() { Some(call.user_in_body("newowner")?) } else { None },
    };
    if update.name.as_deref() == Some("") {
        return Err(Error::missing("name"));
    }
    at_most("title", update.name.as_deref().unwrap_or_default(), MAX_NAME)?;
    at_most("desc", update.description.as_deref().unwrap_or_default(), MAX_DESCRIPTION)?;
    at_most("custom", update.custom.as_deref().unwrap_or_default(), MAX_CUSTOM)?;
    let updated = Updated {
        groupname: update.name.as_ref().map(|_| true),
        description: update.description.as_ref().map(|_| true),
        maxusers: update.maxusers.map(|_| true),
        custom: update.custom.as_ref().map(|_| true),
        newowner: update.new_owner.as_ref().map(|_| true),
    };
    call.change(update, move |()| Ok(updated)).await
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RoomDeleted")]
struct Deleted {
    success: bool,
    id: String,
}

/// The room is gone at once; the first of its rows go before the answer.
async fn delete(call: Call) -> Result<HttpResponse, Error> {
    let (room, state) = (call.room()?, call.state.clone());
    let id = room.id().to_owned();
    let answer = call.change(Delete, move |()| Ok(Deleted { success: true, id: id.clone() })).await?;
    if answer.status().is_success() {
        room_deletion::begin_purge(&state.db, &room).await;
    }
    Ok(answer)
}
