//! What a callback says, in the hosted service's format, and how it is signed.
//!
//! The keys stand in the order in which the contract prints them. `security` is the hosted service's signature, which
//! covers neither the payload nor the time of sending; the one in the header covers every byte.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::auth::hex;
use crate::callbacks::deliveries::CallbackEvent;
use crate::events::log::CLIENT;
use crate::names::unix_ms;

/// The whole body.
#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "callId")]
    call_id: &'a str,
    security: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload<'a>>,
    appkey: &'a str,
    id: &'a str,
    r#type: &'a str,
    event: &'a str,
    operation: &'a str,
    operator: &'a str,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    member_count: Option<i32>,
}

/// Every key that a payload can have; which of them it has is up to the operation.
#[derive(Default, Serialize)]
struct Payload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<BTreeMap<&'a str, &'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    announcement: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mute: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<Info>,
}

/// What is known of a room, or what has changed of it. All are texts.
#[derive(Default, Serialize)]
struct Info {
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mute: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mute_duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_users: Option<String>,
}

/// The body of an event's callback. `call_id` is the same for every attempt, and so is the body.
pub fn body(appkey: &str, call_id: Uuid, event: &CallbackEvent, secret: &SecretString) -> String {
    let call_id = format!("{appkey}_{call_id}");
    let timestamp = unix_ms(event.happened_at);
    let (operation, kind) = event.kind.split_once('/').map_or((&*event.kind, None), |(operation, kind)| (operation, Some(kind)));
    let message = Message {
        call_id: &call_id,
        security: security(&call_id, secret, timestamp),
        payload: payload(operation, kind, appkey, event),
        appkey,
        id: &event.chatroom,
        r#type: "CHATROOM",
        event: "group_op_event",
        operation,
        operator: &event.actor,
        timestamp,
        member_count: event.member_count,
    };
    serde_json::to_string(&message).unwrap_or_default()
}

/// An event that has not happened, by which a target can be tried.
pub fn test_event() -> CallbackEvent {
    CallbackEvent {
        chatroom: String::new(),
        n: 0,
        kind: "TEST/TEST".into(),
        users: Vec::new(),
        before: None,
        after: None,
        actor: CLIENT.into(),
        member_count: None,
        happened_at: OffsetDateTime::now_utc(),
    }
}

fn payload<'a>(operation: &str, kind: Option<&'a str>, appkey: &str, event: &'a CallbackEvent) -> Option<Payload<'a>> {
    let side = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let after = side(&event.after);
    let text = |field: &str| after.get(field).map(as_text);
    let typed = Payload { r#type: kind, ..Payload::default() };
    let member = Some(&*event.users);
    Some(match (operation, kind) {
        ("DELETE", _) => return None,
        ("CREATE", _) => {
            let (owner, others) = event.users.split_first()?;
            let info = Info {
                owner: Some(format!("{appkey}_{owner}")),
                created: Some(unix_ms(event.happened_at).to_string()),
                mute: Some(false.to_string()),
                mute_duration: Some((-1).to_string()),
                ..info(text)
            };
            let role = Some(BTreeMap::from([(&**owner, "owner")]));
            Payload { role, member: Some(others), info: Some(info), ..typed }
        }
        ("UPDATE", Some("INFO")) => Payload { info: Some(info(text)), ..typed },
        ("UPDATE", Some("OWNER")) => {
            Payload { owner: side(&event.before).get("owner").map(as_text), new_owner: text("owner"), ..typed }
        }
        ("UPDATE", Some("ANNOUNCEMENT")) => Payload { announcement: text("announcement"), ..typed },
        ("UPDATE", Some("MUTE")) => Payload { mute: after.get("mute").and_then(Value::as_bool), ..typed },
        ("ADMIN" | "ROOM_SUPER_ADMIN", _) => Payload { admin: member, ..typed },
        ("BLOCK" | "MUTE" | "GLOBAL_MUTE", Some("ADD")) => {
            // All that one call blocks or mutes ends at one moment.
            let end = after.as_object().and_then(|ends| ends.values().next()?.as_i64());
            Payload { member, expire_timestamp: end, ..typed }
        }
        ("TEST", _) => typed,
        _ => Payload { member, ..typed },
    })
}

fn info(text: impl Fn(&str) -> Option<String>) -> Info {
    Info {
        custom: text("custom"),
        description: text("description"),
        title: text("name"),
        max_users: text("maxusers"),
        ..Info::default()
    }
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn security(call_id: &str, secret: &SecretString, timestamp: i64) -> String {
    hex(&Md5::new().chain_update(call_id).chain_update(secret.expose_secret()).chain_update(timestamp.to_string()).finalize())
}

/// What `X-Roomward-Signature` says of a body that is sent at a moment, in Unix seconds.
pub fn signature(secret: &SecretString, seconds: i64, body: &str) -> String {
    let sign = |key: Hmac<Sha256>| hex(&key.chain_update(format!("{seconds}.{body}")).finalize().into_bytes());
    let signed = Hmac::new_from_slice(secret.expose_secret().as_bytes()).map(sign);
    format!("t={seconds},v1={}", signed.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPKEY: &str = "acme#live";
    const CALL: Uuid = Uuid::from_u128(0x3f2b_8c1e_0000_4000_8000_0000_0000_0001);

    fn event(kind: &str, users: &[&str], before: &str, after: &str) -> CallbackEvent {
        let side = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        CallbackEvent {
            chatroom: "r1".into(),
            n: 7,
            kind: kind.into(),
            users: users.iter().map(ToString::to_string).collect(),
            before: side(before),
            after: side(after),
            actor: CLIENT.into(),
            member_count: None,
            happened_at: OffsetDateTime::from_unix_timestamp_nanos(1_644_909_510_085_000_000).expect("a moment"),
        }
    }

    #[test]
    fn a_body_is_the_contracts_word_for_word() {
        let joined = CallbackEvent { member_count: Some(3), ..event("JOIN/DIRECT", &["user1"], "", "") };
        // printf 'acme#live_3f2b8c1e-0000-4000-8000-000000000001s3cret1644909510085' | md5sum
        let expected = r#"{"callId":"acme#live_3f2b8c1e-0000-4000-8000-000000000001","security":"5a2c553e9c5a8a0c26465ebae4c8a788","payload":{"member":["user1"],"type":"DIRECT"},"appkey":"acme#live","id":"r1","type":"CHATROOM","event":"group_op_event","operation":"JOIN","operator":"@ppAdmin","timestamp":1644909510085,"member_count":3}"#;
        assert_eq!(body(APPKEY, CALL, &joined, &"s3cret".into()), expected);
        let deleted = body(APPKEY, CALL, &event("DELETE", &[], "", ""), &"s3cret".into());
        assert_eq!(
            deleted,
            expected
                .replace(r#""payload":{"member":["user1"],"type":"DIRECT"},"#, "")
                .replace("JOIN", "DELETE")
                .replace(r#","member_count":3"#, "")
        );
    }

    #[test]
    fn a_signature_is_what_openssl_says() {
        // printf '1700000000.{"a":"ü"}' | openssl dgst -sha256 -hmac s3cret
        let expected = "t=1700000000,v1=eb23aec996758b1cbeaf42b04587ccf73f579ffad3ea013084b0c89303fac6cd";
        assert_eq!(signature(&"s3cret".into(), 1_700_000_000, r#"{"a":"ü"}"#), expected);
    }

    #[test]
    fn each_operation_has_its_payload() {
        let created = r#"{"name":"Lobby","description":"all","custom":"","owner":"ann","maxusers":200}"#;
        for (event, expected) in [
            (
                event("CREATE", &["ann", "bob", "cid"], "", created),
                r#"{"role":{"ann":"owner"},"member":["bob","cid"],"info":{"owner":"acme#live_ann","created":"1644909510085","custom":"","description":"all","mute":"false","mute_duration":"-1","title":"Lobby","max_users":"200"}}"#,
            ),
            (
                event("UPDATE/INFO", &[], r#"{"maxusers":200,"name":"Lobby"}"#, r#"{"maxusers":300,"name":"Hall"}"#),
                r#"{"type":"INFO","info":{"title":"Hall","max_users":"300"}}"#,
            ),
            (
                event("UPDATE/OWNER", &["ann", "bob"], r#"{"owner":"ann"}"#, r#"{"owner":"bob"}"#),
                r#"{"type":"OWNER","owner":"ann","new_owner":"bob"}"#,
            ),
            (
                event("UPDATE/ANNOUNCEMENT", &[], r#"{"announcement":""}"#, r#"{"announcement":"hi"}"#),
                r#"{"type":"ANNOUNCEMENT","announcement":"hi"}"#,
            ),
            (event("UPDATE/MUTE", &[], r#"{"mute":false}"#, r#"{"mute":true}"#), r#"{"type":"MUTE","mute":true}"#),
            (event("LEAVE/KICK", &["bob"], "", ""), r#"{"member":["bob"],"type":"KICK"}"#),
            (event("LEAVE/DELETE", &["bob", "ann"], "", ""), r#"{"member":["bob","ann"],"type":"DELETE"}"#),
            (event("ADMIN/ADD", &["bob"], "", ""), r#"{"admin":["bob"],"type":"ADD"}"#),
            (event("ROOM_SUPER_ADMIN/REMOVE", &["bob"], "", ""), r#"{"admin":["bob"],"type":"REMOVE"}"#),
            (event("WHITE/REMOVE", &["bob"], "", ""), r#"{"member":["bob"],"type":"REMOVE"}"#),
            (
                event("BLOCK/ADD", &["bob"], "", r#"{"bob":4638873600000}"#),
                r#"{"member":["bob"],"type":"ADD","expire_timestamp":4638873600000}"#,
            ),
            (
                event("MUTE/ADD", &["bob", "cid"], "{}", r#"{"bob":5,"cid":5}"#),
                r#"{"member":["bob","cid"],"type":"ADD","expire_timestamp":5}"#,
            ),
            (event("MUTE/EXPIRE", &["bob"], r#"{"bob":5}"#, ""), r#"{"member":["bob"],"type":"EXPIRE"}"#),
            (event("GLOBAL_MUTE/ADD", &["bob"], "{}", r#"{"bob":5}"#), r#"{"member":["bob"],"type":"ADD","expire_timestamp":5}"#),
            (event("GLOBAL_MUTE/REMOVE", &["bob"], r#"{"bob":5}"#, ""), r#"{"member":["bob"],"type":"REMOVE"}"#),
            (event("GLOBAL_MUTE/EXPIRE", &["bob"], r#"{"bob":5}"#, ""), r#"{"member":["bob"],"type":"EXPIRE"}"#),
            (test_event(), r#"{"type":"TEST"}"#),
        ] {
            let (operation, kind) = event.kind.split_once('/').map_or((&*event.kind, None), |(left, right)| (left, Some(right)));
            let written = serde_json::to_string(&payload(operation, kind, APPKEY, &event)).expect("JSON");
            assert_eq!(written, expected, "{}", event.kind);
        }
    }
}
