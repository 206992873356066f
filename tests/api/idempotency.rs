//! A call with an `Idempotency-Key` is made once, however often it is sent.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use roomward::db::Db;
use roomward::idempotency::{self, Answer as Kept, Claimed, KeyedCall};
use roomward::names::{RoomKey, Scope};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::app::{Answer, Instance, TestApp, eventually, migrated_database, patient, settings, shared_database};
use crate::openapi::forms;

/// What a client sees of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    status: u16,
    content_type: String,
    body: Vec<u8>,
    replayed: bool,
}

impl Seen {
    /// The same answer, said again.
    fn again(&self) -> Self {
        Self { replayed: true, ..self.clone() }
    }

    /// The answer with its times masked, to compare it as a whole.
    fn answer(&self) -> Answer {
        let text = String::from_utf8(self.body.clone()).expect("UTF-8");
        let text = ["\"timestamp\":", "\"duration\":"].iter().fold(text, |text, key| crate::app::mask_number(&text, key));
        Answer { status: self.status, text }
    }
}

async fn see(request: reqwest::RequestBuilder) -> Seen {
    let (client, request) = request.build_split();
    let request = request.expect("a request");
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.expect("an answer");
    assert_eq!(forms::unknown_header(method.as_str(), &path, response.status().as_u16(), response.headers()), None);
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().expect("a text").to_owned());
    let replayed = header("idempotency-replayed");
    assert!(matches!(replayed.as_deref(), None | Some("true")), "{replayed:?}");
    let (status, content_type) = (response.status().as_u16(), header("content-type").expect("a type"));
    Seen { status, content_type, replayed: replayed.is_some(), body: response.bytes().await.expect("a body").to_vec() }
}

async fn send(app: &TestApp, key: &str, method: Method, path: &str, body: &str) -> Seen {
    see(app.request(method, path).header("Idempotency-Key", key).body(body.to_owned())).await
}

async fn post(app: &TestApp, key: &str, path: &str, body: &str) -> Seen {
    send(app, key, Method::POST, path, body).await
}

/// How many keys of the app are known.
async fn keys(app: &TestApp) -> i64 {
    sqlx::query_scalar("select count(*) from idempotency_keys where app = $1")
        .bind(app.app.id)
        .fetch_one(&app.db)
        .await
        .expect("a row")
}

async fn age(app: &TestApp, by: &str) {
    sqlx::query("update idempotency_keys set claimed_at = now() - $2::text::interval where app = $1")
        .bind(app.app.id)
        .bind(by)
        .execute(&app.db)
        .await
        .expect("aged");
}

async fn is_under_way(app: &TestApp) {
    eventually("the call is under way", || async { keys(app).await > 0 }).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn fails_reused(seen: &Seen) {
    let description = "Idempotency-Key was used for another call";
    seen.answer().fails(422, "idempotency_key_reused", "IdempotencyKeyReusedException", description);
    assert!(!seen.replayed);
}

#[tokio::test]
async fn a_repeated_call_is_made_once_and_answered_with_the_same_bytes() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    for (key, method, path, body) in [
        ("1", Method::POST, format!("/chatrooms/{room}/users/bob"), ""),
        ("2", Method::POST, format!("/chatrooms/{room}/mute?a=b"), r#"{"usernames":["bob"],"mute_duration":60000}"#),
        ("3", Method::PUT, format!("/chatrooms/{room}"), r#"{"name":"other"}"#),
        ("4", Method::DELETE, format!("/chatrooms/{room}/users/bob"), ""),
        ("5", Method::POST, "/chatrooms".into(), r#"{"name":"n","description":"d","owner":"ann"}"#),
        ("6", Method::DELETE, format!("/chatrooms/{room}"), ""),
    ] {
        let first = send(&app, key, method.clone(), &path, body).await;
        assert_eq!((first.status, first.replayed, &*first.content_type), (200, false, "application/json"), "{path}");
        tokio::time::sleep(Duration::from_millis(3)).await;
        for _ in 0..2 {
            assert_eq!(send(&app, key, method.clone(), &path, body).await, first.again(), "{path}");
        }
    }
    let rooms: i64 = sqlx::query_scalar("select count(*) from chatrooms where app = $1 and deleted_at is null")
        .bind(app.app.id)
        .fetch_one(&app.db)
        .await
        .expect("a row");
    assert_eq!((rooms, keys(&app).await), (1, 6));
}

/// How many rooms, users, callback rules and events there are.
async fn everything(app: &TestApp) -> (i64, i64, i64, i64) {
    let counts = "select (select count(*) from chatrooms), (select count(*) from users where deleted_at is null),
                  (select count(*) from callback_rules where deleted_at is null), (select count(*) from events)";
    sqlx::query_as(counts).fetch_one(&app.db).await.expect("a row")
}

/// As when the instance dies, or the answer to its COMMIT is lost.
#[tokio::test]
async fn a_call_whose_answer_cannot_be_kept_is_not_made() {
    let url = migrated_database().await;
    let instance = Instance::start(settings(&url));
    let app = TestApp::on(instance.address, &url).await;
    app.users(&["ann", "bob", "cat", "dan"]).await;
    let rule = json!({"url": "http://127.0.0.1:1/", "secret": "s", "paused": true});
    let made = app.post_json("/callbacks/rules", rule.clone()).await.json();
    let doomed_rule = format!("/callbacks/rules/{}", made["data"]["id"].as_str().expect("an id"));
    let rule = rule.to_string();
    for (method, path, body) in [
        (Method::POST, "/callbacks/rules", &*rule),
        (Method::DELETE, &*doomed_rule, ""),
        (Method::POST, "/chatrooms", r#"{"name":"n","description":"d","owner":"ann"}"#),
        (Method::POST, "/chatrooms", r#"{"name":"n","description":"d","owner":"ann","roomid":"room"}"#),
        (Method::PUT, "/chatrooms/room", r#"{"name":"other"}"#),
        (Method::POST, "/users", r#"{"username":"eve","password":"p"}"#),
        (Method::POST, "/users", r#"[{"username":"fay","password":"p"},{"username":"ann","password":"p"}]"#),
        (Method::POST, "/chatrooms/super_admin", r#"{"superadmin":"bob"}"#),
        (Method::DELETE, "/chatrooms/super_admin/bob", ""),
        (Method::POST, "/moderators", r#"{"username":"bob","role":"viewer"}"#),
        (Method::DELETE, "/moderators/bob", ""),
        (Method::POST, "/mutes", r#"{"username":"bob","chatroom":60}"#),
        (Method::DELETE, "/users/bob", ""),
        (Method::DELETE, "/users?limit=2", ""),
    ] {
        let key = format!("{method} {path} {}", body.len()).replace(' ', "-");
        let before = everything(&app).await;
        run(&app, "alter table idempotency_keys add constraint unanswered check (status is null) not valid").await;
        let failed = send(&app, &key, method.clone(), path, body).await.answer();
        failed.fails(500, "internal_server_error", "java.lang.RuntimeException", "Internal Server Error");
        run(&app, "alter table idempotency_keys drop constraint unanswered").await;
        assert_eq!(everything(&app).await, before, "{key}");
        let first = send(&app, &key, method.clone(), path, body).await;
        assert_eq!((first.status, first.replayed), (200, false), "{key}");
        assert_eq!(send(&app, &key, method, path, body).await, first.again(), "{key}");
    }
    app.assert_invariants().await;
}

async fn run(app: &TestApp, statement: &'static str) {
    sqlx::query(statement).execute(&app.db).await.expect("done");
}

#[tokio::test]
async fn a_key_that_belongs_to_another_call_is_refused() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let path = format!("/chatrooms/{room}/mute");
    let body = r#"{"usernames":["bob"],"mute_duration":60000}"#;
    let first = post(&app, "k", &path, body).await;
    assert_eq!(first.status, 200);
    let other = r#"{"usernames":["ann"],"mute_duration":60000}"#;
    fails_reused(&post(&app, "k", &path, other).await);
    fails_reused(&post(&app, "k", &format!("{path}?a=b"), body).await);
    fails_reused(&post(&app, "k", &format!("/chatrooms/{room}/ban"), body).await);
    fails_reused(&send(&app, "k", Method::DELETE, &path, body).await);
    assert_eq!(app.get(&path).await.json()["data"].as_array().map(Vec::len), Some(1), "only bob is muted");
    assert_eq!(post(&app, "k", &path, body).await, first.again());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_on_two_instances_one_is_made_and_all_are_answered_alike() {
    let app = TestApp::new().await;
    let instance = Instance::start(settings(shared_database()));
    let other = app.through(instance.address);
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    for (key, path, body) in [
        ("add", format!("/chatrooms/{room}/users/bob"), ""),
        ("make", "/chatrooms".into(), r#"{"name":"n","description":"d","owner":"ann"}"#),
    ] {
        let calls = (0..20).map(|number| post(if number % 2 == 0 { &app } else { &other }, key, &path, body));
        let answers = join_all(calls).await;
        let first = answers.iter().find(|answer| !answer.replayed).expect("one that was made");
        assert_eq!(first.status, 200);
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
        assert!(answers.iter().all(|answer| answer.again() == first.again()));
    }
    assert_eq!(app.members(&room).await, ["ann", "bob"]);
    let rooms: i64 = sqlx::query_scalar("select count(*) from chatrooms where app = $1")
        .bind(app.app.id)
        .fetch_one(&app.db)
        .await
        .expect("a row");
    assert_eq!(rooms, 2);
}

#[tokio::test]
async fn a_refusal_is_repeated_as_it_was() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let path = format!("/chatrooms/{room}/users/bob");
    let missing = post(&app, "missing", &path, "").await;
    missing.answer().fails_user("bob");
    let broken = post(&app, "broken", &format!("/chatrooms/{room}/users"), "{").await;
    assert_eq!((broken.status, broken.answer().json()["error"].as_str()), (400, Some("json_parse")));
    let wrong = send(&app, "wrong", Method::PUT, &path, "").await;
    assert_eq!(wrong.status, 405);

    app.users(&["bob"]).await;
    assert_eq!(post(&app, "missing", &path, "").await, missing.again());
    assert_eq!(post(&app, "broken", &format!("/chatrooms/{room}/users"), "{").await, broken.again());
    assert_eq!(send(&app, "wrong", Method::PUT, &path, "").await, wrong.again());
    assert_eq!(app.members(&room).await, ["ann"]);
}

#[tokio::test]
async fn a_refusal_for_a_room_that_cannot_exist_is_repeated_as_it_was() {
    let app = TestApp::new().await;
    let first = post(&app, "k", "/chatrooms/NoRoom/users/bob", "").await;
    first.answer().fails_room("NoRoom");
    assert_eq!(post(&app, "k", "/chatrooms/NoRoom/users/bob", "").await, first.again());
}

#[tokio::test]
async fn without_a_good_token_a_key_is_neither_written_nor_read() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let path = format!("/chatrooms/{room}/users/bob");
    let stranger = TestApp { token: "nonsense".into(), ..app.through(app.address) };
    post(&stranger, "k", &path, "").await.answer().fails_auth();
    post(&stranger, "not a key", &path, "").await.answer().fails_auth();
    assert_eq!(keys(&app).await, 0);
    assert_eq!(post(&app, "k", &path, "").await.status, 200);
    let refused = post(&stranger, "k", &path, "").await;
    refused.answer().fails_auth();
    assert!(!refused.replayed);
    assert!(post(&app, "k", &path, "").await.replayed);
}

#[tokio::test]
async fn what_may_end_better_the_next_time_is_not_kept() {
    let mut impatient = settings(shared_database());
    impatient.database.lock_timeout_ms = 100;
    let instance = Instance::start(impatient);
    let app = TestApp::on(instance.address, shared_database()).await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let path = format!("/chatrooms/{room}/users/bob");

    let busy = app.lock_room(&room).await;
    let answer = post(&app, "k", &path, "").await.answer();
    answer.fails(503, "service_unavailable", "ServiceUnavailableException", "Service Unavailable");
    busy.rollback().await.expect("unlocked");
    assert_eq!(keys(&app).await, 0);
    let first = post(&app, "k", &path, "").await;
    assert_eq!((first.status, first.replayed), (200, false));

    let path = format!("/chatrooms/{room}/users");
    assert_eq!(post(&app, "large", &path, &"x".repeat(1_048_577)).await.status, 413);
    let outside = format!("/metadata/chatroom/{room}/user/bob");
    let gone = app.delete(&format!("/chatrooms/{room}/users/bob")).await;
    assert_eq!(gone.status, 200);
    assert_eq!(send(&app, "outside", Method::PUT, &outside, r#"{"metaData":{"a":"b"}}"#).await.status, 401);
    assert_eq!(keys(&app).await, 1, "only what has succeeded is kept");
}

#[tokio::test]
async fn the_same_key_means_another_call_in_another_room_and_in_another_app() {
    let (app, other) = (TestApp::new().await, TestApp::new().await);
    let first = app.room_with("ann", &[]).await;
    let second = app.room("ann", &[]).await;
    let third = other.room_with("ann", &[]).await;
    for (app, room) in [(&app, &first), (&app, &second), (&other, &third)] {
        let made = post(app, "k", &format!("/chatrooms/{room}/ban"), "").await;
        assert_eq!((made.status, made.replayed), (200, false));
    }
    // Calls that name no room share their keys, and so do rooms that cannot be.
    assert_eq!(post(&app, "k", "/users", r#"{"username":"bob","password":"p"}"#).await.status, 200);
    fails_reused(&post(&app, "k", "/chatrooms", "{}").await);
    fails_reused(&post(&app, "k", "/chatrooms/NO%20ROOM/ban", "").await);
    assert_eq!((keys(&app).await, keys(&other).await), (3, 1));
}

#[tokio::test]
async fn reading_and_tokens_know_no_keys() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let credentials =
        json!({"grant_type": "client_credentials", "client_id": "client", "client_secret": "client-secret"}).to_string();
    for _ in 0..2 {
        for (key, method, path, body, status) in [
            ("k", Method::GET, format!("/chatrooms/{room}/users"), "", 200),
            ("no key", Method::GET, format!("/chatrooms/{room}/users"), "", 200),
            ("no key", Method::POST, "/token".into(), &*credentials, 200),
            ("k", Method::POST, "/token/introspect".into(), r#"{"token":"x"}"#, 200),
            ("k", Method::POST, "/nothing".into(), "", 404),
        ] {
            let seen = send(&app, key, method, &path, body).await;
            assert_eq!((seen.status, seen.replayed), (status, false), "{path}");
        }
    }
    assert_eq!(keys(&app).await, 0);
}

#[tokio::test]
async fn a_key_is_1_to_255_visible_ascii_characters() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let path = format!("/chatrooms/{room}/ban");
    let long = "x".repeat(256);
    for key in [b"".as_slice(), b"a b", b"a\tb", "schlüssel".as_bytes(), b"\xff", long.as_bytes()] {
        let answer = see(app.request(Method::POST, &path).header("Idempotency-Key", key)).await.answer();
        answer.fails_parameter("Idempotency-Key is invalid");
    }
    let two = app.request(Method::POST, &path).header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    see(two).await.answer().fails_parameter("Idempotency-Key is invalid");
    let muted: bool = sqlx::query_scalar("select mute_all from chatrooms where app = $1")
        .bind(app.app.id)
        .fetch_one(&app.db)
        .await
        .expect("a row");
    assert_eq!((muted, keys(&app).await), (false, 0));
    for key in ["!", "~", &long[..255]] {
        assert_eq!(post(&app, key, &path, "").await.status, 200);
        assert!(post(&app, key, &path, "").await.replayed);
    }
}

#[tokio::test]
async fn an_answer_is_forgotten_after_a_day_even_if_it_is_still_there() {
    let url = migrated_database().await;
    let mut lazy = settings(&url);
    // Nothing is swept but at the start.
    lazy.purge.every_ms = 3_600_000;
    let instance = Instance::start(lazy);
    let app = TestApp::on(instance.address, &url).await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let path = format!("/chatrooms/{room}/users/bob");
    let first = post(&app, "k", &path, "").await;
    age(&app, "23 hours 59 minutes").await;
    assert_eq!(post(&app, "k", &path, "").await, first.again());
    fails_reused(&post(&app, "k", &path, "{}").await);

    age(&app, "24 hours 1 second").await;
    let anew = post(&app, "k", &path, "").await;
    assert!(!anew.replayed);
    anew.answer().fails_forbidden(400, &format!("can not join this group, reason:user: bob already in group: {room}"));
    assert_eq!(post(&app, "k", &path, "").await, anew.again());
}

fn keyed(app: &TestApp, print: u8) -> KeyedCall {
    KeyedCall { scope: Scope::Room(RoomKey::parse(app.app.id, "room").expect("an id")), key: "k".into(), print: [print; 32] }
}

/// The claim of a call, which must be free.
async fn claim(db: &Db, call: KeyedCall) -> roomward::idempotency::Claim {
    match idempotency::claim(db, call, &settings(shared_database()).idempotency).await.expect("a claim") {
        Claimed::New(claim) => claim,
        Claimed::Repeated(_) => panic!("made already"),
    }
}

#[tokio::test]
async fn a_call_whose_maker_has_died_is_made_anew_by_one_only() {
    let app = TestApp::new().await;
    let db = Db::new(app.db.clone());
    let user = app.post_json("/users", json!({"username": "ann", "password": "p"})).await;
    assert_eq!(user.status, 200);
    let body = json!({"name": "n", "description": "d", "owner": "ann", "roomid": "room"}).to_string();
    assert_eq!(post(&app, "make", "/chatrooms", &body).await.status, 200);
    sqlx::query("delete from idempotency_keys where app = $1").bind(app.app.id).execute(&app.db).await.expect("cleared");

    drop(claim(&db, keyed(&app, 1)).await);
    age(&app, "59 seconds").await;
    fails_reused(&post(&app, "k", "/chatrooms/room/ban", "").await);
    age(&app, "61 seconds").await;
    let answers = join_all((0..10).map(|_| post(&app, "k", "/chatrooms/room/ban", ""))).await;
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 200));
}

#[tokio::test]
async fn who_has_lost_a_claim_can_neither_answer_for_the_call_nor_free_its_key() {
    let app = TestApp::new().await;
    let db = Db::new(app.db.clone());
    let answer = |status| Kept { status, body: b"{}".to_vec() };
    let (first, second) = (claim(&db, keyed(&app, 1)).await, {
        age(&app, "61 seconds").await;
        claim(&db, keyed(&app, 1)).await
    });
    first.keep(&db, &answer(201)).await.expect("passed over");
    age(&app, "61 seconds").await;
    let third = claim(&db, keyed(&app, 1)).await;
    second.give_up(&db).await.expect("passed over");
    third.keep(&db, &answer(203)).await.expect("kept");
    match idempotency::claim(&db, keyed(&app, 1), &settings(shared_database()).idempotency).await.expect("a claim") {
        Claimed::Repeated(kept) => assert_eq!((kept.status, kept.body), (203, b"{}".to_vec())),
        Claimed::New(_) => panic!("free"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_finds_the_answer_when_it_comes_again() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let path = format!("/chatrooms/{room}/users/bob");
    let busy = app.lock_room(&room).await;
    let mut connection = TcpStream::connect(app.address).await.expect("connected");
    // Not a mere end of what it has to say: the service notices at once.
    connection.set_zero_linger().expect("to be reset");
    let request = format!(
        "POST /{}/app{path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n\r\n",
        app.app.org, app.token
    );
    connection.write_all(request.as_bytes()).await.expect("sent");
    is_under_way(&app).await;
    drop(connection);
    tokio::time::sleep(Duration::from_millis(200)).await;
    busy.rollback().await.expect("unlocked");
    let request = app.client.post(format!("http://{}/{}/app{path}", app.address, app.app.org)).bearer_auth(&app.token);
    let seen = see(request.header("Idempotency-Key", "k")).await;
    assert_eq!((seen.status, seen.replayed), (200, true));
    assert_eq!(app.members(&room).await, ["ann", "bob"]);
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_made_all_the_same() {
    let mut impatient = settings(shared_database());
    impatient.server.request_timeout_ms = 200;
    let instance = Instance::start(impatient);
    let calm = TestApp::new().await;
    let app = calm.through(instance.address);
    let room = calm.room_with("ann", &[]).await;
    calm.users(&["bob"]).await;
    let path = format!("/chatrooms/{room}/users/bob");
    let busy = app.lock_room(&room).await;
    assert_eq!(post(&app, "k", &path, "").await.status, 503);
    assert_eq!(post(&app, "k", &path, "").await.status, 503, "it is still under way");
    busy.rollback().await.expect("unlocked");
    eventually("the call is made", || async { calm.members(&room).await == ["ann", "bob"] }).await;
    let seen = post(&calm, "k", &path, "").await;
    assert_eq!((seen.status, seen.replayed), (200, true));
}

#[tokio::test]
async fn a_call_that_outlives_its_claim_is_undone_before_another_is_made() {
    let mut hasty = patient(shared_database());
    hasty.idempotency.claim_seconds = 1;
    let instance = Instance::start(hasty);
    let app = TestApp::on(instance.address, shared_database()).await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let path = format!("/chatrooms/{room}/users/bob");
    let busy = app.lock_room(&room).await;
    let started = Instant::now();
    let answer = post(&app, "k", &path, "").await.answer();
    assert!(started.elapsed() < Duration::from_secs(30), "nothing but the claim has ended");
    answer.fails(503, "service_unavailable", "ServiceUnavailableException", "Service Unavailable");
    assert_eq!(keys(&app).await, 0);
    busy.rollback().await.expect("unlocked");
    let seen = post(&app, "k", &path, "").await;
    assert_eq!((seen.status, seen.replayed), (200, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_under_way_is_waited_for_but_not_for_ever() {
    let mut impatient = patient(shared_database());
    impatient.idempotency.wait_ms = 1000;
    let instance = Instance::start(impatient);
    let app = TestApp::on(instance.address, shared_database()).await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let path = format!("/chatrooms/{room}/users/bob");
    let busy = app.lock_room(&room).await;
    let release = async {
        is_under_way(&app).await;
        let started = Instant::now();
        let answer = post(&app, "k", &path, "").await.answer();
        let description = "the call of this Idempotency-Key is still under way, try again!";
        answer.fails(409, "concurrent_operation_error", "ConcurrentOperationException", description);
        assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
        let waiting = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            busy.rollback().await.expect("unlocked");
        };
        tokio::join!(post(&app, "k", &path, ""), waiting).0
    };
    let (first, second) = tokio::join!(post(&app, "k", &path, ""), release);
    assert_eq!((first.status, first.replayed), (200, false));
    assert_eq!(second, first.again(), "who waits is answered as soon as there is an answer");
}

#[tokio::test]
async fn a_question_with_a_key_is_answered_anew() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let ask = async || post(&app, "k", &format!("/chatrooms/{room}/speak"), r#"{"usernames":["bob"]}"#).await;
    assert!(ask().await.answer().text.contains(r#""layer":"member""#));
    app.post_json(&format!("/chatrooms/{room}/mute"), json!({"usernames": ["bob"], "mute_duration": -1})).await;
    let seen = ask().await;
    assert!(!seen.replayed && seen.answer().text.contains(r#""layer":"muted""#));
}
