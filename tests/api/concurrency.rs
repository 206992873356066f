//! What must hold under any number of concurrent callers, on any number of instances.

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::app::{Instance, TestApp, crowd, eventually, migrated_database, numbered, plant_rooms, settings, shared_database};
use crate::citus::skipped_on_cluster;

/// The same app through two instances.
async fn two_instances() -> (Instance, [Arc<TestApp>; 2]) {
    let other = Instance::start(settings(shared_database()));
    let app = TestApp::new().await;
    let through_other = app.through(other.address);
    (other, [Arc::new(app), Arc::new(through_other)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_additions_and_removals_never_overfills_or_miscounts_a_room() {
    let (_other, apps) = two_instances().await;
    let names = numbered("user", 40);
    apps[0].users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    apps[0].users(&["ann"]).await;
    let room = apps[0].room_of(12, "ann", &[]).await;
    let mut storm = JoinSet::new();
    for caller in 0..12 {
        let (app, room, names) = (apps[caller % 2].clone(), room.clone(), names.clone());
        storm.spawn(async move {
            for step in 0..25 {
                let at = (caller * 7 + step * 11) % names.len();
                let (one, few) = (&names[at], &names[at..(at + 4).min(names.len())]);
                let users = format!("/chatrooms/{room}/users");
                let answer = match (caller + step) % 4 {
                    0 => app.post(&format!("{users}/{one}")).await,
                    1 => app.post_json(&users, json!({"usernames": few})).await,
                    2 => app.delete(&format!("{users}/{one}")).await,
                    _ => app.delete(&format!("{users}/{},", few.join(","))).await,
                };
                assert!(matches!(answer.status, 200 | 400 | 403), "{}", answer.text);
                let count = app.get(&users).await.json()["count"].as_u64();
                assert!(count.is_some_and(|count| (1..=12).contains(&count)), "{count:?}");
            }
        });
    }
    storm.join_all().await;
    apps[0].assert_invariants().await;
    let detail = apps[1].get(&format!("/chatrooms/{room}")).await.json()["data"][0].clone();
    assert_eq!(detail["affiliations_count"], detail["affiliations"].as_array().map(Vec::len).unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_seats_go_to_as_many_as_there_are() {
    let (_other, apps) = two_instances().await;
    let names = numbered("user", 20);
    apps[0].users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    apps[0].users(&["ann"]).await;
    let room = apps[0].room_of(6, "ann", &[]).await;
    let mut rush = JoinSet::new();
    for (number, name) in names.into_iter().enumerate() {
        let (app, room) = (apps[number % 2].clone(), room.clone());
        rush.spawn(async move { app.post(&format!("/chatrooms/{room}/users/{name}")).await.status });
    }
    let statuses = rush.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 15, "{statuses:?}");
    apps[0].assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_is_added_once_however_many_try() {
    let (_other, apps) = two_instances().await;
    let room = apps[0].room_with("ann", &[]).await;
    apps[0].users(&["bob"]).await;
    let mut rush = JoinSet::new();
    for number in 0..10 {
        let (app, room) = (apps[number % 2].clone(), room.clone());
        rush.spawn(async move { app.post(&format!("/chatrooms/{room}/users/bob")).await.status });
    }
    let statuses = rush.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(apps[0].members(&room).await, ["ann", "bob"]);
    apps[0].assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_of_rooms_holds_when_all_rooms_take_the_same_user_at_once() {
    let strict = || {
        let mut strict = settings(shared_database());
        strict.limits.rooms_per_user = 3;
        Instance::start(strict)
    };
    let instances = [strict(), strict()];
    let app = TestApp::on(instances[0].address, shared_database()).await;
    let owners = numbered("owner", 10);
    app.users(&owners.iter().map(String::as_str).collect::<Vec<_>>()).await;
    app.users(&["bob"]).await;
    let mut rush = JoinSet::new();
    for (number, owner) in owners.iter().enumerate() {
        let room = app.room(owner, &[]).await;
        let app = app.through(instances[number % 2].address);
        rush.spawn(async move { app.post(&format!("/chatrooms/{room}/users/bob")).await.status });
    }
    let statuses = rush.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 3, "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_deleted_while_being_added_everywhere_is_left_nowhere() {
    let (_other, apps) = two_instances().await;
    apps[0].users(&["ann", "bob"]).await;
    let mut rooms = Vec::new();
    for _ in 0..8 {
        rooms.push(apps[0].room("ann", &[]).await);
    }
    let mut rush = JoinSet::new();
    for (number, room) in rooms.iter().enumerate() {
        let (app, room) = (apps[number % 2].clone(), room.clone());
        rush.spawn(async move {
            for _ in 0..10 {
                let status = app.post(&format!("/chatrooms/{room}/users/bob")).await.status;
                assert!(matches!(status, 200 | 400 | 404), "{status}");
            }
        });
    }
    let app = apps[0].clone();
    rush.spawn(async move { assert_eq!(app.delete("/users/bob").await.status, 200) });
    rush.join_all().await;
    for room in &rooms {
        assert_eq!(apps[0].members(room).await, ["ann"]);
    }
    apps[0].assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_deleted_while_people_come_and_go_leaves_no_rows() {
    let (_other, apps) = two_instances().await;
    let names = numbered("user", 10);
    apps[0].users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    apps[0].users(&["ann"]).await;
    let room = apps[0].room("ann", &[]).await;
    let mut rush = JoinSet::new();
    for (number, name) in names.into_iter().enumerate() {
        let (app, path) = (apps[number % 2].clone(), format!("/chatrooms/{room}/users/{name}"));
        rush.spawn(async move {
            for _ in 0..5 {
                for answer in [app.post(&path).await, app.delete(&path).await] {
                    assert!(matches!(answer.status, 200 | 404), "{}", answer.text);
                }
            }
        });
    }
    let (app, path) = (apps[1].clone(), format!("/chatrooms/{room}"));
    rush.spawn(async move { assert_eq!(app.delete(&path).await.status, 200) });
    rush.join_all().await;
    eventually("no row is left", || async {
        let rows: i64 = sqlx::query_scalar("select count(*) from members where app = $1")
            .bind(apps[0].app.id)
            .fetch_one(&apps[0].db)
            .await
            .expect("a row");
        rows == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_of_a_client_that_has_hung_up_is_not_made() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let names = numbered("user", 12);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    app.users(&["dan"]).await;
    let busy = app.lock_room(&room).await;
    // Some of them wait for the lock, some in the queue, and all hang up.
    let mut calls = JoinSet::new();
    for name in names {
        let call = app.request(Method::POST, &format!("/chatrooms/{room}/users/{name}")).send();
        calls.spawn(tokio::time::timeout(std::time::Duration::from_millis(300), call));
    }
    for hung_up in calls.join_all().await {
        assert!(hung_up.is_err(), "the call was to hang");
    }
    // Time for the last of them to be noticed.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    busy.rollback().await.expect("unlocked");
    // The first to come goes first: they would all be in by now.
    assert_eq!(app.post(&format!("/chatrooms/{room}/users/dan")).await.status, 200);
    assert_eq!(app.members(&room).await, ["ann", "dan"]);
    app.assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_in_mid_call_leaves_no_lock_and_no_half_change() {
    let url = migrated_database().await;
    let mut patient = settings(&url);
    // PostgreSQL itself would end a transaction that was left open, but not before the deadline of this test.
    patient.database.statement_timeout_ms = 60_000;
    let instance = Instance::start(patient);
    let app = TestApp::on(instance.address, &url).await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob", "cid"]).await;
    let busy = app.lock_room(&room).await;
    // They all wait for the lock, and all hang up.
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let call = app.request(Method::POST, &format!("/chatrooms/{room}/users")).body(r#"{"usernames":["bob","cid"]}"#).send();
        calls.spawn(tokio::time::timeout(std::time::Duration::from_millis(200), call));
    }
    for hung_up in calls.join_all().await {
        assert!(hung_up.is_err(), "the call was to hang");
    }
    busy.rollback().await.expect("unlocked");
    eventually("the room can be changed and is whole", || async {
        let members = app.members(&room).await;
        assert!(members.len() == 1 || members.len() == 3, "{members:?}");
        app.post_json(&format!("/chatrooms/{room}/users"), json!({"usernames": ["bob", "cid"]})).await.status == 200
    })
    .await;
    eventually("no session is left in a transaction", || async {
        let in_transaction: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null",
        )
        .fetch_one(&app.db)
        .await
        .expect("a row");
        in_transaction == 0
    })
    .await;
    app.assert_invariants().await;
}

/// Many rooms in which one call races another through two instances; `holds` says what must be true of each afterwards.
async fn race<'a, A, B>(
    apps: &'a [Arc<TestApp>; 2],
    rooms: &'a [String],
    one: impl Fn(&'a TestApp, &'a str) -> A,
    other: impl Fn(&'a TestApp, &'a str) -> B,
) where
    A: Future<Output = crate::app::Answer>,
    B: Future<Output = crate::app::Answer>,
{
    for (number, room) in rooms.iter().enumerate() {
        let (first, second) = (&apps[number % 2], &apps[(number + 1) % 2]);
        let (one, other) = if number % 4 < 2 {
            let (one, other) = tokio::join!(one(first, room), other(second, room));
            (one, other)
        } else {
            let (other, one) = tokio::join!(other(second, room), one(first, room));
            (one, other)
        };
        for answer in [one, other] {
            assert!(matches!(answer.status, 200 | 400 | 403 | 404), "no deadlock reaches a client: {}", answer.text);
        }
    }
}

async fn rooms_with(app: &TestApp, members: &[&str]) -> Vec<String> {
    app.users(&[&["ann"], members].concat()).await;
    let mut rooms = Vec::new();
    for _ in 0..24 {
        rooms.push(app.room("ann", members).await);
    }
    rooms
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_and_blocking_never_leave_a_blocked_member() {
    let (_other, apps) = two_instances().await;
    let rooms = rooms_with(&apps[0], &["bob"]).await;
    race(
        &apps,
        &rooms,
        async |app, room| app.post(&format!("/chatrooms/{room}/blocks/users/bob")).await,
        async |app, room| {
            app.delete(&format!("/chatrooms/{room}/users/bob")).await;
            app.post(&format!("/chatrooms/{room}/users/bob")).await
        },
    )
    .await;
    apps[0].assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promoting_and_removing_never_leave_an_admin_outside() {
    let (_other, apps) = two_instances().await;
    let rooms = rooms_with(&apps[0], &["bob"]).await;
    race(
        &apps,
        &rooms,
        async |app, room| app.post_json(&format!("/chatrooms/{room}/admin"), json!({"newadmin": "bob"})).await,
        async |app, room| app.delete(&format!("/chatrooms/{room}/users/bob")).await,
    )
    .await;
    apps[0].assert_invariants().await;
    for room in rooms {
        assert_eq!(apps[0].get(&format!("/chatrooms/{room}/admin")).await.json()["data"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocking_and_promoting_never_leave_a_blocked_admin() {
    let (_other, apps) = two_instances().await;
    let rooms = rooms_with(&apps[0], &["bob"]).await;
    race(
        &apps,
        &rooms,
        async |app, room| app.post(&format!("/chatrooms/{room}/blocks/users/bob")).await,
        async |app, room| app.post_json(&format!("/chatrooms/{room}/admin"), json!({"newadmin": "bob"})).await,
    )
    .await;
    apps[0].assert_invariants().await;
    for room in rooms {
        assert_eq!(apps[0].get(&format!("/chatrooms/{room}/blocks/users")).await.json()["data"], json!(["bob"]));
        assert_eq!(apps[0].get(&format!("/chatrooms/{room}/admin")).await.json()["data"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whitelisting_and_removing_never_leave_a_whitelisted_stranger() {
    let (_other, apps) = two_instances().await;
    let rooms = rooms_with(&apps[0], &["bob", "cid"]).await;
    race(
        &apps,
        &rooms,
        async |app, room| app.post_json(&format!("/chatrooms/{room}/white/users"), json!({"usernames": ["cid", "bob"]})).await,
        async |app, room| app.delete(&format!("/chatrooms/{room}/users/bob,cid")).await,
    )
    .await;
    apps[0].assert_invariants().await;
    for room in rooms {
        assert_eq!(apps[0].get(&format!("/chatrooms/{room}/white/users")).await.json()["data"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_and_a_removal_never_leave_a_room_without_its_owner() {
    let (_other, apps) = two_instances().await;
    let rooms = rooms_with(&apps[0], &["bob"]).await;
    race(
        &apps,
        &rooms,
        async |app, room| app.send(app.request(Method::PUT, &format!("/chatrooms/{room}")).body(r#"{"newowner":"bob"}"#)).await,
        async |app, room| app.delete(&format!("/chatrooms/{room}/users/bob")).await,
    )
    .await;
    apps[0].assert_invariants().await;
    for room in rooms {
        let members = apps[0].members(&room).await;
        assert!(members == ["ann"] || members == ["bob", "ann"], "{members:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hundredth_admin_loses_however_many_are_promoted_at_once() {
    let (_other, apps) = two_instances().await;
    let names = numbered("user", 120);
    apps[0].users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    apps[0].users(&["ann"]).await;
    let room = apps[0].room("ann", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut rush = JoinSet::new();
    for (number, name) in names.into_iter().enumerate() {
        let (app, path) = (apps[number % 2].clone(), format!("/chatrooms/{room}/admin"));
        rush.spawn(async move { app.post_json(&path, json!({"newadmin": name})).await.status });
    }
    let statuses = rush.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 99, "{statuses:?}");
    apps[0].assert_invariants().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once_in_a_few_rooms_breaks_no_rule_and_deadlocks_no_call() {
    let (_other, apps) = two_instances().await;
    let names = numbered("user", 6);
    apps[0].users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    apps[0].users(&["ann", "doomed"]).await;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(apps[0].room_of(5, "ann", &["doomed"]).await);
    }
    let mut storm = JoinSet::new();
    for caller in 0..10_usize {
        let (app, rooms, names) = (apps[caller % 2].clone(), rooms.clone(), names.clone());
        storm.spawn(async move {
            for step in 0..40 {
                let room = &rooms[(caller + step) % rooms.len()];
                let at = |path: &str| format!("/chatrooms/{room}{path}");
                let (one, two) = (&names[(caller * 5 + step * 7) % names.len()], &names[(caller + step * 3) % names.len()]);
                let both = json!({"usernames": [two, one, "doomed"], "mute_duration": 50});
                let answer = match (caller * 3 + step) % 12 {
                    0 => app.post(&at(&format!("/users/{one}"))).await,
                    1 => app.post_json(&at("/users"), json!({"usernames": [one, two]})).await,
                    2 => app.delete(&at(&format!("/users/{one},{two}"))).await,
                    3 => app.post_json(&at("/admin"), json!({"newadmin": if step % 2 == 0 { one } else { "doomed" }})).await,
                    4 => app.delete(&at(&format!("/admin/{one}"))).await,
                    5 => app.post_json(&at("/blocks/users"), both).await,
                    6 => app.delete(&at(&format!("/blocks/users/{one},{two}"))).await,
                    7 => app.post_json(&at("/white/users"), both).await,
                    8 => app.delete(&at(&format!("/white/users/{one}"))).await,
                    9 => {
                        app.post_json(
                            &at("/mute"),
                            json!({"usernames": [if step % 2 == 0 { one } else { "doomed" }], "mute_duration": 3_600_000}),
                        )
                        .await
                    }
                    10 => app.delete(&at(&format!("/mute/{one},doomed"))).await,
                    _ => {
                        app.send(
                            app.request(Method::PUT, &at(""))
                                .body(json!({"newowner": if step % 3 == 0 { "doomed" } else { one }}).to_string()),
                        )
                        .await
                    }
                };
                assert!(matches!(answer.status, 200 | 400 | 403 | 404), "{}", answer.text);
            }
        });
    }
    for path in ["/users/doomed".to_owned(), format!("/chatrooms/{}", rooms[0])] {
        let app = apps[1].clone();
        storm.spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
            assert_eq!(app.delete(&path).await.status, 200);
        });
    }
    storm.join_all().await;
    apps[0].assert_invariants().await;
    eventually("nothing is left of the deleted user, nor of the deleted room", || async {
        let left: i64 = sqlx::query_scalar(
            "select (select count(*) from members where app = $1 and username = 'doomed')
                  + (select count(*) from blocks where app = $1 and username = 'doomed')
                  + (select count(*) from mutes where app = $1 and username = 'doomed')
                  + (select count(*) from members where app = $1 and chatroom = $2)
                  + (select count(*) from blocks where app = $1 and chatroom = $2)
                  + (select count(*) from mutes where app = $1 and chatroom = $2)",
        )
        .bind(apps[0].app.id)
        .bind(&rooms[0])
        .fetch_one(&apps[0].db)
        .await
        .expect("a row");
        left == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_many_wait_for_does_not_hold_up_the_others() {
    let app = Arc::new(TestApp::new().await);
    let busy_room = app.room_with("ann", &[]).await;
    let names = numbered("user", 30);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let other_room = app.room("ann", &[]).await;
    let busy = app.lock_room(&busy_room).await;
    let mut rush = JoinSet::new();
    for name in names.clone() {
        let (app, room) = (app.clone(), busy_room.clone());
        rush.spawn(async move { app.post(&format!("/chatrooms/{room}/users/{name}")).await.status });
    }
    // More wait than the service has connections, and yet there is one for all other calls.
    for name in &names[..5] {
        assert_eq!(app.post(&format!("/chatrooms/{other_room}/users/{name}")).await.status, 200);
    }
    busy.rollback().await.expect("unlocked");
    assert!(rush.join_all().await.iter().all(|status| *status == 200));
    app.assert_invariants().await;
}

/// The planner knows only the average room. Where most are small, it must not take a large one for one of them and read
/// all of it to find a few members, above all not under the room's lock.
#[tokio::test(flavor = "multi_thread")]
async fn changing_a_large_room_among_small_ones_reads_only_what_it_names() {
    if skipped_on_cluster("the figures that it looks at are those of the nodes").await {
        return;
    }
    let url = migrated_database().await;
    let mut generic = settings(&url);
    generic.limits.members_per_room = 100_000;
    let instance = Instance::start(generic);
    let app = TestApp::on(instance.address, &url).await;
    // By a session that is over before anything is counted: a session tells what it has read only now and then.
    let planter = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(&url).await.expect("the database");
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&planter).await.expect("a number");
    sqlx::query("insert into users (app, username) select $1, 'user' || n from generate_series(1, 20000) n")
        .bind(app.app.id)
        .execute(&planter)
        .await
        .expect("users");
    plant_rooms(&planter, app.app.id, &numbered("small", 5000), "user1", &crowd(3)).await;
    plant_rooms(&planter, app.app.id, &["large".into()], "user1", &crowd(20_000)).await;
    sqlx::query("analyze").execute(&planter).await.expect("figures");
    planter.close().await;
    eventually("the session that has planted is over", || async {
        let is_over = sqlx::query_scalar("select not exists (select from pg_stat_activity where pid = $1)");
        is_over.bind(pid).fetch_one(&app.db).await.expect("a row")
    })
    .await;
    let reads = async || -> (i64, i64) {
        sqlx::query_as(
            "select n_tup_del, (select sum(idx_tup_read)::bigint from pg_stat_user_indexes where relname = 'members')
             from pg_stat_user_tables where relname = 'members'",
        )
        .fetch_one(&app.db)
        .await
        .expect("figures")
    };
    let (gone_before, read_before) = reads().await;
    // More often than PostgreSQL plans anew, and until its figures have come in.
    let mut next = 2;
    eventually("the figures count the removals", || {
        next += 2;
        let path = format!("/chatrooms/large/users/user{next},user{}", next + 1);
        let (app, reads) = (&app, &reads);
        async move {
            assert_eq!(app.delete(&path).await.status, 200);
            reads().await.0 - gone_before >= 40
        }
    })
    .await;
    let (gone, read) = reads().await;
    let each = (read - read_before) / (gone - gone_before);
    assert!(each < 100, "{each} index entries read for each member removed");
}
