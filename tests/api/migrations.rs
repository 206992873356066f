//! The schema is brought up to date while others work on it.

use std::time::Duration;

use refinery_core::Migration;
use roomward::migrations;

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
