//! Custom attributes of a chatroom: `/metadata/chatroom/{chatroom_id}`.

use std::collections::{BTreeMap, HashSet};

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::call::Call;
use super::change::Head;
use super::openapi::operation::{self, Operation};
use super::openapi::{
    failures::{self as fails, Failure},
    form,
};
use super::reply::now_ms;
use super::{idempotent_resource, resource};
use crate::error::Error;
use crate::rooms::attributes::{self, MAX_ATTRIBUTES, Operator, Refusal, legal};
use crate::rooms::read;

/// The most attributes in one call.
const MAX_BATCH: usize = 10;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(resource("/metadata/chatroom/{chatroom_id}").route(web::post().to(get)))
        .service(
            idempotent_resource("/metadata/chatroom/{chatroom_id}/user/{usernames}")
                .route(web::put().to(set))
                .route(web::delete().to(delete)),
        )
        .service(
            idempotent_resource("/metadata/chatroom/{chatroom_id}/user/{usernames}/forced")
                .route(web::put().to(set_forced))
                .route(web::delete().to(delete_forced)),
        );
}

/// Why attributes are not changed.
const REFUSED: &[Failure] = &[fails::USER_NOT_FOUND, fails::ATTRIBUTES_REFUSED, fails::ATTRIBUTE_SETTER_OUTSIDE];

pub fn operations() -> Vec<Operation> {
    let path = "/metadata/chatroom/{chatroom_id}/user/{usernames}";
    let forced = format!("{path}/forced");
    let set = |path: &str, id, summary| {
        operation::put(path, id, summary)
            .takes("metaData", json!({"type": "object", "additionalProperties": {"type": "string"}}))
            .may_take("autoDelete", form::one_of("Whether they go when the user leaves.", &["DELETE", "NO_DELETE"]))
            .gives::<AttributesReply<Outcome>>()
            .fails(REFUSED)
    };
    let delete = |path: &str, id, summary| {
        operation::delete(path, id, summary)
            .takes("keys", form::texts("At most 10."))
            .gives::<AttributesReply<Outcome>>()
            .fails(REFUSED)
    };
    vec![
        operation::post("/metadata/chatroom/{chatroom_id}", "getAttributes", "Show attributes")
            .says("Those of the keys, or all where none is named.")
            .reads()
            .with(&["operator", "reason"])
            .may_take("keys", form::texts("Which attributes."))
            .gives::<AttributesReply<BTreeMap<String, String>>>()
            .fails(&[fails::JSON_PARSE, fails::INVALID_PARAMETER]),
        set(path, "setAttributes", "Set attributes that are new or the user's own, at most 10"),
        delete(path, "deleteAttributes", "Delete attributes of the user's own"),
        set(&forced, "forceAttributes", "Set attributes, whosever they are, at most 10"),
        delete(&forced, "forceAttributesAway", "Delete attributes, whosever they are"),
    ]
}

/// The envelope of these calls is shorter than that of others, and its `uri` ends before the room.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AttributesReply_{D}")]
struct AttributesReply<D> {
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    timestamp: u128,
    action: String,
    data: D,
}

fn reply<D: Serialize>(head: &Head, status: Option<&'static str>, data: D) -> AttributesReply<D> {
    let uri = head.uri.split("/metadata/chatroom").next().unwrap_or_default().to_owned() + "/metadata/chatroom";
    AttributesReply { uri, status, timestamp: now_ms(), action: head.action.clone(), data }
}

fn write<D: Serialize>(head: &Head, status: Option<&'static str>, data: D) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&reply(head, status, data)).map_err(|error| Error::Internal(error.into()))
}

/// What became of each key.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AttributesOutcome")]
struct Outcome {
    success_keys: Vec<String>,
    #[schemars(with = "BTreeMap<String, String>")]
    error_keys: ErrorKeys,
}

/// Key and reason, in the order asked for.
struct ErrorKeys(Vec<(String, String)>);

impl Serialize for ErrorKeys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, reason) in &self.0 {
            map.serialize_entry(key, reason)?;
        }
        map.end()
    }
}

/// Reads the attributes of the keys in the body; without a body, or without keys in it, all of them.
async fn get(call: Call) -> Result<HttpResponse, Error> {
    let keys = if call.has_body() { keys(&call)? } else { Vec::new() };
    // What cannot be a key reaches no statement.
    let legal_keys = keys.iter().filter(|key| legal(key).is_ok()).cloned().collect();
    let keys: Option<Vec<String>> = (!keys.is_empty()).then_some(legal_keys);
    let found: BTreeMap<String, String> = read::attributes::get(&call.state.db, &call.room()?, keys.as_deref()).await?;
    Ok(HttpResponse::Ok().json(reply(&Head::of(&call), None, found)))
}

async fn set(call: Call) -> Result<HttpResponse, Error> {
    set_as(call, false).await
}

async fn set_forced(call: Call) -> Result<HttpResponse, Error> {
    set_as(call, true).await
}

async fn set_as(call: Call, forced: bool) -> Result<HttpResponse, Error> {
    let body = call.body()?;
    let Some(Value::Object(given)) = body.get("metaData") else {
        return Err(Error::missing("metaData"));
    };
    let leaves_with_setter = match body.text("autoDelete")? {
        None | Some("DELETE") => true,
        Some("NO_DELETE") => false,
        Some(_) => return Err(Error::invalid("autoDelete")),
    };
    bounded(&call, given.len()).await?;
    let mut errors = Vec::new();
    let mut wanted = Vec::new();
    for (key, value) in given {
        match attributes::legal_value(key, value.as_str()) {
            Ok(value) => wanted.push((key.clone(), value.to_owned())),
            Err(reason) => errors.push((key.clone(), reason)),
        }
    }
    let operator = Operator { name: call.user(), forced };
    let set = attributes::Set { operator, attributes: wanted, leaves_with_setter };
    let answer = move |head: &Head, fates: attributes::Outcome| {
        // Nothing but what belongs to others: the call as a whole is out of place.
        if !fates.is_empty() && errors.is_empty() && fates.iter().all(|(_, fate)| *fate == Err(Refusal::NotYours)) {
            return Err(Error::AttributesRefused("others are not allowed to be set".into()));
        }
        write(head, None, outcome(fates, errors.clone()))
    };
    call.change_and_write(set, answer).await
}

async fn delete(call: Call) -> Result<HttpResponse, Error> {
    delete_as(call, false).await
}

async fn delete_forced(call: Call) -> Result<HttpResponse, Error> {
    delete_as(call, true).await
}

async fn delete_as(call: Call, forced: bool) -> Result<HttpResponse, Error> {
    let keys = keys(&call)?;
    if keys.is_empty() {
        return Err(Error::missing("keys"));
    }
    bounded(&call, keys.len()).await?;
    let (mut wanted, mut errors, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for key in keys.into_iter().filter(|key| seen.insert(key.clone())) {
        match legal(&key) {
            Ok(()) => wanted.push(key),
            Err(reason) => errors.push((key, reason)),
        }
    }
    let operator = Operator { name: call.user(), forced };
    let answer = move |head: &Head, fates| write(head, Some("ok"), outcome(fates, errors.clone()));
    call.change_and_write(attributes::Delete { operator, keys: wanted }, answer).await
}

/// The keys in the body, as they were sent.
fn keys(call: &Call) -> Result<Vec<String>, Error> {
    let body = call.body()?;
    if body.get("keys").is_some() { body.texts("keys") } else { Ok(Vec::new()) }
}

/// Refuses more attributes than a call may name, unless the room does not exist: that comes first.
async fn bounded(call: &Call, number: usize) -> Result<(), Error> {
    if number > MAX_BATCH {
        read::details::require(&call.state.db, &call.room()?).await?;
        return Err(Error::AttributesRefused(format!("exceed allowed batch size {MAX_BATCH}")));
    }
    Ok(())
}

fn outcome(fates: attributes::Outcome, mut errors: Vec<(String, String)>) -> Outcome {
    let mut success_keys = Vec::new();
    for (key, fate) in fates {
        match fate {
            Ok(()) => success_keys.push(key),
            Err(Refusal::NotYours) => errors.push((key.clone(), format!("properties key '{key}' is not part of you"))),
            Err(Refusal::Missing) => errors.push((key.clone(), format!("properties key '{key}' is not exist"))),
            Err(Refusal::RoomIsFull) => {
                errors.push((key, format!("size of metadata for this single chatroom exceeds the limit {MAX_ATTRIBUTES}")));
            }
        }
    }
    Outcome { success_keys, error_keys: ErrorKeys(errors) }
}
