//! Where is this user? `/users/{username}/standing`: every room that knows the user. And who is what in this room?
//! `/chatrooms/{chatroom_id}/standing`: every member.

use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;

use super::call::Call;
use super::idempotent_resource;
use super::openapi::failures as fails;
use super::openapi::operation::{self, Operation};
use super::paging;
use super::reply::Reply;
use crate::error::Error;
use crate::names::unix_ms;
use crate::rooms::read::standing::{self, MembersAsked, MuteInForce, Standing};
use crate::search::Prefix;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(idempotent_resource("/users/{usernames}/standing").route(web::get().to(list)))
        .service(idempotent_resource("/chatrooms/{chatroom_id}/standing").route(web::get().to(list_members)));
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/users/{usernames}/standing", "listStandings", "List every room that knows a user")
            .says("By id. A room knows its members, and those whom it has muted or blocked.")
            .by_cursor()
            .answers::<Vec<RoomStanding>>()
            .counted()
            .fails(&[fails::USER_NOT_FOUND]),
        operation::get(
            "/chatrooms/{chatroom_id}/standing",
            "listMemberStandings",
            "List every member with what they are in the room",
        )
        .says("The latest first, the owner among them; with `q`, those whose names begin so, by name.")
        .by_cursor()
        .with(&["q"])
        .answers::<Vec<MemberStanding>>()
        .counted(),
    ]
}

/// Moments are Unix milliseconds.
#[derive(Serialize, JsonSchema)]
struct RoomStanding {
    id: String,
    #[schemars(extend("enum" = ["owner", "admin", "member", "none"]))]
    role: &'static str,
    whitelisted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    muted_until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_until: Option<i64>,
}

impl From<Standing> for RoomStanding {
    fn from(standing: Standing) -> Self {
        let role = match standing {
            Standing { owner: true, .. } => "owner",
            Standing { admin: true, .. } => "admin",
            Standing { member: true, .. } => "member",
            _ => "none",
        };
        Self {
            id: standing.room,
            role,
            whitelisted: standing.whitelisted,
            muted_until: standing.muted_until.map(unix_ms),
            blocked_until: standing.blocked_until.map(unix_ms),
        }
    }
}

/// By room id, page by page.
async fn list(call: Call) -> Result<Reply<Vec<RoomStanding>>, Error> {
    let (params, user) = (call.params().only(&["limit", "cursor"])?, call.user());
    let limit = paging::limit(&params, paging::MAX_LIMIT, paging::MAX_LIMIT);
    let scope = format!("standing/{}/{}", call.app.id, user.given()[0]);
    let after = call.state.cursors.read::<String>(&scope, &params)?.unwrap_or_default();
    let mut rooms = standing::list(&call.state.db, call.app.id, &user, &after, limit + 1).await?;
    let cursor = paging::cut(&mut rooms, limit).map(|last| call.state.cursors.write(&scope, &last.room));
    let count = rooms.len();
    Ok(call.reply(rooms.into_iter().map(RoomStanding::from).collect()).count(count).cursor(cursor))
}

/// Moments are Unix milliseconds. `mute` is in the room, `global_mute` in all.
#[derive(Serialize, JsonSchema)]
struct MemberStanding {
    user: String,
    #[schemars(extend("enum" = ["owner", "admin", "member"]))]
    role: &'static str,
    whitelisted: bool,
    joined: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mute: Option<Mute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    global_mute: Option<Mute>,
}

/// A mute as it is now: until when, since when it is so, who has set it so, and why.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MuteInForce")]
struct Mute {
    until: i64,
    since: i64,
    actor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<MuteInForce> for Mute {
    fn from(MuteInForce { ends_at, since, actor, reason }: MuteInForce) -> Self {
        Self { until: unix_ms(ends_at), since: unix_ms(since), actor, reason }
    }
}

impl From<standing::MemberStanding> for MemberStanding {
    fn from(member: standing::MemberStanding) -> Self {
        Self {
            role: if member.owner {
                "owner"
            } else if member.admin {
                "admin"
            } else {
                "member"
            },
            user: member.username,
            whitelisted: member.whitelisted,
            joined: unix_ms(member.joined_at),
            mute: member.mute.map(Mute::from),
            global_mute: member.global_mute.map(Mute::from),
        }
    }
}

/// The latest first, or by name those whose names begin with `q`.
async fn list_members(call: Call) -> Result<Reply<Vec<MemberStanding>>, Error> {
    let (params, room) = (call.params().only(&["q", "limit", "cursor"])?, call.room()?);
    let limit = paging::limit(&params, paging::MAX_LIMIT, paging::MAX_LIMIT);
    let (db, cursors, searched) = (&call.state.db, &call.state.cursors, paging::searched(&params));
    let scope = format!("members/{}/{}/{}", call.app.id, room.id(), searched.unwrap_or_default().to_ascii_lowercase());
    let prefix = searched.map(Prefix::new);
    let asked = match &prefix {
        None => MembersAsked::Latest(cursors.read(&scope, &params)?),
        Some(Some(prefix)) => MembersAsked::Called(prefix, cursors.read(&scope, &params)?.unwrap_or_default()),
        Some(None) => return Ok(call.reply(Vec::new()).count(0)),
    };
    let mut members = standing::of_members(db, &room, &asked, limit + 1).await?;
    let cursor = paging::cut(&mut members, limit).map(|last| match asked {
        MembersAsked::Latest(_) => cursors.write(&scope, &last.seq),
        MembersAsked::Called(..) => cursors.write(&scope, &last.username),
    });
    let count = members.len();
    Ok(call.reply(members.into_iter().map(MemberStanding::from).collect()).count(count).cursor(cursor))
}
