//! Moderators of an app: who they are, and what is told of that.

use serde_json::json;

use crate::app::TestApp;

const PATH: &str = "/moderators";

#[tokio::test]
async fn moderators_are_made_changed_listed_and_unmade() {
    let app = TestApp::new().await;
    app.users(&["bob", "cid"]).await;
    let room = app.room_with("ann", &[]).await;
    app.post_json(PATH, json!({"username": "BOB", "role": "viewer"})).await.is(
        r#"{"action":"post","application":"APP","uri":"BASE/moderators","entities":[],"data":{"username":"bob","role":"viewer","added_by":"@ppAdmin","created":T},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}"#,
    );
    let operator = app.request(reqwest::Method::POST, PATH).header("X-Operator", "chief");
    let rooms = json!({"username": "cid", "role": "moderator", "rooms": [room, room]}).to_string();
    assert_eq!(app.send(operator.body(rooms)).await.status, 200);
    app.get(PATH).await.is(&format!(
        r#"{{"action":"get","application":"APP","uri":"BASE/moderators","entities":[],"data":[{{"username":"bob","role":"viewer","added_by":"@ppAdmin","created":T}},{{"username":"cid","role":"moderator","rooms":["{room}"],"added_by":"chief","created":T}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":2}}"#
    ));
    // The same again is nothing new.
    for _ in 0..2 {
        assert_eq!(app.post_json(PATH, json!({"username": "bob", "role": "moderator"})).await.status, 200);
    }
    app.delete("/moderators/Bob").await.is(
        r#"{"action":"delete","application":"APP","uri":"BASE/moderators/Bob","entities":[],"data":{"username":"bob","result":true},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}"#,
    );
    assert_eq!(app.delete("/moderators/bob").await.json()["data"], json!({"username": "bob", "result": false}));
    // A deleted user is a moderator no more.
    app.delete("/users/cid").await;
    assert_eq!(app.get(PATH).await.json()["data"], json!([]));

    let audit = app.get("/audit?kind=MODERATOR").await.json();
    let told: Vec<_> = audit["data"]
        .as_array()
        .expect("events")
        .iter()
        .rev()
        .map(|event| json!([event["kind"], event["users"], event["before"], event["after"], event["actor"]]))
        .collect();
    let named = json!({"role": "moderator", "rooms": [room]});
    assert_eq!(
        told,
        [
            json!(["MODERATOR/ADD", ["bob"], null, {"role": "viewer"}, "@ppAdmin"]),
            json!(["MODERATOR/ADD", ["cid"], null, named, "chief"]),
            json!(["MODERATOR/ADD", ["bob"], {"role": "viewer"}, {"role": "moderator"}, "@ppAdmin"]),
            json!(["MODERATOR/REMOVE", ["bob"], {"role": "moderator"}, null, "@ppAdmin"]),
            json!(["MODERATOR/REMOVE", ["cid"], named, null, "@ppAdmin"]),
        ]
    );
}

#[tokio::test]
async fn what_cannot_be_a_moderator_is_told_why() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    app.post_json(PATH, json!({"username": "stranger", "role": "viewer"})).await.fails_user("stranger");
    app.post_json(PATH, json!({"role": "viewer"})).await.fails_parameter("username must be provided");
    app.post_json(PATH, json!({"username": "ann"})).await.fails_parameter("role must be provided");
    for role in [json!("boss"), json!(7), json!("")] {
        let answer = app.post_json(PATH, json!({"username": "ann", "role": role})).await;
        answer.fails_parameter("role is invalid: viewer, moderator");
    }
    for room in ["1", "NoRoom", ""] {
        let answer = app.post_json(PATH, json!({"username": "ann", "role": "viewer", "rooms": [room]})).await;
        answer.fails_room(room);
    }
    let answer = app.post_json(PATH, json!({"username": "ann", "role": "viewer", "rooms": []})).await;
    answer.fails_parameter("rooms is invalid: 1 to 1000 ids, or absent for all rooms");
    assert_eq!(app.get(PATH).await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_moderator_who_is_one_no_more_is_refused_within_a_second() {
    let app = TestApp::new().await;
    app.users(&["bob"]).await;
    app.room_with("ann", &[]).await;
    app.post_json(PATH, json!({"username": "bob", "role": "viewer"})).await;
    let token = app.user_token("bob").await;
    let read = async || app.send(app.as_user(&token, reqwest::Method::GET, "/chatrooms")).await.status;
    assert_eq!(read().await, 200);
    app.delete("/moderators/bob").await;
    crate::app::eventually("the token opens nothing", async || read().await == 401).await;
}
