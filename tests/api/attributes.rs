//! Custom attributes of a chatroom.

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::app::{Answer, TestApp};

async fn put(app: &TestApp, room: &str, user: &str, body: Value) -> Answer {
    app.send(app.request(Method::PUT, &format!("/metadata/chatroom/{room}/user/{user}")).body(body.to_string())).await
}

async fn remove(app: &TestApp, room: &str, user: &str, keys: &[&str]) -> Answer {
    let body = json!({"autoDelete": "DELETE", "keys": keys}).to_string();
    app.send(app.request(Method::DELETE, &format!("/metadata/chatroom/{room}/user/{user}")).body(body)).await
}

async fn all(app: &TestApp, room: &str) -> Value {
    let request = app.request(Method::POST, &format!("/metadata/chatroom/{room}")).header("Content-Type", "application/json");
    app.send(request).await.json()["data"].clone()
}

#[tokio::test]
async fn attributes_are_set_read_and_deleted() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    put(&app, &room, "Bob", json!({"metaData": {"nickname": "昵称", "avatar": "a", "sign": ""}, "autoDelete": "NO_DELETE", "notificationExt": "x"}))
        .await
        .is(r#"{"uri":"BASE/metadata/chatroom","timestamp":T,"action":"put","data":{"successKeys":["avatar","nickname","sign"],"errorKeys":{}}}"#);
    let body = json!({"autoDelete": "DELETE", "keys": ["nickname", "none", "a b"]});
    app.post_json(&format!("/metadata/chatroom/{room}"), body)
        .await
        .is(r#"{"uri":"BASE/metadata/chatroom","timestamp":T,"action":"post","data":{"nickname":"昵称"}}"#);
    assert_eq!(all(&app, &room).await, json!({"nickname": "昵称", "avatar": "a", "sign": ""}));
    for body in [json!({}), json!({"keys": []})] {
        assert_eq!(
            app.post_json(&format!("/metadata/chatroom/{room}"), body).await.json()["data"].as_object().map(Map::len),
            Some(3)
        );
    }
    remove(&app, &room, "bob", &["nickname", "none"]).await.is(
        r#"{"uri":"BASE/metadata/chatroom","status":"ok","timestamp":T,"action":"delete","data":{"successKeys":["nickname"],"errorKeys":{"none":"properties key 'none' is not exist"}}}"#,
    );
    assert_eq!(all(&app, &room).await, json!({"avatar": "a", "sign": ""}));
}

#[tokio::test]
async fn what_others_have_set_is_theirs_unless_forced() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    put(&app, &room, "bob", json!({"metaData": {"k": "bob's"}})).await;
    let refused = put(&app, &room, "ann", json!({"metaData": {"k": "ann's"}})).await;
    refused.fails(400, "", "MetadataException", "others are not allowed to be set");
    let mixed = put(&app, &room, "ann", json!({"metaData": {"k": "ann's", "l": "ann's"}})).await;
    assert_eq!(mixed.json()["data"], json!({"successKeys": ["l"], "errorKeys": {"k": "properties key 'k' is not part of you"}}));
    let refused = remove(&app, &room, "ann", &["k"]).await;
    assert_eq!(refused.json()["data"], json!({"successKeys": [], "errorKeys": {"k": "properties key 'k' is not part of you"}}));
    let forced = put(&app, &room, "ann/forced", json!({"metaData": {"k": "ann's"}})).await;
    assert_eq!(forced.json()["data"]["successKeys"], json!(["k"]));
    assert_eq!(all(&app, &room).await, json!({"k": "ann's", "l": "ann's"}));
    let forced = remove(&app, &room, "admin/forced", &["k", "l"]).await;
    assert_eq!(forced.json()["data"]["successKeys"], json!(["k", "l"]), "`admin` need not exist");
}

#[tokio::test]
async fn only_people_in_the_room_set_attributes() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let body = json!({"metaData": {"k": "v"}});
    for user in ["bob", "nobody", "bob/forced"] {
        let refused = put(&app, &room, user, body.clone()).await;
        refused.fails(401, "MetadataException", "MetadataException", "user is not in chatroom");
    }
    remove(&app, &room, "bob", &["k"]).await.fails(401, "MetadataException", "MetadataException", "user is not in chatroom");
    put(&app, "123", "ann", body).await.fails_room("123");
    app.post("/metadata/chatroom/123").await.fails_room("123");
    remove(&app, "123", "ann", &["k"]).await.fails_room("123");
}

#[tokio::test]
async fn an_attribute_goes_when_its_setter_leaves_if_it_was_set_so() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    put(&app, &room, "bob", json!({"metaData": {"goes": "1", "taken": "1"}})).await;
    put(&app, &room, "bob", json!({"metaData": {"stays": "1"}, "autoDelete": "NO_DELETE"})).await;
    put(&app, &room, "ann/forced", json!({"metaData": {"taken": "2"}})).await;
    app.delete(&format!("/chatrooms/{room}/users/bob")).await;
    assert_eq!(all(&app, &room).await, json!({"stays": "1", "taken": "2"}));
    put(&app, &room, "cid", json!({"metaData": {"goes": "2"}, "autoDelete": "DELETE"})).await;
    app.post(&format!("/chatrooms/{room}/blocks/users/cid")).await;
    assert_eq!(all(&app, &room).await, json!({"stays": "1", "taken": "2"}), "blocked is left, too");
    assert_eq!(app.delete(&format!("/chatrooms/{room}")).await.status, 200);
    app.post(&format!("/metadata/chatroom/{room}")).await.fails_room(&room);
}

#[tokio::test]
async fn each_key_that_cannot_be_is_told_why_and_the_others_are_set() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let long = "k".repeat(129);
    let body = json!({"metaData": {"good": "v", "a b": "v", &long: "v", "": "v", "nul": "\u{0}", "number": 7, "value": "v".repeat(4097), "full": "值".repeat(4096)}});
    let answer = put(&app, &room, "ann", body).await.json();
    assert_eq!(answer["data"]["successKeys"], json!(["full", "good"]));
    assert_eq!(
        answer["data"]["errorKeys"],
        json!({
            "a b": "properties key 'a b' is not Legal",
            &long: format!("properties key '{long}' is exceeding maximum limit 128"),
            "": "properties key '' is not Legal",
            "nul": "properties key 'nul' is not Legal",
            "number": "properties key 'number' is not Legal",
            "value": "properties value of key 'value' is exceeding maximum limit 4096",
        })
    );
}

#[tokio::test]
async fn ten_attributes_a_call_and_a_hundred_a_room_are_the_most() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let pairs =
        |from: usize, count: usize| Value::Object((from..from + count).map(|n| (format!("k{n:03}"), json!("v"))).collect());
    let too_many = |answer: Answer| answer.fails(400, "", "MetadataException", "exceed allowed batch size 10");
    too_many(put(&app, &room, "ann", json!({"metaData": pairs(0, 11)})).await);
    let keys: Vec<String> = (0..11).map(|n| format!("k{n}")).collect();
    too_many(remove(&app, &room, "ann", &keys.iter().map(String::as_str).collect::<Vec<_>>()).await);
    put(&app, "123", "ann", json!({"metaData": pairs(0, 11)})).await.fails_room("123");
    for batch in 0..9 {
        assert_eq!(put(&app, &room, "ann", json!({"metaData": pairs(batch * 10, 10)})).await.status, 200);
    }
    put(&app, &room, "ann", json!({"metaData": pairs(90, 8)})).await;
    let last = put(&app, &room, "ann", json!({"metaData": pairs(97, 4)})).await.json();
    assert_eq!(last["data"]["successKeys"], json!(["k097", "k098", "k099"]), "one that is there already counts once");
    assert_eq!(last["data"]["errorKeys"], json!({"k100": "size of metadata for this single chatroom exceeds the limit 100"}));
    assert_eq!(all(&app, &room).await.as_object().map(Map::len), Some(100));
}

#[tokio::test]
async fn a_call_that_says_nothing_is_refused() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    put(&app, &room, "ann", json!({})).await.fails_parameter("metaData must be provided");
    put(&app, &room, "ann", json!({"metaData": ["k"]})).await.fails_parameter("metaData must be provided");
    put(&app, &room, "ann", json!({"metaData": {"k": "v"}, "autoDelete": "MAYBE"}))
        .await
        .fails_parameter("autoDelete is invalid");
    remove(&app, &room, "ann", &[]).await.fails_parameter("keys must be provided");
}

#[tokio::test]
async fn each_key_that_cannot_be_deleted_is_told_why_under_its_own_name() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    put(&app, &room, "ann", json!({"metaData": {"k": "v"}})).await;
    let answer = remove(&app, &room, "ann", &["a b", "张", "k", "k", "none"]).await.json();
    assert_eq!(answer["data"]["successKeys"], json!(["k"]));
    assert_eq!(
        answer["data"]["errorKeys"],
        json!({"a b": "properties key 'a b' is not Legal", "张": "properties key '张' is not Legal", "none": "properties key 'none' is not exist"})
    );
    let refused = remove(&app, &room, "ann", &["k"; 11]).await;
    refused.fails(400, "", "MetadataException", "exceed allowed batch size 10");
}

#[tokio::test]
async fn what_outlives_its_setter_belongs_to_no_user_once_the_account_is_gone() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    put(&app, &room, "bob", json!({"metaData": {"k": "v"}, "autoDelete": "NO_DELETE"})).await;
    app.delete(&format!("/chatrooms/{room}/users/bob")).await;
    app.delete("/users/bob").await;
    app.users(&["bob"]).await;
    app.post(&format!("/chatrooms/{room}/users/bob")).await;
    assert_eq!(all(&app, &room).await, json!({"k": "v"}));
    put(&app, &room, "bob", json!({"metaData": {"k": "w"}})).await.fails(
        400,
        "",
        "MetadataException",
        "others are not allowed to be set",
    );
}
