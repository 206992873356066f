//! May this user speak?

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{TestApp, find_next_ends, numbered};

async fn layer(app: &TestApp, room: &str, user: &str) -> Value {
    let answer = app.get(&format!("/chatrooms/{room}/users/{user}/speak")).await.json();
    assert_eq!(
        answer["data"]["allowed"],
        matches!(answer["data"]["layer"].as_str(), Some("owner" | "admin" | "whitelist" | "member"))
    );
    answer["data"]["layer"].clone()
}

#[tokio::test]
async fn the_first_rule_that_applies_decides_who_may_speak() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid", "dan", "eve"]).await;
    app.users(&["fay"]).await;
    let at = |path: &str| format!("/chatrooms/{room}{path}");
    app.post_json(&at("/admin"), json!({"newadmin": "bob"})).await;
    app.post(&at("/white/users/cid")).await;
    app.post(&at("/blocks/users/eve")).await;
    for (user, expected) in [
        ("ann", "owner"),
        ("BOB", "admin"),
        ("cid", "whitelist"),
        ("dan", "member"),
        ("eve", "blocked"),
        ("fay", "not_member"),
        ("nobody", "not_member"),
    ] {
        assert_eq!(layer(&app, &room, user).await, expected, "{user}");
    }
    app.post(&at("/ban")).await;
    for (user, expected) in
        [("ann", "owner"), ("bob", "admin"), ("cid", "whitelist"), ("dan", "room_muted"), ("fay", "not_member")]
    {
        assert_eq!(layer(&app, &room, user).await, expected, "{user}");
    }
    let all = ["ann", "bob", "cid", "dan"];
    app.post_json(&at("/mute"), json!({"usernames": all, "mute_duration": -1})).await;
    app.delete(&at("/ban")).await;
    for (user, expected) in [("ann", "owner"), ("bob", "muted"), ("cid", "muted"), ("dan", "muted")] {
        assert_eq!(layer(&app, &room, user).await, expected, "{user}");
    }
}

#[tokio::test]
async fn one_answer_tells_the_rule_and_the_end_of_a_mute() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.get(&format!("/chatrooms/{room}/users/bob/speak")).await.is(&format!(
        r#"{{"action":"get","application":"APP","uri":"BASE/chatrooms/{room}/users/bob/speak","entities":[],"data":{{"user":"bob","allowed":true,"layer":"member"}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    app.post_json(&format!("/chatrooms/{room}/mute"), json!({"usernames": ["bob"], "mute_duration": -1})).await;
    let answer = app.get(&format!("/chatrooms/{room}/users/Bob/speak")).await;
    assert_eq!(answer.json()["data"], json!({"user": "bob", "allowed": false, "layer": "muted", "until": 4_638_873_600_000_i64}));
}

#[tokio::test]
async fn a_mute_that_has_ended_silences_no_user() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.post_json(&format!("/chatrooms/{room}/mute"), json!({"usernames": ["bob"], "mute_duration": 60_000})).await;
    let busy = app.lock_room(&room).await;
    sqlx::query("update mutes set ends_at = now() where app = $1").bind(app.app.id).execute(&app.db).await.expect("aged");
    find_next_ends(&app.db, app.app.id).await;
    assert_eq!(layer(&app, &room, "bob").await, "member");
    busy.rollback().await.expect("unlocked");
}

#[tokio::test]
async fn up_to_a_hundred_are_answered_once_each() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let path = format!("/chatrooms/{room}/speak");
    let answer = app.post_json(&path, json!({"usernames": ["nobody", "ann", "BOB", "bob", ""]})).await;
    assert_eq!(
        answer.json()["data"],
        json!([
            {"user": "nobody", "allowed": false, "layer": "not_member"},
            {"user": "ann", "allowed": true, "layer": "owner"},
            {"user": "bob", "allowed": true, "layer": "member"}
        ])
    );
    app.post_json(&path, json!({"usernames": numbered("u", 101)}))
        .await
        .fails_parameter("usernames size is more than max limit : 100");
    assert_eq!(
        app.post_json(&path, json!({"usernames": numbered("u", 100)})).await.json()["data"].as_array().map(Vec::len),
        Some(100)
    );
    app.post_json(&path, json!({"usernames": []})).await.fails_parameter("usernames must be provided");
    app.post_json("/chatrooms/123/speak", json!({"usernames": ["ann"]})).await.fails_room("123");
    app.post_json("/chatrooms/123/speak", json!({"usernames": numbered("u", 101)})).await.fails_room("123");
    app.get("/chatrooms/123/users/ann/speak").await.fails_room("123");
}

#[tokio::test]
async fn a_user_who_may_not_speak_is_told_why_and_until_when() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid", "dan"]).await;
    let at = |path: &str| format!("/chatrooms/{room}{path}");
    let act = async |path: &str, reason: &str, body: Value| {
        let request = app.request(Method::POST, &at(path)).header("X-Audit-Reason", reason);
        assert_eq!(app.send(request.body(body.to_string())).await.status, 200);
    };
    act("/mute", "spam", json!({"usernames": ["bob"], "mute_duration": -1})).await;
    act("/blocks/users/cid", "abuse", json!({})).await;
    act("/ban", "a%20quiet%20minute", json!({})).await;
    let verdicts = app.post_json(&at("/speak"), json!({"usernames": ["bob", "cid", "dan", "ann"]})).await.json();
    let end = 4_638_873_600_000_i64;
    assert_eq!(
        verdicts["data"],
        json!([
            {"user": "bob", "allowed": false, "layer": "muted", "until": end, "reason": "spam"},
            {"user": "cid", "allowed": false, "layer": "blocked", "until": end, "reason": "abuse"},
            {"user": "dan", "allowed": false, "layer": "room_muted", "reason": "a quiet minute"},
            {"user": "ann", "allowed": true, "layer": "owner"}
        ])
    );
    app.delete(&at("/ban")).await;
    app.delete(&at("/mute/bob")).await;
    app.post(&at("/ban")).await;
    let verdict = app.get(&at("/users/bob/speak")).await.json();
    assert_eq!(
        verdict["data"],
        json!({"user": "bob", "allowed": false, "layer": "room_muted"}),
        "reasons go with what they explain"
    );
}
