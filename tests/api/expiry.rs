//! Ends of mutes are told in time, also in rooms that are busy or held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::app::{Instance, TestApp, crowd, eventually, migrated_database, numbered, plant_rooms, recount, settings};

/// How late an end may be told here, where a slow machine does much else: far less than where something is held up.
const LATEST_MS: i64 = 3000;

/// Ends of mutes that were told: of whom, and how late in milliseconds.
async fn told(app: &TestApp, room: &str) -> Vec<(String, i64)> {
    sqlx::query_as(
        "select username, (extract(epoch from happened_at) * 1000)::bigint - (before->>username)::bigint
         from events, unnest(users) username where app = $1 and chatroom = $2 and kind = 'MUTE/EXPIRE' order by username",
    )
    .bind(app.app.id)
    .bind(room)
    .fetch_all(&app.db)
    .await
    .expect("events")
}

async fn mute(app: &TestApp, room: &str, names: &[String], duration: i64) {
    let answer = app.post_json(&format!("/chatrooms/{room}/mute"), json!({"usernames": names, "mute_duration": duration})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// Lays so many mutes on each of some rooms, by SQL, which end in half a second: time to lock the rooms before.
async fn plant_mutes(db: &PgPool, app: i32, rooms: &[String], each: i32) {
    sqlx::query(
        "insert into mutes (app, chatroom, username, seq, ends_at)
         select $1, id, 'user' || n, 1000 + n, date_trunc('milliseconds', now()) + interval '500 ms'
         from unnest($2::text[]) id, generate_series(1, $3) n",
    )
    .bind(app)
    .bind(rooms)
    .bind(each)
    .execute(db)
    .await
    .expect("mutes");
    recount(db, app).await;
}

async fn mutes_left(app: &TestApp) -> i64 {
    sqlx::query_scalar("select count(*) from mutes").fetch_one(&app.db).await.expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_are_told_once_and_in_time_in_a_room_that_many_change() {
    let app = Arc::new(TestApp::new().await);
    let room = app.room_with("ann", &[]).await;
    let (muted, busy) = (numbered("muted", 10), numbered("busy", 100));
    let names: Vec<&str> = muted.iter().chain(&busy).map(String::as_str).collect();
    app.users(&names).await;
    app.post_json(&format!("/chatrooms/{room}/users"), json!({"usernames": muted})).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut storm = JoinSet::new();
    for name in busy {
        let (app, over, path) = (app.clone(), over.clone(), format!("/chatrooms/{room}/users/{name}"));
        storm.spawn(async move {
            let mut changes = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(app.post(&path).await.status, 200);
                assert_eq!(app.delete(&path).await.status, 200);
                changes += 2;
            }
            changes
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    for name in &muted {
        mute(&app, &room, std::slice::from_ref(name), 500).await;
    }
    eventually("all ends are told", || async { told(&app, &room).await.len() >= 10 }).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    over.store(true, Ordering::Relaxed);
    let changes: u32 = storm.join_all().await.into_iter().sum();
    assert!(changes > 200, "the room was busy: {changes}");
    let told = told(&app, &room).await;
    assert!(told.iter().map(|(name, _)| name).eq(&muted), "each once: {told:?}");
    assert!(told.iter().all(|(_, late)| (0..LATEST_MS).contains(late)), "{told:?}");
    app.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_held_delays_neither_the_ends_nor_the_changes_of_others() {
    let url = migrated_database().await;
    let instance = Instance::start(settings(&url));
    let app = TestApp::on(instance.address, &url).await;
    let held = app.room_with("ann", &[]).await;
    let other = app.room_with("bob", &["cid"]).await;
    // More than one look at the ended rows of all rooms would take.
    plant_mutes(&app.db, app.app.id, std::slice::from_ref(&held), 1500).await;
    let busy = app.lock_room(&held).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    mute(&app, &other, &["cid".into()], 300).await;
    let began = Instant::now();
    assert_eq!(app.delete(&format!("/chatrooms/{other}/users/cid")).await.status, 200);
    eventually("the end of the mute is told", || async { told(&app, &other).await.len() == 1 }).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(told(&app, &other).await[0].1 < LATEST_MS);
    busy.rollback().await.expect("unlocked");
    eventually("what has ended in the room that was held is told", || async { mutes_left(&app).await == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rooms_that_are_held_do_not_cost_more_connections_than_there_may_be() {
    let url = migrated_database().await;
    let mut settings = settings(&url);
    settings.database.max_connections = 16;
    let instance = Instance::start(settings);
    let app = Arc::new(TestApp::on(instance.address, &url).await);
    sqlx::query("insert into users (app, username) select $1, 'user' || n from generate_series(1, 20) n")
        .bind(app.app.id)
        .execute(&app.db)
        .await
        .expect("users");
    let rooms = numbered("room", 120);
    plant_rooms(&app.db, app.app.id, &rooms, "user1", &crowd(3)).await;
    plant_rooms(&app.db, app.app.id, &["free".into()], "user1", &crowd(1)).await;
    plant_mutes(&app.db, app.app.id, &rooms, 1).await;
    let mut busy = app.db.begin().await.expect("a transaction");
    for room in &rooms {
        let lock = sqlx::query("select from room_counters where app = $1 and chatroom = $2 for update");
        lock.bind(app.app.id).bind(room).execute(&mut *busy).await.expect("locked");
    }
    let mut calls = JoinSet::new();
    for room in &rooms {
        let (app, path) = (app.clone(), format!("/chatrooms/{room}/users/user9"));
        calls.spawn(async move { app.post(&path).await.status });
    }
    let (began, mut most) = (Instant::now(), 0);
    let mut next = 1;
    while began.elapsed() < Duration::from_secs(3) {
        let backends: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'roomward'",
        )
        .fetch_one(&app.db)
        .await
        .expect("a count");
        most = most.max(backends);
        next = next % 19 + 1;
        let status = app.post(&format!("/chatrooms/free/users/user{next}")).await.status;
        assert!(matches!(status, 200 | 400), "{status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    busy.rollback().await.expect("unlocked");
    let statuses = calls.join_all().await;
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    assert!((1..=16).contains(&most), "{most} connections");
    eventually("all ends are told", || async { mutes_left(&app).await == 0 }).await;
    app.db.close().await;
}
