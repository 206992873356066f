//! Who is told what happens: `/callbacks/rules`, four at most, and what was sent because of each.
//!
//! A rule's secret goes in and never comes out.

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::body::Body;
use super::call::Call;
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::paging;
use super::reply::Reply;
use crate::callbacks::deliveries::{self, Entry, ListRequest};
use crate::callbacks::replay::{self, Range};
use crate::callbacks::rules::{self, Changes, EVERYTHING, NewRule, Rule};
use crate::error::Error;
use crate::events::log::Kind;
use crate::names::{is_room_id, unix_ms};

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(idempotent_resource("/callbacks/rules").route(web::get().to(list)).route(web::post().to(create)))
        .service(
            idempotent_resource("/callbacks/rules/{rule}")
                .route(web::get().to(get))
                .route(web::put().to(update))
                .route(web::delete().to(delete)),
        )
        .service(idempotent_resource("/callbacks/rules/{rule}/test").route(web::post().to(test)))
        .service(idempotent_resource("/callbacks/rules/{rule}/replay").route(web::post().to(replay)))
        .service(idempotent_resource("/callbacks/rules/{rule}/deliveries").route(web::get().to(list_deliveries)));
}

pub fn operations() -> Vec<Operation> {
    let rule = |path: &str| format!("/callbacks/rules/{{rule}}{path}");
    let kinds = || form::texts("Kinds of events, each whole or without what follows its stroke; `*` is all.");
    let found = [fails::RULE_NOT_FOUND, fails::INVALID_PARAMETER];
    vec![
        operation::get("/callbacks/rules", "listCallbackRules", "List the callback rules")
            .answers::<Vec<Shown>>()
            .counted()
            .fails(&[fails::INVALID_PARAMETER]),
        operation::post("/callbacks/rules", "addCallbackRule", "Have events sent to a URL")
            .says("An app has four rules at most.")
            .takes("url", form::text("Where they go."))
            .takes("secret", form::text("What they are signed with; it is never shown."))
            .may_take("kinds", kinds())
            .may_take("paused", form::flag("Whether they wait."))
            .answers::<Made>()
            .fails(&[fails::EXCEED_LIMIT]),
        operation::get(&rule(""), "getCallbackRule", "Show a callback rule").answers::<Shown>().fails(&found),
        operation::put(&rule(""), "updateCallbackRule", "Change a callback rule")
            .may_take("url", form::text("Where the events go."))
            .may_take("secret", form::text("What they are signed with; it is never shown."))
            .may_take("kinds", kinds())
            .may_take("paused", form::flag("Whether they wait."))
            .answers::<Shown>()
            .fails(&found)
            .fails(&[fails::JSON_PARSE]),
        operation::delete(&rule(""), "deleteCallbackRule", "Delete a callback rule").answers::<Deleted>().fails(&found),
        operation::post(&rule("/test"), "testCallbackRule", "Try a callback rule")
            .says("Sends an event that did not happen, and tells what the target answers.")
            .answers::<Tested>()
            .fails(&found),
        operation::post(&rule("/replay"), "replayCallbacks", "Send events again")
            .says("Those of a room from a number on, or those of the app between two moments.")
            .may_take("room", form::text("The room."))
            .may_take("from", form::integer("The first number in the room."))
            .may_take("to", form::integer("The last number in the room."))
            .may_take("from_ms", form::integer("The first moment, in Unix milliseconds."))
            .may_take("to_ms", form::integer("The last moment, in Unix milliseconds."))
            .answers::<Replayed>()
            .fails(&found)
            .fails(&[fails::JSON_PARSE]),
        operation::get(&rule("/deliveries"), "listDeliveries", "List what was sent because of a rule, the newest first")
            .query("state", form::one_of("How far they are.", &["pending", "done", "dead"]))
            .query("room", form::text("Of which room."))
            .by_cursor()
            .answers::<Vec<DeliveryView>>()
            .counted()
            .fails(&found),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CallbackRuleMade")]
struct Made {
    id: Uuid,
    url: String,
    kinds: Vec<String>,
    paused: bool,
    created: i64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CallbackRule")]
struct Shown {
    #[serde(flatten)]
    rule: Made,
    lag: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<i64>,
}

impl From<Rule> for Shown {
    fn from(rule: Rule) -> Self {
        let Rule { id, url, kinds, paused, .. } = rule;
        let made = Made { id, url, kinds, paused, created: unix_ms(rule.created_at) };
        Self { rule: made, lag: rule.lag_ms, failing_since: rule.failing_since.map(unix_ms) }
    }
}

async fn list(call: Call) -> Result<Reply<Vec<Shown>>, Error> {
    call.params().only(&[])?;
    let rules = rules::list(&call.state.db, call.app.id).await?;
    let count = rules.len();
    Ok(call.reply(rules.into_iter().map(Shown::from).collect()).count(count))
}

async fn create(call: Call) -> Result<HttpResponse, Error> {
    call.params().only(&[])?;
    let body = call.body()?;
    let url = read_url(&call, &body)?.ok_or_else(|| Error::missing("url"))?;
    let secret = read_secret(&body)?.ok_or_else(|| Error::missing("secret"))?;
    let kinds = read_kinds(&body)?.unwrap_or_else(|| vec![EVERYTHING.into()]);
    let paused = read_paused(&body)?.unwrap_or(false);
    let id = Uuid::new_v4();
    let sealed = call.state.sender.seal(id, &secret)?;
    let rule = NewRule { id, url: &url, sealed: &sealed, kinds: &kinds, paused };
    let made = rules::create(&call.state.db, call.app.id, &rule).await?;
    call.commit(made, |call, created| Ok(call.reply(Made { id, url, kinds, paused, created: unix_ms(created) }))).await
}

async fn get(call: Call) -> Result<Reply<Shown>, Error> {
    call.params().only(&[])?;
    let rule = rules::get(&call.state.db, call.app.id, rule_id(&call)?).await?;
    Ok(call.reply(rule.into()))
}

async fn update(call: Call) -> Result<Reply<Shown>, Error> {
    call.params().only(&[])?;
    let (id, body) = (rule_id(&call)?, call.body()?);
    let (url, kinds) = (read_url(&call, &body)?, read_kinds(&body)?);
    let sealed = read_secret(&body)?.map(|secret| call.state.sender.seal(id, &secret)).transpose()?;
    let changes =
        Changes { url: url.as_deref(), sealed: sealed.as_deref(), kinds: kinds.as_deref(), paused: read_paused(&body)? };
    rules::update(&call.state.db, call.app.id, id, &changes).await?;
    get(call).await
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CallbackRuleDeleted")]
struct Deleted {
    id: Uuid,
    deleted: bool,
}

async fn delete(call: Call) -> Result<HttpResponse, Error> {
    call.params().only(&[])?;
    let id = rule_id(&call)?;
    let deleted = rules::delete(&call.state.db, call.app.id, id).await?;
    call.commit(deleted, |call, ()| Ok(call.reply(Deleted { id, deleted: true }))).await
}

/// A status of 0: no answer came.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CallbackRuleTested")]
struct Tested {
    status: u16,
    latency: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

async fn test(call: Call) -> Result<Reply<Tested>, Error> {
    call.params().only(&[])?;
    let id = rule_id(&call)?;
    let target = rules::target(&call.state.db, call.app.id, id).await?;
    let appkey = call.app.key();
    let outcome = call.state.sender.test(&appkey, id, &target).await?;
    let (status, error) = outcome.answer.map_or_else(|why| (0, Some(why.to_string())), |status| (status, None));
    Ok(call.reply(Tested { status, latency: outcome.latency.as_millis(), error }))
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CallbacksReplayed")]
struct Replayed {
    events: u64,
}

async fn replay(call: Call) -> Result<Reply<Replayed>, Error> {
    call.params().only(&[])?;
    let (id, body) = (rule_id(&call)?, call.body()?);
    let needed = |field: &str| body.integer(field)?.ok_or_else(|| Error::missing(field));
    let range = match body.text("room")? {
        Some(room) => Range::numbers(call.app.id, room, needed("from")?, body.integer("to")?.unwrap_or(i64::MAX)),
        None if body.get("from_ms").is_none() && body.get("to_ms").is_none() => return Err(Error::missing("room")),
        None => Range::between_ms(needed("from_ms")?, needed("to_ms")?),
    };
    let events = replay::replay(&call.state.db, call.app.id, id, &range).await?;
    Ok(call.reply(Replayed { events }))
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Delivery")]
struct DeliveryView {
    callid: String,
    chatroom: String,
    n: i64,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    attempts: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_at: Option<i64>,
}

/// The newest first, page by page.
async fn list_deliveries(call: Call) -> Result<Reply<Vec<DeliveryView>>, Error> {
    /// No room is called so.
    const NOWHERE: &str = "-";
    const STATES: [&str; 3] = ["pending", "done", "dead"];
    let (params, rule) = (call.params().only(&["state", "room", "limit", "cursor"])?, rule_id(&call)?);
    let states = match params.first("state") {
        None => &STATES[..],
        Some(state) => STATES.chunks(1).find(|known| known[0] == state).ok_or_else(|| Error::not_among("state", &STATES))?,
    };
    let size = paging::limit(&params, paging::MAX_LIMIT, paging::MAX_LIMIT);
    // A room that cannot be has no deliveries; the empty one is the app as a whole.
    let room = params.first("room").map(|room| if is_room_id(room) || room.is_empty() { room } else { NOWHERE });
    let scope = format!("deliveries/{rule}/{states:?}/{room:?}");
    let before = call.state.cursors.read::<i64>(&scope, &params)?.unwrap_or(i64::MAX);
    rules::target(&call.state.db, call.app.id, rule).await?;
    let request = ListRequest { rule, states, room, before, size };
    let (entries, next) = deliveries::list(&call.state.db, &request).await?;
    let cursor = next.map(|id| call.state.cursors.write(&scope, &id));
    let appkey = call.app.key();
    let shown = |entry: Entry| DeliveryView {
        callid: format!("{appkey}_{}", entry.call_id),
        chatroom: entry.chatroom,
        n: entry.n,
        state: entry.state,
        status: entry.status,
        error: entry.error,
        attempts: entry.attempts,
        latency: entry.latency_ms,
        next_at: entry.next_at.map(unix_ms),
    };
    let count = entries.len();
    Ok(call.reply(entries.into_iter().map(shown).collect()).count(count).cursor(cursor))
}

fn rule_id(call: &Call) -> Result<Uuid, Error> {
    let text = call.rule_segment();
    text.parse().map_err(|_| Error::RuleNotFound { rule: text.into() })
}

fn read_url(call: &Call, body: &Body) -> Result<Option<String>, Error> {
    match body.text("url")? {
        Some(url) if !call.state.sender.accepts(url) => Err(Error::invalid("url")),
        url => Ok(url.map(str::to_owned)),
    }
}

fn read_secret(body: &Body) -> Result<Option<SecretString>, Error> {
    match body.text("secret")? {
        Some(secret) if !rules::is_secret(secret) => Err(Error::invalid("secret")),
        secret => Ok(secret.map(SecretString::from)),
    }
}

fn read_kinds(body: &Body) -> Result<Option<Vec<String>>, Error> {
    if body.get("kinds").is_none() {
        return Ok(None);
    }
    let kinds = body.texts("kinds")?;
    if !rules::are_kinds(&kinds) {
        return Err(Error::not_among("kinds", &[&["*"][..], &Kind::names()].concat()));
    }
    Ok(Some(kinds))
}

fn read_paused(body: &Body) -> Result<Option<bool>, Error> {
    match body.get("paused") {
        None => Ok(None),
        Some(Value::Bool(paused)) => Ok(Some(*paused)),
        Some(_) => Err(Error::not_among("paused", &["true", "false"])),
    }
}
