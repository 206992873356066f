//! The schema is brought up to date while others work on it.

use std::time::Duration;

use refinery_core::Migration;
use roomward::migrations;
use serde_json::Value;
use sqlx::PgPool;

use crate::app::{Instance, TestApp, eventually, new_database, settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_others_are_in_the_way_of_holds_up_no_call_and_succeeds_in_the_end() {
    let url = new_database().await;
    migrations::run(&url).await.expect("migrated");
    let instance = Instance::start(settings(&url));
    let app = TestApp::on(instance.address, &url).await;
    let room = app.room_with("ann", &["bob"]).await;
    let mut all = migrations::ours();
    all.push(Migration::unapplied("V999__later", "alter table chatrooms add column later integer").expect("a migration"));

    // Another session reads the room for a long time, as a backup does.
    let mut backup = app.db.begin().await.expect("a transaction");
    sqlx::query("select from chatrooms").execute(&mut *backup).await.expect("rooms");
    let migration = tokio::spawn(async move { migrations::apply(&url, &all).await });
    eventually("the migration waits for the table", || async {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_locks where relation = 'chatrooms'::regclass and mode = 'AccessExclusiveLock' and not granted",
        )
        .fetch_one(&app.db)
        .await
        .expect("a row");
        waiting == 1
    })
    .await;
    // It stands in front of these calls, and lets them pass although it has not had its turn.
    assert_eq!(app.members(&room).await.len(), 2);
    assert_eq!(app.delete(&format!("/chatrooms/{room}/users/bob")).await.status, 200);
    assert!(!migration.is_finished());

    backup.rollback().await.expect("the end of the backup");
    let applied = tokio::time::timeout(Duration::from_secs(30), migration).await.expect("in time").expect("no panic");
    assert_eq!(applied.expect("migrated"), ["V999__later"]);
    assert_eq!(app.members(&room).await.len(), 1);
}

/// A later migration that builds an index on `users` and waits for nothing else.
fn online() -> Vec<Migration> {
    let sql =
        "-- An index.\n-- Online: for the test.\ncreate index if not exists users_later\n    on users (nickname); -- later\n";
    let mut all = migrations::ours();
    all.push(Migration::unapplied("V999__later", sql).expect("a migration"));
    all
}

/// Waits until the index is being built, which has to wait for a transaction that began before.
async fn is_building(db: &PgPool) {
    eventually("the index is being built", || async {
        let query = sqlx::query_scalar("select count(*) from pg_stat_progress_create_index where relid = 'users'::regclass");
        let building: i64 = query.fetch_one(db).await.expect("a row");
        building == 1
    })
    .await;
}

async fn is_valid(db: &PgPool) -> bool {
    let query = sqlx::query_scalar("select indisvalid from pg_index where indexrelid = 'users_later'::regclass");
    query.fetch_one(db).await.expect("an index")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_built_while_others_register_and_while_another_instance_wants_to_migrate() {
    let url = new_database().await;
    migrations::run(&url).await.expect("migrated");
    let instance = Instance::start(settings(&url));
    let app = TestApp::on(instance.address, &url).await;
    let mut old = app.db.begin().await.expect("a transaction");
    sqlx::raw_sql("set transaction isolation level repeatable read; select from apps").execute(&mut *old).await.expect("apps");
    let migrate = || {
        let url = url.clone();
        tokio::spawn(async move { migrations::apply(&url, &online()).await })
    };
    let (one, two) = (migrate(), migrate());
    is_building(&app.db).await;
    app.users(&["ann"]).await;
    assert!(!one.is_finished() && !two.is_finished());

    old.rollback().await.expect("the end of the old transaction");
    let done = tokio::time::timeout(Duration::from_secs(30), futures_util::future::join(one, two)).await.expect("in time");
    let mut applied: Vec<String> = Vec::new();
    for done in [done.0, done.1] {
        applied.extend(done.expect("no panic").expect("migrated"));
    }
    assert_eq!(applied, ["V999__later"]);
    assert!(is_valid(&app.db).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_whose_building_was_broken_off_is_built_anew() {
    let url = new_database().await;
    migrations::run(&url).await.expect("migrated");
    let db = PgPool::connect(&url).await.expect("the database");
    let mut old = db.begin().await.expect("a transaction");
    sqlx::raw_sql("set transaction isolation level repeatable read; select from apps").execute(&mut *old).await.expect("apps");
    let migration = tokio::spawn({
        let url = url.clone();
        async move { migrations::apply(&url, &online()).await }
    });
    is_building(&db).await;
    sqlx::query("select pg_cancel_backend(pid) from pg_stat_progress_create_index where relid = 'users'::regclass")
        .execute(&db)
        .await
        .expect("cancelled");
    assert!(migration.await.expect("no panic").is_err());
    old.rollback().await.expect("the end of the old transaction");
    assert!(!is_valid(&db).await);
    assert_eq!(migrations::apply(&url, &online()).await.expect("migrated"), ["V999__later"]);
    assert!(is_valid(&db).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_from_before_their_list_had_an_order_are_listed_by_age_and_then_by_name() {
    let url = new_database().await;
    migrations::apply(&url, &migrations::ours()[..1]).await.expect("migrated");
    let db = PgPool::connect(&url).await.expect("the database");
    sqlx::raw_sql(
        "insert into apps (org, name, client_id, client_secret_hash) values ('old', 'app', 'c', '');
         insert into users (app, username, created_at)
         select id, username, timestamptz '2026-01-01' + age * interval '1 ms'
         from apps, (values ('a', 3), ('b', 1), ('d', 2), ('c', 2)) given (username, age)",
    )
    .execute(&db)
    .await
    .expect("users");
    migrations::run(&url).await.expect("migrated");
    let instance = Instance::start(settings(&url));
    let mut app = TestApp::on(instance.address, &url).await;
    app.app = roomward::accounts::apps::find(&roomward::db::Db::new(db), "old", "app").await.expect("found").expect("an app");
    app.token = crate::app::token(&app.app);
    app.users(&["0"]).await;
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/users?limit=2&cursor={cursor}")).await.json();
        let users = page["entities"].as_array().expect("a list");
        names.extend(users.iter().map(|user| user["username"].as_str().expect("a name").to_owned()));
        let Value::String(next) = &page["cursor"] else { break };
        cursor.clone_from(next);
    }
    assert_eq!(names, ["b", "c", "d", "a", "0"]);
}
