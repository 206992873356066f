//! Mutes in all rooms of an app: `/mutes`. Their durations are in seconds, and their envelope is one of their own.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::body::Body;
use super::call::Call;
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::paging::Page;
use super::reply::now_ms;
use crate::accounts::global_mutes::{self, GlobalMute, Parts};
use crate::error::Error;
use crate::names::{PERMANENT_MS, unix_ms};

/// The most users on a page, and how many it has where no size is named.
const MAX_PAGE_SIZE: u64 = 50;

/// The longest mute that has an end.
const MAX_SECONDS: i64 = 2_147_483_647;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(idempotent_resource("/mutes").route(web::get().to(list)).route(web::post().to(set)))
        .service(idempotent_resource("/mutes/{usernames}").route(web::get().to(get)));
}

pub fn operations() -> Vec<Operation> {
    let seconds = || form::integer("Seconds; -1 is for ever, 0 lifts the mute of that part.");
    vec![
        operation::get("/mutes", "listGlobalMutes", "List the users who are muted in all rooms, by name")
            .query("pageNum", form::integer("Which page; the first is 1."))
            .query("pageSize", form::integer("Users on a page, 1 to 50."))
            .gives::<Envelope<List>>(),
        operation::post("/mutes", "setGlobalMute", "Mute a user in all rooms, or lift that")
            .takes("username", form::text("A registered user."))
            .may_take("chat", seconds())
            .may_take("groupchat", seconds())
            .may_take("chatroom", seconds())
            .gives::<Envelope<Set>>()
            .fails(&[fails::USER_NOT_FOUND]),
        operation::get("/mutes/{usernames}", "getGlobalMute", "Show how a user is muted in all rooms")
            .gives::<Envelope<Details>>()
            .fails(&[fails::USER_NOT_FOUND]),
    ]
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "GlobalMutesReply_{D}")]
struct Envelope<'a, D> {
    path: &'static str,
    uri: String,
    timestamp: u128,
    organization: &'a str,
    application: Uuid,
    action: String,
    data: D,
    duration: u128,
    application_name: &'a str,
}

fn reply<D: Serialize>(call: &Call, data: D) -> HttpResponse {
    HttpResponse::Ok().json(Envelope {
        path: "/mutes",
        uri: call.uri(),
        timestamp: now_ms(),
        organization: &call.app.org,
        application: call.app.uuid,
        action: call.method(),
        data,
        duration: call.duration_ms(),
        application_name: &call.app.name,
    })
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GlobalMuteSet")]
struct Set {
    result: &'static str,
}

/// Mutes a user in the parts that the body names, or lifts that. With none, there is nothing to do.
async fn set(call: Call) -> Result<HttpResponse, Error> {
    let (name, body) = (call.user_in_body("username")?, call.body()?);
    let durations_ms = Parts {
        chat: duration_ms(&body, "chat")?,
        groupchat: duration_ms(&body, "groupchat")?,
        chatroom: duration_ms(&body, "chatroom")?,
    };
    let muted = global_mutes::set(&call.state.db, call.app.id, &call.actor()?, &name, durations_ms).await?;
    call.commit(muted, |call, ()| Ok(reply(&call, Set { result: "ok" }))).await
}

/// Seconds; -1 is for ever, 0 lifts that part.
fn duration_ms(body: &Body, part: &str) -> Result<Option<i64>, Error> {
    match body.integer(part)? {
        None => Ok(None),
        Some(-1) => Ok(Some(PERMANENT_MS)),
        Some(seconds @ 0..=MAX_SECONDS) => Ok(Some(seconds * 1000)),
        Some(_) => Err(Error::invalid(part)),
    }
}

/// Seconds left, and the moment from which they count, in Unix seconds. The user is called as in the hosted service.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GlobalMute")]
struct Details {
    userid: String,
    chat: i64,
    groupchat: i64,
    chatroom: i64,
    unixtime: i64,
}

async fn get(call: Call) -> Result<HttpResponse, Error> {
    let (mute, now) = global_mutes::find(&call.state.db, call.app.id, &call.user()).await?;
    let Parts { chat, groupchat, chatroom } = mute.ends.map(|ends_at| seconds_left(ends_at, now));
    let userid = format!("{}_{}", call.app.key(), mute.username);
    Ok(reply(&call, Details { userid, chat, groupchat, chatroom, unixtime: now.unix_timestamp() }))
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GlobalMuteList")]
struct List {
    data: Vec<Entry>,
    unixtime: i64,
}

/// One part of a user's mute: its name, and the seconds left.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GlobalMuteEntry")]
struct Entry {
    username: String,
    #[serde(flatten)]
    left: BTreeMap<&'static str, i64>,
}

/// The muted users, page by page, by name; an entry for each part that is muted.
async fn list(call: Call) -> Result<HttpResponse, Error> {
    let page = Page::in_camel_case(&call.params(), MAX_PAGE_SIZE);
    let (mutes, now) = global_mutes::list(&call.state.db.for_lists(), call.app.id, page.skip, page.size).await?;
    let data = mutes.into_iter().flat_map(|mute| entries(mute, now)).collect();
    Ok(reply(&call, List { data, unixtime: now.unix_timestamp() }))
}

fn entries(mute: GlobalMute, now: OffsetDateTime) -> impl Iterator<Item = Entry> {
    let GlobalMute { username, ends } = mute;
    let Parts { chat, groupchat, chatroom } = ends.map(|ends_at| seconds_left(ends_at, now));
    let parts = [("chat", chat), ("groupchat", groupchat), ("chatroom", chatroom)];
    let is_muted = |(_, left): &(&str, i64)| *left != 0;
    parts.into_iter().filter(is_muted).map(move |part| Entry { username: username.clone(), left: BTreeMap::from([part]) })
}

/// Seconds until then, rounded up; -1 is for ever, and 0 not muted, or not any more.
fn seconds_left(ends_at: Option<OffsetDateTime>, now: OffsetDateTime) -> i64 {
    match ends_at.map(unix_ms) {
        None => 0,
        Some(PERMANENT_MS..) => -1,
        Some(ends_ms) => (ends_ms - unix_ms(now) + 999).div_euclid(1000).max(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_left_is_rounded_up_to_seconds() {
        let at = |ms: i64| OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).expect("a moment");
        let now = 1_700_000_000_500;
        for (ends_ms, left) in [
            (None, 0),
            (Some(now + 60_000), 60),
            (Some(now + 59_001), 60),
            (Some(now + 59_000), 59),
            (Some(now + 1), 1),
            (Some(now), 0),
            (Some(now - 1), 0),
            (Some(now - 5000), 0),
            (Some(now + MAX_SECONDS * 1000), MAX_SECONDS),
            (Some(PERMANENT_MS), -1),
        ] {
            assert_eq!(seconds_left(ends_ms.map(at), at(now)), left, "{ends_ms:?}");
        }
    }

    #[test]
    fn a_duration_is_a_whole_number_of_seconds() {
        let duration = |value: &Value| duration_ms(&Body::from(json!({"chat": value})), "chat").ok();
        for (value, expected) in [
            (Value::Null, Some(None)),
            (0.into(), Some(Some(0))),
            (1.into(), Some(Some(1000))),
            ("7".into(), Some(Some(7000))),
            (MAX_SECONDS.into(), Some(Some(MAX_SECONDS * 1000))),
            ((-1).into(), Some(Some(PERMANENT_MS))),
            ((-2).into(), None),
            ((MAX_SECONDS + 1).into(), None),
            (1.5.into(), None),
            (true.into(), None),
        ] {
            assert_eq!(duration(&value), expected, "{value}");
        }
    }
}
