//! Two apps never meet.

use reqwest::Method;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn the_same_names_in_two_apps_are_different_people_in_different_rooms() {
    let (one, two) = (TestApp::new().await, TestApp::new().await);
    for app in [&one, &two] {
        app.users(&["ann", "bob"]).await;
        let body = json!({"name": "n", "description": "d", "owner": "ann", "roomid": "shared"});
        assert_eq!(app.post_json("/chatrooms", body).await.status, 200);
    }
    one.post("/chatrooms/shared/users/bob").await;
    one.post_json("/chatrooms/shared/admin", json!({"newadmin": "bob"})).await;
    one.post("/chatrooms/shared/white/users/bob").await;
    one.post_json("/chatrooms/shared/mute", json!({"usernames": ["bob"], "mute_duration": -1})).await;
    one.post("/chatrooms/shared/ban").await;
    one.post_json("/chatrooms/shared/announcement", json!({"announcement": "one's"})).await;
    one.post_json("/chatrooms/super_admin", json!({"superadmin": "bob"})).await;
    one.post_json("/mutes", json!({"username": "bob", "chatroom": -1})).await;
    let attribute = one.request(Method::PUT, "/metadata/chatroom/shared/user/bob").body(r#"{"metaData":{"k":"v"}}"#);
    one.send(attribute).await;

    assert_eq!(two.members("shared").await, ["ann"]);
    for list in ["/admin", "/blocks/users", "/white/users", "/mute"] {
        assert_eq!(two.get(&format!("/chatrooms/shared{list}")).await.json()["data"], json!([]), "{list}");
    }
    let detail = two.get("/chatrooms/shared").await.json()["data"][0].clone();
    assert_eq!((&detail["mute"], &detail["affiliations_count"]), (&json!(false), &json!(1)));
    assert_eq!(two.get("/chatrooms/shared/announcement").await.json()["data"]["announcement"], "");
    assert_eq!(two.get("/chatrooms/super_admin").await.json()["data"], json!([]));
    assert_eq!(two.get("/mutes").await.json()["data"]["data"], json!([]));
    assert_eq!(two.get("/mutes/bob").await.json()["data"]["chatroom"], 0);
    assert_eq!(two.post("/metadata/chatroom/shared").await.json()["data"], json!({}));
    assert_eq!(two.get("/users/bob/joined_chatrooms").await.json()["data"], json!([]));
    two.post("/chatrooms/shared/blocks/users/bob").await.fails_forbidden(400, "users [bob] are not members of this group!");

    assert_eq!(two.delete("/chatrooms/shared").await.status, 200);
    assert_eq!(two.delete("/users/bob").await.status, 200);
    assert_eq!(one.members("shared").await, ["ann", "bob"]);
    assert_eq!(one.get("/users/bob").await.status, 200);
}

#[tokio::test]
async fn what_is_in_another_app_does_not_exist() {
    let (one, two) = (TestApp::new().await, TestApp::new().await);
    let room = one.room_with("ann", &["bob"]).await;
    two.users(&["cid"]).await;
    two.post(&format!("/chatrooms/{room}/users/cid")).await.fails_room(&room);
    two.get(&format!("/chatrooms/{room}/admin")).await.fails_room(&room);
    two.delete(&format!("/chatrooms/{room}")).await.fails_room(&room);
    assert_eq!(two.get("/users/ann").await.status, 404);
    assert_eq!(two.get("/chatrooms?limit=100").await.json()["data"], json!([]));
    let users = two.get("/users?limit=100").await.json();
    assert_eq!(users["count"], 1);
    two.post_json("/chatrooms", json!({"name": "n", "description": "d", "owner": "ann"})).await.fails_user("ann");
}

#[tokio::test]
async fn a_token_and_a_cursor_of_one_app_are_worthless_at_another() {
    let (one, two) = (TestApp::new().await, TestApp::new().await);
    one.room_with("ann", &["bob", "cid"]).await;
    one.room("ann", &[]).await;
    let foreign = two.client.get(format!("{}/users", two.base())).bearer_auth(&one.token);
    two.send(foreign).await.fails_auth();
    for path in ["/users", "/chatrooms"] {
        let cursor = one.get(&format!("{path}?limit=1")).await.json()["cursor"].as_str().expect("more").to_owned();
        two.get(&format!("{path}?limit=1&cursor={cursor}")).await.fails_parameter("cursor is invalid");
    }
}
