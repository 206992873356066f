//! The switches for where editions of the hosted service differ, and the limits that an app may have for itself.

use serde_json::json;

use crate::app::{Instance, TestApp, numbered, settings, shared_database};

#[tokio::test]
async fn the_sentences_of_refusals_follow_the_number() {
    let mut app = TestApp::new().await;
    app.set("compat.max_batch", "2").await;
    let room = app.room_with("ann", &["bob"]).await;
    let three = json!({"usernames": ["a", "b", "c"], "mute_duration": 1});
    for (path, text) in [
        ("/users", "addMembers: addMembers number more than maxSize : 2"),
        ("/blocks/users", "userNames is more than max limit : 2"),
        ("/white/users", "usernames size is more than max limit : 2"),
        ("/mute", "userNames size is more than max limit : 2"),
    ] {
        app.post_json(&format!("/chatrooms/{room}{path}"), three.clone()).await.fails_parameter(text);
    }
    for (path, text) in [
        ("/users", "kickMember: kickMembers number more than maxSize : 2"),
        ("/blocks/users", "removeBlacklist: list size more than max limit : 2"),
        ("/white/users", "removeWhitelist size is more than max limit : 2"),
        ("/mute", "removeMute member size more than max limit : 2"),
    ] {
        app.delete(&format!("/chatrooms/{room}{path}/a,b,c")).await.fails_parameter(text);
    }
}

#[tokio::test]
async fn a_larger_batch_is_taken_where_it_is_allowed() {
    let mut app = TestApp::new().await;
    app.set("compat.max_batch", "100").await;
    let names = numbered("user", 100);
    let room = app.room_with("ann", &[]).await;
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let answer = app.post_json(&format!("/chatrooms/{room}/users"), json!({"usernames": names})).await;
    assert_eq!(answer.json()["data"]["newmembers"].as_array().map(Vec::len), Some(100));
}

#[tokio::test]
async fn adding_an_existing_member_may_be_a_success() {
    let mut app = TestApp::new().await;
    app.set("compat.add_existing_member", "ok").await;
    let room = app.room_with("ann", &["bob"]).await;
    let answer = app.post(&format!("/chatrooms/{room}/users/bob")).await;
    assert_eq!(answer.json()["data"], json!({"result": true, "action": "add_member", "id": room, "user": "bob"}));
    assert_eq!(app.members(&room).await, ["ann", "bob"]);
}

#[tokio::test]
async fn the_status_for_non_members_may_be_403() {
    let mut app = TestApp::new().await;
    app.set("compat.non_member_status", "403").await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let text = "users [bob] are not members of this group!";
    let at = |path: &str| format!("/chatrooms/{room}{path}");
    app.delete(&at("/users/bob")).await.fails_forbidden(403, text);
    app.delete(&at("/users/bob,")).await.fails_forbidden(403, text);
    app.post(&at("/blocks/users/bob")).await.fails_forbidden(403, text);
    app.delete(&at("/blocks/users/bob")).await.fails_forbidden(403, text);
    app.post(&at("/white/users/bob")).await.fails_forbidden(403, text);
    app.delete(&at("/white/users/bob")).await.fails_forbidden(403, text);
    app.post_json(&at("/mute"), json!({"usernames": ["bob"], "mute_duration": 1})).await.fails_forbidden(403, text);
}

#[tokio::test]
async fn what_an_app_does_not_say_is_as_the_service_has_it() {
    let mut lenient = settings(shared_database());
    lenient.compat.add_existing_member = roomward::config::AddExistingMember::Ok;
    let instance = Instance::start(lenient);
    let mut app = TestApp::on(instance.address, shared_database()).await;
    let room = app.room_with("ann", &[]).await;
    assert_eq!(app.post(&format!("/chatrooms/{room}/users/ann")).await.status, 200);
    app.set("compat.add_existing_member", "error").await;
    assert_eq!(app.post(&format!("/chatrooms/{room}/users/ann")).await.status, 400);
    app.set("compat.add_existing_member", "").await;
    assert_eq!(app.post(&format!("/chatrooms/{room}/users/ann")).await.status, 200);
}
