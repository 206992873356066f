//! Where a user stands, and the lists of a room by cursor.

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
