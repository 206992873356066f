//! Who may do what with a user's token: every role, every call, every kind of target.

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, eventually, plant_rooms, recount};
use crate::citus::skipped_on_cluster;

const REFUSAL: &str = "you have no permission to do this, group admin permission is required";

/// A letter for each role, and the user who has it.
const ROLES: &[(char, &str)] = &[
    ('o', "outsider"),
    ('m', "member"),
    ('a', "admin"),
    ('w', "owner"),
    ('s', "super"),
    ('V', "viewer"),
    ('M', "moderator"),
    // Of the rooms in which the walk goes.
    ('v', "room-viewer"),
    ('n', "room-moderator"),
    // Of another room.
    ('x', "other-moderator"),
];

impl TestApp {
    async fn add_moderator(&self, name: &str, role: &str, rooms: Option<&[String]>) -> Answer {
        self.post_json("/moderators", json!({"username": name, "role": role, "rooms": rooms})).await
    }
}

#[track_caller]
fn is_refused(answer: &Answer) {
    answer.fails(401, "group_authorization", "com.easemob.group.exception.GroupAuthorizationException", REFUSAL);
}

/// Who may make a call: `SELF` in it is the caller, `ROOM` a room in which `plain` is a member, `other-admin` an admin.
struct Case(&'static str, &'static str, Value, &'static str);

#[expect(clippy::too_many_lines, reason = "a table has a line for each entry")]
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut may = |who, method, path, body| cases.push(Case(method, path, body, who));
    let none = Value::Null;
    let users = |name: &str| json!({"usernames": [name]});
    let mute = |name: &str| json!({"usernames": [name], "mute_duration": 60_000});

    // Reads of a room.
    for path in ["/chatrooms/ROOM", "/chatrooms/ROOM/users", "/chatrooms/ROOM/users?limit=5", "/chatrooms/ROOM/admin"] {
        may("mawVMvn", "GET", path, none.clone());
    }
    may("mawVMvn", "GET", "/chatrooms/ROOM/announcement/", none.clone());
    may("mawVMvn", "POST", "/metadata/chatroom/ROOM", json!({"keys": []}));
    for path in [
        "mute",
        "mute?detail=true",
        "blocks/users",
        "blocks/users?detail=true",
        "white/users",
        "events",
        "standing",
        "standing?q=p",
    ] {
        may("awVMvn", "GET", &*format!("/chatrooms/ROOM/{path}").leak(), none.clone());
    }
    may("mawVMvn", "GET", "/chatrooms/ROOM/users/SELF/speak", none.clone());
    may("awVMvn", "GET", "/chatrooms/ROOM/users/plain/speak", none.clone());
    may("mawVMvn", "POST", "/chatrooms/ROOM/speak", users("SELF"));
    may("awVMvn", "POST", "/chatrooms/ROOM/speak", json!({"usernames": ["SELF", "plain"]}));

    // What is done to users: ordinary ones, admins, the owner, the caller.
    for (target, who) in [("plain", "awMn"), ("other-admin", "wMn"), ("owner", "w")] {
        let path = |text: &str| &*text.replace("TARGET", target).leak();
        may(who, "DELETE", path("/chatrooms/ROOM/users/TARGET"), none.clone());
        may(who, "POST", path("/chatrooms/ROOM/blocks/users/TARGET"), none.clone());
        may(who, "POST", "/chatrooms/ROOM/blocks/users", users(target));
        may(who, "DELETE", path("/chatrooms/ROOM/blocks/users/TARGET"), none.clone());
        may(who, "POST", "/chatrooms/ROOM/mute", mute(target));
        may(who, "DELETE", path("/chatrooms/ROOM/mute/TARGET"), none.clone());
        may(who, "POST", path("/chatrooms/ROOM/white/users/TARGET"), none.clone());
        may(who, "POST", "/chatrooms/ROOM/white/users", users(target));
        may(who, "DELETE", path("/chatrooms/ROOM/white/users/TARGET"), none.clone());
    }
    may("wMn", "DELETE", "/chatrooms/ROOM/users/plain,other-admin", none.clone());
    may("awMn", "DELETE", "/chatrooms/ROOM/users/plain,plain2", none.clone());
    may("mawMn", "DELETE", "/chatrooms/ROOM/users/SELF", none.clone());
    may("wMn", "POST", "/chatrooms/ROOM/blocks/users/SELF", none.clone());
    may("wMn", "POST", "/chatrooms/ROOM/mute", mute("SELF"));
    may("wMn", "POST", "/chatrooms/ROOM/white/users/SELF", none.clone());

    // The room.
    may("awMn", "POST", "/chatrooms/ROOM/ban", none.clone());
    may("awMn", "DELETE", "/chatrooms/ROOM/ban", none.clone());
    may("awMn", "POST", "/chatrooms/ROOM/announcement", json!({"announcement": "hi"}));
    may("w", "POST", "/chatrooms/ROOM/admin", json!({"newadmin": "plain"}));
    may("w", "DELETE", "/chatrooms/ROOM/admin/other-admin", none.clone());
    may("w", "PUT", "/chatrooms/ROOM", json!({"name": "another"}));
    may("w", "PUT", "/chatrooms/ROOM", json!({"newowner": "plain"}));
    may("w", "DELETE", "/chatrooms/ROOM", none.clone());
    let new_room = |owner: &str| json!({"name": "n", "description": "d", "owner": owner, "members": ["plain"]});
    may("s", "POST", "/chatrooms", new_room("SELF"));
    may("", "POST", "/chatrooms", new_room("plain"));

    // The app.
    may("omawsVMvnx", "GET", "/permissions", none.clone());
    may("omawsVMvnx", "GET", "/permissions?room=ROOM", none.clone());
    may("omawsVMvnx", "GET", "/users/SELF/standing", none.clone());
    may("VM", "GET", "/users/plain/standing", none.clone());
    for path in ["/chatrooms", "/audit", "/restrictions", "/events", "/users", "/users/plain", "/users/plain/joined_chatrooms"] {
        may("VM", "GET", path, none.clone());
    }
    for path in ["/users?limit=1", "/users?q=plain", "/chatrooms?q=r", "/restrictions?user=plain", "/restrictions?room="] {
        may("VM", "GET", path, none.clone());
    }
    may("VM", "GET", "/mutes", none.clone());
    for (target, seconds) in [("plain", 60), ("owner", -1), ("SELF", 60)] {
        may("VM", "GET", &*format!("/mutes/{target}").leak(), none.clone());
        may("M", "POST", "/mutes", json!({"username": target, "chatroom": seconds}));
        may("M", "POST", "/mutes", json!({"username": target, "chatroom": 0}));
    }
    may("VMvn", "GET", "/audit?room=ROOM", none.clone());
    may("VMvn", "GET", "/restrictions?room=ROOM", none.clone());
    may("VM", "GET", "/audit/counts?from=0&to=1&every=1", none.clone());
    may("VMvn", "GET", "/audit/counts?from=0&to=1&every=1&room=ROOM", none.clone());
    // A room that is named where it says nothing opens nothing.
    may("VM", "GET", "/chatrooms?room=ROOM", none.clone());
    may("VM", "GET", "/users?room=ROOM", none.clone());

    // What is the app's own.
    for (method, path, body) in [
        ("POST", "/chatrooms/ROOM/users/plain3", none.clone()),
        ("POST", "/chatrooms/ROOM/users/SELF", none.clone()),
        ("POST", "/chatrooms/ROOM/users", users("plain3")),
        ("PUT", "/metadata/chatroom/ROOM/user/SELF", json!({"metaData": {"k": "v"}})),
        ("DELETE", "/metadata/chatroom/ROOM/user/SELF", json!({"keys": ["k"]})),
        ("PUT", "/metadata/chatroom/ROOM/user/SELF/forced", json!({"metaData": {"k": "v"}})),
        ("POST", "/users", json!({"username": "new", "password": "x"})),
        ("DELETE", "/users", none.clone()),
        ("DELETE", "/users/SELF", none.clone()),
        ("PUT", "/users/SELF", json!({"nickname": "n"})),
        ("PUT", "/users/SELF/password", json!({"newpassword": "x"})),
        ("POST", "/users/SELF/deactivate", none.clone()),
        ("POST", "/users/SELF/activate", none.clone()),
        ("GET", "/users/SELF/disconnect", none.clone()),
        ("DELETE", "/users/SELF/disconnect/ios_1", none.clone()),
        ("GET", "/users/SELF/resources", none.clone()),
        ("GET", "/users/SELF/status", none.clone()),
        ("GET", "/chatrooms/super_admin", none.clone()),
        ("POST", "/chatrooms/super_admin", json!({"superadmin": "SELF"})),
        ("DELETE", "/chatrooms/super_admin/super", none.clone()),
        ("GET", "/moderators", none.clone()),
        ("POST", "/moderators", json!({"username": "SELF", "role": "moderator"})),
        ("DELETE", "/moderators/moderator", none.clone()),
        ("GET", "/callbacks/rules", none.clone()),
        ("POST", "/callbacks/rules", json!({"url": "https://example.com", "kinds": ["*"]})),
        ("POST", "/token", json!({"grant_type": "inherit", "username": "plain"})),
        ("POST", "/token/introspect", json!({"token": "x"})),
        ("POST", "/token/revoke", json!({"token": "x"})),
    ] {
        may("", method, path, body);
    }
    cases
}

/// Whether the rules of the room decide what comes of a call that is permitted: about the owner or the caller, or about one
/// who is not on the list.
fn is_for_the_rules(method: &str, path: &str, body: &str, caller: &str) -> bool {
    let names = |text: &str| [path, body].iter().any(|part| part.split(['/', '"', ',']).any(|word| word == text));
    let is_off_a_list = method == "DELETE" && (path.contains("/blocks/") || path.contains("/white/"));
    names("owner") || names(caller) || is_off_a_list
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_make_its_calls_on_its_targets_and_no_others() {
    let app = TestApp::new().await;
    let all: Vec<&str> = ROLES.iter().map(|(_, name)| *name).chain(["plain", "plain2", "plain3", "other-admin"]).collect();
    app.users(&all).await;
    let cases = cases();
    // A room for each role and call, since a call that is permitted changes it.
    let rooms: Vec<String> = (0..cases.len() * ROLES.len()).map(|n| format!("r{n}")).collect();
    let people = ["owner", "admin", "other-admin", "member", "plain", "plain2"];
    let people: Vec<(i64, String)> = (1..).zip(people.map(str::to_owned)).collect();
    let elsewhere = ["elsewhere".to_owned()];
    plant_rooms(&app.db, app.app.id, &rooms, "owner", &people).await;
    plant_rooms(&app.db, app.app.id, &elsewhere, "owner", &people).await;
    sqlx::query(
        "insert into admins (app, chatroom, username, seq)
         select app, chatroom, username, seq from members where app = $1 and username in ('admin', 'other-admin')",
    )
    .bind(app.app.id)
    .execute(&app.db)
    .await
    .expect("admins");
    recount(&app.db, app.app.id).await;
    assert_eq!(app.post_json("/chatrooms/super_admin", json!({"superadmin": "super"})).await.status, 200);
    let theirs: Vec<Vec<String>> = ROLES
        .iter()
        .enumerate()
        .map(|(role, _)| (0..cases.len()).map(|case| rooms[case * ROLES.len() + role].clone()).collect())
        .collect();
    for (index, (_, name)) in ROLES.iter().enumerate() {
        let (role, rooms) = match *name {
            "viewer" => ("viewer", None),
            "moderator" => ("moderator", None),
            "room-viewer" => ("viewer", Some(&*theirs[index])),
            "room-moderator" => ("moderator", Some(&*theirs[index])),
            "other-moderator" => ("moderator", Some(&elsewhere[..])),
            _ => continue,
        };
        assert_eq!(app.add_moderator(name, role, rooms).await.status, 200);
    }

    for (index, (letter, name)) in ROLES.iter().enumerate() {
        let token = app.user_token(name).await;
        for (Case(method, path, body, who), room) in cases.iter().zip(&theirs[index]) {
            let (path, body) = (path.replace("ROOM", room).replace("SELF", name), body.to_string().replace("SELF", name));
            let mut request = app.as_user(&token, method.parse().expect("a method"), &path);
            if body != "null" {
                request = request.body(body.clone());
            }
            let answer = app.send(request).await;
            let may = who.contains(*letter);
            assert_eq!(answer.status != 401, may, "{name} {method} {path} {body}: {} {}", answer.status, answer.text);
            if !may {
                is_refused(&answer);
            } else if !is_for_the_rules(method, &path, &body, name) {
                assert_eq!(answer.status, 200, "{name} {method} {path} {body}: {}", answer.text);
            }
        }
    }
    app.assert_invariants().await;
}

/// What a caller is told that may be done in the room, and in the app: each action with the targets.
async fn told(app: &TestApp, token: &str, path: &str) -> Value {
    let answer = app.send(app.as_user(token, Method::GET, path)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["data"].clone()
}

#[tokio::test]
async fn callers_are_told_who_they_are_and_what_they_may_do_to_whom() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid", "dan"]).await;
    app.users(&["eve", "fay"]).await;
    app.post_json(&format!("/chatrooms/{room}/admin"), json!({"newadmin": "bob"})).await;
    assert_eq!(app.add_moderator("eve", "viewer", None).await.status, 200);
    assert_eq!(app.add_moderator("dan", "moderator", Some(std::slice::from_ref(&room))).await.status, 200);
    let of_room = format!("/permissions?room={room}");

    let cid = app.user_token("cid").await;
    assert_eq!(
        told(&app, &cid, &of_room).await,
        json!({"user": "cid", "roles": ["user", "member"], "permissions": {
            "read_room": ["oneself", "ordinary", "admin", "owner"],
            "check_speech": ["oneself"],
            "remove": ["oneself"],
            "read_standing": ["oneself"],
            "read_permissions": ["oneself", "ordinary", "admin", "owner"],
        }})
    );
    let everybody = json!(["oneself", "ordinary", "admin", "owner"]);
    let bob = told(&app, &app.user_token("bob").await, &of_room).await;
    assert_eq!(bob["roles"], json!(["user", "member", "admin"]));
    assert_eq!(
        (&bob["permissions"]["remove"], &bob["permissions"]["mute"], &bob["permissions"]["mute_all"]),
        (&json!(["oneself", "ordinary"]), &json!(["ordinary"]), &everybody)
    );
    assert_eq!((bob["permissions"].get("manage_admins"), bob["permissions"].get("read_audit")), (None, None));
    let ann = told(&app, &app.user_token("ann").await, &of_room).await;
    assert_eq!((&ann["permissions"]["mute"], &ann["permissions"]["manage_admins"]), (&everybody, &everybody));
    let eve = told(&app, &app.user_token("eve").await, &of_room).await;
    assert_eq!((&eve["roles"], &eve["moderates"]), (&json!(["user", "viewer"]), &json!({"role": "viewer"})));
    assert_eq!((&eve["permissions"]["read_app"], eve["permissions"].get("mute")), (&everybody, None));

    // One who moderates a room reads its audit, and nothing across rooms.
    let dan = app.user_token("dan").await;
    let (there, anywhere) = (told(&app, &dan, &of_room).await, told(&app, &dan, "/permissions").await);
    assert_eq!(there["moderates"], json!({"role": "moderator", "rooms": [room]}));
    assert_eq!(
        (&there["permissions"]["mute"], &there["permissions"]["read_audit"], there["permissions"].get("read_app")),
        (&json!(["oneself", "ordinary", "admin"]), &everybody, None)
    );
    assert_eq!((&anywhere["roles"], anywhere["permissions"].get("mute")), (&json!(["user"]), None));

    let whole = app.get(&of_room).await.json()["data"].clone();
    assert_eq!((whole.get("user"), &whole["roles"], &whole["permissions"]["manage_app"]), (None, &json!([]), &everybody));
    app.get("/permissions?room=123").await.fails_room("123");
    app.send(app.as_user(&dan, Method::GET, "/permissions?room=123")).await.fails_room("123");
    app.get("/permissions?rom=1").await.fails_parameter("unknown parameter rom");
}

#[tokio::test]
async fn the_actor_of_what_a_user_does_is_that_user_and_no_other() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    let token = app.user_token("ann").await;
    let path = format!("/chatrooms/{room}/mute");
    let mute = |operator: Option<&'static str>| {
        let request = app.as_user(&token, Method::POST, &path).header("X-Audit-Reason", "spam");
        let request = operator.into_iter().fold(request, |request, name| request.header("X-Operator", name));
        request.body(r#"{"usernames":["bob"],"mute_duration":60000}"#)
    };
    app.send(mute(Some("bob"))).await.fails_parameter("X-Operator is invalid: it is not the user of the token");
    assert_eq!(app.send(mute(Some("Ann"))).await.status, 200);
    app.post(&format!("/chatrooms/{room}/ban")).await;
    assert_eq!(app.send(app.as_user(&token, Method::DELETE, &format!("/chatrooms/{room}/users/cid"))).await.status, 200);
    let events = app.get(&format!("/chatrooms/{room}/events")).await.json();
    let told: Vec<(&str, &str, &Value)> = events["data"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| (event["kind"].as_str().expect("a kind"), event["actor"].as_str().expect("a name"), &event["reason"]))
        .skip(1)
        .collect();
    assert_eq!(
        told,
        [("MUTE/ADD", "ann", &json!("spam")), ("UPDATE/MUTE", "@ppAdmin", &Value::Null), ("LEAVE/KICK", "ann", &Value::Null),]
    );
}

#[tokio::test]
async fn an_admin_who_is_demoted_while_waiting_for_the_room_changes_nothing() {
    if skipped_on_cluster("it watches who waits for a lock, and there that is on another node").await {
        return;
    }
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    app.post_json(&format!("/chatrooms/{room}/admin"), json!({"newadmin": "bob"})).await;
    let token = app.user_token("bob").await;
    let mut demotion = app.lock_room(&room).await;
    let holder: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *demotion).await.expect("a number");
    sqlx::query("delete from admins where app = $1 and chatroom = $2")
        .bind(app.app.id)
        .bind(&room)
        .execute(&mut *demotion)
        .await
        .expect("demoted");
    sqlx::query("update room_counters set admin_count = 0 where app = $1 and chatroom = $2")
        .bind(app.app.id)
        .bind(&room)
        .execute(&mut *demotion)
        .await
        .expect("counted");
    let kick = tokio::spawn(app.as_user(&token, Method::DELETE, &format!("/chatrooms/{room}/users/cid")).send());
    eventually("the call waits for the room", || async {
        let waiting: i64 = sqlx::query_scalar("select count(*) from pg_stat_activity where $1 = any(pg_blocking_pids(pid))")
            .bind(holder)
            .fetch_one(&app.db)
            .await
            .expect("a row");
        waiting > 0
    })
    .await;
    demotion.commit().await.expect("committed");
    assert_eq!(kick.await.expect("no panic").expect("an answer").status(), 401);
    assert_eq!(app.members(&room).await, ["ann", "bob", "cid"]);
}

#[tokio::test]
async fn another_user_s_answer_to_a_key_is_not_told() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let (ann, bob) = (app.user_token("ann").await, app.user_token("bob").await);
    let ban = |token: &str| app.as_user(token, Method::POST, &format!("/chatrooms/{room}/ban")).header("Idempotency-Key", "one");
    let first = app.send(ban(&ann)).await;
    assert_eq!((first.status, app.send(ban(&ann)).await.text), (200, first.text));
    assert_eq!(app.send(ban(&bob)).await.status, 422);
}
