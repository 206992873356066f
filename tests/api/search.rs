//! Rooms and users by the beginning of an id or a name: `/chatrooms?q=` and `/users?q=`.

use reqwest::Method;
use serde_json::Value;

use crate::app::{Instance, TestApp, migrated_database, settings};

/// Rooms as SQL gives them: `(id, name)`; `owner` owns them and is alone in them.
async fn rooms(app: &TestApp, rooms: &str) {
    let made = sqlx::query(sqlx::AssertSqlSafe(format!(
        "with room as (
             insert into chatrooms (app, id, name, description, owner)
             select $1, id, name, '', 'owner' from ({rooms}) given (id, name) returning app, id
         ), counters as (
             insert into room_counters (app, chatroom, maxusers, member_count, last_seq) select app, id, 10, 1, 1 from room
         )
         insert into members (app, chatroom, username, seq) select app, id, 'owner', 1 from room"
    )));
    made.bind(app.app.id).execute(&app.db).await.expect("rooms");
}

/// Users as SQL gives them: `(username, nickname)`.
async fn users(app: &TestApp, users: &str) {
    let made = sqlx::query(sqlx::AssertSqlSafe(format!(
        "insert into users (app, username, nickname, password_hash)
         select $1, username, nickname, '' from ({users}) given (username, nickname)"
    )));
    made.bind(app.app.id).execute(&app.db).await.expect("users");
}

/// What a search finds, page by page, each page with spaces between what is on it.
async fn pages(app: &TestApp, list: &str, query: &str) -> Vec<String> {
    let (entries, name) = if list == "users" { ("entities", "username") } else { ("data", "id") };
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = app.get(&format!("/{list}?{query}{cursor}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        let body = answer.json();
        let found: Vec<&str> =
            body[entries].as_array().expect("a list").iter().map(|entry| entry[name].as_str().expect("a name")).collect();
        assert_eq!(body["count"], found.len(), "{}", answer.text);
        pages.push(found.join(" "));
        match body.get("cursor").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn rooms_are_found_by_the_beginning_of_an_id_first_and_then_of_a_name() {
    let app = TestApp::new().await;
    rooms(
        &app,
        "values ('lobby', 'Lobby'), ('attic', 'LOBBY of old'), ('lob', 'x'), ('hall', 'The lobby'), ('loft', '张三的房间')",
    )
    .await;
    let first = app.get("/chatrooms?q=Lob&limit=2").await;
    let cursor = first.json()["cursor"].as_str().expect("more").to_owned();
    first.is(&format!(
        r#"{{"action":"get","application":"APP","params":{{"q":["Lob"],"limit":["2"]}},"uri":"BASE/chatrooms","entities":[],"data":[{{"id":"lob","name":"x","owner":"owner","affiliations_count":1}},{{"id":"lobby","name":"Lobby","owner":"owner","affiliations_count":1}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":2,"cursor":"{cursor}"}}"#
    ));
    app.get(&format!("/chatrooms?q=lob&limit=2&cursor={cursor}")).await.is(&format!(
        r#"{{"action":"get","application":"APP","params":{{"q":["lob"],"limit":["2"],"cursor":["{cursor}"]}},"uri":"BASE/chatrooms","entities":[],"data":[{{"id":"attic","name":"LOBBY of old","owner":"owner","affiliations_count":1}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":1}}"#
    ));
    for (text, expected) in [
        ("lo", "lob lobby loft attic"),
        ("%E5%BC%A0", "loft"),
        ("%E5%BC%A0%E4%B8%89%E7%9A%84", "loft"),
        ("the%20", "hall"),
        ("lobby%20", "attic"),
        ("%25", ""),
        ("_", ""),
        ("obby", ""),
        ("x%00", ""),
        ("%F4%8F%BF%BF", ""),
    ] {
        assert_eq!(pages(&app, "chatrooms", &format!("q={text}")).await, [expected], "{text}");
    }
    assert_eq!(pages(&app, "chatrooms", "q=").await[0].split(' ').count(), 5, "what is empty counts as absent");
    app.delete("/chatrooms/lobby").await;
    assert_eq!(pages(&app, "chatrooms", "q=lob").await, ["lob attic"]);
    let other = TestApp::new().await;
    assert_eq!(pages(&other, "chatrooms", "q=lob").await, [""], "apps know nothing of one another");
}

#[tokio::test]
async fn users_are_found_by_the_beginning_of_a_name_first_and_then_of_a_nickname() {
    let app = TestApp::new().await;
    users(
        &app,
        "values ('ann', 'Bobby'), ('bob', 'Bob'), ('bo', null), ('cid', 'bobcat'), ('dan', 'a bob'), ('eve', 'Ännchen'), ('b_', null)",
    )
    .await;
    let first = app.get("/users?q=BOB&limit=2").await;
    let (uuids, cursor) = (first.json()["entities"].clone(), first.json()["cursor"].as_str().expect("more").to_owned());
    first.is(&format!(
        r#"{{"action":"get","params":{{"q":["BOB"],"limit":["2"]}},"path":"/users","uri":"BASE/users","entities":[{{"uuid":{},"type":"user","created":T,"modified":T,"username":"bob","activated":true,"nickname":"Bob"}},{{"uuid":{},"type":"user","created":T,"modified":T,"username":"ann","activated":true,"nickname":"Bobby"}}],"timestamp":T,"duration":T,"count":2,"cursor":"{cursor}"}}"#,
        uuids[0]["uuid"], uuids[1]["uuid"]
    ));
    for (text, expected) in [
        ("bob", "bob ann cid"),
        ("b", "b_ bo bob ann cid"),
        ("b_", "b_"),
        ("b%25", ""),
        ("%C3%84nn", "eve"),
        // Only ASCII letters are folded.
        ("%C3%A4nn", ""),
        ("%27", ""),
    ] {
        for limit in [1, 2, 3, 100] {
            let found = pages(&app, "users", &format!("q={text}&limit={limit}")).await;
            assert!(found.iter().all(|page| page.split_whitespace().count() <= limit), "{text}, by {limit}");
            assert_eq!(found.join(" ").trim(), expected, "{text}, by {limit}");
        }
    }
    app.delete("/users/ann").await;
    assert_eq!(pages(&app, "users", "q=bob").await, ["bob cid"]);
}

/// A page looks at 10,000 names, then says how far it has come.
#[tokio::test]
async fn a_search_among_many_who_are_deleted_goes_on_behind_a_short_page() {
    // On a database of its own, where no task takes the deleted ones away.
    let url = migrated_database().await;
    let mut settings = settings(&url);
    settings.purge.every_ms = 3_600_000;
    let instance = Instance::start(settings);
    let app = TestApp::on(instance.address, &url).await;
    users(&app, "select 'u' || lpad(i::text, 5, '0'), 'v' || lpad(i::text, 5, '0') from generate_series(1, 25000) i").await;
    rooms(&app, "select 'u' || lpad(i::text, 5, '0'), 'v' || lpad(i::text, 5, '0') from generate_series(1, 12000) i").await;
    for delete in [
        "update users set deleted_at = now() where app = $1 and username not in ('u00001', 'u15000')",
        "update chatrooms set deleted_at = now() where app = $1 and id not in ('u00001', 'u11000')",
    ] {
        sqlx::query(delete).bind(app.app.id).execute(&app.db).await.expect("deleted");
    }
    assert_eq!(pages(&app, "users", "q=u").await, ["u00001", "u15000", ""]);
    assert_eq!(pages(&app, "users", "q=v").await, ["u00001 u15000"], "the index of nicknames has no deleted users");
    assert_eq!(pages(&app, "chatrooms", "q=u").await, ["u00001", "u11000"]);
    assert_eq!(pages(&app, "chatrooms", "q=v").await, ["u00001 u11000"]);
}

#[tokio::test]
async fn names_that_are_the_same_are_told_apart_on_pages_of_any_size() {
    let app = TestApp::new().await;
    rooms(
        &app,
        "select 'a' || i, 'Same' from generate_series(1, 9) i union all select 'same' || i, 'Same' from generate_series(1, 3) i",
    )
    .await;
    for limit in 1..=13 {
        let found = pages(&app, "chatrooms", &format!("q=SAME&limit={limit}")).await;
        assert_eq!(found.join(" ").trim(), "same1 same2 same3 a1 a2 a3 a4 a5 a6 a7 a8 a9", "by {limit}");
    }
}

#[tokio::test]
async fn what_a_search_cannot_do_is_refused() {
    let app = TestApp::new().await;
    rooms(&app, "values ('lob', 'a'), ('lobby', 'b')").await;
    users(&app, "values ('lob', null), ('lobby', null)").await;
    for (list, other) in [("chatrooms", "users"), ("users", "chatrooms")] {
        let cursor = app.get(&format!("/{list}?q=lob&limit=1")).await.json()["cursor"].as_str().expect("more").to_owned();
        for query in [
            format!("/{list}?q=lo&cursor={cursor}"),
            format!("/{other}?q=lob&cursor={cursor}"),
            format!("/{list}?q=lob&cursor=x"),
        ] {
            app.get(&query).await.fails_parameter("cursor is invalid");
        }
        assert_eq!(pages(&app, list, &format!("q=LOB&cursor={cursor}")).await, ["lobby"], "the same, in capitals");
    }
    for number in ["pagenum", "pagesize"] {
        let refusal = format!("{number} is invalid: a search goes by limit and cursor");
        app.get(&format!("/chatrooms?q=lob&{number}=1")).await.fails_parameter(&refusal);
    }
    // Nothing is deleted by a search that was meant to find it.
    let delete = app.request(Method::DELETE, "/users?q=lob&limit=100");
    app.send(delete).await.fails_parameter("unknown parameter q");
    assert_eq!(pages(&app, "users", "q=lob").await, ["lob lobby"]);
}
