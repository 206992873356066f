//! Mutes in a chatroom: `/chatrooms/{chatroom_id}/mute`, calls 18, 19 and 21, and of the whole room: `/ban`, calls 20
//! and 22.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Responder as _};
use schemars::JsonSchema;
use serde::Serialize;

use super::body::Body;
use super::call::Call;
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::paging;
use super::restrictions::Restriction;
use crate::config::ListCall;
use crate::error::Error;
use crate::names::{CursorPage, PERMANENT_MS, unix_ms};
use crate::rooms::details::SetMuteAll;
use crate::rooms::mutes::{self, NotMembers};
use crate::rooms::read;
use crate::rooms::read::mutes::MuteEntry;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(idempotent_resource("/chatrooms/{chatroom_id}/mute").route(web::get().to(list)).route(web::post().to(mute)))
        .service(idempotent_resource("/chatrooms/{chatroom_id}/mute/{usernames}").route(web::delete().to(unmute)))
        .service(
            idempotent_resource("/chatrooms/{chatroom_id}/ban")
                .route(web::post().to(mute_all))
                .route(web::delete().to(unmute_all)),
        );
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/chatrooms/{chatroom_id}/mute", "listMutes", "List the mutes in force")
            .says("All of them; with a `limit` or a `cursor`, page by page.")
            .by_cursor()
            .with(&["detail"])
            .answers::<MuteList>(),
        operation::post("/chatrooms/{chatroom_id}/mute", "muteMembers", "Mute members, all or none")
            .says("A user who is muted already gets the new end.")
            .takes("usernames", form::texts("Members of the room, at most 60."))
            .takes("mute_duration", form::integer("Milliseconds; -1 is for ever, 0 lifts the mute."))
            .answers::<Vec<MuteResult>>()
            .fails(&[fails::TOO_MANY_NAMES, fails::NOT_MEMBERS, fails::NOT_MEMBERS_TODAY, fails::EXCEED_LIMIT]),
        operation::delete("/chatrooms/{chatroom_id}/mute/{usernames}", "unmuteMembers", "Lift mutes")
            .says("Of up to 60 users, with commas between them, whether they are in the room or not.")
            .answers::<Vec<UnmuteResult>>()
            .fails(&[fails::TOO_MANY_NAMES]),
        operation::post("/chatrooms/{chatroom_id}/ban", "muteAll", "Mute the whole room")
            .says("The owner, admins and the whitelist still speak. The mutes of members stay as they are.")
            .may_take("mute_duration", form::integer("Milliseconds; -1 is for ever, as is nothing."))
            .answers::<MuteAll>(),
        operation::delete("/chatrooms/{chatroom_id}/ban", "unmuteAll", "Lift the mute of the whole room").answers::<MuteAll>(),
    ]
}

/// Moments are Unix milliseconds.
#[derive(Serialize, JsonSchema)]
struct Muted {
    expire: i64,
    user: String,
}

impl From<MuteEntry> for Muted {
    fn from(mute: MuteEntry) -> Self {
        Self { expire: unix_ms(mute.ends_at), user: mute.username }
    }
}

/// E18: the mutes in force; all of them, or by cursor, then with their details if asked to. No `count` here.
async fn list(call: Call) -> Result<HttpResponse, Error> {
    let (http, db, params) = (call.http().clone(), call.state.db.for_lists(), call.params());
    if paging::wants_detail(&params) {
        let asked = call.cursor_request("mutes")?;
        let CursorPage { entries, next } = read::restrictions::mutes_after(&db, &call.room()?, asked.after, asked.limit).await?;
        let mutes: Vec<Restriction> = entries.into_iter().map(Restriction::from).collect();
        return Ok(call.reply(mutes).next(&asked, next).respond_to(&http));
    }
    if paging::is_by_cursor(&params) {
        let asked = call.cursor_request("mutes")?;
        let CursorPage { entries, next } = read::mutes::list_after(&db, &call.room()?, asked.after, asked.limit).await?;
        let mutes: Vec<Muted> = entries.into_iter().map(Muted::from).collect();
        return Ok(call.reply(mutes).next(&asked, next).respond_to(&http));
    }
    let mutes: Vec<Muted> = read::mutes::list(&db, &call.room()?).await?.into_iter().map(Muted::from).collect();
    Ok(call.reply(mutes).respond_to(&http))
}

/// What the list is, in its two forms.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "tells the form of the answer")]
enum MuteList {
    Plain(Vec<Muted>),
    Detailed(Vec<Restriction>),
}

#[derive(Serialize, JsonSchema)]
struct MuteResult {
    result: bool,
    expire: i64,
    user: String,
}

/// E19: mutes up to 60 members, all or none.
async fn mute(call: Call) -> Result<HttpResponse, Error> {
    let body = call.body()?;
    let usernames = body.texts("usernames")?;
    let duration_ms = duration_ms(&body)?;
    let names = call.batch(ListCall::Mute, usernames, "userNames size is more than max limit").await?;
    let limit = call.state.settings.limits.mutes_per_room;
    let (given, not_members) = (names.given().to_vec(), call.not_members(ListCall::Mute));
    let data = move |muted| match muted {
        Err(NotMembers(users)) => Err(not_members(users)),
        Ok(ends_at) => {
            let result = |user: &String| MuteResult { result: true, expire: unix_ms(ends_at), user: user.clone() };
            Ok(given.iter().map(result).collect::<Vec<_>>())
        }
    };
    call.change(mutes::Mute { names, duration_ms, limit }, data).await
}

/// `mute_duration`: milliseconds; -1 is for ever, 0 lifts the mute.
fn duration_ms(body: &Body) -> Result<i64, Error> {
    match body.integer("mute_duration") {
        Ok(Some(-1)) => Ok(PERMANENT_MS),
        Ok(Some(duration @ 0..)) => Ok(duration),
        Ok(Some(_)) => Err(Error::invalid("mute_duration")),
        Ok(None) | Err(_) => Err(Error::missing("mute_duration")),
    }
}

#[derive(Serialize, JsonSchema)]
struct UnmuteResult {
    result: bool,
    user: String,
}

/// E21: lifts the mutes of up to 60 users, members or not.
async fn unmute(call: Call) -> Result<HttpResponse, Error> {
    let names = call.users(ListCall::Unmute, "removeMute member size more than max limit").await?;
    let given = names.given().to_vec();
    let data = move |unmuted: Vec<bool>| {
        let result = |(user, result): (&String, bool)| UnmuteResult { result, user: user.clone() };
        Ok(given.iter().zip(unmuted).map(result).collect::<Vec<_>>())
    };
    call.change(mutes::Unmute { names }, data).await
}

#[derive(Serialize, JsonSchema)]
struct MuteAll {
    mute: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire: Option<i64>,
}

/// E20: mutes the whole room; with a `mute_duration` until the room speaks again by itself, an addition of ours. Its `action`
/// is `put`, as the hosted service has it.
async fn mute_all(call: Call) -> Result<HttpResponse, Error> {
    // The hosted service takes no body, and does not look at one.
    let duration_ms = call.body().map_or(Ok(None), |body| body.integer("mute_duration"));
    let (duration_ms, is_timed) = match duration_ms {
        Ok(None) => (PERMANENT_MS, false),
        Ok(Some(-1)) => (PERMANENT_MS, true),
        Ok(Some(duration @ 1..)) => (duration, true),
        Ok(Some(_)) | Err(_) => return Err(Error::invalid("mute_duration")),
    };
    let data = move |ends_at| Ok(MuteAll { mute: true, expire: is_timed.then(|| unix_ms(ends_at)) });
    call.change_as("put", SetMuteAll { mute_all: true, duration_ms }, data).await
}

/// E22: lifts the mute of the whole room; the mutes of members stay.
async fn unmute_all(call: Call) -> Result<HttpResponse, Error> {
    let operation = SetMuteAll { mute_all: false, duration_ms: PERMANENT_MS };
    call.change(operation, |_| Ok(MuteAll { mute: false, expire: None })).await
}
