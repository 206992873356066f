//! The block list: calls 9 to 13.

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{
    Instance, TestApp, eventually, find_next_ends, migrated_database, numbered, settings, shared_database, time_of,
};

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
async fn only_members_can_be_blocked_and_never_the_owner() {
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

#[tokio::test]
async fn a_block_may_end_by_itself_and_its_end_is_an_event() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    let blocks = format!("/chatrooms/{room}/blocks/users");
    let send = async |path: &str, body: Value| {
        let request = app.request(Method::POST, path).body(body.to_string());
        request.send().await.expect("an answer").json::<Value>().await.expect("JSON")
    };
    let answer = send(&format!("{blocks}/bob"), json!({"block_duration": 600})).await;
    let end = answer["data"]["expire"].as_i64().expect("an end");
    assert!(time_of(&answer).contains(&(end - 600)), "{answer}");
    assert_eq!(answer["data"], json!({"result": true, "action": "add_blocks", "user": "bob", "chatroomid": room, "expire": end}));
    send(&blocks, json!({"usernames": ["cid"], "block_duration": -1})).await;
    assert_eq!(app.post(&format!("/chatrooms/{room}/users/bob")).await.status, 403);
    eventually("the end is told", || async {
        app.get(&format!("/chatrooms/{room}/events?kind=BLOCK/EXPIRE")).await.json()["count"] == 1
    })
    .await;
    let told = &app.get(&format!("/chatrooms/{room}/events?kind=BLOCK/EXPIRE")).await.json()["data"][0];
    assert_eq!((&told["users"], &told["before"], &told["actor"]), (&json!(["bob"]), &json!({"bob": end}), &json!("@system")));
    assert_eq!(app.get(&blocks).await.json()["data"], json!(["cid"]));
    assert_eq!(app.post(&format!("/chatrooms/{room}/users/bob")).await.status, 200);
    app.assert_invariants().await;
}

#[tokio::test]
async fn an_ended_block_is_none_in_any_read_or_change_before_the_task_has_ended_it() {
    let url = migrated_database().await;
    let mut settings = settings(&url);
    settings.expiry.every_ms = 3_600_000;
    let instance = Instance::start(settings);
    let app = TestApp::on(instance.address, &url).await;
    let room = app.room_with("ann", &["bob", "cid", "dan"]).await;
    let blocks = format!("/chatrooms/{room}/blocks/users");
    app.post_json(&blocks, json!({"usernames": ["bob", "cid", "dan"], "block_duration": 60_000})).await;
    sqlx::query("update blocks set ends_at = now()").execute(&app.db).await.expect("aged");
    find_next_ends(&app.db, app.app.id).await;
    let speak = app.get(&format!("/chatrooms/{room}/users/bob/speak")).await.json();
    assert_eq!(speak["data"], json!({"user": "bob", "allowed": false, "layer": "not_member"}));
    for query in ["", "?limit=5"] {
        assert_eq!(app.get(&format!("{blocks}{query}")).await.json()["data"], json!([]));
    }
    assert_eq!(app.get("/users/bob/standing").await.json()["data"], json!([]));
    app.delete(&format!("{blocks}/cid")).await.fails_forbidden(400, "users [cid] are not members of this group!");
    app.post(&format!("{blocks}/dan")).await.fails_forbidden(400, "users [dan] are not members of this group!");
    assert_eq!(app.post(&format!("/chatrooms/{room}/users/bob")).await.status, 200);
    app.assert_invariants().await;
    let again = app.post_json(&blocks, json!({"usernames": ["dan"], "allow_non_member": true})).await.json();
    assert_eq!(again["data"][0]["result"], true);
    let told = app.get(&format!("/chatrooms/{room}/events?since=3")).await.json();
    let told: Vec<_> = told["data"].as_array().expect("events").iter().map(|event| (&event["kind"], &event["users"])).collect();
    assert_eq!(
        told,
        [
            (&json!("BLOCK/EXPIRE"), &json!(["bob", "cid", "dan"])),
            (&json!("JOIN/DIRECT"), &json!(["bob"])),
            (&json!("BLOCK/ADD"), &json!(["dan"]))
        ]
    );
}

#[tokio::test]
async fn a_user_who_is_not_in_the_room_is_blocked_only_if_that_is_asked_for() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.users(&["cid", "dan"]).await;
    let blocks = format!("/chatrooms/{room}/blocks/users");
    let send = async |path: &str, body: Value| app.send(app.request(Method::POST, path).body(body.to_string())).await;
    send(&format!("{blocks}/cid"), json!({"allow_non_member": true})).await.is(&format!(
        r#"{{"action":"post","application":"APP","uri":"BASE/chatrooms/{room}/blocks/users/cid","entities":[],"data":{{"result":true,"action":"add_blocks","user":"cid","chatroomid":"{room}","expire":4638873600000}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    app.post(&format!("/chatrooms/{room}/users/cid"))
        .await
        .fails_forbidden(403, &format!("can not join this group, reason:user cid is in the blacklist of group {room}"));
    // A user who is not registered cannot be blocked, nor can a non-member where that was not asked for.
    send(&format!("{blocks}/nobody"), json!({"allow_non_member": true}))
        .await
        .fails_forbidden(400, "users [nobody] are not members of this group!");
    for body in [json!({"allow_non_member": false}), json!({"block_duration": 5}), json!({}), json!([]), json!("x")] {
        send(&format!("{blocks}/dan"), body).await.fails_forbidden(400, "users [dan] are not members of this group!");
    }
    let both = json!({"usernames": ["dan", "bob", "ann", "nobody"], "allow_non_member": true});
    let results: Vec<_> = app.post_json(&blocks, both).await.json()["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|result| (result["result"].clone(), result.get("expire").is_some()))
        .collect();
    assert_eq!(results, [(json!(true), true), (json!(true), true), (json!(false), false), (json!(false), false)]);
    let kinds: Vec<_> = app.get(&format!("/chatrooms/{room}/events?since=2")).await.json()["data"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| (event["kind"].clone(), event["users"].clone()))
        .collect();
    assert_eq!(kinds, [(json!("LEAVE/BLOCK"), json!(["bob"])), (json!("BLOCK/ADD"), json!(["dan", "bob"]))]);
    app.assert_invariants().await;
}

#[tokio::test]
async fn the_end_of_a_block_is_moved_by_blocking_again_with_one() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let blocks = format!("/chatrooms/{room}/blocks/users");
    let block = async |body: Value| app.send(app.request(Method::POST, &format!("{blocks}/bob")).body(body.to_string())).await;
    assert_eq!(app.post(&format!("{blocks}/bob")).await.status, 200);
    let moved = block(json!({"block_duration": "60000"})).await.json()["data"]["expire"].as_i64().expect("an end");
    assert!(moved < 4_638_873_600_000);
    let last = block(json!({"block_duration": i64::MAX})).await.json();
    assert_eq!(last["data"]["expire"], 4_638_873_600_000_i64);
    assert_eq!(block(json!({"block_duration": -1})).await.status, 200);
    let told = app.get(&format!("/chatrooms/{room}/events?kind=BLOCK")).await.json();
    let ends: Vec<_> = told["data"].as_array().expect("events").iter().map(|event| event["after"]["bob"].as_i64()).collect();
    assert_eq!(ends, [Some(4_638_873_600_000), Some(moved), Some(4_638_873_600_000)], "the last one changed nothing");
    for (duration, text) in [
        (json!(0), "block_duration is invalid"),
        (json!(-2), "block_duration is invalid"),
        (json!(1.5), "block_duration must be provided"),
        (json!("soon"), "block_duration must be provided"),
    ] {
        block(json!({"block_duration": duration})).await.fails_parameter(text);
    }
    block(json!({"allow_non_member": "yes"})).await.fails_parameter("allow_non_member is invalid");
    assert_eq!(app.get("/users/bob/standing").await.json()["data"][0]["blocked_until"], 4_638_873_600_000_i64);
}

#[tokio::test]
async fn blocks_are_listed_with_their_details_only_where_that_is_asked_for() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    let path = format!("/chatrooms/{room}/blocks/users");
    let by_eve = app.request(Method::POST, &format!("{path}/bob")).header("X-Operator", "eve").header("X-Audit-Reason", "spam");
    assert_eq!(app.send(by_eve).await.status, 200);
    let block = app.request(Method::POST, &format!("{path}/cid")).body(json!({"block_duration": 60_000}).to_string());
    let until = app.send(block).await.json()["data"]["expire"].as_i64().expect("an end");
    let moments = app.moments("BLOCK/ADD").await;
    let (first, second) = (moments[0], moments[1]);
    let details = app.get(&format!("{path}?limit=10&detail=true")).await;
    details.is(&format!(
        r#"{{"action":"get","application":"APP","params":{{"limit":["10"],"detail":["true"]}},"uri":"BASE/chatrooms/{room}/blocks/users","entities":[],"data":[{{"user":"bob","until":4638873600000,"since":{first},"actor":"eve","reason":"spam"}},{{"user":"cid","until":{until},"since":{second},"actor":"@ppAdmin"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":2}}"#
    ));
    let page = app.get(&format!("{path}?detail=true&limit=1")).await.json();
    let rest = app.get(&format!("{path}?detail=true&limit=1&cursor={}", page["cursor"].as_str().expect("more"))).await.json();
    assert_eq!((&rest["data"][0]["user"], rest.get("cursor")), (&json!("cid"), None));
    for query in ["", "?limit=3", "?detail=false", "?detail=1&limit=3"] {
        assert_eq!(app.get(&format!("{path}{query}")).await.json()["data"], json!(["bob", "cid"]), "{query}");
    }
    app.get("/chatrooms/123/blocks/users?detail=true").await.fails_room("123");
}
