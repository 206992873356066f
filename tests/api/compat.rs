//! The switches for where editions of the hosted service differ, and the limits that an app may have for itself.

use std::net::SocketAddr;

use reqwest::Method;
use roomward::accounts::apps;
use roomward::config::{AddExistingMember, Edition};
use roomward::db::Db;
use serde_json::{Value, json};

use crate::app::{Answer, Instance, TestApp, numbered, settings, shared_database};

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
    lenient.compat.add_existing_member = Some(AddExistingMember::Ok);
    let instance = Instance::start(lenient);
    let mut app = TestApp::on(instance.address, shared_database()).await;
    let room = app.room_with("ann", &[]).await;
    assert_eq!(app.post(&format!("/chatrooms/{room}/users/ann")).await.status, 200);
    app.set("compat.add_existing_member", "error").await;
    assert_eq!(app.post(&format!("/chatrooms/{room}/users/ann")).await.status, 400);
    app.set("compat.add_existing_member", "").await;
    assert_eq!(app.post(&format!("/chatrooms/{room}/users/ann")).await.status, 200);
}

/// What the calls answer in which the editions differ.
#[derive(Clone, Copy)]
struct Answers {
    /// Adding one who is in already.
    existing: u16,
    /// The status for non-members in calls 4, 5, 10 to 13, 15 to 17, and 19.
    non_member: [u16; 10],
    /// The most names in calls 3, 5, 11, 13, 16, 17, 19 and 21.
    most_names: [usize; 8],
    /// A user's token without the right: `error`, `exception` and the text.
    user_token: [&'static str; 3],
    /// One of a user's rooms, besides its id and name.
    joined_room: &'static str,
}

const SEED: Answers = Answers {
    existing: 400,
    non_member: [400; 10],
    most_names: [60; 8],
    user_token: [
        "group_authorization",
        "com.easemob.group.exception.GroupAuthorizationException",
        "you have no permission to do this, group admin permission is required",
    ],
    joined_room: "{}",
};

const PRESENT: Answers = Answers {
    existing: 200,
    non_member: [400, 400, 403, 403, 403, 403, 403, 400, 400, 400],
    most_names: [100, 60, 60, 60, 60, 60, 100, 60],
    user_token: ["auth_bad_access_token", "EasemobSecurityException", "Unable to authenticate"],
    joined_room: r#"{"disabled":"false"}"#,
};

/// A call below a room: names in the path, or else in the body.
async fn call(app: &TestApp, room: &str, method: Method, path: &str, names: &[String]) -> Answer {
    let url = format!("/chatrooms/{room}{}", path.replace("NAMES", &names.join(",")));
    let body = if path.contains("NAMES") { Value::Null } else { json!({"usernames": names, "mute_duration": 1}) };
    app.send(app.request(method, &url).body(body.to_string())).await
}

/// Walks every row of the table, in an app of its own with settings of its own.
async fn assert_answers(address: SocketAddr, overrides: &[(&str, &str)], expected: &Answers) {
    let mut app = TestApp::on(address, shared_database()).await;
    for (key, value) in overrides {
        app.app.overrides.0.set(key, value).expect("a legal setting");
    }
    apps::set_overrides(&Db::new(app.db.clone()), app.app.id, app.app.overrides.0.clone()).await.expect("stored");
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;

    assert_eq!(app.post(&format!("/chatrooms/{room}/users/ann")).await.status, expected.existing, "{overrides:?}");

    let calls = [
        (Method::DELETE, "/users/NAMES"),
        (Method::DELETE, "/users/NAMES,"),
        (Method::POST, "/blocks/users/NAMES"),
        (Method::POST, "/blocks/users"),
        (Method::DELETE, "/blocks/users/NAMES"),
        (Method::DELETE, "/blocks/users/NAMES,"),
        (Method::POST, "/white/users/NAMES"),
        (Method::POST, "/white/users"),
        (Method::DELETE, "/white/users/NAMES"),
        (Method::POST, "/mute"),
    ];
    for ((method, path), status) in calls.into_iter().zip(expected.non_member) {
        let answer = call(&app, &room, method, path, &["bob".into()]).await;
        answer.fails_forbidden(status, "users [bob] are not members of this group!");
    }

    let calls = [
        (Method::POST, "/users", "addMembers: addMembers number more than maxSize"),
        (Method::DELETE, "/users/NAMES", "kickMember: kickMembers number more than maxSize"),
        (Method::POST, "/blocks/users", "userNames is more than max limit"),
        (Method::DELETE, "/blocks/users/NAMES", "removeBlacklist: list size more than max limit"),
        (Method::POST, "/white/users", "usernames size is more than max limit"),
        (Method::DELETE, "/white/users/NAMES", "removeWhitelist size is more than max limit"),
        (Method::POST, "/mute", "userNames size is more than max limit"),
        (Method::DELETE, "/mute/NAMES", "removeMute member size more than max limit"),
    ];
    for ((method, path, sentence), most) in calls.into_iter().zip(expected.most_names) {
        let mut names = numbered("nobody", most);
        let taken = call(&app, &room, method.clone(), path, &names).await;
        assert!(!taken.text.contains("invalid_parameter"), "{overrides:?} {path}: {}", taken.text);
        names.push("onemore".into());
        call(&app, &room, method, path, &names).await.fails_parameter(&format!("{sentence} : {most}"));
    }

    let token = app.user_token("bob").await;
    let [error, exception, text] = expected.user_token;
    for (method, path, body) in [
        (Method::GET, "/users/bob".to_owned(), ""),
        (Method::POST, format!("/chatrooms/{room}/users/bob"), ""),
        (Method::GET, format!("/chatrooms/{room}/users"), ""),
        // Decided under the lock of the room.
        (Method::POST, format!("/chatrooms/{room}/ban"), ""),
        (Method::POST, "/token".into(), r#"{"grant_type":"inherit","username":"bob"}"#),
    ] {
        app.send(app.as_user(&token, method, &path).body(body)).await.fails(401, error, exception, text);
    }

    let mut joined: Value = serde_json::from_str(expected.joined_room).expect("JSON");
    (joined["id"], joined["name"]) = (json!(room), json!("room"));
    assert_eq!(app.get("/users/ann/joined_chatrooms").await.json()["data"], json!([joined]), "{overrides:?}");
}

#[tokio::test]
async fn each_edition_has_its_own_answer_for_each_call() {
    let shared = TestApp::new().await.address;
    assert_answers(shared, &[], &SEED).await;
    assert_answers(shared, &[("compat.edition", "seed")], &SEED).await;
    assert_answers(shared, &[("compat.edition", "present")], &PRESENT).await;
}

#[tokio::test]
async fn a_switch_of_the_app_goes_before_its_edition() {
    let shared = TestApp::new().await.address;
    let present = ("compat.edition", "present");
    assert_answers(shared, &[present, ("compat.max_batch", "70")], &Answers { most_names: [70; 8], ..PRESENT }).await;
    assert_answers(shared, &[present, ("compat.non_member_status", "400")], &Answers { non_member: [400; 10], ..PRESENT }).await;
    assert_answers(shared, &[present, ("compat.add_existing_member", "error")], &Answers { existing: 400, ..PRESENT }).await;
    let seed = ("compat.edition", "seed");
    assert_answers(shared, &[seed, ("compat.non_member_status", "403")], &Answers { non_member: [403; 10], ..SEED }).await;
}

#[tokio::test]
async fn the_edition_of_the_app_goes_before_all_that_the_service_says() {
    let mut today = settings(shared_database());
    today.compat.edition = Edition::Present;
    today.compat.max_batch = Some(80);
    let today = Instance::start(today);
    let (seed, most_names) = (("compat.edition", "seed"), [80; 8]);
    assert_answers(today.address, &[], &Answers { most_names, ..PRESENT }).await;
    assert_answers(today.address, &[seed], &SEED).await;
    assert_answers(today.address, &[("compat.edition", "present")], &PRESENT).await;
    // One switch leaves the rest to the service, unless the app has an edition.
    let existing = ("compat.add_existing_member", "error");
    assert_answers(today.address, &[existing], &Answers { existing: 400, most_names, ..PRESENT }).await;
    let status = ("compat.non_member_status", "403");
    assert_answers(today.address, &[seed, status], &Answers { non_member: [403; 10], ..SEED }).await;
}
