//! Mutes in all rooms of an app.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::{
    Answer, Instance, TestApp, eventually, eventually_waits_for_a_lock, mask_number, migrated_database, new_app, numbered,
    patient, settings, shared_database, writer,
};
use crate::citus::{gathered, skipped_on_cluster};

const PERMANENT: i64 = 4_638_873_600_000;

/// A service beside the shared one that ends nothing by itself, on a database of its own.
async fn without_expiry() -> (Instance, TestApp) {
    let url = migrated_database().await;
    let mut settings = settings(&url);
    settings.expiry.every_ms = 3_600_000;
    let instance = Instance::start(settings);
    let app = TestApp::on(instance.address, &url).await;
    (instance, app)
}

async fn mute(app: &TestApp, body: Value) -> Answer {
    let answer = app.post_json("/mutes", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

/// Hours of so many seconds, begun ones counted, which no test outlives; -1 is for ever.
fn hours(seconds: &Value) -> i64 {
    match seconds.as_i64().expect("a number") {
        -1 => -1,
        seconds => (seconds + 3599).div_euclid(3600),
    }
}

/// The hours left of a user's mute: chat, groupchat, chatroom.
async fn left(app: &TestApp, user: &str) -> [i64; 3] {
    let answer = app.get(&format!("/mutes/{user}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    ["chat", "groupchat", "chatroom"].map(|part| hours(&answer.json()["data"][part]))
}

/// The list at that query, in its order.
async fn listed(app: &TestApp, query: &str) -> Vec<Value> {
    let answer = app.get(&format!("/mutes{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["data"]["data"].as_array().expect("a list").clone()
}

async fn speech(app: &TestApp, room: &str, user: &str) -> Value {
    app.get(&format!("/chatrooms/{room}/users/{user}/speak")).await.json()["data"].clone()
}

/// What was told of global mutes: kind, users, before, after, actor and reason.
async fn told(app: &TestApp) -> Vec<Value> {
    sqlx::query_scalar(
        "select jsonb_build_array(kind, users, before, after, actor, reason) from events
         where app = $1 and chatroom = '' and kind like 'GLOBAL_MUTE/%' order by n",
    )
    .bind(app.app.id)
    .fetch_all(&app.db)
    .await
    .expect("events")
}

/// Until when a user is muted in rooms, ended or not, in Unix milliseconds.
async fn ends_at(app: &TestApp, user: &str) -> Option<i64> {
    sqlx::query_scalar(
        "select (extract(epoch from chatroom_ends_at) * 1000)::bigint from global_mutes where app = $1 and username = $2",
    )
    .bind(app.app.id)
    .bind(user)
    .fetch_optional(&app.db)
    .await
    .expect("a query")
    .flatten()
}

/// Lets a part of a user's mute have ended just now; the task may find it.
async fn age(app: &TestApp, user: &str, part: &str) {
    let set = match part {
        "chat" => "update global_mutes set chat_ends_at = date_trunc('milliseconds', now()) where app = $1 and username = $2",
        _ => "update global_mutes set chatroom_ends_at = date_trunc('milliseconds', now()) where app = $1 and username = $2",
    };
    let aged = sqlx::query(set).bind(app.app.id).bind(user).execute(&app.db).await.expect("aged");
    assert_eq!(aged.rows_affected(), 1);
    note_next_end(&app.db, app.app.id).await;
}

/// Says in the row of the app when its next global mute ends, after a test has moved some.
async fn note_next_end(db: &PgPool, app: i32) {
    sqlx::query("update apps set next_end = (select min(next_end) from global_mutes where app = $1) where id = $1")
        .bind(app)
        .execute(db)
        .await
        .expect("noted");
}

/// How many mutes there are, of all apps of a database.
async fn count(db: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from global_mutes").fetch_one(db).await.expect("a count")
}

/// Holds the row of an app.
async fn hold(db: &PgPool, app: i32) -> Transaction<'static, Postgres> {
    let mut held = db.begin().await.expect("a transaction");
    sqlx::query("select from apps where id = $1 for update").bind(app).fetch_one(&mut *held).await.expect("held");
    held
}

#[tokio::test]
async fn a_user_is_muted_read_listed_and_unmuted() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob"]).await;
    let masked = |answer: Answer| {
        let text = ["\"unixtime\":", "\"chat\":"].iter().fold(answer.text, |text, key| mask_number(&text, key));
        Answer { text, ..answer }
    };
    app.post_json("/mutes", json!({"username": "BOB", "chat": 86_400, "groupchat": 0, "chatroom": -1})).await.is(
        r#"{"path":"/mutes","uri":"BASE/mutes","timestamp":T,"organization":"ORG","application":"APP","action":"post","data":{"result":"ok"},"duration":T,"applicationName":"app"}"#,
    );
    masked(app.get("/mutes/Bob").await).is(
        r#"{"path":"/mutes","uri":"BASE/mutes/Bob","timestamp":T,"organization":"ORG","application":"APP","action":"get","data":{"userid":"ORG#app_bob","chat":T,"groupchat":0,"chatroom":-1,"unixtime":T},"duration":T,"applicationName":"app"}"#,
    );
    masked(app.get("/mutes/?pageNum=1&pageSize=10").await).is(
        r#"{"path":"/mutes","uri":"BASE/mutes/","timestamp":T,"organization":"ORG","application":"APP","action":"get","data":{"data":[{"username":"bob","chat":T},{"username":"bob","chatroom":-1}],"unixtime":T},"duration":T,"applicationName":"app"}"#,
    );
    assert_eq!((left(&app, "bob").await, hours(&listed(&app, "").await[0]["chat"])), ([24, 0, -1], 24));
    mute(&app, json!({"username": "bob", "chatroom": 0})).await;
    assert_eq!(left(&app, "bob").await, [24, 0, 0], "the parts that are not named stay");
    mute(&app, json!({"username": "bob", "chat": 0})).await;
    assert_eq!(listed(&app, "").await, [json!(null); 0]);
    assert_eq!(left(&app, "ann").await, [0, 0, 0]);
    let unixtime = app.get("/mutes/ann").await.json()["data"]["unixtime"].as_i64().expect("a moment");
    let now: i64 = sqlx::query_scalar("select extract(epoch from now())::bigint").fetch_one(&app.db).await.expect("a clock");
    assert!((unixtime - now).abs() <= 60, "seconds, not milliseconds: {unixtime}");
}

#[tokio::test]
async fn a_duration_is_seconds_up_to_the_largest_of_32_bits_or_for_ever() {
    const LONGEST_HOURS: i64 = 596_524;
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    mute(&app, json!({"username": "ann", "chat": 2_147_483_647, "groupchat": "7200", "chatroom": null})).await;
    assert_eq!(left(&app, "ann").await, [LONGEST_HOURS, 2, 0]);
    for part in ["chat", "groupchat", "chatroom"] {
        for wrong in [json!(-2), json!(2_147_483_648_i64), json!(1.5), json!("soon"), json!([1]), json!(true)] {
            let mut body = json!({"username": "ann", "chat": 1, "groupchat": 1, "chatroom": 1});
            body[part] = wrong;
            app.post_json("/mutes", body).await.fails_parameter(&format!("{part} is invalid"));
        }
    }
    assert_eq!(left(&app, "ann").await, [LONGEST_HOURS, 2, 0], "a refusal changes nothing");
}

#[tokio::test]
async fn only_users_are_muted() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    for name in [json!(null), json!(""), json!(7)] {
        app.post_json("/mutes", json!({"username": name, "chat": 1})).await.fails_parameter("username must be provided");
    }
    app.post_json("/mutes", json!({"username": "nobody", "chatroom": 1})).await.fails_user("nobody");
    app.post_json("/mutes", json!({"username": "nobody"})).await.fails_user("nobody");
    app.post_json("/mutes", json!({"username": "no user", "chatroom": 1})).await.fails_user("no user");
    app.get("/mutes/nobody").await.fails_user("nobody");
    app.get("/mutes/no%20user").await.fails_user("no user");
    mute(&app, json!({"username": "ann"})).await.is(
        r#"{"path":"/mutes","uri":"BASE/mutes","timestamp":T,"organization":"ORG","application":"APP","action":"post","data":{"result":"ok"},"duration":T,"applicationName":"app"}"#,
    );
    assert_eq!(left(&app, "ann").await, [0, 0, 0], "no part is named, nothing is done");
    assert!(told(&app).await.is_empty());
}

#[tokio::test]
async fn pages_have_one_to_fifty_users_by_name() {
    let app = TestApp::new().await;
    let names: Vec<String> = (0..52).map(|number| format!("user{number:02}")).collect();
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for name in &names {
        mute(&app, json!({"username": name, "chat": 3600, "chatroom": -1})).await;
    }
    let users = async |query: &str| {
        let mut users: Vec<String> =
            listed(&app, query).await.iter().map(|entry| entry["username"].as_str().expect("a name").to_owned()).collect();
        users.dedup();
        users
    };
    assert_eq!(users("").await, names[..50]);
    assert_eq!(users("?pageNum=2").await, names[50..]);
    assert_eq!(users("?pageNum=3").await, [""; 0]);
    assert_eq!(users("?pageNum=2&pageSize=20").await, names[20..40]);
    assert_eq!(users("?pageNum=0&pageSize=51").await, names[..50], "at most fifty");
    assert_eq!(users("?pageNum=x&pageSize=0").await, names[..50], "what makes no sense counts as absent");
    assert_eq!(users("?pageNum=99999999999999999999&pageSize=-1").await, [""; 0]);
    let page = listed(&app, "?pageNum=52&pageSize=1").await;
    assert_eq!(page.iter().map(|entry| entry["username"].clone()).collect::<Vec<_>>(), ["user51", "user51"]);
    assert_eq!((&page[0]["chat"].is_i64(), &page[1]["chatroom"]), (&true, &json!(-1)));
}

#[tokio::test]
async fn a_muted_user_speaks_in_no_room_of_the_app_but_their_own() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    let own = app.room("bob", &["ann"]).await;
    app.post_json(&format!("/chatrooms/{room}/admin"), json!({"newadmin": "bob"})).await;
    app.post(&format!("/chatrooms/{room}/white/users/bob")).await;
    let spam = app.request(Method::POST, "/mutes").header("X-Audit-Reason", "spam%20everywhere");
    app.send(spam.body(json!({"username": "bob", "chatroom": 3600}).to_string())).await;
    let until = ends_at(&app, "bob").await.expect("muted");
    assert_eq!(
        speech(&app, &room, "bob").await,
        json!({"user": "bob", "allowed": false, "layer": "global_muted", "until": until, "reason": "spam everywhere"})
    );
    assert_eq!(speech(&app, &own, "bob").await, json!({"user": "bob", "allowed": true, "layer": "owner"}));
    app.post_json(&format!("/chatrooms/{room}/mute"), json!({"usernames": ["bob", "cid"], "mute_duration": -1})).await;
    assert_eq!(speech(&app, &room, "bob").await["layer"], "global_muted", "before the mute of the room");
    assert_eq!(speech(&app, &room, "cid").await["layer"], "muted");

    mute(&app, json!({"username": "bob", "chat": -1, "groupchat": -1})).await;
    assert_eq!(speech(&app, &room, "bob").await["reason"], "spam everywhere", "the other parts have no say in it");
    mute(&app, json!({"username": "bob", "chatroom": 0})).await;
    assert_eq!(speech(&app, &room, "bob").await, json!({"user": "bob", "allowed": false, "layer": "muted", "until": PERMANENT}));
    app.delete(&format!("/chatrooms/{room}/mute/bob")).await;
    assert_eq!(speech(&app, &room, "bob").await["layer"], "admin");

    mute(&app, json!({"username": "bob", "chatroom": -1})).await;
    app.post(&format!("/chatrooms/{room}/blocks/users/bob")).await;
    assert_eq!(speech(&app, &room, "bob").await["layer"], "blocked");
    app.delete(&format!("/chatrooms/{room}/blocks/users/bob")).await;
    assert_eq!(speech(&app, &room, "bob").await["layer"], "not_member");
    let verdicts = app.post_json(&format!("/chatrooms/{own}/speak"), json!({"usernames": ["ann", "bob"]})).await.json();
    assert_eq!(
        verdicts["data"],
        json!([{"user": "ann", "allowed": true, "layer": "member"}, {"user": "bob", "allowed": true, "layer": "owner"}])
    );
}

#[tokio::test]
async fn a_mute_that_has_ended_is_none_before_it_was_swept() {
    let (_instance, app) = without_expiry().await;
    let room = app.room_with("ann", &["bob"]).await;
    mute(&app, json!({"username": "bob", "chat": 3600, "chatroom": 3600})).await;
    mute(&app, json!({"username": "ann", "chatroom": 3600})).await;
    for user in ["ann", "bob"] {
        age(&app, user, "chatroom").await;
    }
    assert_eq!(speech(&app, &room, "bob").await["layer"], "member");
    assert_eq!(left(&app, "bob").await, [1, 0, 0]);
    let entries = listed(&app, "?pageSize=1").await;
    assert_eq!((entries.len(), &entries[0]["username"], hours(&entries[0]["chat"])), (1, &json!("bob"), 1));
    assert!(ends_at(&app, "bob").await.is_some() && ends_at(&app, "ann").await.is_some(), "they are still there");
    assert_eq!(told(&app).await.len(), 2, "of their beginning");
}

#[tokio::test]
async fn each_change_of_the_part_for_rooms_is_told_with_its_actor_and_reason() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    let act = async |actor: &str, reason: &str, chatroom: i64| {
        let request = app.request(Method::POST, "/mutes").header("X-Operator", actor).header("X-Audit-Reason", reason);
        let answer = app.send(request.body(json!({"username": "ann", "chatroom": chatroom}).to_string())).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        ends_at(&app, "ann").await
    };
    let first = act("eve", "spam", 3600).await;
    act("mo", "again", -1).await;
    act("eve", "again", -1).await;
    act("eve", "other%20words", -1).await;
    mute(&app, json!({"username": "ann", "chat": 60, "groupchat": -1})).await;
    act("mo", "enough", 0).await;
    act("mo", "enough", 0).await;
    assert_eq!(
        told(&app).await,
        [
            json!(["GLOBAL_MUTE/ADD", ["ann"], {}, {"ann": first}, "eve", "spam"]),
            json!(["GLOBAL_MUTE/ADD", ["ann"], {"ann": first}, {"ann": PERMANENT}, "mo", "again"]),
            json!(["GLOBAL_MUTE/ADD", ["ann"], {"ann": PERMANENT}, {"ann": PERMANENT}, "eve", "other words"]),
            json!(["GLOBAL_MUTE/REMOVE", ["ann"], {"ann": PERMANENT}, null, "mo", "enough"]),
        ],
        "a call that changes nothing leaves none"
    );
    let audit = app.get("/audit?user=ann&kind=GLOBAL_MUTE/REMOVE").await.json()["data"].clone();
    assert_eq!(
        audit,
        json!([{"n": 4, "kind": "GLOBAL_MUTE/REMOVE", "users": ["ann"], "before": {"ann": PERMANENT}, "actor": "mo", "reason": "enough", "timestamp": 0}])
    );
    let feed = async || app.get("/events?kind=GLOBAL_MUTE").await.json()["data"].as_array().map_or(0, Vec::len);
    eventually("the feed tells all four", || async { feed().await == 4 }).await;
}

#[tokio::test]
async fn the_end_of_the_part_for_rooms_is_told_and_the_others_end_silently() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob"]).await;
    mute(&app, json!({"username": "ann", "chat": 1, "chatroom": 1})).await;
    mute(&app, json!({"username": "bob", "chat": 1, "groupchat": 3600, "chatroom": -1})).await;
    let end = ends_at(&app, "ann").await.expect("muted");
    let rows = async || -> Vec<(String, bool, bool, bool)> {
        sqlx::query_as(
            "select username, chat_ends_at is null, groupchat_ends_at is null, chatroom_ends_at is null
             from global_mutes where app = $1 order by username",
        )
        .bind(app.app.id)
        .fetch_all(&app.db)
        .await
        .expect("rows")
    };
    eventually("what has ended is gone", || async { rows().await == [("bob".into(), true, false, false)] }).await;
    let told = told(&app).await;
    assert_eq!(told[2..], [json!(["GLOBAL_MUTE/EXPIRE", ["ann"], {"ann": end}, null, "@system", null])]);
    let over: bool = sqlx::query_scalar(
        "select extract(epoch from happened_at) * 1000 >= $2 from events where app = $1 and kind = 'GLOBAL_MUTE/EXPIRE'",
    )
    .bind(app.app.id)
    .bind(end)
    .fetch_one(&app.db)
    .await
    .expect("an event");
    assert!(over, "not before the end");
    age(&app, "bob", "chatroom").await;
    eventually("a part without an end ends, too, if it is moved", || async { rows().await[0].3 }).await;
}

#[tokio::test]
async fn a_mute_that_has_ended_is_told_before_what_comes_after_it() {
    let (_instance, app) = without_expiry().await;
    app.users(&["ann", "bob", "cid", "dan"]).await;
    for user in ["ann", "bob", "cid", "dan"] {
        mute(&app, json!({"username": user, "chatroom": 3600})).await;
        age(&app, user, "chatroom").await;
    }
    let mut ends = Vec::new();
    for user in ["ann", "bob", "cid", "dan"] {
        ends.push(ends_at(&app, user).await.expect("a moment"));
    }
    mute(&app, json!({"username": "ann", "chatroom": -1})).await;
    mute(&app, json!({"username": "bob", "chatroom": 0})).await;
    mute(&app, json!({"username": "cid", "chat": 60})).await;
    app.delete("/users/dan").await;
    let expired = |at: usize, user: &str| json!(["GLOBAL_MUTE/EXPIRE", [user], {user: ends[at]}, null, "@system", null]);
    assert_eq!(
        told(&app).await[4..],
        [
            expired(0, "ann"),
            json!(["GLOBAL_MUTE/ADD", ["ann"], {}, {"ann": PERMANENT}, "@ppAdmin", null]),
            expired(1, "bob"),
            expired(2, "cid"),
            expired(3, "dan"),
        ]
    );
    assert_eq!(
        roomward::tasks::expiry::pass(&writer(&app.db), 10, &CancellationToken::new()).await.expect("nothing to do"),
        0,
        "each once"
    );
}

#[tokio::test]
async fn the_mute_of_a_deleted_user_goes_with_the_user() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob"]).await;
    mute(&app, json!({"username": "ann", "chat": -1, "chatroom": -1})).await;
    mute(&app, json!({"username": "bob", "chat": -1})).await;
    let deletion = app.request(Method::DELETE, "/users?limit=2").header("X-Operator", "mo").header("X-Audit-Reason", "gone");
    assert_eq!(app.send(deletion).await.status, 200);
    app.get("/mutes/ann").await.fails_user("ann");
    assert!(listed(&app, "").await.is_empty());
    assert_eq!(told(&app).await[1..], [json!(["GLOBAL_MUTE/REMOVE", ["ann"], {"ann": PERMANENT}, null, "mo", "gone"])]);
    app.users(&["ann"]).await;
    assert_eq!(left(&app, "ann").await, [0, 0, 0], "the name is given to another user");
}

#[tokio::test]
async fn a_repeated_call_with_a_key_mutes_once() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    let send = async || {
        let request = app.request(Method::POST, "/mutes").header("Idempotency-Key", "mute-ann");
        app.send(request.body(json!({"username": "ann", "chatroom": 3600}).to_string())).await
    };
    let first = send().await;
    mute(&app, json!({"username": "ann", "chatroom": 0})).await;
    assert_eq!(send().await, first);
    assert_eq!(left(&app, "ann").await, [0, 0, 0]);
}

/// So many ended mutes of an app, by SQL: the first `told` of them in rooms.
async fn plant_ended(db: &PgPool, app: i32, count: i32, told: i32) {
    sqlx::query(
        "insert into global_mutes (app, username, chat_ends_at, chatroom_ends_at, actor, since)
         select $1, 'user' || n, case when n > $3 then ended end, case when n <= $3 then ended end,
                case when n <= $3 then '@ppAdmin' end, case when n <= $3 then ended end
         from generate_series(1, $2) n
         cross join lateral (select date_trunc('milliseconds', now()) - n * interval '1 s' as ended) moment",
    )
    .bind(app)
    .bind(count)
    .bind(told)
    .execute(db)
    .await
    .expect("mutes");
    note_next_end(db, app).await;
}

#[tokio::test]
async fn any_number_of_sweeps_tell_each_end_once() {
    let url = migrated_database().await;
    let db = PgPoolOptions::new().max_connections(8).connect(&url).await.expect("the database");
    for name in ["one", "two"] {
        let app = new_app(&db, "org", name).await;
        plant_ended(&db, app.id, 500, 300).await;
    }
    let stop = CancellationToken::new();
    let instances = [(); 3].map(|()| writer(&db));
    let (one, two, three) = tokio::join!(
        roomward::tasks::expiry::pass(&instances[0], 20, &stop),
        roomward::tasks::expiry::pass(&instances[1], 20, &stop),
        roomward::tasks::expiry::pass(&instances[2], 20, &stop)
    );
    assert_eq!(one.expect("swept") + two.expect("swept") + three.expect("swept"), 1000);
    let told: (i64, i64, i64, i64) = sqlx::query_as(
        "select count(*), count(distinct (app, username)), max(array_length(users, 1))::bigint,
                (select count(*) from global_mutes)
         from events, unnest(users) username where kind = 'GLOBAL_MUTE/EXPIRE' and chatroom = ''",
    )
    .fetch_one(&db)
    .await
    .expect("a row");
    assert!(told.0 == 600 && told.1 == 600 && told.2 <= 20 && told.3 == 0, "{told:?}");
    let gaps: Vec<i64> = sqlx::query_scalar(
        gathered("select last_event from apps where last_event <> (select count(*) from events where app = apps.id)").await,
    )
    .fetch_all(&db)
    .await
    .expect("rows");
    assert!(gaps.is_empty(), "{gaps:?}");
    assert_eq!(roomward::tasks::expiry::pass(&instances[0], 20, &stop).await.expect("nothing to do"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_held_delays_no_other_and_has_its_turn_when_it_is_free() {
    let url = migrated_database().await;
    let instance = Instance::start(settings(&url));
    let app = TestApp::on(instance.address, &url).await;
    app.users(&["ann"]).await;
    let db = PgPoolOptions::new().max_connections(8).connect(&url).await.expect("the database");
    let mut held = Vec::new();
    // To wait for each of them in turn would take far longer than the test has.
    for number in 0..6 {
        let app = new_app(&db, "held", &format!("app{number}")).await;
        let holder = hold(&db, app.id).await;
        sqlx::query(
            "insert into global_mutes (app, username, chatroom_ends_at, actor, since)
             values ($1, 'user', date_trunc('milliseconds', now()), '@ppAdmin', now())",
        )
        .bind(app.id)
        .execute(&db)
        .await
        .expect("a mute");
        held.push((app.id, holder));
    }
    // Known to be due while it is held: only its holder can say so.
    for (app, holder) in &mut held {
        sqlx::query("update apps set next_end = now() where id = $1").bind(*app).execute(&mut **holder).await.expect("noted");
    }
    let mut holders = Vec::new();
    for (app, holder) in held {
        holder.commit().await.expect("noted");
        holders.push(hold(&db, app).await);
    }
    mute(&app, json!({"username": "ann", "chatroom": 1})).await;
    eventually("the end is told", || async { told(&app).await.len() == 2 }).await;
    for holder in holders {
        holder.rollback().await.expect("free");
    }
    eventually("those that were held have their ends told", || async { count(&app.db).await == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_has_waited_goes_on_though_the_next_look_waits_for_its_connection() {
    if skipped_on_cluster("it sees who waits for a lock on one PostgreSQL").await {
        return;
    }
    let url = migrated_database().await;
    // Who waits for a connection waits longer than this test.
    let mut single = patient(&url);
    single.database.max_connections = 1;
    let db = PgPoolOptions::new().max_connections(3).connect(&url).await.expect("the database");
    let app = new_app(&db, "held", "app").await.id;
    plant_ended(&db, app, 1, 1).await;
    let holder = hold(&db, app).await;
    let instance = Instance::start(single);
    eventually_waits_for_a_lock(&db, "%from apps%for no key update%").await;
    // The next look begins within this time, and finds no connection.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    holder.rollback().await.expect("free");
    eventually("the end is told", || async { count(&db).await == 0 }).await;
    drop(instance);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_mutes_and_deletions_leaves_what_was_told_of_it() {
    let instances = [(); 2].map(|()| Instance::start(patient(shared_database())));
    let addresses = instances.each_ref().map(|instance| instance.address);
    let app = TestApp::on(addresses[0], shared_database()).await;
    let names = numbered("user", 4);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut storm = JoinSet::new();
    for caller in 0..8 {
        let (app, names) = (app.through(addresses[caller % 2]), names.clone());
        storm.spawn(async move {
            for step in 0..20 {
                let name = &names[(caller * 3 + step * 5) % names.len()];
                let answer = match (caller + step) % 5 {
                    0 => app.post_json("/mutes", json!({"username": name, "chatroom": -1})).await,
                    1 => app.post_json("/mutes", json!({"username": name, "chatroom": 1, "chat": 1})).await,
                    2 => app.post_json("/mutes", json!({"username": name, "chatroom": 0})).await,
                    3 => app.delete(&format!("/users/{name}")).await,
                    _ => app.post_json("/users", json!([{"username": name, "password": "p"}])).await,
                };
                assert!(matches!(answer.status, 200 | 404), "{}", answer.text);
            }
        });
    }
    storm.join_all().await;
    let rows = async || -> Vec<String> {
        sqlx::query_scalar("select username from global_mutes where app = $1 and chatroom_ends_at > now() order by username")
            .bind(app.app.id)
            .fetch_all(&app.db)
            .await
            .expect("rows")
    };
    let by_events = async || -> Vec<String> {
        sqlx::query_scalar(
            "select username from (
                 select distinct on (username) username, kind from events, unnest(users) username
                 where app = $1 and chatroom = '' order by username, n desc
             ) last where kind = 'GLOBAL_MUTE/ADD' order by username",
        )
        .bind(app.app.id)
        .fetch_all(&app.db)
        .await
        .expect("rows")
    };
    eventually("the events tell who is muted", || async { rows().await == by_events().await }).await;
    // Told in turn: each user is muted, and then not, and then muted.
    let wrong: Vec<(i64, String)> = sqlx::query_as(
        "select n, username from (
             select n, username, kind, before is not null and before::text <> '{}' as was_muted,
                    lag(kind) over (partition by username order by n) as former
             from events, unnest(users) username where app = $1 and chatroom = ''
         ) told where was_muted <> (coalesce(former, '') = 'GLOBAL_MUTE/ADD')",
    )
    .bind(app.app.id)
    .fetch_all(&app.db)
    .await
    .expect("rows");
    assert!(wrong.is_empty(), "{wrong:?}");
    let strangers: Vec<String> = sqlx::query_scalar(
        gathered(
            "select username from global_mutes where app = $1 and not exists (
                 select from users
                 where (users.app, users.username) = (global_mutes.app, global_mutes.username) and deleted_at is null
             )",
        )
        .await,
    )
    .bind(app.app.id)
    .fetch_all(&app.db)
    .await
    .expect("rows");
    assert!(strangers.is_empty(), "{strangers:?}");
    app.assert_invariants().await;
}
