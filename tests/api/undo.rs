//! An event is undone: what it has changed is again as it was before.

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};

/// A room in which things happen.
struct Stage {
    app: TestApp,
    room: String,
}

impl Stage {
    /// Owned by ann, with bob and cid in it; bob is an admin and on the whitelist.
    async fn new() -> Self {
        let app = TestApp::new().await;
        let room = app.room_with("ann", &["bob", "cid"]).await;
        let stage = Self { app, room };
        stage.make(Method::POST, "admin", json!({"newadmin": "bob"})).await;
        stage.make(Method::POST, "white/users/bob", Value::Null).await;
        stage
    }

    /// Makes a change, and returns the numbers of its events.
    async fn make(&self, method: Method, path: &str, body: Value) -> Vec<i64> {
        let before = self.last().await;
        let request = self.app.request(method, &format!("/chatrooms/{}/{path}", self.room));
        let answer = self.app.send(if body.is_null() { request } else { request.body(body.to_string()) }).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        (before + 1..=self.last().await).collect()
    }

    async fn events(&self) -> Vec<Value> {
        let events = self.app.get(&format!("/chatrooms/{}/events", self.room)).await.json();
        events["data"].as_array().expect("events").clone()
    }

    async fn last(&self) -> i64 {
        self.events().await.last().expect("an event")["n"].as_i64().expect("a number")
    }

    async fn undo(&self, n: i64) -> Answer {
        self.app.post_json("/undo", json!({"room": self.room, "n": n})).await
    }

    /// Undoes an event, and returns what the new ones tell: kind, users, before, after.
    async fn undone(&self, n: i64) -> Vec<Value> {
        let last = self.last().await;
        let answer = self.undo(n).await;
        assert_eq!(answer.json()["data"], json!({"room": self.room, "n": n, "undone_by": last + 1}), "{}", answer.text);
        let mut told = Vec::new();
        for event in self.events().await.iter().filter(|event| event["n"].as_i64() > Some(last)) {
            assert_eq!(event["undoes"], n, "{event}");
            told.push(json!([event["kind"], event["users"], event["before"], event["after"]]));
        }
        self.app.assert_invariants().await;
        told
    }

    async fn refused(&self, n: i64, why: &str) {
        self.undo(n).await.fails_forbidden(403, &format!("event {n} cannot be undone: {why}"));
    }

    async fn standing(&self, user: &str) -> Value {
        let rooms = self.app.get(&format!("/users/{user}/standing")).await.json()["data"].clone();
        rooms.as_array().expect("rooms").iter().find(|room| room["id"] == *self.room).cloned().unwrap_or_default()
    }
}

#[tokio::test]
async fn mutes_are_lifted_put_back_and_restored() {
    let stage = Stage::new().await;
    let mute = |ms: i64| json!({"usernames": ["bob", "cid"], "mute_duration": ms});
    let first = stage.make(Method::POST, "mute", mute(3_600_000)).await[0];
    let end = stage.standing("bob").await["muted_until"].clone();
    let moved = stage.make(Method::POST, "mute", mute(-1)).await[0];
    stage.refused(first, "the mute of bob is another now").await;
    let forever = 4_638_873_600_000_i64;
    let ends = |end: &Value| json!({"bob": end, "cid": end});
    assert_eq!(stage.undone(moved).await, [json!(["MUTE/ADD", ["bob", "cid"], ends(&json!(forever)), ends(&end)])]);
    assert_eq!(stage.undone(first).await, [json!(["MUTE/REMOVE", ["bob", "cid"], ends(&end), null])]);
    stage.refused(first, "the mute of bob is another now").await;

    stage.make(Method::POST, "mute", json!({"usernames": ["cid"], "mute_duration": 3_600_000})).await;
    let end = stage.standing("cid").await["muted_until"].clone();
    let lifted = stage.make(Method::DELETE, "mute/cid", Value::Null).await[0];
    let told = stage.undone(lifted).await;
    assert_eq!((told.len(), &told[0][0], &told[0][3]), (1, &json!("MUTE/ADD"), &json!({"cid": end})));
    stage.refused(lifted, "cid has another mute now").await;
}

#[tokio::test]
async fn a_mute_whose_time_would_be_over_is_not_restored() {
    let stage = Stage::new().await;
    stage.make(Method::POST, "mute", json!({"usernames": ["cid"], "mute_duration": 3_600_000})).await;
    let lifted = stage.make(Method::DELETE, "mute/cid", Value::Null).await[0];
    sqlx::query("update events set before = '{\"cid\": 1000}' where app = $1 and chatroom = $2 and n = $3")
        .bind(stage.app.app.id)
        .bind(&stage.room)
        .bind(lifted)
        .execute(&stage.app.db)
        .await
        .expect("aged");
    stage.refused(lifted, "the mute of cid would have ended by now").await;
}

#[tokio::test]
async fn a_removed_admin_is_back_as_one_and_a_blocked_user_after_the_block_is_undone() {
    let stage = Stage::new().await;
    let kicked = stage.make(Method::DELETE, "users/bob", Value::Null).await[0];
    assert_eq!(
        stage.undone(kicked).await,
        [
            json!(["JOIN/DIRECT", ["bob"], null, null]),
            json!(["ADMIN/ADD", ["bob"], null, null]),
            json!(["WHITE/ADD", ["bob"], null, null]),
        ]
    );
    let standing = stage.standing("bob").await;
    assert_eq!((&standing["role"], &standing["whitelisted"]), (&json!("admin"), &json!(true)));
    stage.refused(kicked, "bob is in the room already").await;

    let [out, blocked] = stage.make(Method::POST, "blocks/users/cid", Value::Null).await[..] else { panic!("two events") };
    stage.refused(out, "cid is blocked").await;
    assert_eq!(stage.undone(blocked).await[0][0], "BLOCK/REMOVE");
    stage.refused(blocked, "the block of cid is another now").await;
    assert_eq!(stage.undone(out).await, [json!(["JOIN/DIRECT", ["cid"], null, null])]);

    stage.make(Method::POST, "blocks/users/cid", Value::Null).await;
    let lifted = stage.make(Method::DELETE, "blocks/users/cid", Value::Null).await[0];
    assert_eq!(stage.undone(lifted).await[0][0], "BLOCK/ADD");
    let lifted = stage.make(Method::DELETE, "blocks/users/cid", Value::Null).await[0];
    stage.make(Method::POST, "users/cid", Value::Null).await;
    stage.refused(lifted, "cid is in the room").await;
}

#[tokio::test]
async fn standings_and_the_mute_of_the_room_are_undone_as_long_as_nothing_followed() {
    let stage = Stage::new().await;
    let promoted = stage.make(Method::POST, "admin", json!({"newadmin": "cid"})).await[0];
    assert_eq!(stage.undone(promoted).await, [json!(["ADMIN/REMOVE", ["cid"], null, null])]);
    stage.refused(promoted, "cid is no admin any more").await;
    let demoted = stage.make(Method::DELETE, "admin/bob", Value::Null).await[0];
    assert_eq!(stage.undone(demoted).await, [json!(["ADMIN/ADD", ["bob"], null, null])]);
    stage.refused(demoted, "bob is an admin or the owner now").await;

    let listed = stage.make(Method::POST, "white/users/cid", Value::Null).await[0];
    assert_eq!(stage.undone(listed).await, [json!(["WHITE/REMOVE", ["cid"], null, null])]);
    stage.refused(listed, "cid is not on the whitelist any more").await;
    let struck = stage.make(Method::DELETE, "white/users/bob", Value::Null).await[0];
    assert_eq!(stage.undone(struck).await, [json!(["WHITE/ADD", ["bob"], null, null])]);
    stage.refused(struck, "bob is on the whitelist again").await;

    let muted = stage.make(Method::POST, "ban", json!({"mute_duration": 3_600_000})).await[0];
    let until = stage.events().await.last().expect("an event")["after"]["until"].clone();
    let spoke = stage.make(Method::DELETE, "ban", Value::Null).await[0];
    stage.refused(muted, "the mute of the room is another now").await;
    let timed = json!({"mute": true, "until": until});
    assert_eq!(stage.undone(spoke).await, [json!(["UPDATE/MUTE", null, {"mute": false}, timed])]);
    assert_eq!(stage.undone(muted).await, [json!(["UPDATE/MUTE", null, timed, {"mute": false}])]);

    stage.make(Method::DELETE, "users/cid", Value::Null).await;
    stage.refused(promoted, "cid is not in the room any more").await;
}

#[tokio::test]
async fn what_cannot_be_undone_is_told_why() {
    let stage = Stage::new().await;
    stage.refused(1, "CREATE is for ever").await;
    let kicked = stage.make(Method::DELETE, "users/cid", Value::Null).await[0];
    stage.app.delete("/users/cid").await;
    stage.refused(kicked, "cid is no user any more").await;
    let text = format!("event 99 of grpID {} does not exist!", stage.room);
    stage.undo(99).await.fails(404, "resource_not_found", "com.easemob.group.exception.ResourceNotFoundException", &text);
    stage.undo(0).await.fails_parameter("n is invalid");
    stage.app.post_json("/undo", json!({"n": 1})).await.fails_parameter("room must be provided");
    stage.app.post_json("/undo", json!({"room": stage.room})).await.fails_parameter("n must be provided");
    stage.app.post_json("/undo", json!({"room": "12345", "n": 1})).await.fails_room("12345");
}

#[tokio::test]
async fn who_may_not_make_a_change_may_not_undo_one() {
    let stage = Stage::new().await;
    let (app, room) = (&stage.app, &stage.room);
    app.users(&["mia"]).await;
    app.post_json("/moderators", json!({"username": "mia", "role": "moderator"})).await;
    let (ann, bob, cid, mia) =
        (app.user_token("ann").await, app.user_token("bob").await, app.user_token("cid").await, app.user_token("mia").await);
    let undo = async |token: &str, n: i64| {
        let body = json!({"room": room, "n": n}).to_string();
        app.send(app.as_user(token, Method::POST, "/undo").body(body)).await.status
    };
    let muted = stage.make(Method::POST, "mute", json!({"usernames": ["cid"], "mute_duration": -1})).await[0];
    assert_eq!((undo(&cid, muted).await, undo(&cid, 99).await, undo(&bob, muted).await), (401, 401, 200));
    // To remove an admin is more than to remove a member, and so it is to bring one back.
    let kicked = stage.make(Method::DELETE, "users/bob", Value::Null).await[0];
    assert_eq!((undo(&bob, kicked).await, undo(&mia, kicked).await, undo(&ann, kicked).await), (401, 401, 200));
    assert_eq!(undo(&ann, 1).await, 401);
    let by: Vec<Value> =
        stage.events().await.iter().filter(|event| !event["undoes"].is_null()).map(|event| event["actor"].clone()).collect();
    assert_eq!(by, ["bob", "ann", "ann", "ann"]);
}
