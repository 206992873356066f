//! Admins: calls 6 to 8.

use serde_json::json;

use crate::app::{TestApp, numbered};

#[tokio::test]
async fn admins_are_listed_in_the_order_in_which_they_became_so() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    let admin = format!("/chatrooms/{room}/admin");
    app.post_json(&admin, json!({"newadmin": "CID"})).await.is(&format!(
        r#"{{"action":"post","application":"APP","uri":"BASE/chatrooms/{room}/admin","entities":[],"data":{{"result":"success","newadmin":"cid"}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    app.post_json(&admin, json!({"newadmin": "bob"})).await;
    app.get(&admin).await.is(&format!(
        r#"{{"action":"get","application":"APP","uri":"BASE/chatrooms/{room}/admin","entities":[],"data":["cid","bob"],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":2}}"#
    ));
    assert_eq!(app.members(&room).await, ["ann", "bob", "cid"], "admins are listed as members");
}

#[tokio::test]
async fn promoting_again_and_promoting_the_owner_change_nothing() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let admin = format!("/chatrooms/{room}/admin");
    for name in ["bob", "bob", "ann"] {
        let answer = app.post_json(&admin, json!({"newadmin": name})).await;
        assert_eq!(answer.json()["data"], json!({"result": "success", "newadmin": name}));
    }
    assert_eq!(app.get(&admin).await.json()["data"], json!(["bob"]));
}

#[tokio::test]
async fn only_members_become_admins() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let admin = format!("/chatrooms/{room}/admin");
    app.post_json(&admin, json!({"newadmin": "bob"})).await.fails(
        404,
        "resource_not_found",
        "com.easemob.group.exception.ResourceNotFoundException",
        &format!("user: bob doesn't exist in group: {room}"),
    );
    app.post_json(&admin, json!({"newadmin": "nobody"})).await.fails_user("nobody");
    app.post_json(&admin, json!({"newadmin": "a\u{0}"})).await.fails_user("a\0");
    for body in [json!({}), json!({"newadmin": ""}), json!({"newadmin": 7}), json!({"newadmin": ["bob"]}), json!([])] {
        app.post_json(&admin, body).await.fails_parameter("newadmin must be provided");
    }
}

#[tokio::test]
async fn a_demoted_admin_stays_a_member() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.post_json(&format!("/chatrooms/{room}/admin"), json!({"newadmin": "bob"})).await;
    app.delete(&format!("/chatrooms/{room}/admin/Bob")).await.is(&format!(
        r#"{{"action":"delete","application":"APP","uri":"BASE/chatrooms/{room}/admin/Bob","entities":[],"data":{{"result":"success","oldadmin":"bob"}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    assert_eq!(app.get(&format!("/chatrooms/{room}/admin")).await.json()["data"], json!([]));
    assert_eq!(app.members(&room).await, ["ann", "bob"]);
}

#[tokio::test]
async fn only_admins_are_demoted() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.users(&["cid"]).await;
    for name in ["bob", "cid", "ann"] {
        app.delete(&format!("/chatrooms/{room}/admin/{name}"))
            .await
            .fails_forbidden(403, &format!("user:{name} is not admin of group:{room}"));
    }
    app.delete(&format!("/chatrooms/{room}/admin/nobody")).await.fails_user("nobody");
}

#[tokio::test]
async fn ninety_nine_admins_are_the_most() {
    let app = TestApp::new().await;
    let names = numbered("user", 100);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let room = app.room_with("ann", &names).await;
    let admin = format!("/chatrooms/{room}/admin");
    for name in &names[..99] {
        assert_eq!(app.post_json(&admin, json!({"newadmin": name})).await.status, 200);
    }
    app.post_json(&admin, json!({"newadmin": "user99"})).await.fails_limit("admin count exceeds the limit 99!");
    assert_eq!(app.post_json(&admin, json!({"newadmin": "user5"})).await.status, 200, "an admin is counted once");
    assert_eq!(app.get(&admin).await.json()["count"], 99);
    app.delete(&format!("/chatrooms/{room}/users/user7")).await;
    assert_eq!(app.post_json(&admin, json!({"newadmin": "user99"})).await.status, 200, "an admin who left made room");
}
