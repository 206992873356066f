//! The block list: calls 9 to 13.

use serde_json::json;

use crate::app::{Instance, TestApp, numbered, settings, shared_database};

#[tokio::test]
async fn blocking_one_member_throws_out_and_lists_in_order() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    let blocks = format!("/chatrooms/{room}/blocks/users");
    app.post(&format!("{blocks}/CID")).await.is(&format!(
        r#"{{"action":"post","application":"APP","uri":"BASE/chatrooms/{room}/blocks/users/CID","entities":[],"data":{{"result":true,"action":"add_blocks","user":"cid","chatroomid":"{room}"}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    app.post(&format!("{blocks}/bob")).await;
    app.get(&blocks).await.is(&format!(
        r#"{{"action":"get","application":"APP","uri":"BASE/chatrooms/{room}/blocks/users","entities":[],"data":["cid","bob"],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":2}}"#
    ));
    assert_eq!(app.members(&room).await, ["ann"]);
    app.assert_invariants().await;
}

#[tokio::test]
async fn blocking_several_tells_each_ones_fate() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    app.users(&["dan"]).await;
    let body = json!({"usernames": ["dan", "bob", "ann", "nobody", "BOB"]});
    app.post_json(&format!("/chatrooms/{room}/blocks/users"), body).await.is(&format!(
        r#"{{"action":"post","application":"APP","uri":"BASE/chatrooms/{room}/blocks/users","entities":[],"data":[{{"result":false,"action":"add_blocks","reason":"user: dan doesn't exist in chatroom: {room}","user":"dan","chatroomid":"{room}"}},{{"result":true,"action":"add_blocks","user":"bob","chatroomid":"{room}"}},{{"result":false,"action":"add_blocks","reason":"forbidden operation on group owner!","user":"ann","chatroomid":"{room}"}},{{"result":false,"action":"add_blocks","reason":"user: nobody doesn't exist in chatroom: {room}","user":"nobody","chatroomid":"{room}"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    assert_eq!(app.members(&room).await, ["ann", "cid"]);
    app.assert_invariants().await;
}

#[tokio::test]
async fn nobody_but_members_can_be_blocked_and_never_the_owner() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.users(&["cid"]).await;
    let blocks = format!("/chatrooms/{room}/blocks/users");
    for name in ["cid", "nobody"] {
        app.post(&format!("{blocks}/{name}"))
            .await
            .fails_forbidden(400, &format!("users [{name}] are not members of this group!"));
    }
    let owner = "forbidden operation on group owner!";
    app.post(&format!("{blocks}/ann")).await.fails_forbidden(403, owner);
    app.post_json(&blocks, json!({"usernames": ["ann"]})).await.fails_forbidden(403, owner);
    app.post_json(&blocks, json!({"usernames": ["cid", "ann"]})).await.fails_forbidden(403, owner);
    app.post_json(&blocks, json!({"usernames": ["cid", "nobody"]}))
        .await
        .fails_forbidden(400, "users [cid, nobody] are not members of this group!");
    app.post(&format!("{blocks}/bob")).await;
    app.post(&format!("{blocks}/bob")).await.fails_forbidden(400, "users [bob] are not members of this group!");
    app.post(&format!("{blocks}/bob,cid")).await.fails_parameter("username is invalid");
}

#[tokio::test]
async fn a_blocked_user_stays_out_until_unblocked_and_then_must_be_added_again() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let (blocks, user) = (format!("/chatrooms/{room}/blocks/users/bob"), format!("/chatrooms/{room}/users/bob"));
    app.post(&blocks).await;
    let refusal = format!("can not join this group, reason:user bob is in the blacklist of group {room}");
    app.post(&user).await.fails_forbidden(403, &refusal);
    app.delete(&blocks).await.is(&format!(
        r#"{{"action":"delete","application":"APP","uri":"BASE/chatrooms/{room}/blocks/users/bob","entities":[],"data":{{"result":true,"action":"remove_blocks","user":"bob","chatroomid":"{room}"}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    assert_eq!(app.members(&room).await, ["ann"], "unblocking does not bring back");
    assert_eq!(app.post(&user).await.status, 200);
}

#[tokio::test]
async fn unblocking_several_tells_each_ones_fate_without_a_reason() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    app.post_json(&format!("/chatrooms/{room}/blocks/users"), json!({"usernames": ["bob"]})).await;
    app.delete(&format!("/chatrooms/{room}/blocks/users/cid%2Cbob")).await.is(&format!(
        r#"{{"action":"delete","application":"APP","uri":"BASE/chatrooms/{room}/blocks/users/cid%2Cbob","entities":[],"data":[{{"result":false,"action":"remove_blocks","user":"cid","chatroomid":"{room}"}},{{"result":true,"action":"remove_blocks","user":"bob","chatroomid":"{room}"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    for name in ["bob", "bob,cid", "nobody"] {
        let names = name.replace(',', ", ");
        app.delete(&format!("/chatrooms/{room}/blocks/users/{name}"))
            .await
            .fails_forbidden(400, &format!("users [{names}] are not members of this group!"));
    }
}

#[tokio::test]
async fn blocking_ends_every_standing_but_a_mute() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.post_json(&format!("/chatrooms/{room}/admin"), json!({"newadmin": "bob"})).await;
    app.post(&format!("/chatrooms/{room}/white/users/bob")).await;
    app.post_json(&format!("/chatrooms/{room}/mute"), json!({"usernames": ["bob"], "mute_duration": 60_000})).await;
    app.post(&format!("/chatrooms/{room}/blocks/users/bob")).await;
    let list = async |path: &str| app.get(&format!("/chatrooms/{room}{path}")).await.json()["data"].as_array().map(Vec::len);
    assert_eq!((list("/admin").await, list("/white/users").await, list("/mute").await), (Some(0), Some(0), Some(1)));
    app.delete(&format!("/chatrooms/{room}/blocks/users/bob")).await;
    app.post(&format!("/chatrooms/{room}/users/bob")).await;
    assert_eq!((list("/admin").await, list("/white/users").await, list("/mute").await), (Some(0), Some(0), Some(1)));
}

#[tokio::test]
async fn a_block_list_has_a_limit() {
    let mut small = settings(shared_database());
    small.limits.blocks_per_room = 2;
    let instance = Instance::start(small);
    let app = TestApp::on(instance.address, shared_database()).await;
    let names = numbered("user", 4);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let room = app.room_with("ann", &names).await;
    let blocks = format!("/chatrooms/{room}/blocks/users");
    app.post_json(&blocks, json!({"usernames": names})).await.fails_limit("block list exceeds the limit 2!");
    assert_eq!(app.members(&room).await.len(), 5, "nothing is applied");
    assert_eq!(app.post_json(&blocks, json!({"usernames": names[..2]})).await.status, 200);
    app.post(&format!("{blocks}/user2")).await.fails_limit("block list exceeds the limit 2!");
}
