//! Which call is what, in the table of [`crate::rooms::permissions`], for callers with a user's token; and `/permissions`: what
//! comes of that for the caller.
//!
//! A call that is not in here is for the app's own token: what is forgotten is forbidden.

use std::collections::BTreeMap;

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;

use super::call::{AppRequest, Call, Caller, User};
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::reply::Reply;
use crate::error::Error;
use crate::names::{Names, RoomKey};
use crate::rooms::permissions::{Action, Role, Target, permits};
use crate::rooms::read::{details, roles};

/// The calls that users may make, by method and path, and what each does.
const CALLS: &[(&[Method], &str, Action)] = {
    use Action as A;
    const READ: &[Method] = &[Method::GET];
    const WRITE: &[Method] = &[Method::POST, Method::PUT, Method::DELETE];
    const POST: &[Method] = &[Method::POST];
    const DELETE: &[Method] = &[Method::DELETE];
    &[
        (READ, "/chatrooms/{chatroom_id}", A::ReadRoom),
        (READ, "/chatrooms/{chatroom_id}/users", A::ReadRoom),
        (READ, "/chatrooms/{chatroom_id}/admin", A::ReadRoom),
        (READ, "/chatrooms/{chatroom_id}/announcement", A::ReadRoom),
        (POST, "/metadata/chatroom/{chatroom_id}", A::ReadRoom),
        (READ, "/chatrooms/{chatroom_id}/mute", A::ReadLists),
        (READ, "/chatrooms/{chatroom_id}/blocks/users", A::ReadLists),
        (READ, "/chatrooms/{chatroom_id}/white/users", A::ReadLists),
        (READ, "/chatrooms/{chatroom_id}/standing", A::ReadLists),
        (READ, "/chatrooms/{chatroom_id}/events", A::ReadEvents),
        (READ, "/chatrooms/{chatroom_id}/users/{usernames}/speak", A::CheckSpeech),
        (POST, "/chatrooms/{chatroom_id}/speak", A::CheckSpeech),
        (DELETE, "/chatrooms/{chatroom_id}/users/{usernames}", A::Remove),
        (WRITE, "/chatrooms/{chatroom_id}/blocks/users", A::Block),
        (WRITE, "/chatrooms/{chatroom_id}/blocks/users/{usernames}", A::Block),
        (WRITE, "/chatrooms/{chatroom_id}/mute", A::Mute),
        (WRITE, "/chatrooms/{chatroom_id}/mute/{usernames}", A::Mute),
        (WRITE, "/chatrooms/{chatroom_id}/white/users", A::Whitelist),
        (WRITE, "/chatrooms/{chatroom_id}/white/users/{usernames}", A::Whitelist),
        (WRITE, "/chatrooms/{chatroom_id}/ban", A::MuteAll),
        (WRITE, "/chatrooms/{chatroom_id}/announcement", A::Announce),
        (WRITE, "/chatrooms/{chatroom_id}/admin", A::ManageAdmins),
        (WRITE, "/chatrooms/{chatroom_id}/admin/{usernames}", A::ManageAdmins),
        (WRITE, "/chatrooms/{chatroom_id}", A::ManageRoom),
        // What it is to undo an event, and who may, depends on the event.
        (POST, "/undo", A::ReadEvents),
        (POST, "/chatrooms", A::CreateRoom),
        (READ, "/users/{usernames}/standing", A::ReadStanding),
        (READ, "/chatrooms", A::ReadApp),
        (READ, "/audit", A::ReadAudit),
        (READ, "/audit/counts", A::ReadAudit),
        (READ, "/restrictions", A::ReadAudit),
        (READ, "/permissions", A::ReadPermissions),
        (READ, "/events", A::ReadApp),
        (READ, "/users", A::ReadApp),
        (READ, "/users/{usernames}", A::ReadApp),
        (READ, "/users/{usernames}/joined_chatrooms", A::ReadApp),
        (READ, "/mutes", A::ReadApp),
        (READ, "/mutes/{usernames}", A::ReadApp),
        (POST, "/mutes", A::MuteGlobally),
    ]
};

/// What the call does.
pub(super) fn action(method: &Method, path: Option<&str>) -> Action {
    let path = path.and_then(|path| path.strip_prefix("/{org_name}/{app_name}")).unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(path);
    let found = CALLS.iter().find(|(methods, known, _)| *known == path && methods.contains(method));
    found.map_or(Action::ManageApp, |(.., action)| *action)
}

/// Refuses what the caller may not do. A change of a room is decided later, under the lock of the room.
pub(super) async fn require(request: &AppRequest, caller: &Caller) -> Result<(), Error> {
    let Caller::User(user) = caller else { return Ok(()) };
    let action = request.action();
    let may = match action {
        action if action.changes_a_room() => true,
        Action::ReadRoom | Action::ReadLists | Action::ReadEvents | Action::CheckSpeech => {
            may_in_rooms(request, user, action).await?
        }
        Action::CreateRoom => may_in_app(user, None, action, &named_in_body(request, "owner")),
        Action::ReadStanding => may_in_app(user, None, action, Names::new([request.user_segment()]).given()),
        Action::ReadAudit => {
            let params = request.params();
            may_in_app(user, params.first("room").filter(|room| !room.is_empty()), action, &[])
        }
        action => may_in_app(user, None, action, &[]),
    };
    if may { Ok(()) } else { Err(request.not_permitted()) }
}

/// Rooms that do not exist are for the call itself to say so of.
async fn may_in_rooms(request: &AppRequest, user: &User, action: Action) -> Result<bool, Error> {
    let app = request.app.id;
    let named = match request.room_segment() {
        "" => named_in_body(request, "room"),
        rooms => rooms.split(',').map(str::to_owned).collect(),
    };
    let rooms: Vec<RoomKey> = named.iter().filter_map(|room| RoomKey::parse(app, room)).collect();
    let mut targets = Vec::new();
    if action == Action::CheckSpeech {
        targets = match request.user_segment() {
            "" => named_in_body(request, "usernames"),
            user => Names::new([user]).given().to_vec(),
        };
    }
    let targets: Vec<Target> = targets.iter().map(|name| user.target(name)).collect();
    let held = roles::of_user(&request.state.db, app, &rooms, &user.name).await?;
    Ok(rooms.iter().zip(held).all(|(room, held)| {
        held.is_none_or(|mut held| {
            held.extend(user.roles(Some(room.id())));
            permits(action, &held, &targets)
        })
    }))
}

fn may_in_app(user: &User, room: Option<&str>, action: Action, targets: &[String]) -> bool {
    let targets: Vec<Target> = targets.iter().map(|name| user.target(name)).collect();
    permits(action, &user.roles(room), &targets)
}

/// The names in a field of the body, be it one or several; none if it cannot be read, which the call itself will say.
fn named_in_body(request: &AppRequest, field: &str) -> Vec<String> {
    let Ok(body) = request.body() else { return Vec::new() };
    let names = body.texts(field).or_else(|_| body.text(field).map(|name| name.map(str::to_owned).into_iter().collect()));
    Names::new(names.unwrap_or_default()).given().to_vec()
}

impl User {
    /// What the user is in the app as far as it holds for that room; `None`: for what belongs to no room.
    pub(super) fn roles(&self, room: Option<&str>) -> Vec<Role> {
        let mut roles = vec![Role::User];
        roles.extend(self.is_super_admin.then_some(Role::SuperAdmin));
        if let Some((role, rooms)) = &self.moderates {
            let includes = |rooms: &Vec<String>| room.is_some_and(|room| rooms.iter().any(|known| known == room));
            roles.extend(rooms.as_ref().is_none_or(includes).then_some(*role));
        }
        roles
    }

    fn target(&self, name: &str) -> Target {
        if self.name.usernames().iter().any(|own| own == name) { Target::Oneself } else { Target::Ordinary }
    }
}

pub fn routes(config: &mut ServiceConfig) {
    config.service(idempotent_resource("/permissions").route(web::get().to(own)));
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/permissions", "getPermissions", "Say who the caller is, and what the caller may do")
            .says(
                "Of each action, to whom: `oneself`, `ordinary` users, `admin`s and the `owner` of the room. What is done to \
                nobody may be done where `ordinary` is among them. Actions that may not be done are not there. Without a `room`, \
                what may be done in all rooms.",
            )
            .query("room", form::text("What may be done there, too."))
            .answers::<Answer>()
            .fails(&[fails::INVALID_PARAMETER, fails::ROOM_NOT_FOUND]),
    ]
}

/// Without a `user` it is the app, which may do all.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Permissions")]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    roles: Vec<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moderates: Option<Moderates>,
    #[schemars(with = "BTreeMap<String, Vec<Target>>")]
    permissions: BTreeMap<Action, Vec<Target>>,
}

/// What a moderator of the app is in these rooms; without them, in all.
#[derive(Serialize, JsonSchema)]
struct Moderates {
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<Vec<String>>,
}

/// What the caller is and may do, in the app and in the room that is named.
async fn own(call: Call) -> Result<Reply<Answer>, Error> {
    let (params, app) = (call.params().only(&["room"])?, call.app.id);
    let named = params.first("room").filter(|room| !room.is_empty());
    let not_found = || Error::RoomNotFound { room: named.unwrap_or_default().into() };
    let room = named.map(|room| RoomKey::parse(app, room).ok_or_else(not_found)).transpose()?;
    if let Some(room) = &room {
        details::require(&call.state.db, room).await?;
    }
    let answer = match call.caller() {
        Caller::App => Answer {
            user: None,
            roles: Vec::new(),
            moderates: None,
            permissions: Action::ALL.iter().map(|action| (*action, Target::ALL.to_vec())).collect(),
        },
        Caller::User(user) => {
            let held = roles::of_user(&call.state.db, app, room.as_slice(), &user.name).await?;
            let mut in_room = user.roles(room.as_ref().map(RoomKey::id));
            in_room.extend(held.into_iter().flatten().flatten());
            Answer {
                user: user.name.given().first().cloned(),
                moderates: user.moderates.clone().map(|(role, rooms)| Moderates { role, rooms }),
                permissions: reached(&user.roles(None), &in_room),
                roles: in_room,
            }
        }
    };
    Ok(call.reply(answer))
}

/// What may be done to whom by one who is this in the app, and this in the room that is meant.
fn reached(in_app: &[Role], in_room: &[Role]) -> BTreeMap<Action, Vec<Target>> {
    let targets = |action: &Action| -> Vec<Target> {
        let roles = if action.is_about_a_room() { in_room } else { in_app };
        Target::ALL.into_iter().filter(|target| permits(*action, roles, &[*target])).collect()
    };
    Action::ALL.iter().map(|action| (*action, targets(action))).filter(|(_, targets)| !targets.is_empty()).collect()
}
