//! The whitelist: calls 14 to 17.

use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn one_member_is_put_on_the_list_and_listed() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.post(&format!("/chatrooms/{room}/white/users/bob")).await.is(&format!(
        r#"{{"action":"post","application":"APP","uri":"BASE/chatrooms/{room}/white/users/bob","entities":[],"data":{{"result":true,"action":"add_user_whitelist","user":"bob","chatroomid":"{room}"}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    app.get(&format!("/chatrooms/{room}/white/users")).await.is(&format!(
        r#"{{"action":"get","application":"APP","uri":"BASE/chatrooms/{room}/white/users","entities":[],"data":["bob"],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":1}}"#
    ));
}

#[tokio::test]
async fn several_are_put_on_the_list_once_and_non_members_told_apart() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    app.users(&["dan"]).await;
    let white = format!("/chatrooms/{room}/white/users");
    app.post(&format!("{white}/cid")).await;
    app.post_json(&white, json!({"usernames": ["dan", "Bob", "cid", "ann"]})).await.is(&format!(
        r#"{{"action":"post","application":"APP","uri":"BASE/chatrooms/{room}/white/users","entities":[],"data":[{{"result":false,"action":"add_user_whitelist","reason":"user: dan doesn't exist in chatroom: {room}","user":"dan","chatroomid":"{room}"}},{{"result":true,"action":"add_user_whitelist","user":"bob","chatroomid":"{room}"}},{{"result":true,"action":"add_user_whitelist","user":"cid","chatroomid":"{room}"}},{{"result":true,"action":"add_user_whitelist","user":"ann","chatroomid":"{room}"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    assert_eq!(app.get(&white).await.json()["data"], json!(["cid", "bob", "ann"]));
}

#[tokio::test]
async fn only_members_are_put_on_the_list() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let white = format!("/chatrooms/{room}/white/users");
    app.post(&format!("{white}/bob")).await.fails_forbidden(400, "users [bob] are not members of this group!");
    app.post(&format!("{white}/nobody")).await.fails_forbidden(400, "users [nobody] are not members of this group!");
    app.post_json(&white, json!({"usernames": ["bob", "nobody"]}))
        .await
        .fails_forbidden(400, "users [bob, nobody] are not members of this group!");
    app.delete(&format!("{white}/bob,nobody")).await.fails_forbidden(400, "users [bob, nobody] are not members of this group!");
}

#[tokio::test]
async fn taking_off_the_list_is_always_an_array_and_needs_membership_only() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    app.users(&["dan"]).await;
    let white = format!("/chatrooms/{room}/white/users");
    app.post(&format!("{white}/bob")).await;
    app.delete(&format!("{white}/bob")).await.is(&format!(
        r#"{{"action":"delete","application":"APP","uri":"BASE/chatrooms/{room}/white/users/bob","entities":[],"data":[{{"result":true,"action":"remove_user_whitelist","user":"bob","chatroomid":"{room}"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    let answer = app.delete(&format!("{white}/bob,dan,cid")).await;
    assert_eq!(
        answer.json()["data"],
        json!([
            {"result": true, "action": "remove_user_whitelist", "user": "bob", "chatroomid": room},
            {"result": false, "action": "remove_user_whitelist", "user": "dan", "chatroomid": room},
            {"result": true, "action": "remove_user_whitelist", "user": "cid", "chatroomid": room}
        ])
    );
    assert_eq!(app.get(&white).await.json()["data"], json!([]));
}
