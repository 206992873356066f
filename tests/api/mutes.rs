//! Mutes: calls 18 to 22.

use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::app::{
    Instance, TestApp, eventually, find_next_ends, numbered, plant_rooms, recount, settings, shared_database, time_of, writer,
};

const PERMANENT: i64 = 4_638_873_600_000;

/// The answer with its times, which `TestApp::send` takes away.
async fn timed(request: reqwest::RequestBuilder) -> Value {
    request.send().await.expect("an answer").json().await.expect("JSON")
}

async fn mute(app: &TestApp, room: &str, users: &[&str], duration: i64) -> Value {
    let body = json!({"usernames": users, "mute_duration": duration}).to_string();
    timed(app.request(Method::POST, &format!("/chatrooms/{room}/mute")).body(body)).await
}

async fn muted(app: &TestApp, room: &str) -> Vec<(String, i64)> {
    let answer = timed(app.request(Method::GET, &format!("/chatrooms/{room}/mute"))).await;
    let entry = |entry: &Value| (entry["user"].as_str().expect("a name").to_owned(), entry["expire"].as_i64().expect("a moment"));
    answer["data"].as_array().expect("a list").iter().map(entry).collect()
}

/// Lets the mute of a user have ended just now.
async fn age(app: &TestApp, room: &str, user: &str) {
    sqlx::query("update mutes set ends_at = now() where app = $1 and chatroom = $2 and username = $3")
        .bind(app.app.id)
        .bind(room)
        .bind(user)
        .execute(&app.db)
        .await
        .expect("aged");
    find_next_ends(&app.db, app.app.id).await;
}

/// The shared service but for the sweeping, which tests of unswept rows cannot have.
fn without_expiry() -> Instance {
    let mut settings = settings(shared_database());
    settings.expiry.every_ms = 3_600_000;
    Instance::start(settings)
}

#[tokio::test]
async fn a_mute_ends_so_long_after_now_and_is_listed_without_a_count() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    let answer = mute(&app, &room, &["Cid", "bob"], 86_400_000).await;
    let expire = answer["data"][0]["expire"].as_i64().expect("a moment");
    assert!(time_of(&answer).contains(&(expire - 86_400_000)), "{answer}");
    assert_eq!(
        answer["data"],
        json!([{"result": true, "expire": expire, "user": "cid"}, {"result": true, "expire": expire, "user": "bob"}])
    );
    let answer = app.get(&format!("/chatrooms/{room}/mute")).await;
    answer.is(&format!(
        r#"{{"action":"get","application":"APP","uri":"BASE/chatrooms/{room}/mute","entities":[],"data":[{{"expire":{expire},"user":"cid"}},{{"expire":{expire},"user":"bob"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
}

#[tokio::test]
async fn muting_is_answered_whole() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let answer = app.post_json(&format!("/chatrooms/{room}/mute"), json!({"usernames": ["bob"], "mute_duration": -1})).await;
    answer.is(&format!(
        r#"{{"action":"post","application":"APP","uri":"BASE/chatrooms/{room}/mute","entities":[],"data":[{{"result":true,"expire":{PERMANENT},"user":"bob"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    app.delete(&format!("/chatrooms/{room}/mute/bob")).await.is(&format!(
        r#"{{"action":"delete","application":"APP","uri":"BASE/chatrooms/{room}/mute/bob","entities":[],"data":[{{"result":true,"user":"bob"}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
}

#[tokio::test]
async fn a_duration_is_a_whole_number_of_milliseconds() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let path = format!("/chatrooms/{room}/mute");
    for (duration, text) in [
        (Value::Null, "mute_duration must be provided"),
        (json!("soon"), "mute_duration must be provided"),
        (json!(1.5), "mute_duration must be provided"),
        (json!(true), "mute_duration must be provided"),
        (json!(9_223_372_036_854_775_808_u64), "mute_duration must be provided"),
        (json!(-2), "mute_duration is invalid"),
        (json!(i64::MIN), "mute_duration is invalid"),
    ] {
        app.post_json(&path, json!({"usernames": ["bob"], "mute_duration": duration})).await.fails_parameter(text);
    }
    app.post_json("/chatrooms/123/mute", json!({"mute_duration": 1})).await.fails_parameter("usernames must be provided");
    assert!(muted(&app, &room).await.is_empty());
    for duration in [json!(-1), json!("-1"), json!(i64::MAX), json!(PERMANENT), json!(PERMANENT - 1)] {
        app.post_json(&path, json!({"usernames": ["bob"], "mute_duration": duration})).await;
        assert_eq!(muted(&app, &room).await, [("bob".to_owned(), PERMANENT)], "{duration}");
    }
}

#[tokio::test]
async fn zero_lifts_a_mute() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    mute(&app, &room, &["bob"], -1).await;
    let answer = mute(&app, &room, &["bob"], 0).await;
    assert!(time_of(&answer).contains(&answer["data"][0]["expire"].as_i64().expect("a moment")), "{answer}");
    assert_eq!(answer["data"][0]["result"], true);
    assert!(muted(&app, &room).await.is_empty());
}

#[tokio::test]
async fn muting_again_moves_the_end_also_to_an_earlier_one() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    mute(&app, &room, &["bob"], -1).await;
    mute(&app, &room, &["cid"], 60_000).await;
    let end = mute(&app, &room, &["bob"], 60_000).await["data"][0]["expire"].as_i64().expect("a moment");
    let list = muted(&app, &room).await;
    assert_eq!(list[0], ("bob".to_owned(), end), "at its old position");
    assert!(end < PERMANENT);
}

#[tokio::test]
async fn one_stranger_leaves_the_mute_list_as_it_was() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.users(&["cid"]).await;
    let body = json!({"usernames": ["cid", "bob", "nobody"], "mute_duration": 1000});
    app.post_json(&format!("/chatrooms/{room}/mute"), body)
        .await
        .fails_forbidden(400, "users [cid, nobody] are not members of this group!");
    assert!(muted(&app, &room).await.is_empty());
}

#[tokio::test]
async fn the_owner_and_admins_can_be_muted() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.post_json(&format!("/chatrooms/{room}/admin"), json!({"newadmin": "bob"})).await;
    assert_eq!(mute(&app, &room, &["ann", "bob"], 60_000).await["data"][1]["result"], true);
    assert_eq!(muted(&app, &room).await.len(), 2);
}

#[tokio::test]
async fn unmuting_is_true_for_each_user_who_is_registered_or_was_muted() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    app.users(&["dan"]).await;
    mute(&app, &room, &["bob"], -1).await;
    let answer = app.delete(&format!("/chatrooms/{room}/mute/bob,cid%2Cdan,nobody")).await;
    let results: Vec<Value> =
        answer.json()["data"].as_array().expect("a list").iter().map(|entry| entry["result"].clone()).collect();
    assert_eq!(results, [true, true, true, false]);
    assert!(muted(&app, &room).await.is_empty());
}

#[tokio::test]
async fn a_mute_outlives_leaving_and_coming_back() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    let end = mute(&app, &room, &["bob", "cid"], 60_000).await["data"][0]["expire"].as_i64().expect("a moment");
    app.delete(&format!("/chatrooms/{room}/users/bob")).await;
    assert_eq!(muted(&app, &room).await[0], ("bob".to_owned(), end));
    app.post(&format!("/chatrooms/{room}/users/bob")).await;
    assert_eq!(muted(&app, &room).await[0], ("bob".to_owned(), end));
    app.delete(&format!("/chatrooms/{room}/users/cid")).await;
    let answer = app.delete(&format!("/chatrooms/{room}/mute/cid")).await;
    assert_eq!(answer.json()["data"], json!([{"result": true, "user": "cid"}]), "of a former member, too");
}

#[tokio::test]
async fn muting_the_room_is_a_put_leaves_the_list_alone_and_shows_in_the_detail() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    mute(&app, &room, &["bob"], -1).await;
    let ban = format!("/chatrooms/{room}/ban");
    let shown = async || app.get(&format!("/chatrooms/{room}")).await.json()["data"][0]["mute"].clone();
    for _ in 0..2 {
        app.post(&ban).await.is(&format!(
            r#"{{"action":"put","application":"APP","uri":"BASE/chatrooms/{room}/ban","entities":[],"data":{{"mute":true}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
        ));
        assert_eq!(shown().await, true);
    }
    assert_eq!(muted(&app, &room).await.len(), 1);
    for _ in 0..2 {
        app.delete(&ban).await.is(&format!(
            r#"{{"action":"delete","application":"APP","uri":"BASE/chatrooms/{room}/ban","entities":[],"data":{{"mute":false}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
        ));
        assert_eq!(shown().await, false);
    }
    assert_eq!(muted(&app, &room).await.len(), 1);
}

#[tokio::test]
async fn a_mute_that_has_ended_is_none_in_any_read_before_the_task_has_ended_it() {
    let instance = without_expiry();
    let app = TestApp::on(instance.address, shared_database()).await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    // Other instances on this database must not sweep it either: its room is locked against them.
    mute(&app, &room, &["bob", "cid"], 60_000).await;
    let mut locked = app.lock_room(&room).await;
    age(&app, &room, "bob").await;
    let names: Vec<String> = muted(&app, &room).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["cid"]);
    let rows: i64 = sqlx::query_scalar("select count(*) from mutes where app = $1")
        .bind(app.app.id)
        .fetch_one(&mut *locked)
        .await
        .expect("a row");
    assert_eq!(rows, 2, "the row is still there");
    locked.rollback().await.expect("unlocked");
}

#[tokio::test]
async fn a_mute_after_one_that_has_ended_is_a_new_one_at_the_end_of_the_list() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    mute(&app, &room, &["bob"], 60_000).await;
    mute(&app, &room, &["cid"], 60_000).await;
    age(&app, &room, "bob").await;
    mute(&app, &room, &["bob"], 60_000).await;
    let names: Vec<String> = muted(&app, &room).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["cid", "bob"]);
}

#[tokio::test]
async fn an_ended_mute_is_soon_gone_and_a_running_one_stays() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    mute(&app, &room, &["bob"], 1).await;
    mute(&app, &room, &["cid"], 60_000).await;
    eventually("the row is gone", || async {
        let rows: Vec<String> = sqlx::query_scalar("select username from mutes where app = $1")
            .bind(app.app.id)
            .fetch_all(&app.db)
            .await
            .expect("rows");
        rows == ["cid"]
    })
    .await;
}

#[tokio::test]
async fn instances_that_sweep_together_take_each_mute_once_in_batches() {
    let database = crate::app::migrated_database().await;
    let db = sqlx::postgres::PgPoolOptions::new().max_connections(5).connect(&database).await.expect("the database");
    let app = crate::app::new_app(&db, "org", "app").await;
    plant_rooms(&db, app.id, &numbered("room", 5), "ann", &[(1, "ann".into())]).await;
    sqlx::query(
        "insert into mutes (app, chatroom, username, seq, ends_at)
         select app, id, 'user' || n, n + 1, now() + case when n > 490 then interval '1 hour' else - n * interval '1 s' end
         from chatrooms, generate_series(1, 500) n",
    )
    .execute(&db)
    .await
    .expect("mutes");
    recount(&db, app.id).await;
    let stop = CancellationToken::new();
    let instances = [(); 3].map(|()| writer(&db));
    let (one, two, three) = tokio::join!(
        roomward::tasks::expiry::pass(&instances[0], 20, &stop),
        roomward::tasks::expiry::pass(&instances[1], 20, &stop),
        roomward::tasks::expiry::pass(&instances[2], 20, &stop)
    );
    assert_eq!(one.expect("swept") + two.expect("swept") + three.expect("swept"), 5 * 490);
    let left: i64 = sqlx::query_scalar("select count(*) from mutes").fetch_one(&db).await.expect("a row");
    assert_eq!(left, 50);
    stop.cancel();
    assert_eq!(roomward::tasks::expiry::pass(&writer(&db), 20, &stop).await.expect("nothing to do"), 0);
}

#[tokio::test]
async fn ended_mutes_of_a_deleted_room_do_not_hold_up_the_others() {
    let database = crate::app::migrated_database().await;
    let db = sqlx::postgres::PgPoolOptions::new().max_connections(2).connect(&database).await.expect("the database");
    let app = crate::app::new_app(&db, "org", "app").await;
    plant_rooms(&db, app.id, &["gone".into(), "here".into()], "ann", &[(1, "ann".into())]).await;
    sqlx::query(
        "insert into mutes (app, chatroom, username, seq, ends_at)
         select app, id, 'user' || n, n + 1, now() - case when id = 'gone' then interval '1 hour' else interval '1 s' end
         from chatrooms, generate_series(1, 30) n",
    )
    .execute(&db)
    .await
    .expect("mutes");
    recount(&db, app.id).await;
    sqlx::query("update chatrooms set deleted_at = now() where id = 'gone'").execute(&db).await.expect("marked");
    assert_eq!(roomward::tasks::expiry::pass(&writer(&db), 10, &CancellationToken::new()).await.expect("swept"), 30);
}

#[tokio::test]
async fn a_mute_list_has_a_limit_for_those_who_are_muted_now() {
    let mut small = settings(shared_database());
    small.limits.mutes_per_room = 2;
    let instance = Instance::start(small);
    let app = TestApp::on(instance.address, shared_database()).await;
    let names = numbered("user", 4);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let room = app.room_with("ann", &names).await;
    let path = format!("/chatrooms/{room}/mute");
    app.post_json(&path, json!({"usernames": names, "mute_duration": 60_000}))
        .await
        .fails_limit("mute list exceeds the limit 2!");
    assert!(muted(&app, &room).await.is_empty(), "nothing is applied");
    mute(&app, &room, &names[..2], 60_000).await;
    assert_eq!(app.post_json(&path, json!({"usernames": names[..2], "mute_duration": 60_000})).await.status, 200);
    app.post_json(&path, json!({"usernames": ["user2"], "mute_duration": 60_000}))
        .await
        .fails_limit("mute list exceeds the limit 2!");
    age(&app, &room, "user0").await;
    assert_eq!(app.post_json(&path, json!({"usernames": ["user2"], "mute_duration": 60_000})).await.status, 200);
}

#[tokio::test]
async fn a_whole_room_is_muted_for_a_while_and_then_speaks_again_by_itself() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let path = format!("/chatrooms/{room}/ban");
    for wrong in [json!(0), json!(-2), json!("soon"), json!(1.5)] {
        app.post_json(&path, json!({"mute_duration": wrong})).await.fails_parameter("mute_duration is invalid");
    }
    let answer = app.post_json(&path, json!({"mute_duration": 3_600_000})).await;
    let until = answer.json()["data"]["expire"].as_i64().expect("a moment");
    answer.is(&format!(
        r#"{{"action":"put","application":"APP","uri":"BASE/chatrooms/{room}/ban","entities":[],"data":{{"mute":true,"expire":{until}}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    let speak = async || app.get(&format!("/chatrooms/{room}/users/bob/speak")).await.json()["data"].clone();
    assert_eq!(speak().await, json!({"user": "bob", "allowed": false, "layer": "room_muted", "until": until}));
    let is_muted = async || app.get(&format!("/chatrooms/{room}")).await.json()["data"][0]["mute"].clone();
    assert_eq!(is_muted().await, true);

    // For ever now, then for a while again; and its time comes.
    let expire = app.post_json(&path, json!({"mute_duration": -1})).await.json()["data"]["expire"].clone();
    assert_eq!(expire, 4_638_873_600_000_i64);
    app.post_json(&path, json!({"mute_duration": 3_600_000})).await;
    let mut age = app.db.begin().await.expect("a transaction");
    for statement in [
        "update room_counters set next_end = now() - interval '1 s' where app = $1 and chatroom = $2",
        "update chatrooms set mute_ends_at = now() - interval '1 s' where app = $1 and id = $2",
    ] {
        sqlx::query(statement).bind(app.app.id).bind(&room).execute(&mut *age).await.expect("aged");
    }
    age.commit().await.expect("committed");
    assert_eq!((is_muted().await, speak().await["allowed"].clone()), (json!(false), json!(true)));
    let told = async || {
        let events = app.get(&format!("/chatrooms/{room}/events?kind=UPDATE/MUTE")).await.json();
        let events = events["data"].as_array().expect("events").clone();
        events.iter().map(|event| json!([event["before"]["mute"], event["after"]["mute"], event["actor"]])).collect::<Vec<_>>()
    };
    eventually("the end is told", async || told().await.len() == 4).await;
    assert_eq!(
        told().await,
        [
            json!([false, true, "@ppAdmin"]),
            json!([true, true, "@ppAdmin"]),
            json!([true, true, "@ppAdmin"]),
            json!([true, false, "@system"]),
        ]
    );
    // Lifted before its time it is told once, and without a body it has no end.
    app.post_json(&path, json!({"mute_duration": 3_600_000})).await;
    app.delete(&path).await;
    app.post(&path).await.is(&format!(
        r#"{{"action":"put","application":"APP","uri":"BASE/chatrooms/{room}/ban","entities":[],"data":{{"mute":true}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    assert_eq!(speak().await, json!({"user": "bob", "allowed": false, "layer": "room_muted"}));
    let events = app.get(&format!("/chatrooms/{room}/events?kind=UPDATE/MUTE")).await.json();
    assert!(events["data"][0]["after"]["until"].as_i64() == Some(until), "{events}");
    assert_eq!(events["data"][6]["after"], json!({"mute": true}));
}

#[tokio::test]
async fn mutes_are_listed_with_their_details_only_where_that_is_asked_for() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid", "dan"]).await;
    let path = format!("/chatrooms/{room}/mute");
    let body = json!({"usernames": ["bob", "cid"], "mute_duration": -1});
    let by_eve =
        app.request(Method::POST, &path).header("X-Operator", "eve").header("X-Audit-Reason", "spam").body(body.to_string());
    assert_eq!(app.send(by_eve).await.status, 200);
    mute(&app, &room, &["dan"], -1).await;
    let moments = app.moments("MUTE/ADD").await;
    let (first, second) = (moments[0], moments[1]);
    let dan = format!(r#"{{"user":"dan","until":4638873600000,"since":{second},"actor":"@ppAdmin"}}"#);
    let of_eve =
        |user: &str| format!(r#"{{"user":"{user}","until":4638873600000,"since":{first},"actor":"eve","reason":"spam"}}"#);
    app.get(&format!("{path}?detail=true")).await.is(&format!(
        r#"{{"action":"get","application":"APP","params":{{"detail":["true"]}},"uri":"BASE/chatrooms/{room}/mute","entities":[],"data":[{},{},{dan}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#,
        of_eve("bob"),
        of_eve("cid")
    ));
    let page = app.get(&format!("{path}?detail=true&limit=2")).await.json();
    assert_eq!(page["data"].as_array().map(Vec::len), Some(2));
    let cursor = page["cursor"].as_str().expect("more");
    app.get(&format!("{path}?limit=2&detail=true&cursor={cursor}")).await.is(&format!(
        r#"{{"action":"get","application":"APP","params":{{"limit":["2"],"detail":["true"],"cursor":["{cursor}"]}},"uri":"BASE/chatrooms/{room}/mute","entities":[],"data":[{dan}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    // The hosted service has no such parameter: what it would ignore is ignored.
    let plain =
        json!([{"expire": PERMANENT, "user": "bob"}, {"expire": PERMANENT, "user": "cid"}, {"expire": PERMANENT, "user": "dan"}]);
    for query in ["", "?limit=3", "?detail=false", "?detail=1&limit=3", "?detail="] {
        assert_eq!(app.get(&format!("{path}{query}")).await.json()["data"], plain, "{query}");
    }
    app.get("/chatrooms/123/mute?detail=true").await.fails_room("123");
}
