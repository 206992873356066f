//! Users: registering, reading, deleting.

use roomward::db::Db;
use roomward::rooms::user_deletion::{self, Effort};
use std::time::Duration;

use serde_json::json;

use crate::app::{TestApp, eventually, numbered, plant_rooms, recount, writer};
use crate::citus::is_cluster;

#[tokio::test]
async fn registering_one_user_answers_the_entity() {
    let app = TestApp::new().await;
    let answer = app.post_json("/users", json!({"username": "Ann", "password": "secret", "nickname": "Änn"})).await;
    let uuid = answer.json()["entities"][0]["uuid"].as_str().expect("a uuid").to_owned();
    answer.is(&format!(
        r#"{{"action":"post","application":"APP","path":"/users","uri":"BASE/users","entities":[{{"uuid":"{uuid}","type":"user","created":T,"modified":T,"username":"ann","activated":true,"nickname":"Änn"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    app.get("/users/ANN").await.is(&format!(
        r#"{{"action":"get","path":"/users","uri":"BASE/users/ANN","entities":[{{"uuid":"{uuid}","type":"user","created":T,"modified":T,"username":"ann","activated":true,"nickname":"Änn"}}],"timestamp":T,"duration":T,"count":1}}"#
    ));
}

#[tokio::test]
async fn a_user_without_a_nickname_has_none() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    assert_eq!(app.get("/users/ann").await.json()["entities"][0].get("nickname"), None);
}

#[tokio::test]
async fn a_password_is_stored_as_an_argon2id_hash() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    let hash: String = sqlx::query_scalar("select password_hash from users where app = $1")
        .bind(app.app.id)
        .fetch_one(&app.db)
        .await
        .expect("a row");
    assert!(hash.starts_with("$argon2id$") && !hash.contains("password"), "{hash}");
}

#[tokio::test]
async fn a_registration_that_cannot_be_is_told_why() {
    let app = TestApp::new().await;
    let long = "x".repeat(65);
    for (body, text) in [
        (json!({"password": "x"}), "Entity user requires a property named username"),
        (json!({"username": "", "password": "x"}), "Entity user requires a property named username"),
        (json!("ann"), "Entity user requires a property named username"),
        (json!({"username": 7, "password": "x"}), "username [7] is not legal"),
        (json!({"username": "a b", "password": "x"}), "username [a b] is not legal"),
        (json!({"username": "A\u{0}b", "password": "x"}), "username [A\u{0}b] is not legal"),
        (json!({"username": "张三", "password": "x"}), "username [张三] is not legal"),
        (json!({"username": "a,b", "password": "x"}), "username [a,b] is not legal"),
        (json!({"username": long, "password": "x"}), "USERNAME_TOO_LONG"),
        (json!({"username": "ann"}), "password or pin must provided"),
        (json!({"username": "ann", "password": ""}), "password or pin must provided"),
        (json!({"username": "ann", "password": 7}), "password or pin must provided"),
        (json!({"username": "ann", "password": long}), "PASSWORD_TOO_LONG"),
        (json!({"username": "ann", "password": "x", "nickname": "n".repeat(101)}), "NICKNAME_TOO_LONG"),
        (json!({"username": "ann", "password": "x", "nickname": "a\u{0}"}), "nickname is invalid"),
    ] {
        app.post_json("/users", body.clone()).await.fails_argument(text);
        app.post_json("/users", json!([{"username": "bob", "password": "x"}, body])).await.fails_argument(text);
    }
    assert_eq!(app.get("/users/bob").await.status, 404, "a malformed item fails the whole call");
    assert_eq!(app.post_json("/users", json!({"username": "x".repeat(64), "password": "y".repeat(64)})).await.status, 200);
}

#[tokio::test]
async fn a_taken_name_fails_the_single_call_and_is_told_in_a_batch() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    app.post_json("/users", json!({"username": "ANN", "password": "x"})).await.fails(
        400,
        "duplicate_unique_property_exists",
        "DuplicateUniquePropertyExistsException",
        "Application APP Entity user requires that property named username be unique, value of ann exists",
    );
    let answer = app
        .post_json("/users", json!([{"username": "cid", "password": "x"}, {"username": "ann", "password": "x"}, {"username": "bob", "password": "x"}, {"username": "bob", "password": "x"}]))
        .await;
    let uuid = |n: usize| answer.json()["entities"][n]["uuid"].as_str().expect("a uuid").to_owned();
    answer.is(&format!(
        r#"{{"action":"post","application":"APP","path":"/users","uri":"BASE/users","entities":[{{"uuid":"{}","type":"user","created":T,"modified":T,"username":"cid","activated":true}},{{"uuid":"{}","type":"user","created":T,"modified":T,"username":"bob","activated":true}}],"data":[{{"username":"ann","registerUserFailReason":"the ann already exists"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#,
        uuid(0),
        uuid(1)
    ));
}

#[tokio::test]
async fn one_name_with_two_passwords_is_refused_without_showing_them() {
    let app = TestApp::new().await;
    let body = json!([{"username": "ann", "password": "hush"}, {"username": "Ann", "password": "hush2"}]);
    app.post_json("/users", body)
        .await
        .fails_argument("the same user ann has a different password, the passwords are [***, ***]");
}

#[tokio::test]
async fn sixty_users_are_the_most_in_one_registration() {
    let app = TestApp::new().await;
    let batch =
        |count| json!(numbered("user", count).iter().map(|name| json!({"username": name, "password": "x"})).collect::<Vec<_>>());
    app.post_json("/users", batch(61))
        .await
        .fails_argument("Request body array size[61] had almost reached or been greater than the upper range value[60]");
    let answer = app.post_json("/users", batch(60)).await;
    assert_eq!(answer.json()["entities"].as_array().map(Vec::len), Some(60));
    assert_eq!(app.post_json("/users", json!([])).await.json()["entities"], json!([]));
}

#[tokio::test]
async fn an_unknown_user_is_not_found() {
    let app = TestApp::new().await;
    for name in ["nobody", "a%00b", "a,b"] {
        for answer in [app.get(&format!("/users/{name}")).await, app.delete(&format!("/users/{name}")).await] {
            answer.fails(404, "service_resource_not_found", "UserNotFoundException", "Service resource not found");
        }
    }
}

#[tokio::test]
async fn a_deleted_user_is_gone_from_every_room_and_takes_owned_rooms_along() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob"]).await;
    let (owned, other) = (app.room("bob", &["ann"]).await, app.room("ann", &["bob"]).await);
    for insert in [
        "insert into admins (app, chatroom, username, seq) values ($1, $2, 'bob', 100)",
        "insert into mutes (app, chatroom, username, seq, ends_at) values ($1, $2, 'bob', 102, now() + interval '1 hour')",
    ] {
        sqlx::query(insert).bind(app.app.id).bind(&other).execute(&app.db).await.expect("inserted");
    }
    recount(&app.db, app.app.id).await;
    let uuid = app.get("/users/bob").await.json()["entities"][0]["uuid"].as_str().expect("a uuid").to_owned();
    app.delete("/users/Bob").await.is(&format!(
        r#"{{"action":"delete","application":"APP","path":"/users","uri":"BASE/users/Bob","entities":[{{"uuid":"{uuid}","type":"user","created":T,"modified":T,"username":"bob","activated":true}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    assert_eq!(app.get("/users/bob").await.status, 404);
    assert_eq!(app.members(&other).await, ["ann"]);
    app.post(&format!("/chatrooms/{owned}/users/ann")).await.fails_room(&owned);
    app.post(&format!("/chatrooms/{other}/users/bob")).await.fails_user("bob");
    let traces: i64 = sqlx::query_scalar(
        "select (select count(*) from mutes where app = $1) + (select count(*) from admins where app = $1)
              + (select count(*) from users where app = $1 and username = 'bob')",
    )
    .bind(app.app.id)
    .fetch_one(&app.db)
    .await
    .expect("a row");
    assert_eq!(traces, 0);
    app.assert_invariants().await;
    app.users(&["bob"]).await;
    assert_eq!(app.get("/users/bob").await.status, 200, "the name is free again");
}

#[tokio::test]
async fn a_name_stays_reserved_until_the_last_room_has_forgotten_its_user() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    // Half deleted, as if the service had died between the mark and the rooms; the room is busy as well.
    let busy = app.lock_room(&room).await;
    sqlx::query("update users set deleted_at = now() where app = $1 and username = 'bob'")
        .bind(app.app.id)
        .execute(&app.db)
        .await
        .expect("marked");
    assert_eq!(app.get("/users/bob").await.status, 404);
    let taken = app.post_json("/users", json!({"username": "bob", "password": "x"})).await;
    assert_eq!((taken.status, taken.json()["error"].as_str()), (400, Some("duplicate_unique_property_exists")));
    busy.rollback().await.expect("rolled back");
    eventually("the background task has let the room forget the user", || async {
        app.members(&room).await == ["ann"]
            && app.post_json("/users", json!({"username": "bob", "password": "x"})).await.status == 200
    })
    .await;
    app.assert_invariants().await;
}

#[tokio::test]
async fn a_user_in_more_rooms_than_one_deletion_cleans_is_forgotten_in_the_background() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob"]).await;
    plant_rooms(&app.db, app.app.id, &numbered("many", 1200), "ann", &[(1, "ann".into()), (2, "bob".into())]).await;
    let answer = tokio::time::timeout(Duration::from_secs(30), app.delete("/users/bob")).await.expect("in time");
    assert_eq!(answer.status, 200);
    eventually("no room knows the user", || async {
        let left: i64 = sqlx::query_scalar("select count(*) from members where app = $1 and username = 'bob'")
            .bind(app.app.id)
            .fetch_one(&app.db)
            .await
            .expect("a row");
        left == 0
    })
    .await;
    app.assert_invariants().await;
}

#[tokio::test]
async fn the_rooms_of_a_user_are_listed_the_latest_joined_first() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob", "cid"]).await;
    let one = app.room("ann", &["bob"]).await;
    let two = app.room("bob", &[]).await;
    let three = app.room("ann", &[]).await;
    app.post(&format!("/chatrooms/{three}/users/bob")).await;
    app.get("/users/BOB/joined_chatrooms").await.is(&format!(
        r#"{{"action":"get","application":"APP","uri":"BASE/users/BOB/joined_chatrooms","entities":[],"data":[{{"id":"{three}","name":"room"}},{{"id":"{two}","name":"room"}},{{"id":"{one}","name":"room"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":3}}"#
    ));
    let page = app.get("/users/bob/joined_chatrooms?pagenum=2&pagesize=2").await;
    assert_eq!((&page.json()["data"], &page.json()["params"]["pagenum"]), (&json!([{"id": one, "name": "room"}]), &json!(["2"])));
    assert_eq!(app.get("/users/cid/joined_chatrooms").await.json()["data"], json!([]));
    app.delete(&format!("/chatrooms/{two}")).await;
    assert_eq!(app.get("/users/bob/joined_chatrooms").await.json()["count"], 2);
    app.get("/users/nobody/joined_chatrooms").await.fails_user("nobody");
}

#[tokio::test]
async fn users_are_listed_in_the_order_of_their_registration_page_by_page() {
    let app = TestApp::new().await;
    app.users(&["cid", "ann", "bob"]).await;
    let first = app.get("/users?limit=2").await;
    let body = first.json();
    let uuid = |n: usize| body["entities"][n]["uuid"].as_str().expect("a uuid");
    let cursor = body["cursor"].as_str().expect("more");
    first.is(&format!(
        r#"{{"action":"get","params":{{"limit":["2"]}},"path":"/users","uri":"BASE/users","entities":[{{"uuid":"{}","type":"user","created":T,"modified":T,"username":"cid","activated":true}},{{"uuid":"{}","type":"user","created":T,"modified":T,"username":"ann","activated":true}}],"timestamp":T,"duration":T,"count":2,"cursor":"{cursor}"}}"#,
        uuid(0),
        uuid(1)
    ));
    let rest = app.get(&format!("/users?limit=2&cursor={cursor}")).await.json();
    assert_eq!((&rest["entities"][0]["username"], &rest["count"], rest.get("cursor")), (&json!("bob"), &json!(1), None));
    app.get("/users?cursor=x").await.fails_parameter("cursor is invalid");
    let many = numbered("user", 110);
    app.users(&many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(app.get("/users").await.json()["count"], 10);
    assert_eq!(app.get("/users?limit=1000").await.json()["count"], 100);
}

#[tokio::test]
async fn users_are_deleted_page_by_page_with_all_that_hangs_on_them() {
    let app = TestApp::new().await;
    app.users(&["bob", "ann", "zoe", "cid"]).await;
    let room = app.room("zoe", &["ann", "bob", "cid"]).await;
    let first = app.delete("/users?limit=2").await.json();
    let names: Vec<&str> =
        first["entities"].as_array().expect("a list").iter().filter_map(|user| user["username"].as_str()).collect();
    assert_eq!((names, &first["params"]), (vec!["bob", "ann"], &json!({"limit": ["2"]})));
    // What takes longer than a second goes on behind the answer, and the nodes of a cluster on one machine may take that.
    let goes_on = is_cluster().await;
    if goes_on {
        eventually("the room forgets them", || async { app.members(&room).await.len() == 2 }).await;
    }
    assert_eq!(app.members(&room).await, ["zoe", "cid"]);
    let cursor = first["cursor"].as_str().expect("more");
    let rest = app.delete(&format!("/users?limit=2&cursor={cursor}")).await.json();
    assert_eq!((rest["entities"].as_array().map(Vec::len), rest.get("cursor")), (Some(2), None));
    assert_eq!(app.get("/users").await.json()["entities"], json!([]));
    if goes_on {
        eventually("the room is gone", || async { app.get(&format!("/chatrooms/{room}")).await.status == 404 }).await;
    }
    assert_eq!(app.get(&format!("/chatrooms/{room}")).await.status, 404, "owned by one of them");
}

#[tokio::test]
async fn a_password_is_changed_and_the_old_one_is_worth_nothing() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    let change = async |name: &str, body: serde_json::Value| {
        app.send(app.request(reqwest::Method::PUT, &format!("/users/{name}/password")).body(body.to_string())).await
    };
    change("ANN", json!({"newpassword": "other"})).await.is(r#"{"action":"set user password","timestamp":T,"duration":T}"#);
    let ask = async |password: &str| {
        app.post_json("/token", json!({"grant_type": "password", "username": "ann", "password": password})).await
    };
    assert_eq!(ask("other").await.status, 200);
    ask("password").await.fails(400, "invalid_grant", "InvalidGrantException", "invalid username or password");
    for body in [json!({}), json!({"newpassword": ""}), json!({"newpassword": 7})] {
        change("ann", body).await.fails_argument("newpassword is required");
    }
    change("ann", json!({"newpassword": "x".repeat(65)})).await.fails_argument("PASSWORD_TOO_LONG");
    change("nobody", json!({"newpassword": "x"})).await.fails(
        404,
        "entity_not_found",
        "EntityNotFoundException",
        "User null not found",
    );
    assert_eq!(app.post_json("/users/ann/password", json!({"newpassword": "x"})).await.status, 200, "also by POST");
}

#[tokio::test]
async fn a_deactivated_user_gets_no_token_until_activated() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    let uuid = app.get("/users/ann").await.json()["entities"][0]["uuid"].as_str().expect("a uuid").to_owned();
    app.post("/users/Ann/deactivate").await.is(&format!(
        r#"{{"action":"Deactivate user","entities":[{{"uuid":"{uuid}","type":"user","created":T,"modified":T,"username":"ann","activated":false}}],"timestamp":T,"duration":T}}"#
    ));
    for grant in [
        json!({"grant_type": "password", "username": "ann", "password": "password"}),
        json!({"grant_type": "inherit", "username": "ann"}),
    ] {
        app.post_json("/token", grant).await.fails(400, "invalid_grant", "InvalidGrantException", "user not activated");
    }
    app.post("/users/ann/activate").await.is(r#"{"action":"activate user","timestamp":T,"duration":T}"#);
    assert_eq!(app.post_json("/token", json!({"grant_type": "inherit", "username": "ann"})).await.status, 200);
    for call in ["activate", "deactivate"] {
        let answer = app.post(&format!("/users/nobody/{call}")).await;
        answer.fails(404, "service_resource_not_found", "UserNotFoundException", "Service resource not found");
    }
}

#[tokio::test]
async fn every_user_is_offline() {
    let app = TestApp::new().await;
    app.users(&["ann", "batch"]).await;
    app.get("/users/ANN/status").await.is(
        r#"{"action":"get","application":"APP","uri":"BASE/users/ANN/status","entities":[],"data":{"ann":"offline"},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}"#,
    );
    assert_eq!(app.get("/users/batch/status").await.json()["data"], json!({"batch": "offline"}));
    assert_eq!(app.get("/users/nobody/status").await.status, 404);
    app.post_json("/users/batch/status", json!({"usernames": ["Ann", "nobody"]})).await.is(
        r#"{"action":"post","application":"APP","uri":"BASE/users/batch/status","entities":[],"data":[{"ann":"offline"},{"nobody":"offline"}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}"#,
    );
    app.post_json("/users/batch/status", json!({"usernames": []})).await.fails_parameter("usernames must be provided");
    app.post_json("/users/batch/status", json!({"usernames": numbered("u", 101)}))
        .await
        .fails_parameter("usernames size is more than max limit : 100");
    assert_eq!(app.post_json("/users/ann/status", json!({"usernames": ["ann"]})).await.status, 405);
}

#[tokio::test]
async fn no_user_has_a_device() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    app.get("/users/ANN/resources").await.is(
        r#"{"action":"get","application":"APP","uri":"BASE/users/ANN/resources","entities":[],"data":[],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}"#,
    );
    let answer = app.get("/users/nobody/resources").await;
    answer.fails(404, "service_resource_not_found", "UserNotFoundException", "Service resource not found");
}

#[tokio::test]
async fn a_device_that_is_disconnected_leaves_no_token_good() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    let token = app.user_token("ann").await;
    app.delete("/users/Ann/disconnect/ios_1").await.is(
        r#"{"action":"delete","application":"APP","uri":"BASE/users/Ann/disconnect/ios_1","entities":[],"data":{"result":true},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}"#,
    );
    assert_eq!(app.post_json("/token/introspect", json!({"token": token})).await.json(), json!({"active": false}));
    let answer = app.delete("/users/nobody/disconnect/ios_1").await;
    answer.fails(404, "service_resource_not_found", "UserNotFoundException", "Service resource not found");
    assert_eq!(app.delete("/users/ann/disconnect").await.status, 405, "all devices are a GET's");
}

#[tokio::test]
async fn a_nickname_is_changed() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    let change = async |name: &str, body: serde_json::Value| {
        app.send(app.request(reqwest::Method::PUT, &format!("/users/{name}")).body(body.to_string())).await
    };
    let answer = change("Ann", json!({"nickname": "Änn"})).await;
    assert_eq!(
        (answer.status, &answer.json()["entities"][0]["nickname"], &answer.json()["path"]),
        (200, &json!("Änn"), &json!("/users"))
    );
    assert_eq!(app.get("/users/ann").await.json()["entities"][0]["nickname"], "Änn");
    change("ann", json!({"nickname": "n".repeat(101)})).await.fails_argument("NICKNAME_TOO_LONG");
    change("ann", json!({})).await.fails_argument("nickname must be provided");
    assert_eq!(change("nobody", json!({"nickname": "n"})).await.status, 404);
}

#[tokio::test]
async fn a_user_who_is_given_a_name_again_keeps_what_is_theirs() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    // Two callers walk the rooms of the deleted user; one of them is held up until another user has the name.
    sqlx::query("update users set deleted_at = now() + interval '1 day' where app = $1 and username = 'bob'")
        .bind(app.app.id)
        .execute(&app.db)
        .await
        .expect("marked");
    let deleted = user_deletion::deleted(&Db::new(app.db.clone()), 1000).await.expect("a list");
    eventually("one caller has finished", || async {
        app.post_json("/users", json!({"username": "bob", "password": "x"})).await.status == 200
    })
    .await;
    app.post(&format!("/chatrooms/{room}/users/bob")).await;
    let owned = app.room("bob", &[]).await;
    for user in &deleted {
        let effort = Effort { rooms: 1000, until: None };
        user_deletion::forget(&writer(&app.db), user, &effort).await.expect("nothing to do");
    }
    assert_eq!(app.members(&room).await, ["ann", "bob"]);
    assert_eq!(app.members(&owned).await, ["bob"]);
    assert_eq!(app.get("/users/bob").await.status, 200);
}

#[tokio::test]
async fn no_name_is_free_while_a_room_knows_its_user_though_another_took_all_the_time() {
    // No task helps in the background here: the database is this test's own, and its service purges once an hour.
    let url = crate::app::migrated_database().await;
    let mut alone = crate::app::settings(&url);
    alone.purge.every_ms = 3_600_000;
    let instance = crate::app::Instance::start(alone);
    let app = TestApp::on(instance.address, &url).await;
    app.users(&["a1", "a2", "zoe"]).await;
    plant_rooms(&app.db, app.app.id, &numbered("many", 1100), "zoe", &[(1, "zoe".into()), (2, "a1".into())]).await;
    let room = app.room("zoe", &["a2"]).await;
    let deleted = app.delete("/users?limit=2").await.json();
    assert_eq!(deleted["entities"].as_array().map(Vec::len), Some(2));
    let taken = app.post_json("/users", json!({"username": "a2", "password": "x"})).await;
    assert_eq!(taken.status, 400, "the name is not free: {}", taken.text);
    let stop = tokio_util::sync::CancellationToken::new();
    roomward::tasks::purge::pass(&writer(&app.db), 5000, &stop).await.expect("removed");
    app.users(&["a1", "a2"]).await;
    assert_eq!(app.members(&room).await, ["zoe"]);
    let joined = app.get("/users/a2/joined_chatrooms").await;
    assert_eq!((joined.status, &joined.json()["data"]), (200, &json!([])), "{}", joined.text);
    app.assert_invariants().await;
}
