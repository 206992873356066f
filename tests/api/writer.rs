//! Many changes at once: what they have to do with each other, and what they have not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use roomward::db::Db;
use roomward::error::Error;
use roomward::events::log::Actor;
use roomward::migrations;
use roomward::names::{Names, RoomKey};
use roomward::rooms::operation::make;
use roomward::rooms::state::{Facts, Needs, Room, State};
use roomward::rooms::store::load::{self, Held};
use roomward::rooms::store::save;
use roomward::rooms::{admins, attributes, blocks, details, members, mutes, whitelist};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::app::{Instance, TestApp, eventually, find_next_ends, new_database, numbered, plant_rooms, recount, settings};

/// An instance with settings of its own, on a database of its own.
async fn alone(change: impl FnOnce(&mut roomward::config::Settings)) -> (Instance, TestApp) {
    let url = new_database().await;
    migrations::run(&url).await.expect("migrated");
    let mut settings = settings(&url);
    change(&mut settings);
    let instance = Instance::start(settings);
    let app = TestApp::on(instance.address, &url).await;
    (instance, app)
}

async fn ends_told(app: &TestApp, room: &str) -> Vec<String> {
    let events = app.get(&format!("/chatrooms/{room}/events?kind=MUTE/EXPIRE&limit=1000")).await.json();
    let users = |event: &Value| event["users"].as_array().cloned().unwrap_or_default();
    let mut told: Vec<String> = Vec::new();
    let mut events = events;
    loop {
        let page = events["data"].as_array().cloned().unwrap_or_default();
        told.extend(page.iter().flat_map(users).filter_map(|name| name.as_str().map(str::to_owned)));
        let (next, last) = (events["next"].as_i64().unwrap_or(i64::MAX), events["last"].as_i64().unwrap_or(0));
        if next >= last {
            return told;
        }
        events = app.get(&format!("/chatrooms/{room}/events?kind=MUTE/EXPIRE&limit=1000&since={next}")).await.json();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ends_of_mutes_are_told_in_a_room_that_never_rests() {
    let (_instance, app) = alone(|settings| settings.database.max_connections = 10).await;
    let app = Arc::new(app);
    let muted = numbered("muted", 10);
    let busy = numbered("busy", 60);
    let names: Vec<&str> = muted.iter().chain(&busy).map(String::as_str).collect();
    app.users(&names).await;
    app.users(&["ann"]).await;
    let room = app.room("ann", &muted.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let until = Instant::now() + Duration::from_secs(4);
    let mut storm = JoinSet::new();
    for name in busy {
        let (app, path) = (app.clone(), format!("/chatrooms/{room}/users/{name}"));
        storm.spawn(async move {
            while Instant::now() < until {
                assert_eq!(app.post(&path).await.status, 200);
                assert_eq!(app.delete(&path).await.status, 200);
            }
        });
    }
    let body = json!({"usernames": muted, "mute_duration": 500});
    assert_eq!(app.post_json(&format!("/chatrooms/{room}/mute"), body).await.status, 200);
    eventually("every end is told though the room is changed all the time", || async {
        ends_told(&app, &room).await.len() == 10
    })
    .await;
    assert!(Instant::now() < until, "the storm was not over by then");
    storm.join_all().await;
    let mut told = ends_told(&app, &room).await;
    told.sort();
    let mut expected = muted.clone();
    expected.sort();
    assert_eq!(told, expected, "each once");
    app.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_held_delays_neither_the_ends_nor_the_changes_of_another() {
    let (_instance, app) = alone(|settings| settings.database.max_connections = 8).await;
    app.users(&["ann", "bob", "cid"]).await;
    let (held, free) = (app.room("ann", &["bob"]).await, app.room("ann", &["bob"]).await);
    let mute = async |room: &str| {
        let body = json!({"usernames": ["bob"], "mute_duration": 3_600_000});
        assert_eq!(app.post_json(&format!("/chatrooms/{room}/mute"), body).await.status, 200);
    };
    mute(&held).await;
    mute(&free).await;
    let busy = app.lock_room(&held).await;
    // What has ended in the held room has ended first.
    sqlx::query("update mutes set ends_at = now() - case chatroom when $1 then interval '1 hour' else interval '1 s' end")
        .bind(&held)
        .execute(&app.db)
        .await
        .expect("aged");
    find_next_ends(&app.db, app.app.id).await;
    let waiting = {
        let request = app.request(Method::POST, &format!("/chatrooms/{held}/users/cid"));
        tokio::spawn(async move { request.send().await.expect("an answer").status().as_u16() })
    };
    assert_eq!(app.post(&format!("/chatrooms/{free}/users/cid")).await.status, 200);
    eventually("the end in the free room is told", || async { ends_told(&app, &free).await == ["bob"] }).await;
    assert!(!waiting.is_finished(), "the held room is held all the while");
    busy.rollback().await.expect("unlocked");
    assert_eq!(waiting.await.expect("no panic"), 200);
    find_next_ends(&app.db, app.app.id).await;
    eventually("the end in the held room is told after it", || async { ends_told(&app, &held).await == ["bob"] }).await;
    app.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_rooms_are_held_there_are_no_more_backends_than_connections() {
    const CONNECTIONS: u32 = 8;
    let (_instance, app) = alone(|settings| settings.database.max_connections = CONNECTIONS).await;
    app.users(&["ann", "bob"]).await;
    plant_rooms(&app.db, app.app.id, &numbered("room", 60), "ann", &[(1, "ann".into()), (2, "bob".into())]).await;
    sqlx::query(
        "insert into mutes (app, chatroom, username, seq, ends_at)
         select app, id, 'bob', 3, date_trunc('milliseconds', now()) + interval '2 s' from chatrooms where app = $1",
    )
    .bind(app.app.id)
    .execute(&app.db)
    .await
    .expect("mutes");
    recount(&app.db, app.app.id).await;
    let mut busy = app.db.begin().await.expect("a transaction");
    sqlx::query("select from room_counters where app = $1 for update").bind(app.app.id).execute(&mut *busy).await.expect("locks");
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let backends: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'roomward'",
        )
        .fetch_one(&app.db)
        .await
        .expect("a row");
        assert!(backends <= i64::from(CONNECTIONS), "{backends} backends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    busy.rollback().await.expect("unlocked");
    eventually("every end is told", || async {
        let told: i64 = sqlx::query_scalar("select count(*) from events where app = $1 and kind = 'MUTE/EXPIRE'")
            .bind(app.app.id)
            .fetch_one(&app.db)
            .await
            .expect("a row");
        told == 60
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_answers_503_at_once_and_the_service_goes_on() {
    let (_instance, app) = alone(|settings| settings.writes.queue = 3).await;
    let app = Arc::new(app);
    let names = numbered("user", 12);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    app.users(&["ann"]).await;
    let room = app.room("ann", &[]).await;
    let busy = app.lock_room(&room).await;
    let mut rush = JoinSet::new();
    for name in names.clone() {
        let (app, path) = (app.clone(), format!("/chatrooms/{room}/users/{name}"));
        rush.spawn(async move { app.post(&path).await.status });
    }
    let mut statuses = Vec::new();
    while !statuses.contains(&503) {
        statuses.push(rush.join_next().await.expect("one of them").expect("no panic"));
    }
    busy.rollback().await.expect("unlocked");
    statuses.extend(rush.join_all().await);
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    let members = app.members(&room).await.len();
    assert_eq!(members - 1, statuses.iter().filter(|status| **status == 200).count(), "{statuses:?}");
    assert_eq!(app.post_json(&format!("/chatrooms/{room}/users"), json!({"usernames": names})).await.status, 200);
    app.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_database_refuses_fails_alone() {
    let (_instance, app) = alone(|settings| settings.writes.lanes = 1).await;
    let app = Arc::new(app);
    let names = numbered("user", 30);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    app.users(&["ann", "bad"]).await;
    let room = app.room("ann", &[]).await;
    sqlx::query("alter table members add constraint nobody_is_bad check (username <> 'bad')")
        .execute(&app.db)
        .await
        .expect("a rule");
    let busy = app.lock_room(&room).await;
    let mut rush = JoinSet::new();
    for name in names.iter().cloned().chain(["bad".to_owned()]) {
        let (app, path) = (app.clone(), format!("/chatrooms/{room}/users/{name}"));
        rush.spawn(async move {
            let status = app.post(&path).await.status;
            (name, status)
        });
    }
    // They wait for the same room, and so become one batch.
    tokio::time::sleep(Duration::from_millis(200)).await;
    busy.rollback().await.expect("unlocked");
    for (name, status) in rush.join_all().await {
        assert_eq!(status, if name == "bad" { 500 } else { 200 }, "{name}");
    }
    assert_eq!(app.members(&room).await.len(), 31);
    app.assert_invariants().await;
}

#[tokio::test]
async fn coming_and_going_leaves_no_versions_where_reads_look() {
    let (_instance, app) = alone(|_| {}).await;
    let names = numbered("user", 60);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    app.users(&["ann"]).await;
    let room = app.room("ann", &[]).await;
    let versions = async || -> (String, String) {
        sqlx::query_as(
            "select chatrooms.ctid::text || chatrooms.xmax::text, room_counters.ctid::text from chatrooms
             join room_counters on (room_counters.app, room_counters.chatroom) = (chatrooms.app, id) where id = $1",
        )
        .bind(&room)
        .fetch_one(&app.db)
        .await
        .expect("a row")
    };
    let before = versions().await;
    for name in &names {
        assert_eq!(app.post(&format!("/chatrooms/{room}/users/{name}")).await.status, 200);
    }
    assert_eq!(app.delete(&format!("/chatrooms/{room}/users/{}", names[0])).await.status, 200);
    let after = versions().await;
    assert_eq!(before.0, after.0, "neither written nor locked");
    assert_ne!(before.1, after.1, "this one is");
}

/// Everything about a room and six users in it, loaded under the room's lock.
async fn load_all(connection: &mut sqlx::PgConnection, key: &RoomKey) -> State {
    let facts = Facts::HELD | Facts::LEAVING | Facts::BLOCK | Facts::MUTE;
    let mut needs = Needs { texts: true, attributes: true, ..Needs::default() };
    needs.users(&Names::new(numbered("user", 6)), facts);
    needs.users(&Names::new(["ann"]), facts);
    let locks = load::lock(connection, std::slice::from_ref(key), Held::Wait).await.expect("locked");
    load::load(connection, &[(key.clone(), needs)].into(), &locks).await.expect("loaded").state
}

/// A room but for what belongs to one transaction.
fn lasting(state: &State, key: &RoomKey) -> Room {
    let mut room = state.rooms[key].clone();
    (room.now, room.xact, room.is_due) = (time::OffsetDateTime::UNIX_EPOCH, 0, false);
    room.events.clear();
    room
}

#[tokio::test]
async fn what_was_decided_in_memory_is_what_is_loaded_again() {
    let (_instance, app) = alone(|settings| settings.expiry.every_ms = 3_600_000).await;
    let names = numbered("user", 6);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    app.users(&["ann"]).await;
    let room = app.room_of(5, "ann", &["user1", "user2"]).await;
    let (key, db) = (RoomKey::new(app.app.id, &*room), Db::new(app.db.clone()));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for batch in 0..60 {
        let mut transaction = db.begin().await.expect("a transaction");
        let before = load_all(&mut transaction, &key).await;
        let mut after = before.clone();
        for _ in 0..=random(12) {
            let reason = (random(2) == 0).then(|| "because".to_owned());
            let actor = Actor { name: "mo".into(), reason };
            let name = Names::new([numbered("user", 6)[usize::try_from(random(6)).expect("small")].clone()]);
            let made = |done: Result<(), Error>| drop(done);
            match random(13) {
                0..=2 => made(make(&mut after, &key, &actor, &members::Add { names: name, rooms_per_user: 0 }).map(drop)),
                3 => made(make(&mut after, &key, &actor, &members::Remove { names: name }).map(drop)),
                4 => made(make(&mut after, &key, &actor, &admins::Promote { name })),
                5 => made(make(&mut after, &key, &actor, &whitelist::Add { names: name }).map(drop)),
                6 => {
                    let block = blocks::Block {
                        names: name,
                        duration_ms: 3_600_000,
                        include_non_members: random(2) == 0,
                        move_end: true,
                        limit: 0,
                    };
                    made(make(&mut after, &key, &actor, &block).map(drop));
                }
                7 => made(make(&mut after, &key, &actor, &blocks::Unblock { names: name }).map(drop)),
                8 => made(make(&mut after, &key, &actor, &mutes::Mute { names: name, duration_ms: 60_000, limit: 0 }).map(drop)),
                9 => made(make(&mut after, &key, &actor, &mutes::Unmute { names: name }).map(drop)),
                10 => made(make(&mut after, &key, &actor, &details::Update { new_owner: Some(name), ..Default::default() })),
                11 => made(make(&mut after, &key, &actor, &details::SetAnnouncement { text: format!("number {batch}") })),
                _ => {
                    let operator = attributes::Operator { name, forced: random(2) == 0 };
                    let leaves_with_setter = random(2) == 0;
                    let attributes = vec![(format!("key{}", random(3)), "value".to_owned())];
                    made(make(&mut after, &key, &actor, &attributes::Set { operator, attributes, leaves_with_setter }).map(drop));
                }
            }
        }
        save::save(&mut transaction, &before, &after).await.expect("saved");
        assert!(transaction.commit().await.is_ok(), "committed");
        let mut transaction = db.begin().await.expect("a transaction");
        let loaded = load_all(&mut transaction, &key).await;
        transaction.undo().await;
        assert_eq!(lasting(&loaded, &key), lasting(&after, &key), "batch {batch}");
    }
    app.assert_invariants().await;
}
