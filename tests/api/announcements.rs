//! The announcement of a chatroom.

use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn an_announcement_is_an_empty_text_until_it_is_set() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let path = format!("/chatrooms/{room}/announcement");
    app.get(&path).await.is(&format!(
        r#"{{"action":"get","application":"APP","uri":"BASE/chatrooms/{room}/announcement","entities":[],"data":{{"announcement":""}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    app.post_json(&path, json!({"announcement": "公告"})).await.is(&format!(
        r#"{{"action":"post","application":"APP","uri":"BASE/chatrooms/{room}/announcement","entities":[],"data":{{"id":"{room}","result":true}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    assert_eq!(app.get(&path).await.json()["data"]["announcement"], "公告");
    app.post_json(&path, json!({"announcement": ""})).await;
    assert_eq!(app.get(&path).await.json()["data"]["announcement"], "");
}

#[tokio::test]
async fn an_announcement_has_at_most_512_characters() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let path = format!("/chatrooms/{room}/announcement");
    app.post_json(&path, json!({"announcement": "告".repeat(513)}))
        .await
        .fails_forbidden(403, "announce info length exceeds limit!");
    assert_eq!(app.post_json(&path, json!({"announcement": "告".repeat(512)})).await.status, 200);
    app.post_json(&path, json!({})).await.fails_parameter("announcement must be provided");
    app.post_json(&path, json!({"announcement": 7})).await.fails_parameter("announcement is invalid");
    app.get("/chatrooms/123/announcement").await.fails_room("123");
    app.post_json("/chatrooms/123/announcement", json!({"announcement": "x"})).await.fails_room("123");
}
