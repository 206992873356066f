//! Members: calls 1 to 5.

use reqwest::Method;
use serde_json::json;

use crate::app::{TestApp, crowd, numbered, plant_rooms, recount};

#[tokio::test]
async fn the_list_shows_the_owner_first_and_then_everyone_as_they_came() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    app.get(&format!("/chatrooms/{room}/users")).await.is(&format!(
        r#"{{"action":"get","application":"APP","uri":"BASE/chatrooms/{room}/users","entities":[],"data":[{{"owner":"ann"}},{{"member":"bob"}},{{"member":"cid"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":3}}"#
    ));
}

#[tokio::test]
async fn the_list_is_paged_and_echoes_what_was_asked() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid", "dan", "eve"]).await;
    app.get(&format!("/chatrooms/{room}/users?pagenum=2&pagesize=2")).await.is(&format!(
        r#"{{"action":"get","application":"APP","params":{{"pagesize":["2"],"pagenum":["2"]}},"uri":"BASE/chatrooms/{room}/users","entities":[],"data":[{{"member":"cid"}},{{"member":"dan"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":2}}"#
    ));
    for (query, data) in [
        ("pagenum=1&pagesize=2", json!([{"owner": "ann"}, {"member": "bob"}])),
        ("pagenum=3&pagesize=2", json!([{"member": "eve"}])),
        ("pagenum=4&pagesize=2", json!([])),
        ("pagesize=0", json!([])),
        ("pagenum=99999999999999999999&pagesize=1000", json!([])),
        ("pagenum=0&pagesize=1", json!([{"owner": "ann"}])),
        (
            "pagenum=-3&pagesize=-1",
            json!([{"owner": "ann"}, {"member": "bob"}, {"member": "cid"}, {"member": "dan"}, {"member": "eve"}]),
        ),
        ("pagenum=x&pagesize=1", json!([{"owner": "ann"}])),
        (
            "pagesize=5000&pagenum=1",
            json!([{"owner": "ann"}, {"member": "bob"}, {"member": "cid"}, {"member": "dan"}, {"member": "eve"}]),
        ),
    ] {
        let answer = app.get(&format!("/chatrooms/{room}/users?{query}")).await;
        assert_eq!((answer.status, &answer.json()["data"]), (200, &data), "{query}");
        assert_eq!(answer.json()["count"], data.as_array().map(Vec::len).unwrap_or_default(), "{query}");
    }
}

#[tokio::test]
async fn the_list_of_a_missing_room_fails_in_words_of_its_own() {
    let app = TestApp::new().await;
    for size in ["", "?pagesize=0"] {
        app.get(&format!("/chatrooms/66213271109633/users{size}")).await.fails(
            404,
            "service_resource_not_found",
            "com.easemob.group.exception.ServiceResourceNotFoundException",
            "do not find this group:66213271109633",
        );
    }
}

#[tokio::test]
async fn adding_one_member_says_who_came_in() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    app.post(&format!("/chatrooms/{room}/users/bob")).await.is(&format!(
        r#"{{"action":"post","application":"APP","uri":"BASE/chatrooms/{room}/users/bob","entities":[],"data":{{"result":true,"action":"add_member","id":"{room}","user":"bob"}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    assert_eq!(app.members(&room).await, ["ann", "bob"]);
    app.assert_invariants().await;
}

#[tokio::test]
async fn adding_one_member_refuses_non_members_present_members_and_missing_rooms() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.post(&format!("/chatrooms/{room}/users/nobody")).await.fails_user("nobody");
    app.post("/chatrooms/123/users/bob").await.fails_room("123");
    app.post("/chatrooms/123/users/nobody").await.fails_room("123");
    for member in ["bob", "ann"] {
        app.post(&format!("/chatrooms/{room}/users/{member}"))
            .await
            .fails_forbidden(400, &format!("can not join this group, reason:user: {member} already in group: {room}"));
    }
    app.post(&format!("/chatrooms/{room}/users/bob,ann")).await.fails_parameter("username is invalid");
    app.post(&format!("/chatrooms/{room}/users/bob%2C")).await.fails_parameter("username is invalid");
    assert_eq!(app.members(&room).await, ["ann", "bob"]);
}

#[tokio::test]
async fn names_are_folded_wherever_they_come_in() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob", "cid", "dan"]).await;
    let answer = app.post(&format!("/chatrooms/{room}/users/BoB")).await;
    assert_eq!(answer.json()["data"]["user"], "bob");
    let answer = app.post_json(&format!("/chatrooms/{room}/users"), json!({"usernames": ["CID", "Dan"]})).await;
    assert_eq!(answer.json()["data"]["newmembers"], json!(["cid", "dan"]));
    let answer = app.delete(&format!("/chatrooms/{room}/users/BOB,Cid")).await;
    assert_eq!(answer.json()["data"][1]["user"], "cid");
    assert_eq!(app.members(&room).await, ["ann", "dan"]);
}

#[tokio::test]
async fn what_cannot_be_a_name_is_an_unregistered_user() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let long = "x".repeat(5000);
    for (encoded, name) in [
        ("a%00b", "a\0b"),
        ("%E5%BC%A0%E4%B8%89", "张三"),
        ("a%0Ab", "a\nb"),
        ("%F0%9F%98%80", "😀"),
        ("a%2Fb", "a/b"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("a%252Cb", "a%2cb"),
        ("%C3%89", "É"),
        ("%ff", "\u{fffd}"),
        ("%22%5C", "\"\\"),
        (&long, &long),
    ] {
        app.post(&format!("/chatrooms/{room}/users/{encoded}")).await.fails_user(name);
        app.delete(&format!("/chatrooms/{room}/users/{encoded}")).await.fails_user(name);
        app.post_json(&format!("/chatrooms/{room}/users"), json!({"usernames": ["bob", name]})).await.fails_user(name);
        app.delete(&format!("/chatrooms/{room}/users/bob,{encoded}")).await.fails_user(name);
    }
    assert_eq!(app.members(&room).await, ["ann", "bob"]);
    for id in ["1%002", "%E5%BC%A0", "A1", &long] {
        let answer = app.post(&format!("/chatrooms/{id}/users/bob")).await;
        assert_eq!((answer.status, &answer.json()["error"]), (404, &json!("resource_not_found")), "{id}");
    }
}

#[tokio::test]
async fn adding_several_members_lists_all_of_them_be_they_new_or_not() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.users(&["cid", "dan"]).await;
    let body = json!({"usernames": ["dan", "ann", "cid", "", "bob", "DAN"], "unknown": {"x": 1}});
    app.post_json(&format!("/chatrooms/{room}/users"), body).await.is(&format!(
        r#"{{"action":"post","application":"APP","uri":"BASE/chatrooms/{room}/users","entities":[],"data":{{"newmembers":["dan","ann","cid","bob"],"action":"add_member","id":"{room}"}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    assert_eq!(app.members(&room).await, ["ann", "bob", "dan", "cid"], "in the order of the request");
    let again = app.post_json(&format!("/chatrooms/{room}/users"), json!({"usernames": ["bob"]})).await;
    assert_eq!(again.json()["data"]["newmembers"], json!(["bob"]));
    app.assert_invariants().await;
}

#[tokio::test]
async fn one_unregistered_name_fails_the_whole_addition() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let usernames = json!({"usernames": ["bob", "nobody", "noone"]});
    app.post_json(&format!("/chatrooms/{room}/users"), usernames.clone()).await.fails_user("nobody");
    app.post_json("/chatrooms/123/users", usernames).await.fails_room("123");
    assert_eq!(app.members(&room).await, ["ann"]);
}

#[tokio::test]
async fn sixty_names_are_the_most_and_the_room_is_looked_for_first() {
    let app = TestApp::new().await;
    let names = numbered("user", 61);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let room = app.room_with("ann", &[]).await;
    app.users(&names).await;
    let (users, removal) = (format!("/chatrooms/{room}/users"), format!("/chatrooms/{room}/users/{}", names.join(",")));

    app.post_json(&users, json!({"usernames": names}))
        .await
        .fails_parameter("addMembers: addMembers number more than maxSize : 60");
    app.post_json("/chatrooms/123/users", json!({"usernames": names})).await.fails_room("123");
    // Counted before what is double is collapsed.
    app.post_json(&users, json!({"usernames": vec!["user0"; 61]}))
        .await
        .fails_parameter("addMembers: addMembers number more than maxSize : 60");
    let sixty = app.post_json(&users, json!({"usernames": names[..60]})).await;
    assert_eq!(sixty.json()["data"]["newmembers"], json!(names[..60]));

    app.delete(&removal).await.fails_parameter("kickMember: kickMembers number more than maxSize : 60");
    app.delete(&format!("/chatrooms/123/users/{}", names.join(","))).await.fails_room("123");
    let sixty = app.delete(&format!("/chatrooms/{room}/users/{}", names[..60].join("%2C"))).await;
    assert_eq!(sixty.json()["data"].as_array().map(Vec::len), Some(60));
    assert_eq!(app.members(&room).await, ["ann"]);
    app.assert_invariants().await;
}

#[tokio::test]
async fn a_body_without_names_is_refused_before_the_room_is_looked_for() {
    let app = TestApp::new().await;
    for body in [
        json!({}),
        json!([]),
        json!("x"),
        json!({"usernames": []}),
        json!({"usernames": "bob"}),
        json!({"usernames": null}),
        json!({"usernames": ["", ""]}),
    ] {
        app.post_json("/chatrooms/123/users", body).await.fails_parameter("usernames must be provided");
    }
    app.post_json("/chatrooms/123/users", json!({"usernames": ["bob", 7]})).await.fails_parameter("usernames must be strings");
    let broken = app.send(app.request(Method::POST, "/chatrooms/123/users").body("{\"usernames\":[")).await;
    broken.fails(
        400,
        "json_parse",
        "com.fasterxml.jackson.core.JsonParseException",
        "EOF while parsing a list at line 1 column 14",
    );
    let empty = app.post("/chatrooms/123/users").await;
    empty.fails(
        400,
        "json_parse",
        "com.fasterxml.jackson.core.JsonParseException",
        "EOF while parsing a value at line 1 column 0",
    );
    app.delete("/chatrooms/123/users/,").await.fails_parameter("usernames must be provided");
}

#[tokio::test]
async fn a_full_room_takes_no_user_in_but_members_need_no_seat() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob", "cid", "dan"]).await;
    let room = app.room_of(3, "ann", &["bob"]).await;
    let users = format!("/chatrooms/{room}/users");
    let full = "can not join this group, reason:member list is full!";
    app.post_json(&users, json!({"usernames": ["cid", "dan"]})).await.fails_forbidden(403, full);
    assert_eq!(app.members(&room).await, ["ann", "bob"], "nothing is applied");
    app.post_json(&users, json!({"usernames": ["bob", "ann", "cid"]})).await;
    assert_eq!(app.members(&room).await, ["ann", "bob", "cid"]);
    app.post(&format!("{users}/dan")).await.fails_forbidden(403, full);
    app.post(&format!("{users}/bob"))
        .await
        .fails_forbidden(400, &format!("can not join this group, reason:user: bob already in group: {room}"));
    app.assert_invariants().await;
}

#[tokio::test]
async fn a_blocked_user_cannot_be_added() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.users(&["cid"]).await;
    sqlx::query("insert into blocks (app, chatroom, username, seq) values ($1, $2, 'cid', 100)")
        .bind(app.app.id)
        .bind(&room)
        .execute(&app.db)
        .await
        .expect("inserted");
    recount(&app.db, app.app.id).await;
    let refusal = format!("can not join this group, reason:user cid is in the blacklist of group {room}");
    app.post(&format!("/chatrooms/{room}/users/cid")).await.fails_forbidden(403, &refusal);
    app.post_json(&format!("/chatrooms/{room}/users"), json!({"usernames": ["bob", "cid"]})).await.fails_forbidden(403, &refusal);
}

#[tokio::test]
async fn removing_one_member_says_who_left() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.delete(&format!("/chatrooms/{room}/users/bob")).await.is(&format!(
        r#"{{"action":"delete","application":"APP","uri":"BASE/chatrooms/{room}/users/bob","entities":[],"data":{{"result":true,"action":"remove_member","user":"bob","id":"{room}"}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    assert_eq!(app.members(&room).await, ["ann"]);
    app.assert_invariants().await;
}

#[tokio::test]
async fn removing_one_member_refuses_non_members_the_owner_and_missing_rooms() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    app.delete(&format!("/chatrooms/{room}/users/bob")).await.fails_forbidden(400, "users [bob] are not members of this group!");
    app.delete(&format!("/chatrooms/{room}/users/nobody")).await.fails_user("nobody");
    app.delete(&format!("/chatrooms/{room}/users/ann")).await.fails_forbidden(403, "forbidden operation on group owner!");
    app.delete("/chatrooms/123/users/bob").await.fails_room("123");
    assert_eq!(app.members(&room).await, ["ann"]);
}

#[tokio::test]
async fn removing_several_members_tells_each_ones_fate_in_request_order() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    app.users(&["dan"]).await;
    app.delete(&format!("/chatrooms/{room}/users/dan%2Cbob,ann")).await.is(&format!(
        r#"{{"action":"delete","application":"APP","uri":"BASE/chatrooms/{room}/users/dan%2Cbob,ann","entities":[],"data":[{{"result":false,"action":"remove_member","reason":"user: dan doesn't exist in group: {room}","user":"dan","id":"{room}"}},{{"result":true,"action":"remove_member","user":"bob","id":"{room}"}},{{"result":false,"action":"remove_member","reason":"forbidden operation on group owner!","user":"ann","id":"{room}"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    assert_eq!(app.members(&room).await, ["ann", "cid"]);
    app.assert_invariants().await;
}

#[tokio::test]
async fn one_name_and_a_comma_is_a_batch_and_doubles_are_one() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    let answer = app.delete(&format!("/chatrooms/{room}/users/bob%2C")).await;
    assert_eq!(answer.json()["data"], json!([{"result": true, "action": "remove_member", "user": "bob", "id": room}]));
    let answer = app.delete(&format!("/chatrooms/{room}/users/cid,,CID,cid")).await;
    assert_eq!(answer.json()["data"], json!([{"result": true, "action": "remove_member", "user": "cid", "id": room}]));
}

#[tokio::test]
async fn a_removal_that_acts_on_no_user_fails() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob", "cid"]).await;
    app.delete(&format!("/chatrooms/{room}/users/bob,cid"))
        .await
        .fails_forbidden(400, "users [bob, cid] are not members of this group!");
    app.delete(&format!("/chatrooms/{room}/users/bob,ann")).await.fails_forbidden(403, "forbidden operation on group owner!");
    app.delete(&format!("/chatrooms/{room}/users/bob,nobody,noone")).await.fails_user("nobody");
}

#[tokio::test]
async fn leaving_ends_the_standing_as_admin_and_on_the_whitelist_but_not_a_mute() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    for insert in [
        "insert into admins (app, chatroom, username, seq) values ($1, $2, 'bob', 100)",
        "insert into whitelist (app, chatroom, username, seq) values ($1, $2, 'bob', 101)",
        "insert into mutes (app, chatroom, username, seq, ends_at) values ($1, $2, 'bob', 102, now() + interval '1 hour')",
    ] {
        sqlx::query(insert).bind(app.app.id).bind(&room).execute(&app.db).await.expect("inserted");
    }
    recount(&app.db, app.app.id).await;
    app.delete(&format!("/chatrooms/{room}/users/bob")).await;
    let left: (i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from admins where chatroom = $1), (select count(*) from whitelist where chatroom = $1),
                (select count(*) from mutes where chatroom = $1)",
    )
    .bind(&room)
    .fetch_one(&app.db)
    .await
    .expect("a row");
    assert_eq!(left, (0, 0, 1));
}

#[tokio::test]
async fn a_trailing_slash_is_served_in_place_and_echoed() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let answer = app.post(&format!("/chatrooms/{room}/users/bob/")).await;
    assert_eq!((answer.status, answer.json()["uri"].as_str()), (200, Some(&*format!("BASE/chatrooms/{room}/users/bob/"))));
    assert_eq!(app.get(&format!("/chatrooms/{room}/users/")).await.status, 200);
}

#[tokio::test]
async fn a_body_with_delete_and_one_on_get_are_read_and_ignored() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let answer = app.send(app.request(Method::GET, &format!("/chatrooms/{room}/users")).body("{not json")).await;
    assert_eq!(answer.status, 200);
    let answer = app.send(app.request(Method::DELETE, &format!("/chatrooms/{room}/users/bob")).body("{\"a\":1}")).await;
    assert_eq!(answer.status, 200);
}

/// All names of a list by cursor, page by page.
async fn walk(app: &TestApp, room: &str, query: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let answer = app.get(&format!("/chatrooms/{room}/users?version=v3&{query}{cursor}")).await.json();
        let page = answer["data"].as_array().expect("a list").clone();
        names.extend(page.iter().map(|name| name.as_str().expect("a plain name").to_owned()));
        match answer.get("cursor") {
            None => return names,
            Some(next) => cursor = format!("&cursor={}", next.as_str().expect("a text")),
        }
    }
}

#[tokio::test]
async fn the_list_by_cursor_is_plain_names_without_the_owner() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid", "dan"]).await;
    app.get(&format!("/chatrooms/{room}/users?version=v3&limit=10&sort=asc")).await.is(&format!(
        r#"{{"action":"get","application":"APP","params":{{"version":["v3"],"limit":["10"],"sort":["asc"]}},"uri":"BASE/chatrooms/{room}/users","entities":[],"data":["bob","cid","dan"],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":3}}"#
    ));
    assert_eq!(walk(&app, &room, "limit=1&sort=asc").await, ["bob", "cid", "dan"]);
    assert_eq!(walk(&app, &room, "limit=2").await, ["dan", "cid", "bob"], "the latest first, if nothing is said");
    assert_eq!(walk(&app, &room, "limit=3&sort=desc").await, ["dan", "cid", "bob"]);
    let by_limit = app.get(&format!("/chatrooms/{room}/users?limit=2")).await.json();
    assert_eq!(by_limit["data"], json!(["dan", "cid"]), "told by its limit, too");
    let answer = app.get("/chatrooms/123/users?version=v3").await;
    assert_eq!(answer.json()["error_description"], "do not find this group:123");
}

#[tokio::test]
async fn a_page_by_cursor_has_no_cursor_where_nothing_follows() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    for (query, more) in [("limit=1", true), ("limit=2", false), ("limit=3", false), ("limit=0", false), ("limit=x", false)] {
        let answer = app.get(&format!("/chatrooms/{room}/users?version=v3&{query}")).await.json();
        assert_eq!(answer.get("cursor").is_some(), more, "{query}");
    }
    let empty = app.room("ann", &[]).await;
    let answer = app.get(&format!("/chatrooms/{empty}/users?version=v3&limit=1")).await.json();
    assert_eq!((&answer["data"], answer.get("cursor")), (&json!([]), None));
}

#[tokio::test]
async fn who_stays_is_seen_exactly_once_while_others_come_and_go() {
    let app = TestApp::new().await;
    let names = numbered("user", 20);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let room = app.room_with("ann", &names).await;
    app.users(&["new1", "new2"]).await;
    for sort in ["asc", "desc"] {
        let first = app.get(&format!("/chatrooms/{room}/users?version=v3&limit=5&sort={sort}")).await.json();
        let cursor = first["cursor"].as_str().expect("more").to_owned();
        app.post_json(&format!("/chatrooms/{room}/users"), json!({"usernames": ["new1", "new2"]})).await;
        // Also the one at which the cursor stands.
        let last = first["data"][4].as_str().expect("a name").to_owned();
        app.delete(&format!("/chatrooms/{room}/users/{last}")).await;
        let rest = app.get(&format!("/chatrooms/{room}/users?version=v3&limit=100&sort={sort}&cursor={cursor}")).await.json();
        let mut seen: Vec<&str> = first["data"]
            .as_array()
            .into_iter()
            .chain(rest["data"].as_array())
            .flatten()
            .filter_map(|name| name.as_str())
            .collect();
        seen.retain(|name| !name.starts_with("new"));
        let mut expected = names.clone();
        expected.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, expected, "{sort}");
        app.delete(&format!("/chatrooms/{room}/users/new1,new2")).await;
        app.post(&format!("/chatrooms/{room}/users/{last}")).await;
    }
}

#[tokio::test]
async fn a_cursor_is_good_in_its_own_list_only() {
    let app = TestApp::new().await;
    let (one, two) = (app.room_with("ann", &["bob", "cid"]).await, app.room("ann", &["bob", "cid"]).await);
    let cursor =
        app.get(&format!("/chatrooms/{one}/users?version=v3&limit=1")).await.json()["cursor"].as_str().expect("more").to_owned();
    for (room, query) in [
        (&two, format!("cursor={cursor}")),
        (&one, format!("sort=asc&cursor={cursor}")),
        (&one, format!("cursor={}x", &cursor[1..])),
        (&one, "cursor=7".to_owned()),
    ] {
        app.get(&format!("/chatrooms/{room}/users?version=v3&{query}")).await.fails_parameter("cursor is invalid");
    }
}

#[tokio::test]
async fn every_page_of_any_number_is_right_in_a_large_room_with_gaps() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    // Five thousand came, every third left, and the owner came late: whole stretches and pages do not coincide.
    let people: Vec<_> = crowd(5000).into_iter().filter(|(n, _)| n % 3 != 0).collect();
    plant_rooms(&app.db, app.app.id, &["large".into()], "user2000", &people).await;
    let expected: Vec<String> =
        std::iter::once(2000).chain((1..=5000).filter(|n| n % 3 != 0 && *n != 2000)).map(|n| format!("user{n}")).collect();
    for size in [1, 7, 666, 667, 1000] {
        let pages = expected.len().div_ceil(size);
        for page in [1, 2, 3, pages / 2, pages - 1, pages, pages + 1].into_iter().filter(|page| *page > 0) {
            let answer = app.get(&format!("/chatrooms/large/users?pagenum={page}&pagesize={size}")).await.json();
            let shown: Vec<&str> = answer["data"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|entry| entry.as_object()?.values().next()?.as_str())
                .collect();
            let wanted: Vec<&String> = expected.iter().skip((page - 1) * size).take(size).collect();
            assert_eq!(shown, wanted, "page {page} of {size}");
        }
    }
}
