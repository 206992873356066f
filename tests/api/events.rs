//! Events: what every change leaves behind, and how it is read.

use std::time::Duration;

use reqwest::Method;
use roomward::events::log::Kind;
use roomward::migrations;
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use tokio::task::JoinSet;

use crate::app::{Answer, Instance, TestApp, eventually, find_next_ends, migrated_database, numbered, settings, shared_database};

const PERMANENT: i64 = 4_638_873_600_000;

/// A service of its own, on a database of its own, that ends nothing by itself.
async fn without_expiry() -> (Instance, TestApp) {
    let url = migrated_database().await;
    let mut settings = settings(&url);
    settings.expiry.every_ms = 3_600_000;
    let instance = Instance::start(settings);
    let app = TestApp::on(instance.address, &url).await;
    (instance, app)
}

/// The events at `path`, each without its time.
async fn events(app: &TestApp, path: &str) -> Vec<Value> {
    let answer = app.get(path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let strip = |event: &Value| {
        let mut event = event.clone();
        event.as_object_mut().expect("an event").remove("timestamp").expect("a time");
        event
    };
    answer.json()["data"].as_array().expect("events").iter().map(strip).collect()
}

/// The first `count` events of the app, as soon as there are so many: its feed waits for other transactions that write at the
/// moment, and tests write all the time.
async fn of_app(app: &TestApp, count: usize) -> Vec<Value> {
    let all = async || events(app, "/events?limit=1000").await;
    eventually("the feed tells so many events", || async { all().await.len() >= count }).await;
    let mut all = all().await;
    all.truncate(count);
    all
}

async fn of_room(app: &TestApp, room: &str) -> Vec<Value> {
    events(app, &format!("/chatrooms/{room}/events?limit=1000")).await
}

/// What has happened to whom, without the rest.
fn kinds(events: &[Value]) -> Vec<String> {
    let kind = |event: &Value| {
        let users: Vec<&str> =
            event["users"].as_array().map(|users| users.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
        format!("{} {} {}", event["n"], event["kind"].as_str().expect("a kind"), users.join(",")).trim().to_owned()
    };
    events.iter().map(kind).collect()
}

fn acting(request: reqwest::RequestBuilder, operator: &str, reason: &str) -> reqwest::RequestBuilder {
    request.header("X-Operator", operator).header("X-Audit-Reason", reason)
}

async fn mute(app: &TestApp, room: &str, users: &[&str], duration: i64) -> Value {
    let body = json!({"usernames": users, "mute_duration": duration});
    app.post_json(&format!("/chatrooms/{room}/mute"), body).await.json()
}

/// Lets everything in a list of the room have ended a second ago.
async fn age(app: &TestApp, list: &str, room: &str) {
    let statement = format!("update {list} set ends_at = now() - interval '1 s' where app = $1 and chatroom = $2");
    sqlx::query(sqlx::AssertSqlSafe(statement)).bind(app.app.id).bind(room).execute(&app.db).await.expect("aged");
    find_next_ends(&app.db, app.app.id).await;
}

#[tokio::test]
async fn an_event_is_answered_whole() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let request = app.request(Method::POST, &format!("/chatrooms/{room}/mute"));
    let body = json!({"usernames": ["bob"], "mute_duration": -1}).to_string();
    assert_eq!(app.send(acting(request, "Moderator%20Zo%C3%AB", "spam%21").body(body)).await.status, 200);
    app.get(&format!("/chatrooms/{room}/events?since=1&limit=5")).await.is(&format!(
        r#"{{"action":"get","application":"APP","params":{{"since":["1"],"limit":["5"]}},"uri":"BASE/chatrooms/{room}/events","entities":[],"data":[{{"chatroom":"{room}","n":2,"kind":"MUTE/ADD","users":["bob"],"before":{{}},"after":{{"bob":{PERMANENT}}},"actor":"Moderator Zoë","reason":"spam!","timestamp":T}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":1,"oldest":1,"last":2}}"#
    ));
}

#[tokio::test]
async fn every_change_is_an_event_that_tells_before_and_after() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob", "cid", "dan"]).await;
    let created = app
        .post_json("/chatrooms", json!({"name": "Lobby", "description": "d", "maxusers": 10, "owner": "ann", "members": ["bob"]}))
        .await;
    let room = created.json()["data"]["id"].as_str().expect("an id").to_owned();
    let at = |path: &str| format!("/chatrooms/{room}{path}");
    let names = |names: &[&str]| json!({"usernames": names});
    let put = async |body: Value| app.send(app.request(Method::PUT, &at("")).body(body.to_string())).await.status;
    assert_eq!(put(json!({"name": "Hall", "maxusers": 10, "custom": "c"})).await, 200);
    app.post_json(&at("/users"), names(&["dan", "bob", "cid"])).await;
    app.post_json(&at("/admin"), json!({"newadmin": "bob"})).await;
    app.post_json(&at("/white/users"), names(&["cid", "bob"])).await;
    app.post_json(&at("/white/users"), names(&["bob", "dan"])).await;
    app.delete(&at("/white/users/dan,cid")).await;
    let end = mute(&app, &room, &["dan", "bob"], 3_600_000).await["data"][0]["expire"].as_i64().expect("an end");
    mute(&app, &room, &["bob"], -1).await;
    app.delete(&at("/mute/dan,cid")).await;
    app.post(&at("/ban")).await;
    app.delete(&at("/ban")).await;
    app.post_json(&at("/blocks/users"), names(&["bob", "dan"])).await;
    app.delete(&at("/blocks/users/dan")).await;
    app.post_json(&at("/announcement"), json!({"announcement": "hi"})).await;
    app.post_json(&at("/admin"), json!({"newadmin": "cid"})).await;
    assert_eq!(put(json!({"newowner": "cid"})).await, 200);
    app.delete(&at("/users/ann,dan")).await;
    let e = |n: i64, kind: &str, rest: Value| {
        let mut event = json!({"chatroom": room, "n": n, "kind": kind, "actor": "@ppAdmin"});
        event.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        event
    };
    let expected = [
        e(
            1,
            "CREATE",
            json!({"users": ["ann", "bob"],
                   "after": {"name": "Lobby", "description": "d", "custom": "", "owner": "ann", "maxusers": 10}}),
        ),
        e(2, "UPDATE/INFO", json!({"before": {"name": "Lobby", "custom": ""}, "after": {"name": "Hall", "custom": "c"}})),
        e(3, "JOIN/DIRECT", json!({"users": ["dan", "cid"]})),
        e(4, "ADMIN/ADD", json!({"users": ["bob"]})),
        e(5, "WHITE/ADD", json!({"users": ["cid", "bob"]})),
        e(6, "WHITE/ADD", json!({"users": ["dan"]})),
        e(7, "WHITE/REMOVE", json!({"users": ["dan", "cid"]})),
        e(8, "MUTE/ADD", json!({"users": ["dan", "bob"], "before": {}, "after": {"dan": end, "bob": end}})),
        e(9, "MUTE/ADD", json!({"users": ["bob"], "before": {"bob": end}, "after": {"bob": PERMANENT}})),
        e(10, "MUTE/REMOVE", json!({"users": ["dan"], "before": {"dan": end}})),
        e(11, "UPDATE/MUTE", json!({"before": {"mute": false}, "after": {"mute": true}})),
        e(12, "UPDATE/MUTE", json!({"before": {"mute": true}, "after": {"mute": false}})),
        e(13, "LEAVE/BLOCK", json!({"users": ["bob", "dan"], "before": {"bob": ["admin", "whitelist"]}})),
        e(14, "BLOCK/ADD", json!({"users": ["bob", "dan"], "before": {}, "after": {"bob": PERMANENT, "dan": PERMANENT}})),
        e(15, "BLOCK/REMOVE", json!({"users": ["dan"], "before": {"dan": PERMANENT}})),
        e(16, "UPDATE/ANNOUNCEMENT", json!({"before": {"announcement": ""}, "after": {"announcement": "hi"}})),
        e(17, "ADMIN/ADD", json!({"users": ["cid"]})),
        e(18, "ADMIN/REMOVE", json!({"users": ["cid"]})),
        e(19, "UPDATE/OWNER", json!({"users": ["ann", "cid"], "before": {"owner": "ann"}, "after": {"owner": "cid"}})),
        e(20, "LEAVE/KICK", json!({"users": ["ann"]})),
    ];
    let found = of_room(&app, &room).await;
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
    assert_eq!(of_app(&app, 20).await, expected, "the feed of the app tells the same");
}

#[tokio::test]
async fn a_call_that_changes_nothing_or_fails_leaves_no_event() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.users(&["cid"]).await;
    let at = |path: &str| format!("/chatrooms/{room}{path}");
    mute(&app, &room, &["bob"], -1).await;
    app.post_json(&at("/admin"), json!({"newadmin": "bob"})).await;
    app.post(&at("/white/users/bob")).await;
    app.post(&at("/ban")).await;
    app.post_json(&at("/announcement"), json!({"announcement": "hi"})).await;
    let before = of_room(&app, &room).await;
    app.post(&at("/users/bob")).await;
    app.post_json(&at("/users"), json!({"usernames": ["bob"]})).await;
    app.post_json(&at("/users"), json!({"usernames": ["cid", "nobody"]})).await;
    app.delete(&at("/users/cid")).await;
    app.delete(&at("/users/ann")).await;
    app.post_json(&at("/admin"), json!({"newadmin": "bob"})).await;
    app.delete(&at("/admin/ann")).await;
    app.post(&at("/white/users/bob")).await;
    app.delete(&at("/white/users/ann")).await;
    mute(&app, &room, &["bob"], -1).await;
    mute(&app, &room, &["bob", "cid"], 5).await;
    app.delete(&at("/mute/cid")).await;
    app.post(&at("/ban")).await;
    app.post(&at("/blocks/users/cid")).await;
    app.delete(&at("/blocks/users/bob")).await;
    app.post_json(&at("/announcement"), json!({"announcement": "hi"})).await;
    app.send(app.request(Method::PUT, &at("")).body(r#"{"maxusers":1}"#)).await;
    app.send(app.request(Method::PUT, &at("")).body(r#"{"newowner":"cid"}"#)).await;
    assert_eq!(of_room(&app, &room).await, before);
}

#[tokio::test]
async fn an_operator_or_a_reason_that_cannot_be_is_refused_and_nothing_changes() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let add = |name: &str, value: &[u8]| {
        let value = reqwest::header::HeaderValue::from_bytes(value).expect("a header");
        app.request(Method::POST, &format!("/chatrooms/{room}/users/bob")).header(name, value)
    };
    let (long, longer) = ("x".repeat(65), "%C3%A9".repeat(513));
    for value in ["%", "a%2", "%zz", "%00", "a%0Ab", "%FF", "@ppAdmin", "%40system", &long] {
        app.send(add("X-Operator", value.as_bytes())).await.fails_parameter("X-Operator is invalid");
    }
    for value in ["%", "%1B", "a%09", &longer] {
        app.send(add("X-Audit-Reason", value.as_bytes())).await.fails_parameter("X-Audit-Reason is invalid");
    }
    app.send(add("X-Operator", b"\xff")).await.fails_parameter("X-Operator is invalid");
    assert_eq!(app.members(&room).await, ["ann"]);
    assert_eq!(of_room(&app, &room).await.len(), 1);
    let reason = "%C3%A9".repeat(512);
    app.send(add("X-Operator", "Zoë".as_bytes()).header("X-Audit-Reason", &reason)).await;
    let event = of_room(&app, &room).await.pop().expect("an event");
    assert_eq!((&event["actor"], &event["reason"]), (&json!("Zoë"), &json!("é".repeat(512))));
}

#[tokio::test]
async fn a_percent_sign_is_decoded_once() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    app.send(acting(app.request(Method::POST, &format!("/chatrooms/{room}/users/bob")), "100%2525", "")).await;
    let event = of_room(&app, &room).await.pop().expect("an event");
    assert_eq!((&event["actor"], event.get("reason")), (&json!("100%25"), None));
}

#[tokio::test]
async fn numbers_have_no_gaps_when_many_change_the_room_at_once() {
    let app = TestApp::new().await;
    let second = Instance::start(settings(shared_database()));
    let room = app.room_with("ann", &[]).await;
    let names = numbered("user", 40);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut calls = JoinSet::new();
    for (number, name) in names.into_iter().enumerate() {
        let app = if number % 2 == 0 { app.through(app.address) } else { app.through(second.address) };
        let path = format!("/chatrooms/{room}/users/{name}");
        calls.spawn(async move {
            assert_eq!(app.post(&path).await.status, 200);
            assert_eq!(app.delete(&path).await.status, 200);
        });
    }
    calls.join_all().await;
    let numbers: Vec<i64> = of_room(&app, &room).await.iter().filter_map(|event| event["n"].as_i64()).collect();
    assert_eq!(numbers, (1..=81).collect::<Vec<i64>>());
    let feed: Vec<i64> = of_app(&app, 81).await.iter().filter_map(|event| event["n"].as_i64()).collect();
    assert_eq!(feed, numbers, "and the feed of the app is in their order");
}

#[tokio::test]
async fn the_end_of_a_mute_is_an_event_exactly_once_on_any_number_of_instances() {
    let app = TestApp::new().await;
    let others = [Instance::start(settings(shared_database())), Instance::start(settings(shared_database()))];
    let room = app.room_with("ann", &["bob", "cid"]).await;
    let end = mute(&app, &room, &["bob"], 300).await["data"][0]["expire"].as_i64().expect("an end");
    mute(&app, &room, &["cid"], -1).await;
    eventually("the end is told", || async { of_room(&app, &room).await.len() == 4 }).await;
    let told = of_room(&app, &room).await.pop().expect("an event");
    assert_eq!(
        told,
        json!({"chatroom": room, "n": 4, "kind": "MUTE/EXPIRE", "users": ["bob"], "before": {"bob": end}, "actor": "@system"})
    );
    // Several more passes of three instances.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(of_room(&app, &room).await.len(), 4);
    drop(others);
}

#[tokio::test]
async fn a_change_takes_what_has_ended_along_and_tells_of_it_first() {
    let (_instance, app) = without_expiry().await;
    let room = app.room_with("ann", &["bob", "cid", "dan"]).await;
    let at = |path: &str| format!("/chatrooms/{room}{path}");
    mute(&app, &room, &["bob", "cid", "dan"], 60_000).await;
    app.post_json(&at("/blocks/users"), json!({"usernames": ["dan"], "block_duration": 60_000})).await;
    age(&app, "mutes", &room).await;
    age(&app, "blocks", &room).await;
    let before = of_room(&app, &room).await.len();
    app.delete(&at("/mute/cid")).await;
    mute(&app, &room, &["bob"], -1).await;
    app.post(&at("/users/dan")).await;
    app.delete("/users/dan").await;
    let told = of_room(&app, &room).await.split_off(before);
    assert_eq!(
        kinds(&told),
        ["5 MUTE/EXPIRE bob,cid,dan", "6 BLOCK/EXPIRE dan", "7 MUTE/ADD bob", "8 JOIN/DIRECT dan", "9 LEAVE/KICK dan"]
    );
    assert_eq!(told[2]["before"], json!({}), "the new mute is none that was moved");
    app.assert_invariants().await;
}

#[tokio::test]
async fn a_deleted_room_tells_what_had_ended_who_was_in_it_and_by_whom_and_a_new_one_of_its_id_goes_on() {
    let (_instance, app) = without_expiry().await;
    app.users(&["ann", "bob", "cid", "dan"]).await;
    let create = json!({"roomid": "lobby", "name": "n", "description": "d", "owner": "ann", "members": ["bob", "cid"]});
    app.post_json("/chatrooms", create.clone()).await;
    app.post("/chatrooms/lobby/white/users/ann").await;
    app.post_json("/chatrooms/lobby/admin", json!({"newadmin": "cid"})).await;
    mute(&app, "lobby", &["bob"], 60_000).await;
    age(&app, "mutes", "lobby").await;
    mute(&app, "lobby", &["cid"], 60_000).await;
    let request = acting(app.request(Method::DELETE, "/chatrooms/lobby"), "mo", "over");
    assert_eq!(app.send(request).await.status, 200);
    app.get("/chatrooms/lobby/events").await.fails_room("lobby");
    let told = of_app(&app, 8).await.split_off(4);
    let by = |n: i64, kind: &str| json!({"chatroom": "lobby", "n": n, "kind": kind, "actor": "mo", "reason": "over"});
    let mut leave = by(7, "LEAVE/DELETE");
    leave["users"] = json!(["bob", "cid", "ann"]);
    leave["before"] = json!({"cid": ["admin"], "ann": ["whitelist"]});
    assert_eq!(kinds(&told), ["5 MUTE/EXPIRE bob", "6 MUTE/ADD cid", "7 LEAVE/DELETE bob,cid,ann", "8 DELETE"]);
    assert_eq!(told[2..], [leave, by(8, "DELETE")]);

    app.post_json("/chatrooms", create).await;
    let again = of_room(&app, "lobby").await;
    assert_eq!(kinds(&again)[8..], ["9 CREATE ann,bob,cid"]);
    let retired: i64 = sqlx::query_scalar("select count(*) from retired_rooms").fetch_one(&app.db).await.expect("a row");
    assert_eq!(retired, 0);
}

#[tokio::test]
async fn what_had_ended_in_a_deleted_room_and_was_not_told_is_told_when_its_rows_go() {
    let (_instance, app) = without_expiry().await;
    let names = numbered("user", 25);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let room = app.room_with("ann", &names).await;
    mute(&app, &room, &names, 60_000).await;
    age(&app, "mutes", &room).await;
    assert_eq!(app.delete(&format!("/chatrooms/{room}")).await.status, 200);
    let told = of_app(&app, 6).await;
    let ended: Vec<usize> = told
        .iter()
        .filter(|event| event["kind"] == "MUTE/EXPIRE")
        .map(|event| event["users"].as_array().expect("users").len())
        .collect();
    assert_eq!(ended, [20, 5], "some with the deletion, the rest behind it");
}

#[tokio::test]
async fn a_large_room_comes_and_goes_in_pieces() {
    let app = TestApp::new().await;
    let names = numbered("user", 2500);
    for names in names.chunks(60) {
        let users: Vec<Value> = names.iter().map(|name| json!({"username": name, "password": "p"})).collect();
        assert_eq!(app.post_json("/users", users.into()).await.status, 200);
    }
    let (owner, members) = names.split_first().expect("names");
    let body = json!({"name": "n", "description": "d", "maxusers": 3000, "owner": owner, "members": members});
    let room = app.post_json("/chatrooms", body).await.json()["data"]["id"].as_str().expect("an id").to_owned();
    let told = of_room(&app, &room).await;
    assert_eq!(told.len(), 42);
    let users = |event: &Value| event["users"].as_array().map_or(0, Vec::len);
    assert!(told.iter().all(|event| users(event) <= 60));
    assert_eq!(told.iter().map(users).sum::<usize>(), 2500);
    assert_eq!((&told[0]["kind"], &told[41]["kind"]), (&json!("CREATE"), &json!("JOIN/DIRECT")));
    app.delete(&format!("/chatrooms/{room}")).await;
    of_app(&app, 42).await;
    let end = async || events(&app, "/events?limit=1000").await.split_off(42);
    eventually("the room is gone", || async { end().await.last().is_some_and(|event| event["kind"] == "DELETE") }).await;
    let end = end().await;
    assert_eq!(
        end.iter().map(|event| event["n"].as_i64()).collect::<Vec<_>>(),
        (43..).map(Some).take(end.len()).collect::<Vec<_>>()
    );
    assert!(end.iter().all(|event| users(event) <= 1000));
    assert_eq!(end.iter().map(users).sum::<usize>(), 2500);
}

#[tokio::test]
async fn a_deleted_user_leaves_every_room_in_the_name_of_the_actor_of_the_deletion() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let own = app.room("bob", &["ann"]).await;
    app.post_json("/chatrooms/super_admin", json!({"superadmin": "bob"})).await;
    mute(&app, &room, &["bob"], -1).await;
    app.send(acting(app.request(Method::DELETE, "/users/bob"), "mo", "gone")).await;
    let told = of_room(&app, &room).await.split_off(2);
    assert_eq!(kinds(&told), ["3 LEAVE/KICK bob", "4 MUTE/REMOVE bob"]);
    assert!(told.iter().all(|event| event["actor"] == "mo" && event["reason"] == "gone"));
    eventually("the room of the deleted user is gone", || async {
        let all = events(&app, "/events?limit=1000").await;
        let own = all.iter().filter(|event| event["chatroom"] == *own);
        kinds(&own.cloned().collect::<Vec<_>>()) == ["1 CREATE bob,ann", "2 LEAVE/DELETE ann,bob", "3 DELETE"]
    })
    .await;
    eventually("both are told", || async { events(&app, "/events?kind=ROOM_SUPER_ADMIN").await.len() == 2 }).await;
    let all = events(&app, "/events?kind=ROOM_SUPER_ADMIN").await;
    let expected = [
        json!({"n": 1, "kind": "ROOM_SUPER_ADMIN/ADD", "users": ["bob"], "actor": "@ppAdmin"}),
        json!({"n": 2, "kind": "ROOM_SUPER_ADMIN/REMOVE", "users": ["bob"], "actor": "mo", "reason": "gone"}),
    ];
    assert_eq!(all, expected);
}

#[tokio::test]
async fn super_admins_come_and_go_once() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    for _ in 0..2 {
        app.post_json("/chatrooms/super_admin", json!({"superadmin": "ann"})).await;
    }
    for _ in 0..2 {
        app.delete("/chatrooms/super_admin/ann").await;
    }
    of_app(&app, 2).await;
    assert_eq!(kinds(&events(&app, "/events").await), ["1 ROOM_SUPER_ADMIN/ADD ann", "2 ROOM_SUPER_ADMIN/REMOVE ann"]);
}

#[tokio::test]
async fn a_room_is_read_from_any_number_on_and_by_kind() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    for duration in [60_000, 0, -1] {
        mute(&app, &room, &["bob"], duration).await;
    }
    app.delete(&format!("/chatrooms/{room}/users/bob")).await;
    let read = async |query: &str| kinds(&events(&app, &format!("/chatrooms/{room}/events{query}")).await);
    assert_eq!(read("?since=3").await, ["4 MUTE/ADD bob", "5 LEAVE/KICK bob"]);
    assert_eq!(read("?since=0&limit=1").await, ["1 CREATE ann,bob"]);
    assert_eq!(read("?since=5").await, Vec::<String>::new());
    assert_eq!(read("?since=99").await, Vec::<String>::new());
    assert_eq!(read("?kind=MUTE").await, ["2 MUTE/ADD bob", "3 MUTE/REMOVE bob", "4 MUTE/ADD bob"]);
    assert_eq!(read("?kind=MUTE/REMOVE,LEAVE&since=1").await, ["3 MUTE/REMOVE bob", "5 LEAVE/KICK bob"]);
    assert_eq!(read("?kind=&since=").await.len(), 5);
    let path = format!("/chatrooms/{room}/events");
    for since in ["x", "-1", "1.5", "9223372036854775808"] {
        app.get(&format!("{path}?since={since}")).await.fails_parameter("since is invalid: the number of an event");
    }
    let accepted = format!("kind is invalid: {}", Kind::names().join(", "));
    for kind in ["mute", "MUTE/", "NONE", ",", "MUTE,NONE"] {
        app.get(&format!("{path}?kind={kind}")).await.fails_parameter(&accepted);
    }
    app.get("/chatrooms/123/events").await.fails_room("123");
    app.get("/events?since=5").await.fails_parameter("cursor is invalid");
}

fn fails_gone(answer: &Answer, what: &str) {
    answer.fails(410, "events_gone", "EventsGoneException", &format!("events before {what} are gone"));
}

#[tokio::test]
async fn a_reader_that_comes_too_late_is_told_that_events_are_gone() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    of_app(&app, 1).await;
    let start = app.get("/events?limit=1").await.json();
    app.delete(&format!("/chatrooms/{room}/users/bob")).await;
    app.post(&format!("/chatrooms/{room}/users/bob")).await;
    sqlx::query(
        "with gone as (delete from events where app = $1 and n <= 2 returning xact, chatroom, n)
         update apps set (gone_xact, gone_chatroom, gone_n) = (select xact, chatroom, n from gone order by n desc limit 1)
         where id = $1",
    )
    .bind(app.app.id)
    .execute(&app.db)
    .await
    .expect("deleted");
    let path = format!("/chatrooms/{room}/events");
    fails_gone(&app.get(&format!("{path}?since=1")).await, "3");
    fails_gone(&app.get(&format!("{path}?since=0")).await, "3");
    assert_eq!(kinds(&events(&app, &format!("{path}?since=2")).await), ["3 JOIN/DIRECT bob"]);
    let answer = app.get(&path).await.json();
    assert_eq!((&answer["oldest"], &answer["last"], &answer["count"]), (&json!(3), &json!(3), &json!(1)));
    let next = start["next"].as_str().expect("a cursor");
    fails_gone(&app.get(&format!("/events?since={next}")).await, "the cursor in oldest");
    let oldest = app.get("/events").await.json()["oldest"].as_str().expect("a cursor").to_owned();
    eventually("the feed tells what is left", || async {
        kinds(&events(&app, &format!("/events?since={oldest}")).await) == ["3 JOIN/DIRECT bob"]
    })
    .await;
    let stream = app.request(Method::GET, &format!("{path}?since=1")).header("Accept", "text/event-stream");
    fails_gone(&app.send(stream).await, "3");
}

#[tokio::test]
async fn the_feed_of_an_app_is_read_page_by_page_to_its_end_and_goes_on_there() {
    let app = TestApp::new().await;
    let rooms = [app.room_with("ann", &[]).await, app.room("ann", &[]).await];
    let names = numbered("user", 30);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut seen = Vec::new();
    let mut since = String::new();
    for (number, name) in names.iter().enumerate() {
        app.post(&format!("/chatrooms/{}/users/{name}", rooms[number % 2])).await;
        if number % 3 == 0 {
            let page = app.get(&format!("/events?limit=2&since={since}")).await.json();
            since = page["next"].as_str().expect("always there").to_owned();
            seen.extend(page["data"].as_array().expect("events").clone());
        }
    }
    of_app(&app, 32).await;
    loop {
        let page = app.get(&format!("/events?limit=7&since={since}")).await.json();
        let next = page["next"].as_str().expect("always there").to_owned();
        let data = page["data"].as_array().expect("events");
        seen.extend(data.clone());
        if data.is_empty() {
            assert_eq!((&next, page["last"].as_str()), (&since, Some(&*since)), "the end");
            break;
        }
        since = next;
    }
    assert_eq!(seen.len(), 32);
    for room in &rooms {
        let numbers: Vec<_> = seen.iter().filter(|event| event["chatroom"] == **room).map(|event| event["n"].as_i64()).collect();
        assert_eq!(numbers, (1..=16).map(Some).collect::<Vec<_>>());
    }
    let page = app.get(&format!("/events?since={since}&kind=DELETE")).await.json();
    assert_eq!((&page["next"], &page["count"]), (&json!(since), &json!(0)));
    let other = TestApp::new().await;
    other.get(&format!("/events?since={since}")).await.fails_parameter("cursor is invalid");
    assert!(events(&other, "/events").await.is_empty());
}

#[tokio::test]
async fn the_feed_of_an_app_tells_nothing_that_another_event_could_still_come_before() {
    let (_instance, app) = without_expiry().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    of_app(&app, 1).await;
    let mut earlier = app.db.begin().await.expect("a transaction");
    sqlx::query("select pg_current_xact_id()").execute(&mut *earlier).await.expect("a number");
    app.post(&format!("/chatrooms/{room}/users/bob")).await;
    assert_eq!(kinds(&events(&app, "/events").await), ["1 CREATE ann"], "the earlier one may still write");
    assert_eq!(of_room(&app, &room).await.len(), 2, "a room does not wait for others");
    sqlx::query(
        "insert into events (app, chatroom, n, kind, users, actor, happened_at, xact)
         values ($1, 'other', 1, 'CREATE', '{}', 'x', now(), pg_current_xact_id()::text::bigint)",
    )
    .bind(app.app.id)
    .execute(&mut *earlier)
    .await
    .expect("written");
    earlier.commit().await.expect("committed");
    // Other tests write, too, and hold up the feed for a moment.
    of_app(&app, 3).await;
    assert_eq!(kinds(&events(&app, "/events").await), ["1 CREATE ann", "1 CREATE", "2 JOIN/DIRECT bob"]);
}

#[tokio::test]
async fn a_database_that_was_restored_elsewhere_counts_on_from_its_events() {
    let (_instance, app) = without_expiry().await;
    let room = app.room_with("ann", &["bob"]).await;
    // Another cluster has not come so far yet.
    for table in ["events set xact = xact", "room_counters set last_xact = last_xact"] {
        let statement = format!("update {table} + 1000000000");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&app.db).await.expect("restored");
    }
    assert!(events(&app, "/events").await.is_empty(), "in the future");
    let url = app.db.connect_options().to_url_lossy().to_string();
    migrations::run(&url).await.expect("migrated");
    app.delete(&format!("/chatrooms/{room}/users/bob")).await;
    assert_eq!(kinds(&of_app(&app, 2).await), ["1 CREATE ann,bob", "2 LEAVE/KICK bob"]);
    let offset =
        async || -> i64 { sqlx::query_scalar("select xact_offset from event_clock").fetch_one(&app.db).await.expect("a row") };
    let before = offset().await;
    migrations::run(&url).await.expect("migrated");
    assert_eq!(offset().await, before, "once");
}

#[tokio::test]
async fn every_place_that_the_feed_of_an_app_hands_out_leads_on_though_older_events_are_kept_elsewhere() {
    let (_instance, app) = without_expiry().await;
    app.users(&["ann", "bob"]).await;
    let (held, free) = (app.room("ann", &[]).await, app.room("ann", &[]).await);
    sqlx::query(
        "with gone as (delete from events where app = $1 and chatroom = $2 returning xact, chatroom, n)
         update apps set (gone_xact, gone_chatroom, gone_n) = (select xact, chatroom, n from gone) where id = $1",
    )
    .bind(app.app.id)
    .bind(&free)
    .execute(&app.db)
    .await
    .expect("deleted");
    assert_eq!(of_room(&app, &held).await.len(), 1, "held back");
    let page = app.get("/events").await.json();
    assert_eq!((&page["count"], &page["next"], &page["last"]), (&json!(0), &page["oldest"], &page["oldest"]));
    let stream = app.request(Method::GET, "/events").header("Accept", "text/event-stream");
    let mut stream = stream.send().await.expect("an answer");
    app.post(&format!("/chatrooms/{free}/users/bob")).await;
    let next = page["next"].as_str().expect("a cursor");
    assert_eq!(kinds(&events(&app, &format!("/events?since={next}")).await), ["2 JOIN/DIRECT bob"]);
    let mut read = String::new();
    while !read.contains("JOIN/DIRECT") {
        read += std::str::from_utf8(&stream.chunk().await.expect("a stream").expect("not at its end")).expect("UTF-8");
    }
}

#[tokio::test]
async fn a_mute_that_ends_while_the_deletion_of_its_room_waits_has_ended_by_itself() {
    let (_instance, app) = without_expiry().await;
    let room = app.room_with("ann", &["bob"]).await;
    mute(&app, &room, &["bob"], 200).await;
    let busy = app.lock_room(&room).await;
    let path = format!("/chatrooms/{room}");
    let (deleted, ()) = tokio::join!(app.delete(&path), async {
        let speaks = async || app.get(&format!("/chatrooms/{room}/users/bob/speak")).await.json()["data"]["allowed"] == true;
        eventually("the mute has ended", speaks).await;
        busy.rollback().await.expect("unlocked");
    });
    assert_eq!(deleted.status, 200);
    assert_eq!(
        kinds(&of_app(&app, 5).await),
        ["1 CREATE ann,bob", "2 MUTE/ADD bob", "3 MUTE/EXPIRE bob", "4 LEAVE/DELETE bob,ann", "5 DELETE"]
    );
}

#[tokio::test]
async fn a_kind_is_found_however_many_others_lie_between() {
    let (_instance, app) = without_expiry().await;
    let room = app.room_with("ann", &["bob"]).await;
    sqlx::query(
        "insert into events (app, chatroom, n, kind, users, actor, happened_at, xact)
         select $1, $2, n, case when n in (2, 10001, 10002, 25000) then 'MUTE/REMOVE' else 'UPDATE/INFO' end, '{}', 'x', now(), 1
         from generate_series(2, 25000) n",
    )
    .bind(app.app.id)
    .bind(&room)
    .execute(&app.db)
    .await
    .expect("written");
    sqlx::query("update room_counters set last_event = 25000 where chatroom = $1")
        .bind(&room)
        .execute(&app.db)
        .await
        .expect("counted");
    // What is found, and where to go on.
    let read = async |query: &str| {
        let answer = app.get(&format!("/chatrooms/{room}/events?kind={query}")).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["last"]), (200, &json!(25000)), "{}", answer.text);
        (kinds(body["data"].as_array().expect("a list")), body["next"].as_i64().expect("a number"))
    };
    let texts = |numbers: &[i64]| numbers.iter().map(|n| format!("{n} MUTE/REMOVE")).collect::<Vec<_>>();
    // Ten thousand are looked at in one reading, and the answer says how far that was.
    assert_eq!(read("MUTE").await, (texts(&[2]), 10_000));
    assert_eq!(read("MUTE&since=10000").await, (texts(&[10_001, 10_002]), 20_000));
    assert_eq!(read("MUTE&since=20000").await, (texts(&[25_000]), 25_000));
    assert_eq!(read("MUTE&since=25000").await, (texts(&[]), 25_000));
    assert_eq!(read("DELETE&since=9999").await, (texts(&[]), 19_999));
    // A full page ends with its last event.
    assert_eq!(read("MUTE&since=10000&limit=1").await, (texts(&[10_001]), 10_001));
    let plain = app.get(&format!("/chatrooms/{room}/events?since=5&limit=1")).await.json();
    assert_eq!(plain.get("next"), None, "the last event of the page tells it");

    // A stream reads on by itself.
    let stream = app.request(Method::GET, &format!("/chatrooms/{room}/events?kind=MUTE&since=0"));
    let mut stream = stream.header("accept", "text/event-stream").send().await.expect("a stream");
    let (mut text, expected) = (String::new(), [2, 10_001, 10_002, 25_000].map(|n| format!("id: {n}\nevent: MUTE/REMOVE\n")));
    while !text.contains(&expected[3]) {
        let chunk = tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await.expect("in time");
        text += &String::from_utf8_lossy(&chunk.expect("alive").expect("no end"));
    }
    assert_eq!(text.matches("id: ").count(), expected.len(), "{text}");
    assert!(expected.iter().all(|event| text.contains(event)), "{text}");
}

#[tokio::test]
async fn an_operator_that_cannot_be_changes_nothing_that_is_not_told_either() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    for (method, path, body) in [
        (Method::POST, "/users".to_owned(), r#"{"username":"bob","password":"x"}"#),
        (Method::PUT, "/users/ann".to_owned(), r#"{"nickname":"Ann"}"#),
        (Method::GET, "/users/ann/disconnect".to_owned(), ""),
        (Method::DELETE, "/users/ann/disconnect/ios_1".to_owned(), ""),
        (Method::PUT, format!("/metadata/chatroom/{room}/user/ann"), r#"{"metaData":{"k":"v"}}"#),
        (Method::POST, "/callbacks/rules".to_owned(), r#"{"url":"https://example.com/","secret":"s"}"#),
    ] {
        let request = app.request(method, &path).header("X-Operator", "@system").body(body);
        app.send(request).await.fails_parameter("X-Operator is invalid");
    }
    app.get("/users/bob").await.fails(404, "service_resource_not_found", "UserNotFoundException", "Service resource not found");
    assert_eq!(app.get("/callbacks/rules").await.json()["count"], 0);
}
