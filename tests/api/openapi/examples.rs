//! The examples of the document are answers of the service. After a change of answers:
//! `ROOMWARD_TEST_EXAMPLES=write scripts/test --test api openapi::examples` writes them anew.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::forms::{self, DOCUMENT};
use crate::app::TestApp;
use crate::callbacks::Receiver;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/openapi/examples.json");

/// What the examples show in place of what differs from run to run.
const ROOM: &str = "225133468712961";
const MOMENT_MS: i64 = 1_790_000_000_000;
const UUID: &str = "0b7e3c9a-5d8f-4a61-9e0c-2f4d6b8a1c35";

/// The calls, in an order in which each succeeds: the operation, what its path names, the query, and the body.
fn calls(url: &str) -> Vec<(&'static str, &'static str, &'static str, Option<Value>)> {
    let one = Some(json!({"usernames": ["user2"]}));
    let two = Some(json!({"usernames": ["user2", "user3"]}));
    let (kept, chosen) =
        (Some(json!({"metaData": {"topic": "music"}, "autoDelete": "NO_DELETE"})), Some(json!({"keys": ["topic"]})));
    vec![
        (
            "issueToken",
            "",
            "",
            Some(json!({"grant_type": "client_credentials", "client_id": "client", "client_secret": "client-secret"})),
        ),
        ("registerUsers", "", "", Some(json!({"username": "user1", "password": "a good one", "nickname": "Ann"}))),
        ("listUsers", "", "?limit=1", None),
        ("getUser", "user1", "", None),
        ("setNickname", "user1", "", Some(json!({"nickname": "Anna"}))),
        ("setPassword", "user1", "", Some(json!({"newpassword": "a better one"}))),
        ("setPasswordByPost", "user1", "", Some(json!({"newpassword": "a better one"}))),
        ("deactivateUser", "user4", "", None),
        ("activateUser", "user4", "", None),
        ("disconnectUser", "user4", "", None),
        ("disconnectDevice", "user4", "", None),
        ("disconnectDeviceByGet", "user4", "", None),
        ("listDevices", "user1", "", None),
        ("getStatus", "user1", "", None),
        ("getStatuses", "batch", "", Some(json!({"usernames": ["user1", "user2"]}))),
        ("addSuperAdmin", "", "", Some(json!({"superadmin": "user1"}))),
        ("listSuperAdmins", "", "", None),
        ("removeSuperAdmin", "user1", "", None),
        (
            "createChatroom",
            "",
            "",
            Some(json!({"name": "Lounge", "description": "All are welcome", "owner": "user1", "maxusers": 300})),
        ),
        ("listChatrooms", "", "", None),
        ("updateChatroom", "", "", Some(json!({"description": "Music all night"}))),
        ("addMember", "user2", "", None),
        ("addMembers", "", "", Some(json!({"usernames": ["user3", "user4"]}))),
        ("listMembers", "", "?pagenum=1&pagesize=3", None),
        ("getChatrooms", "", "", None),
        ("listJoinedChatrooms", "user2", "", None),
        ("listStandings", "user2", "", None),
        ("addAdmin", "", "", Some(json!({"newadmin": "user2"}))),
        ("listAdmins", "", "", None),
        ("removeAdmin", "user2", "", None),
        ("undo", "", "", Some(json!({"room": "ROOM", "n": 6}))),
        ("whitelistMember", "user2", "", None),
        ("whitelistMembers", "", "", two.clone()),
        ("listWhitelist", "", "", None),
        ("unwhitelistMembers", "user2,user3", "", None),
        ("muteMembers", "", "", Some(json!({"usernames": ["user2", "user3"], "mute_duration": 86_400_000}))),
        ("listMutes", "", "", None),
        ("listMemberStandings", "", "?limit=2", None),
        ("getPermissions", "", "?room=ROOM", None),
        ("checkSpeech", "user2", "", None),
        ("checkSpeechOfSeveral", "", "", two),
        ("listRestrictions", "", "", None),
        ("unmuteMembers", "user2", "", None),
        ("muteAll", "", "", None),
        ("unmuteAll", "", "", None),
        ("blockMember", "user3", "", None),
        ("blockMembers", "", "", one),
        ("listBlocks", "", "", None),
        ("unblockUsers", "user2", "", None),
        ("setAnnouncement", "", "", Some(json!({"announcement": "Be kind"}))),
        ("getAnnouncement", "", "", None),
        ("setAttributes", "user4", "", kept.clone()),
        ("getAttributes", "", "", chosen.clone()),
        ("deleteAttributes", "user4", "", chosen.clone()),
        ("forceAttributes", "user4", "", kept),
        ("forceAttributesAway", "user4", "", chosen),
        ("setGlobalMute", "", "", Some(json!({"username": "user4", "chatroom": 3600}))),
        ("getGlobalMute", "user4", "", None),
        ("listGlobalMutes", "", "", None),
        ("addModerator", "", "", Some(json!({"username": "user4", "role": "moderator", "rooms": ["ROOM"]}))),
        ("listModerators", "", "", None),
        ("removeModerator", "user4", "", None),
        ("listEvents", "", "?since=1&limit=2", None),
        ("listEventsOfApp", "", "?limit=2", None),
        ("audit", "", "?user=user2&limit=2", None),
        ("countEvents", "", "?kind=MUTE&from=1780000000000&to=4372000000000&every=2592000000", None),
        ("addCallbackRule", "", "", Some(json!({"url": url, "secret": "a secret of sixteen or more", "kinds": ["MUTE"]}))),
        ("listCallbackRules", "", "", None),
        ("getCallbackRule", "", "", None),
        ("updateCallbackRule", "", "", Some(json!({"kinds": ["MUTE", "BLOCK"]}))),
        ("testCallbackRule", "", "", None),
        ("replayCallbacks", "", "", Some(json!({"room": "ROOM", "from": 1}))),
        ("listDeliveries", "", "?limit=1&state=done", None),
        ("deleteCallbackRule", "", "", None),
        ("introspectToken", "", "", Some(json!({"token": "TOKEN"}))),
        ("revokeToken", "", "", Some(json!({"token": "TOKEN"}))),
        ("removeMembers", "user4", "", None),
        ("deleteChatroom", "", "", None),
        ("deleteUser", "user4", "", None),
        ("deleteUsers", "", "?limit=1", None),
        ("isAlive", "", "", None),
        ("isReady", "", "", None),
    ]
}

#[tokio::test]
async fn every_call_has_an_example_which_is_what_the_service_answers() {
    let (app, receiver) = (TestApp::new().await, Receiver::ok());
    app.users(&["user2", "user3", "user4"]).await;
    let url = receiver.url("/events");
    let (mut room, mut rule, token) = (String::new(), String::new(), app.user_token("user3").await);
    let mut examples = BTreeMap::new();
    for (id, user, query, body) in calls(&url) {
        let (method, path) = find(id);
        let path = path
            .replace("{org_name}", &app.app.org)
            .replace("{app_name}", &app.app.name)
            .replace("{chatroom_id}", &room)
            .replace("{rule}", &rule)
            .replace("{resource}", "ios_1")
            .replace("{usernames}", user);
        let mut request = app
            .client
            .request(method.parse().expect("a method"), app.url(&format!("{path}{}", query.replace("ROOM", &room))))
            .bearer_auth(&app.token);
        if let Some(body) = &body {
            request = request.body(body.to_string().replace("ROOM", &room).replace("TOKEN", &token));
        }
        let answer = app.send_plain(request).await;
        assert_eq!(answer.status, 200, "{id}: {}", answer.text);
        let answer = answer.json();
        match id {
            "createChatroom" => room = answer["data"]["id"].as_str().expect("an id").into(),
            "addCallbackRule" => rule = answer["data"]["id"].as_str().expect("an id").into(),
            // Until what is replayed has arrived, which the list of deliveries shows.
            "replayCallbacks" => wait_for_deliveries(&app, &rule).await,
            _ => {}
        }
        let shown = Shown { app: &app, room: &room, rule: &rule, url: &url };
        let mut example = Map::from_iter([("answer".to_owned(), shown.of("", &answer))]);
        if let Some(body) = body {
            example.insert("body".into(), shown.of("", &body));
        }
        examples.insert(id, Value::Object(example));
    }
    if std::env::var("ROOMWARD_TEST_EXAMPLES").is_ok_and(|wish| wish == "write") {
        std::fs::write(FILE, serde_json::to_string_pretty(&examples).expect("JSON") + "\n").expect("written");
    }
    let mut kept: BTreeMap<String, Value> = serde_json::from_str(&std::fs::read_to_string(FILE).expect("a file")).expect("JSON");
    for (id, example) in &examples {
        assert_eq!(kept.remove(*id).as_ref(), Some(example), "{id}");
    }
    assert_eq!(kept, BTreeMap::new(), "of no call");
}

#[test]
fn every_answer_and_body_in_json_has_an_example_that_fits() {
    for (path, methods) in DOCUMENT["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let content = &operation["responses"]["200"]["content"]["application/json"];
            if content.is_null() || path == "/openapi.json" {
                continue;
            }
            let example = content.get("example").unwrap_or_else(|| panic!("{method} {path} has no example"));
            let complaint = forms::complaint(method, path, 200, "application/json", &example.to_string());
            assert_eq!(complaint, None);
            let body = &operation["requestBody"]["content"]["application/json"];
            if operation["requestBody"]["required"] == true {
                assert!(jsonschema::draft202012::is_valid(&body["schema"], &body["example"]), "{method} {path}: {body}");
            }
        }
    }
    for (name, response) in DOCUMENT["components"]["responses"].as_object().expect("responses") {
        let content = &response["content"]["application/json"];
        for example in content["examples"].as_object().expect("examples").values() {
            let schema = json!({"allOf": [content["schema"]], "components": DOCUMENT["components"]});
            assert!(jsonschema::draft202012::is_valid(&schema, &example["value"]), "{name}: {example}");
        }
    }
}

async fn wait_for_deliveries(app: &TestApp, rule: &str) {
    while app.get(&format!("/callbacks/rules/{rule}/deliveries?state=done&limit=1")).await.json()["count"] == 0
        || app.get(&format!("/callbacks/rules/{rule}/deliveries?state=pending&limit=1")).await.json()["count"] != 0
    {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The method and the path of an operation.
fn find(id: &str) -> (String, String) {
    for (path, methods) in DOCUMENT["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            if operation["operationId"] == id {
                return (method.to_ascii_uppercase(), path.clone());
            }
        }
    }
    panic!("{id} is not in the document");
}

/// How an example shows what differs from run to run.
struct Shown<'a> {
    app: &'a TestApp,
    room: &'a str,
    rule: &'a str,
    url: &'a str,
}

impl Shown<'_> {
    fn of(&self, key: &str, value: &Value) -> Value {
        const MOMENTS: [&str; 12] = [
            "timestamp",
            "joined",
            "created",
            "modified",
            "expire",
            "until",
            "since",
            "muted_until",
            "blocked_until",
            "iat",
            "exp",
            "unixtime",
        ];
        match value {
            Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), self.of(key, value))).collect(),
            Value::Array(items) => items.iter().map(|item| self.of(key, item)).collect(),
            Value::Number(_) if ["iat", "exp", "unixtime"].contains(&key) => json!(MOMENT_MS / 1000),
            Value::Number(_) if MOMENTS.contains(&key) => json!(MOMENT_MS),
            Value::Number(_) if key == "duration" || key == "latency" => json!(2),
            Value::Number(_) if key == "lag" => json!(0),
            Value::String(text) => json!(self.text(key, text)),
            _ => value.clone(),
        }
    }

    fn text(&self, key: &str, text: &str) -> String {
        match key {
            "access_token" | "token" => "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl".into(),
            "uuid" | "jti" => UUID.into(),
            "cursor" | "oldest" | "last" | "next" => "ZGVtbw".into(),
            "callid" => format!("demo#chat_{UUID}"),
            "client_secret" => "demo-secret".into(),
            "client_id" => "demo-client".into(),
            "organization" => "demo".into(),
            "applicationName" => "chat".into(),
            "id" if text.len() == UUID.len() => UUID.into(),
            _ if text == "ROOM" => ROOM.into(),
            _ => {
                let text = text
                    .replace(&self.app.base(), "https://chat.example.com/demo/chat")
                    .replace(self.url, "https://example.com/events");
                let text = text
                    .replace(&self.app.app.uuid.to_string(), UUID)
                    .replace(&format!("{}#{}", self.app.app.org, self.app.app.name), "demo#chat");
                let ids = [(self.room, ROOM), (self.rule, UUID)].into_iter().filter(|(id, _)| !id.is_empty());
                ids.fold(text, |text, (id, shown)| text.replace(id, shown))
            }
        }
    }
}
