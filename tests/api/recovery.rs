//! A database that dies and comes back.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use roomward::db::{Db, Lane};
use roomward::migrations;
use roomward::names::NameList;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::app::{Instance, TestApp, eventually, numbered, settings, shared_database, writer};
use crate::cluster::Cluster;

/// How long the tests' own ways to the database wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_is_answered_with_503_and_served_again_when_it_is_back() {
    let cluster = Cluster::start("recovery-pg");
    let url = cluster.url();
    migrations::run(&url).await.expect("migrated");
    let mut impatient = settings(&url);
    impatient.database.acquire_timeout_ms = 500;
    let instance = Instance::start(impatient);
    let app = Arc::new(TestApp::on(instance.address, &url).await);
    let names = numbered("user", 40);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    app.users(&["ann"]).await;
    let room = app.room("ann", &[]).await;

    // Load that goes on all the while; what was acknowledged is noted.
    let (over, unavailable) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut load = JoinSet::new();
    for name in names {
        let (app, over, unavailable, users) =
            (app.clone(), over.clone(), unavailable.clone(), format!("/chatrooms/{room}/users"));
        load.spawn(async move {
            let mut is_in = false;
            while !over.load(Ordering::Relaxed) {
                let path = format!("{users}/{name}");
                let answer = if is_in { app.delete(&path).await } else { app.post(&path).await };
                match answer.status {
                    200 => is_in = !is_in,
                    // Answered as unavailable, it may have been done or not; the next answer tells.
                    400 if answer.text.contains("already in group") => is_in = true,
                    400 => is_in = false,
                    _ => {
                        answer.fails(503, "service_unavailable", "ServiceUnavailableException", "Service Unavailable");
                        unavailable.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
            (name, is_in)
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.run("kill", &[]);
    eventually("calls fail", || async { unavailable.load(Ordering::Relaxed) > 0 }).await;
    let ask =
        async |path: &str| reqwest::get(format!("http://{}{path}", instance.address)).await.expect("an answer").status().as_u16();
    assert_eq!((ask("/healthz").await, ask("/readyz").await), (200, 503));

    cluster.run("start", &[]);
    eventually("the service is ready again", || async { ask("/readyz").await == 200 }).await;
    eventually("a call succeeds", || async {
        app.post_json(&format!("/chatrooms/{room}/users"), json!({"usernames": ["ann"]})).await.status == 200
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    over.store(true, Ordering::Relaxed);
    let present = load.join_all().await;
    app.db.close().await;

    let app = TestApp { db: sqlx::PgPool::connect(&url).await.expect("the database"), ..Arc::into_inner(app).expect("alone") };
    let mut expected: Vec<String> = present.into_iter().filter(|(_, is_in)| *is_in).map(|(name, _)| name).collect();
    expected.push("ann".into());
    expected.sort();
    let mut members = app.members(&room).await;
    members.sort();
    assert_eq!(members, expected, "every acknowledged change is there");
    app.assert_invariants().await;
}

#[tokio::test]
async fn a_service_starts_without_a_database_and_says_so() {
    let mut nowhere = settings("postgres://nobody@127.0.0.1:1/none");
    nowhere.database.acquire_timeout_ms = 200;
    let instance = Instance::start(nowhere);
    let answer = reqwest::get(format!("http://{}/org/app/users/ann", instance.address)).await.expect("an answer");
    assert_eq!(answer.status(), 503);
    let body: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(
        (body["error"].as_str(), body["error_description"].as_str()),
        (Some("service_unavailable"), Some("Service Unavailable"))
    );
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_answered_with_503_and_undone() {
    let mut impatient = settings(crate::app::shared_database());
    impatient.server.request_timeout_ms = 300;
    let instance = Instance::start(impatient);
    let calm = TestApp::new().await;
    let app = calm.through(instance.address);
    let room = calm.room_with("ann", &[]).await;
    calm.users(&["bob"]).await;
    let busy = app.lock_room(&room).await;
    let answer = app.post(&format!("/chatrooms/{room}/users/bob")).await;
    answer.fails(503, "service_unavailable", "ServiceUnavailableException", "Service Unavailable");
    busy.rollback().await.expect("unlocked");
    assert_eq!(calm.members(&room).await, ["ann"]);
    assert_eq!(calm.post(&format!("/chatrooms/{room}/users/bob")).await.status, 200);
}

/// A way to the database of a URL, as another URL. `forget` has its connections carry nothing any more, without a word to
/// either end, as when a machine on the way has lost its memory; new ones work.
async fn way_to(url: &str) -> (String, Arc<Notify>) {
    let (server, path) = url.rsplit_once('/').expect("a URL with a database");
    let (user, server) = server.rsplit_once('@').expect("a URL with a user");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (way, server) = (format!("{user}@{}/{path}", listener.local_addr().expect("an address")), server.to_owned());
    let forget = Arc::new(Notify::new());
    let forgotten = forget.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(&server).await.expect("the server");
            let forgotten = forgotten.clone();
            tokio::spawn(async move {
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    () = forgotten.notified() => std::future::pending().await,
                }
            });
        }
    });
    (way, forget)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_lost_without_a_word_are_given_up_and_made_anew() {
    let (url, forget) = way_to(shared_database()).await;
    let mut brisk = settings(&url);
    brisk.database.statement_timeout_ms = 500;
    brisk.server.request_timeout_ms = 1000;
    let instance = Instance::start(brisk);
    let calm = TestApp::new().await;
    let app = calm.through(instance.address);
    let room = calm.room_with("ann", &["bob"]).await;
    let list = format!("/chatrooms/{room}/mute");
    let mute = || app.post_json(&list, json!({"usernames": ["bob"], "mute_duration": 60_000}));
    assert_eq!(mute().await.status, 200);
    forget.notify_waiters();
    // They meet every connection that there is.
    for answer in join_all((0..20).map(|_| mute())).await {
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
    }
    eventually("changes are made again", || async { mute().await.status == 200 }).await;
    eventually("lists are read again", || async { app.get(&list).await.status == 200 }).await;
    calm.assert_invariants().await;
}

/// A client may hang up at any point of a call: the connection that the call used must not keep a transaction open in
/// which the next one's work is acknowledged and then lost.
#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_change_is_lost_to_a_transaction_that_a_call_has_dropped() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .connect(crate::app::shared_database())
        .await
        .expect("the database");
    let writer = writer(&pool);
    let db = writer.db().clone();
    let key = roomward::names::RoomKey::parse(app.app.id, &room).expect("an id");
    let bob = roomward::names::Names::new(["bob"]);
    let actor = roomward::events::log::Actor::client();
    for round in 0..300_u64 {
        let mute = roomward::rooms::mutes::Mute { names: bob.clone(), duration_ms: 60_000, limit: 0 };
        let mute = writer.submit(&key, &actor, mute);
        let _ = tokio::time::timeout(Duration::from_micros(round * 7 % 2000), mute).await;
        let registration =
            roomward::accounts::users::Registration { username: format!("user{round}"), password_hash: None, nickname: None };
        let registered = roomward::accounts::users::register(&db, app.app.id, &[registration]).await.expect("registered");
        let registered = registered.commit().await.expect("committed");
        assert_eq!(registered.len(), 1);
    }
    let there: i64 = sqlx::query_scalar("select count(*) from users where app = $1 and username like 'user%'")
        .bind(app.app.id)
        .fetch_one(&app.db)
        .await
        .expect("a row");
    assert_eq!(there, 300);
}

#[tokio::test]
async fn a_statement_that_was_given_up_or_has_failed_spoils_no_connection() {
    let pool = PgPoolOptions::new().max_connections(1).connect(shared_database()).await.expect("the database");
    let db = Db::of(Lane::new(pool, PATIENCE));
    let backend = async || -> i32 {
        let query = sqlx::query_scalar("select pg_backend_pid()");
        tokio::time::timeout(Duration::from_secs(5), query.fetch_one(db.pool())).await.expect("in time").expect("a row")
    };
    let first = backend().await;
    assert_eq!(backend().await, first, "used again");
    // The next one waits for its end, and gets its own answer.
    let given_up = sqlx::query_scalar::<_, i32>("select 7 from pg_sleep(0.3)").fetch_all(db.pool());
    assert!(tokio::time::timeout(Duration::from_millis(50), given_up).await.is_err());
    assert_eq!(backend().await, first);
    assert!(sqlx::query("select 1 / 0").execute(db.pool()).await.is_err());
    assert_eq!(backend().await, first);
    // What was begun and not brought to an end is never met again.
    drop(db.begin().await.expect("begun"));
    let second = backend().await;
    assert_ne!(second, first);
    sqlx::query("select pg_terminate_backend(pg_backend_pid())").execute(db.pool()).await.expect_err("ended");
    assert_ne!(backend().await, second);
}

#[tokio::test]
async fn a_connection_comes_about_even_if_it_takes_longer_than_calls_wait_for_it() {
    let pool = |name: &'static str, patience: Duration| {
        let options = PgConnectOptions::from_str(shared_database()).expect("a URL").application_name(name);
        let slowly = PgPoolOptions::new().max_connections(1).after_connect(move |_, _| {
            Box::pin(async move {
                tokio::time::sleep(patience).await;
                Ok(())
            })
        });
        Lane::new(slowly.connect_lazy_with(options), PATIENCE)
    };
    let db = Db::of(pool("common", Duration::ZERO)).with_own(pool("own", Duration::from_millis(500)));
    let lane = async || -> String {
        sqlx::query_scalar("select current_setting('application_name')").fetch_one(db.pool()).await.expect("a row")
    };
    assert_eq!(lane().await, "common");
    eventually("a connection of its own", || async { lane().await == "own" }).await;
}

#[tokio::test]
async fn a_list_of_names_is_read_as_it_was_written() {
    let app = TestApp::new().await;
    let read =
        async |array: &'static str| -> Result<NameList, sqlx::Error> { sqlx::query_scalar(array).fetch_one(&app.db).await };
    for (array, names) in [
        ("select '{}'::text[]", vec![]),
        ("select '{ann}'::text[]", vec!["ann"]),
        ("select array['ann', '', 'é', 'b.o-b_1']", vec!["ann", "", "é", "b.o-b_1"]),
    ] {
        let list = read(array).await.expect("a list");
        assert_eq!((list.len(), list.iter().collect::<Vec<_>>()), (names.len(), names), "{array}");
    }
    for array in ["select array['ann', null]", "select array[array['ann'], array['bob']]", "select '{1}'::integer[]"] {
        assert!(read(array).await.is_err(), "{array}");
    }
}
