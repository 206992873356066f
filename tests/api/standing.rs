//! Where a user stands, and the lists of a room by cursor.

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{TestApp, numbered};

#[tokio::test]
async fn every_room_that_knows_a_user_is_listed_with_what_the_user_is_there() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob"]).await;
    for (id, owner) in [("a", "bob"), ("b", "ann"), ("c", "ann"), ("d", "ann"), ("e", "ann"), ("f", "ann"), ("g", "bob")] {
        let body = json!({"name": "n", "description": "d", "owner": owner, "roomid": id, "members": ["ann", "bob"]});
        assert_eq!(app.post_json("/chatrooms", body).await.status, 200);
    }
    app.post_json("/chatrooms/b/admin", json!({"newadmin": "bob"})).await;
    app.post("/chatrooms/c/white/users/bob").await;
    app.post_json("/chatrooms/c/mute", json!({"usernames": ["bob"], "mute_duration": -1})).await;
    app.post_json("/chatrooms/d/mute", json!({"usernames": ["bob"], "mute_duration": -1})).await;
    app.delete("/chatrooms/d/users/bob").await;
    app.post("/chatrooms/e/blocks/users/bob").await;
    app.delete("/chatrooms/f/users/bob").await;
    app.delete("/chatrooms/g").await;
    let end = 4_638_873_600_000_i64;
    let expected = json!([
        {"id": "a", "role": "owner", "whitelisted": false},
        {"id": "b", "role": "admin", "whitelisted": false},
        {"id": "c", "role": "member", "whitelisted": true, "muted_until": end},
        {"id": "d", "role": "none", "whitelisted": false, "muted_until": end},
        {"id": "e", "role": "none", "whitelisted": false, "blocked_until": end}
    ]);
    app.get("/users/Bob/standing").await.is(&format!(
        r#"{{"action":"get","application":"APP","uri":"BASE/users/Bob/standing","entities":[],"data":[{{"id":"a","role":"owner","whitelisted":false}},{{"id":"b","role":"admin","whitelisted":false}},{{"id":"c","role":"member","whitelisted":true,"muted_until":{end}}},{{"id":"d","role":"none","whitelisted":false,"muted_until":{end}}},{{"id":"e","role":"none","whitelisted":false,"blocked_until":{end}}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":5}}"#
    ));
    for limit in 1..5 {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app.get(&format!("/users/bob/standing?limit={limit}{cursor}")).await.json();
            seen.extend(page["data"].as_array().expect("a list").clone());
            match page.get("cursor") {
                Some(next) => cursor = format!("&cursor={}", next.as_str().expect("a text")),
                None => break,
            }
        }
        assert_eq!(Value::from(seen), expected, "{limit}");
    }
    app.get("/users/nobody/standing").await.fails_user("nobody");
    app.get("/users/bob/standing?cursor=x").await.fails_parameter("cursor is invalid");
}

#[tokio::test]
async fn the_lists_of_a_room_are_read_by_cursor_in_the_order_in_which_they_grew() {
    let app = TestApp::new().await;
    let names = numbered("user", 9);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let room = app.room_with("ann", &names).await;
    let at = |path: &str| format!("/chatrooms/{room}{path}");
    for name in &names[..5] {
        app.post_json(&at("/admin"), json!({"newadmin": name})).await;
    }
    app.post_json(&at("/white/users"), json!({"usernames": names[..5]})).await;
    app.post_json(&at("/mute"), json!({"usernames": names[..5], "mute_duration": -1})).await;
    app.post_json(&at("/blocks/users"), json!({"usernames": names[5..9]})).await;
    for (list, expected) in
        [("/admin", &names[..5]), ("/white/users", &names[..5]), ("/mute", &names[..5]), ("/blocks/users", &names[5..9])]
    {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app.get(&format!("{}?limit=2{cursor}", at(list))).await.json();
            assert_eq!(page.get("count").is_some(), list != "/mute", "{list}");
            let entries = page["data"].as_array().expect("a list").clone();
            assert!(entries.len() <= 2);
            seen.extend(entries.iter().map(|entry| entry.get("user").unwrap_or(entry).as_str().expect("a name").to_owned()));
            match page.get("cursor") {
                Some(next) => cursor = format!("&cursor={}", next.as_str().expect("a text")),
                None => break,
            }
        }
        assert_eq!(seen, expected, "{list}");
        let whole = app.get(&at(list)).await.json();
        assert_eq!((whole["data"].as_array().map(Vec::len), whole.get("cursor")), (Some(expected.len()), None), "{list}");
        let cursor = cursor.trim_start_matches("&cursor=");
        app.get(&format!("{}?cursor={cursor}", at(if list == "/admin" { "/mute" } else { "/admin" })))
            .await
            .fails_parameter("cursor is invalid");
        app.get(&format!("/chatrooms/123{list}?limit=2")).await.fails_room("123");
    }
}

#[tokio::test]
async fn every_member_of_a_room_is_listed_with_what_they_are_there_and_why_they_may_not_speak() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "Bo", "cid", "dan"]).await;
    let at = |path: &str| format!("/chatrooms/{room}{path}");
    app.post_json(&at("/admin"), json!({"newadmin": "bob"})).await;
    app.post(&at("/white/users/cid")).await;
    let mute = app.request(Method::POST, &at("/mute")).header("X-Operator", "eve").header("X-Audit-Reason", "spam");
    let end = app.send(mute.body(r#"{"usernames":["cid"],"mute_duration":60000}"#)).await.json()["data"][0]["expire"].clone();
    app.post_json("/mutes", json!({"username": "dan", "chatroom": -1})).await;
    app.post_json(&at("/mute"), json!({"usernames": ["bo"], "mute_duration": -1})).await;
    sqlx::query("update mutes set ends_at = now() where app = $1 and username = 'bo'")
        .bind(app.app.id)
        .execute(&app.db)
        .await
        .expect("over");

    let page = app.get(&at("/standing")).await.json();
    assert_eq!((&page["count"], page.get("cursor")), (&json!(5), None));
    let mut members = page["data"].as_array().expect("a list").clone();
    for member in &mut members {
        let moment = |field: &Value| assert!(field.as_i64().expect("a moment") > 1_700_000_000_000, "{field}");
        moment(&member["joined"].take());
        for mute in ["mute", "global_mute"] {
            if let Some(mute) = member.get_mut(mute) {
                moment(&mute["since"].take());
            }
        }
    }
    assert_eq!(
        members,
        [
            json!({"user": "dan", "role": "member", "whitelisted": false, "joined": null,
                "global_mute": {"until": 4_638_873_600_000_i64, "since": null, "actor": "@ppAdmin"}}),
            json!({"user": "cid", "role": "member", "whitelisted": true, "joined": null,
                "mute": {"until": end, "since": null, "actor": "eve", "reason": "spam"}}),
            json!({"user": "bo", "role": "member", "whitelisted": false, "joined": null}),
            json!({"user": "bob", "role": "admin", "whitelisted": false, "joined": null}),
            json!({"user": "ann", "role": "owner", "whitelisted": false, "joined": null}),
        ]
    );

    let names = |members: &[Value]| -> Vec<String> {
        members.iter().map(|member| member["user"].as_str().expect("a name").to_owned()).collect()
    };
    for (query, expected) in [
        ("", &["dan", "cid", "bo", "bob", "ann"][..]),
        ("q=B&", &["bo", "bob"]),
        ("q=bob&", &["bob"]),
        ("q=bz&", &[]),
        ("q=%00&", &[]),
    ] {
        for limit in 1..4 {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = app.get(&at(&format!("/standing?{query}limit={limit}{cursor}"))).await.json();
                seen.extend(names(page["data"].as_array().expect("a list")));
                match page.get("cursor") {
                    Some(next) => cursor = format!("&cursor={}", next.as_str().expect("a text")),
                    None => break,
                }
            }
            assert_eq!(seen, expected, "{query} {limit}");
        }
    }
    app.get("/chatrooms/123/standing").await.fails_room("123");
    app.get("/chatrooms/123/standing?q=b").await.fails_room("123");
    app.get(&at("/standing?cursor=x")).await.fails_parameter("cursor is invalid");
    app.get(&at("/standing?detail=true")).await.fails_parameter("unknown parameter detail");
}
