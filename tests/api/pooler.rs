//! A service whose database is behind PgBouncer in transaction mode, and a commit whose answer that loses. `make
//! test-pgbouncer` runs all tests in this way.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use reqwest::{Method, RequestBuilder};
use roomward::db::{Db, Lane};
use roomward::migrations;
use roomward::server;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::task::JoinSet;

use crate::app::{Instance, TestApp, eventually, new_database, numbered, server_url, settings};
use crate::citus::skipped_on_cluster;

/// A pooler before the test server.
struct Pooler(PathBuf);

impl Pooler {
    fn start(name: &str) -> Self {
        let pooler = Self(Path::new(env!("CARGO_MANIFEST_DIR")).join(".local").join(name));
        pooler.run("start", &[&server_url()]);
        pooler
    }

    fn run(&self, command: &str, rest: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/pgbouncer");
        let status = Command::new(script).arg(command).arg(&self.0).args(rest).status().expect("the script");
        assert!(status.success(), "scripts/pgbouncer {command}");
    }

    /// The way to a database of the test server.
    fn url(&self, database: &str) -> String {
        let url = std::fs::read_to_string(self.0.join("url")).expect("a URL");
        let (_, name) = database.rsplit_once('/').expect("a URL with a database");
        format!("{}/{name}", url.trim().rsplit_once('/').expect("a URL with a database").0)
    }

    /// Says something to PgBouncer itself.
    async fn tell(&self, command: String) {
        let mut console = PgConnection::connect(&self.url("/pgbouncer")).await.expect("the console");
        sqlx::raw_sql(AssertSqlSafe(command)).execute(&mut console).await.expect("done");
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.run("stop", &[]);
    }
}

async fn stage(pooler: &Pooler) -> (Instance, TestApp, String) {
    let url = new_database().await;
    migrations::run(&url).await.expect("migrated");
    let mut settings = settings(&url);
    settings.database.url = pooler.url(&url).into();
    settings.database.transaction_pooling = true;
    let instance = Instance::start(settings);
    let app = TestApp::on(instance.address, &url).await;
    (instance, app, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_behind_a_pooler_leaves_nothing_prepared_on_connections_that_others_are_lent() {
    if skipped_on_cluster("the service connects to a coordinator itself").await {
        return;
    }
    let pooler = Pooler::start("pooler-shared");
    let (_instance, app, url) = stage(&pooler).await;
    let names = numbered("user", 40);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let room = app.room_with("ann", &[]).await;
    let app = Arc::new(app);
    let mut calls = JoinSet::new();
    for name in names.clone() {
        let (app, room) = (app.clone(), room.clone());
        calls.spawn(async move {
            assert_eq!(app.post(&format!("/chatrooms/{room}/users/{name}")).await.status, 200);
            assert_eq!(app.get(&format!("/chatrooms/{room}")).await.status, 200);
            assert_eq!(app.get(&format!("/users/{name}/joined_chatrooms")).await.status, 200);
            assert_eq!(app.get("/chatrooms/no-such-room").await.status, 404);
        });
    }
    calls.join_all().await;
    let mut members = app.members(&room).await;
    members.sort();
    let mut expected = names;
    expected.insert(0, "ann".into());
    expected.sort();
    assert_eq!(members, expected);
    app.assert_invariants().await;

    // Each connection of the server in turn, as the next one who is lent it would find it.
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let url = pooler.url(&url);
        clients.spawn(async move {
            let mut client = PgConnection::connect(&url).await.expect("the pooler");
            let held = "select name from pg_prepared_statements, pg_sleep(0.05)";
            sqlx::raw_sql(held).fetch_all(&mut client).await.expect("a list").len()
        });
    }
    assert!(clients.join_all().await.iter().all(|prepared| *prepared == 0));
}

#[tokio::test]
async fn what_a_session_is_set_to_holds_in_each_transaction_behind_a_pooler() {
    if skipped_on_cluster("the service connects to a coordinator itself").await {
        return;
    }
    let pooler = Pooler::start("pooler-settings");
    let mut settings = settings(&server_url());
    settings.database.transaction_pooling = true;
    settings.database.lock_timeout_ms = 1234;
    let session = server::session(&settings.database, &pooler.url(&server_url())).expect("a URL");
    let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(session.options.clone());
    let db = Db::of(Lane::new(pool, session.patience).begun_by(session.begin));
    let set = "select current_setting('plan_cache_mode') || ' ' || current_setting('lock_timeout')";
    for _ in 0..2 {
        let single: String = sqlx::query_scalar(set).fetch_one(db.pool()).await.expect("a row");
        let mut transaction = db.begin().await.expect("begun");
        let within: String = sqlx::query_scalar(set).fetch_one(&mut *transaction).await.expect("a row");
        transaction.undo().await;
        assert_eq!((&*single, &*within), ("force_generic_plan 1234ms", "force_generic_plan 1234ms"));
    }
    // A statement that fails spoils none that comes behind it.
    sqlx::query("select 1 / 0").execute(db.pool()).await.expect_err("refused");
    sqlx::query("select 1").execute(db.pool()).await.expect("done");
}

/// PostgreSQL keeps what the pooler has sent on to it, whether or not the pooler lives to pass on the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_a_pooler_has_lost_is_not_made_again() {
    if skipped_on_cluster("the service connects to a coordinator itself").await {
        return;
    }
    let pooler = Pooler::start("pooler-lost");
    let (_instance, app, url) = stage(&pooler).await;
    app.users(&["bob"]).await;
    let room = app.room_with("ann", &[]).await;
    slow_commits(&app.db).await;
    let path = format!("/chatrooms/{room}/users/bob");
    lose_commit(&pooler, &app, &url, app.request(Method::POST, &path)).await;
    let there = "select exists (select from members where username = 'bob')";
    eventually("the change is there", || async { sqlx::query_scalar::<_, bool>(there).fetch_one(&app.db).await.expect("a row") })
        .await;
    app.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_whose_commit_was_not_answered_is_made_once_for_who_repeats_the_call() {
    if skipped_on_cluster("the service connects to a coordinator itself").await {
        return;
    }
    let pooler = Pooler::start("pooler-room");
    let (_instance, app, url) = stage(&pooler).await;
    app.users(&["ann"]).await;
    slow_commits(&app.db).await;
    let make = || {
        let body = json!({"name": "n", "description": "d", "owner": "ann"}).to_string();
        app.request(Method::POST, "/chatrooms").header("Idempotency-Key", "k").body(body)
    };
    lose_commit(&pooler, &app, &url, make()).await;
    let again = make().send().await.expect("an answer");
    assert_eq!((again.status().as_u16(), again.headers().contains_key("idempotency-replayed")), (200, true));
    let answer: Value = again.json().await.expect("JSON");
    let rooms: Vec<String> = sqlx::query_scalar("select id from chatrooms").fetch_all(&app.db).await.expect("a list");
    assert_eq!(json!(rooms), json!([answer["data"]["id"]]));
}

/// Sends a call whose transaction sleeps at its end, and has the pooler lose the answer to its commit.
async fn lose_commit(pooler: &Pooler, app: &TestApp, url: &str, call: RequestBuilder) {
    let caller = app.through(app.address);
    let call = tokio::spawn(async move { caller.send(call).await });
    let committing = "select exists (select from pg_stat_activity where datname = current_database() and query = 'commit'
                      and state = 'active')";
    eventually("the commit is under way", || async {
        sqlx::query_scalar::<_, bool>(committing).fetch_one(&app.db).await.expect("a row")
    })
    .await;
    let (_, database) = url.rsplit_once('/').expect("a database");
    pooler.tell(format!("kill {database}")).await;
    pooler.tell(format!("resume {database}")).await;
    let answer = call.await.expect("no panic");
    answer.fails(503, "service_unavailable", "ServiceUnavailableException", "Service Unavailable");
}

/// Lets a transaction that adds a member sleep at its end.
async fn slow_commits(db: &PgPool) {
    sqlx::raw_sql(
        "create function sleep() returns trigger language plpgsql as 'begin perform pg_sleep(1); return null; end';
         create constraint trigger sleeps after insert on members deferrable initially deferred
             for each row execute function sleep()",
    )
    .execute(db)
    .await
    .expect("a trigger");
}
