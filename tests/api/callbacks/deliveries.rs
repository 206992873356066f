//! What receivers are sent, in which order, what is shown of it, and what is sent again on demand.

use std::collections::HashSet;

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};

use super::{HUSH, Received, Receiver, all_are, happen, hex, log, paused_rule, rule, security, status, write};
use crate::app::{TestApp, eventually};

#[tokio::test]
async fn a_callback_says_what_has_happened_and_is_signed_in_both_ways() {
    let (app, receiver) = (TestApp::new().await, Receiver::ok());
    rule(&app, &receiver.url("/hook?a=b"), &["*"]).await;
    happen(&app, "r1", 1).await;
    receiver.has(1).await;
    let letter = receiver.received().remove(0);
    let body = letter.json();
    let (call, timestamp) = (body["callId"].as_str().expect("a text"), body["timestamp"].as_i64().expect("a number"));
    let appkey = format!("{}#app", app.app.org);
    let delivery = &letter.headers["x-roomward-delivery"];
    assert_eq!(call, format!("{appkey}_{delivery}"));
    let security = security(&body, HUSH);
    assert_eq!(
        letter.body,
        format!(
            r#"{{"callId":"{call}","security":"{security}","payload":{{"member":["u1"],"type":"DIRECT"}},"appkey":"{appkey}","id":"r1","type":"CHATROOM","event":"group_op_event","operation":"JOIN","operator":"@ppAdmin","timestamp":{timestamp},"member_count":7}}"#
        )
    );
    let header = |name: &str| letter.headers[name].as_str();
    assert_eq!((&*letter.path, header("content-type"), header("x-roomward-attempt")), ("/hook?a=b", "application/json", "1"));
    assert!(header("user-agent").starts_with("roomward/"));
    let (t, v1) = header("x-roomward-signature").split_once(",v1=").expect("two parts");
    let t = t.strip_prefix("t=").expect("a moment");
    let key = Hmac::<sha2::Sha256>::new_from_slice(HUSH.as_bytes()).expect("a key");
    assert_eq!(v1, hex(&key.chain_update(format!("{t}.{}", letter.body)).finalize().into_bytes()));
}

#[tokio::test]
async fn every_change_of_a_room_is_told_in_the_words_of_the_hosted_service() {
    let (app, receiver) = (TestApp::new().await, Receiver::ok());
    rule(&app, &receiver.url("/"), &["*"]).await;
    app.users(&["ann", "bob", "cid"]).await;
    let made =
        json!({"name": "Lobby", "description": "all", "owner": "ann", "members": ["bob"], "maxusers": 200, "roomid": "lobby"});
    assert_eq!(app.post_json("/chatrooms", made).await.status, 200);
    for (method, path, body) in [
        (Method::POST, "/users/cid", json!(null)),
        (Method::POST, "/admin", json!({"newadmin": "bob"})),
        (Method::DELETE, "/admin/bob", json!(null)),
        (Method::POST, "/white/users/bob", json!(null)),
        (Method::DELETE, "/white/users/bob", json!(null)),
        (Method::POST, "/mute", json!({"usernames": ["bob", "cid"], "mute_duration": -1})),
        (Method::DELETE, "/mute/bob,cid", json!(null)),
        (Method::POST, "/ban", json!(null)),
        (Method::DELETE, "/ban", json!(null)),
        (Method::DELETE, "/users/bob", json!(null)),
        (Method::POST, "/blocks/users/cid", json!(null)),
        (Method::DELETE, "/blocks/users/cid", json!(null)),
        (Method::POST, "/users/bob", json!(null)),
        (Method::PUT, "", json!({"name": "Hall", "maxusers": 300})),
        (Method::PUT, "", json!({"newowner": "bob"})),
        (Method::POST, "/announcement", json!({"announcement": "hi"})),
        (Method::DELETE, "", json!(null)),
    ] {
        let answer = app.send(app.request(method, &format!("/chatrooms/lobby{path}")).body(body.to_string())).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    assert_eq!(app.post_json("/chatrooms/super_admin", json!({"superadmin": "ann"})).await.status, 200);
    for chatroom in [-1, 0] {
        assert_eq!(app.post_json("/mutes", json!({"username": "ann", "chatroom": chatroom})).await.status, 200);
    }
    receiver.has(23).await;
    let appkey = format!("{}#app", app.app.org);
    let told = |wanted: &str| -> Vec<String> {
        let tell = |received: Received| {
            let body = received.json();
            let created =
                received.body.split_once(r#""created":""#).map_or("no moment".into(), |(_, rest)| rest[..13].to_owned());
            let (_, rest) = received.body.split_once(r#","payload":"#).unwrap_or(("", "{}"));
            let (payload, _) = rest.split_once(r#","appkey":"#).unwrap_or((rest, ""));
            let payload = payload.replace(&appkey, "APPKEY").replace(&created, "CREATED");
            let count = body.get("member_count").map(|count| format!(" {count}")).unwrap_or_default();
            (body["id"] == wanted).then(|| format!("{} {payload}{count}", body["operation"].as_str().expect("a text")))
        };
        receiver.received().into_iter().filter_map(tell).collect()
    };
    let of_app = [
        r#"ROOM_SUPER_ADMIN {"admin":["ann"],"type":"ADD"}"#,
        r#"GLOBAL_MUTE {"member":["ann"],"type":"ADD","expire_timestamp":4638873600000}"#,
        r#"GLOBAL_MUTE {"member":["ann"],"type":"REMOVE"}"#,
    ];
    assert_eq!(told(""), of_app);
    let of_room = told("lobby");
    let expected = [
        r#"CREATE {"role":{"ann":"owner"},"member":["bob"],"info":{"owner":"APPKEY_ann","created":"CREATED","custom":"","description":"all","mute":"false","mute_duration":"-1","title":"Lobby","max_users":"200"}}"#,
        r#"JOIN {"member":["cid"],"type":"DIRECT"} 3"#,
        r#"ADMIN {"admin":["bob"],"type":"ADD"}"#,
        r#"ADMIN {"admin":["bob"],"type":"REMOVE"}"#,
        r#"WHITE {"member":["bob"],"type":"ADD"}"#,
        r#"WHITE {"member":["bob"],"type":"REMOVE"}"#,
        r#"MUTE {"member":["bob","cid"],"type":"ADD","expire_timestamp":4638873600000}"#,
        r#"MUTE {"member":["bob","cid"],"type":"REMOVE"}"#,
        r#"UPDATE {"type":"MUTE","mute":true}"#,
        r#"UPDATE {"type":"MUTE","mute":false}"#,
        r#"LEAVE {"member":["bob"],"type":"KICK"} 2"#,
    ];
    assert_eq!(of_room[..11], expected);
    // Which of these two comes first is the room's affair.
    assert!(of_room[11..13].contains(&r#"LEAVE {"member":["cid"],"type":"BLOCK"} 1"#.to_owned()), "{of_room:?}");
    let block = r#"BLOCK {"member":["cid"],"type":"ADD","expire_timestamp":4638873600000}"#;
    assert!(of_room[11..13].contains(&block.to_owned()), "{of_room:?}");
    let expected = [
        r#"BLOCK {"member":["cid"],"type":"REMOVE"}"#,
        r#"JOIN {"member":["bob"],"type":"DIRECT"} 2"#,
        r#"UPDATE {"type":"INFO","info":{"title":"Hall","max_users":"300"}}"#,
        r#"UPDATE {"type":"OWNER","owner":"ann","new_owner":"bob"}"#,
        r#"UPDATE {"type":"ANNOUNCEMENT","announcement":"hi"}"#,
        r#"LEAVE {"member":["ann","bob"],"type":"DELETE"}"#,
        "DELETE {}",
    ];
    assert_eq!(of_room[13..], expected);
    let ours = |received: &Received| received.json()["operator"] == "@ppAdmin";
    assert!(receiver.received().iter().all(ours));
}

#[tokio::test]
async fn the_callbacks_of_a_room_come_in_its_order_and_a_failed_one_again_as_the_same() {
    let app = TestApp::new().await;
    let receiver = Receiver::start(|received| match received.tells() {
        (_, 2, 1) => status(500),
        _ => status(200),
    });
    let rule = rule(&app, &receiver.url("/"), &["JOIN"]).await;
    happen(&app, "r1", 4).await;
    all_are(&app, rule, "done", 4).await;
    let told: Vec<(i64, i64)> = receiver.told().into_iter().map(|(_, n, attempt)| (n, attempt)).collect();
    assert_eq!(told, [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1)]);
    let letters = receiver.received();
    assert_eq!(letters[1].body, letters[2].body, "the same callId, the same bytes");
    assert_eq!(letters[1].headers["x-roomward-delivery"], letters[2].headers["x-roomward-delivery"]);
    let shown = app.get(&format!("/callbacks/rules/{rule}")).await;
    assert!(!shown.text.contains("failing_since"), "{}", shown.text);
}

#[tokio::test]
async fn a_room_that_fails_holds_up_no_other_and_the_rule_says_since_when_it_fails() {
    let app = TestApp::new().await;
    let receiver = Receiver::start(|received| if received.tells().0 == "bad" { status(503) } else { status(200) });
    let rule = rule(&app, &receiver.url("/"), &["*"]).await;
    happen(&app, "bad", 2).await;
    eventually("the bad room fails", || async { !receiver.received().is_empty() }).await;
    eventually("the rule is failing", || async {
        app.get(&format!("/callbacks/rules/{rule}")).await.text.contains("failing_since")
    })
    .await;
    happen(&app, "good", 3).await;
    all_are(&app, rule, "done", 3).await;
    let waiting = log(&app, rule, "?state=pending&room=bad").await;
    assert_eq!(waiting.len(), 2);
    assert_eq!((&waiting[1]["status"], &waiting[1]["n"]), (&json!(503), &json!(1)));
    assert!(waiting[1]["next_at"].is_i64() && waiting[0].get("status").is_none(), "{waiting:?}");
    let told = receiver.told();
    assert!(told.iter().all(|(room, n, _)| room == "good" || *n == 1), "nothing overtakes: {told:?}");
    let shown = app.get(&format!("/callbacks/rules/{rule}")).await.json();
    assert!(shown["data"]["lag"].as_i64().expect("a lag") > 0, "{shown}");
    assert!(shown["data"].get("failing_since").is_none(), "the last attempt was a success: {shown}");
}

#[tokio::test]
async fn the_log_of_deliveries_is_read_page_by_page_and_by_room() {
    let (app, receiver) = (TestApp::new().await, Receiver::ok());
    let id = rule(&app, &receiver.url("/"), &["*"]).await;
    for room in ["a", "b", "c"] {
        happen(&app, room, 5).await;
        all_are(&app, id, "pending", 0).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/callbacks/rules/{id}/deliveries?limit=4{cursor}")).await.json();
        let entries = page["data"].as_array().expect("a list").clone();
        seen.extend(entries.iter().map(|entry| format!("{}{}", entry["chatroom"].as_str().expect("a room"), entry["n"])));
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.join(" "), "c5 c4 c3 c2 c1 b5 b4 b3 b2 b1 a5 a4 a3 a2 a1");
    let of_room = log(&app, id, "?room=b&state=done").await;
    assert_eq!(of_room.iter().map(|entry| entry["n"].as_i64().expect("a number")).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    let known: Vec<Value> = receiver.received().iter().map(|received| received.json()["callId"].clone()).collect();
    assert!(of_room.iter().all(|entry| {
        let call = entry["callid"].as_str().expect("a text").replace("ORG", &app.app.org);
        known.contains(&json!(call)) && entry["attempts"] == 1 && entry.get("next_at").is_none()
    }));
    assert_eq!(log(&app, id, "?room=nowhere").await.len(), 0);
    assert_eq!(log(&app, id, "?room=b&limit=2").await.len(), 2);
}

#[tokio::test]
async fn what_was_sent_is_sent_again_on_demand_by_numbers_and_by_moments() {
    let (app, receiver) = (TestApp::new().await, Receiver::ok());
    happen(&app, "r1", 10).await;
    write(&app, "r1", "LEAVE/KICK", 2).await;
    happen(&app, "r2", 3).await;
    let id = rule(&app, &receiver.url("/"), &["JOIN"]).await;
    let path = format!("/callbacks/rules/{id}/replay");
    for beyond in [i64::MIN, -210_866_803_200_001, i64::MAX] {
        let nothing = app.post_json(&path, json!({"from_ms": beyond, "to_ms": beyond})).await;
        assert_eq!(nothing.json()["data"], json!({"events": 0}), "{beyond}");
    }
    let replayed = app.post_json(&path, json!({"room": "r1", "from": 3, "to": 5})).await;
    assert_eq!(replayed.json()["data"], json!({"events": 3}));
    receiver.has(3).await;
    assert_eq!(app.post_json(&path, json!({"room": "r1", "from": 9})).await.json()["data"], json!({"events": 2}));
    receiver.has(5).await;
    assert_eq!(receiver.told().iter().map(|(_, n, _)| *n).collect::<Vec<_>>(), [3, 4, 5, 9, 10]);
    for nowhere in ["r3", "R1", "no such room"] {
        assert_eq!(app.post_json(&path, json!({"room": nowhere, "from": 1})).await.json()["data"]["events"], 0);
    }
    sqlx::query("update events set happened_at = to_timestamp(n) where app = $1")
        .bind(app.app.id)
        .execute(&app.db)
        .await
        .expect("aged");
    let moments = json!({"from_ms": 2000, "to_ms": 4000});
    assert_eq!(app.post_json(&path, moments.clone()).await.json()["data"], json!({"events": 4}), "the end is not counted");
    receiver.has(9).await;
    let mut told = receiver.told().split_off(5);
    told.sort();
    let expected: Vec<_> = [("r1", 2), ("r1", 3), ("r2", 2), ("r2", 3)].map(|(room, n)| (room.to_owned(), n, 1)).into();
    assert_eq!(told, expected);
    let calls: HashSet<String> = receiver.received().iter().map(|received| received.json()["callId"].to_string()).collect();
    assert_eq!(calls.len(), 9, "each time another callId");
}

#[tokio::test]
async fn a_replay_of_any_size_goes_step_by_step_and_misses_nothing() {
    let app = TestApp::new().await;
    happen(&app, "r1", 12_000).await;
    happen(&app, "r2", 5_001).await;
    let id = paused_rule(&app).await;
    let path = format!("/callbacks/rules/{id}/replay");
    assert_eq!(app.post_json(&path, json!({"room": "r1", "from": 1})).await.json()["data"]["events"], 12_000);
    let ever = json!({"from_ms": 0, "to_ms": 4_638_873_600_000_i64});
    assert_eq!(app.post_json(&path, ever).await.json()["data"]["events"], 17_001);
    let made: Vec<(String, i64, i64)> = sqlx::query_as(
        "select chatroom, count(*), count(distinct n) from deliveries where rule = $1 group by chatroom order by chatroom",
    )
    .bind(id)
    .fetch_all(&app.db)
    .await
    .expect("rows");
    assert_eq!(made, [("r1".into(), 24_000, 12_000), ("r2".into(), 5_001, 5_001)]);
}
