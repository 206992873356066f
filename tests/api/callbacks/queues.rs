//! The queues in which deliveries wait: one instance at a time works on each, and none is forgotten.

use std::net::TcpStream;
use std::time::Duration;

use roomward::callbacks::deliveries;
use roomward::db::Db;

use super::{Reaction, Receiver, all_are, alone, happen, log, paused_rule, rule, waiting_for_locks, write};
use crate::app::{Instance, TestApp, eventually, numbered, settings, shared_database};
use crate::citus::skipped_on_cluster;

#[tokio::test]
async fn instances_share_the_work_and_send_nothing_twice_and_leave_no_queue_behind() {
    let app = TestApp::new().await;
    let _others: Vec<Instance> = (0..2).map(|_| Instance::start(settings(shared_database()))).collect();
    let receiver = Receiver::ok();
    let id = rule(&app, &receiver.url("/"), &["*"]).await;
    let rooms = numbered("r", 20);
    for _ in 0..10 {
        for room in &rooms {
            happen(&app, room, 1).await;
        }
    }
    all_are(&app, id, "done", 200).await;
    receiver.has(200).await;
    for room in &rooms {
        let ns: Vec<i64> = receiver.told().into_iter().filter(|told| told.0 == *room).map(|told| told.1).collect();
        assert_eq!(ns, (1..=10).collect::<Vec<_>>(), "{room}");
    }
    eventually("no queue is left", || async {
        let left: i64 = sqlx::query_scalar("select count(*) from callback_lines where rule = $1")
            .bind(id)
            .fetch_one(&app.db)
            .await
            .expect("a count");
        left == 0
    })
    .await;
}

#[tokio::test]
async fn a_claimed_queue_is_left_alone_and_taken_over_when_its_claim_has_ended() {
    let (app, receiver) = (TestApp::new().await, Receiver::ok());
    let id = rule(&app, &receiver.url("/"), &["*"]).await;
    sqlx::query(
        "insert into callback_lines (rule, app, chatroom, claim, next_at) values ($1, $2, 'r1', gen_random_uuid(), now() + interval '1 hour')",
    )
    .bind(id)
    .bind(app.app.id)
    .execute(&app.db)
    .await
    .expect("a queue");
    happen(&app, "r1", 2).await;
    happen(&app, "r2", 1).await;
    receiver.has(1).await;
    assert_eq!(receiver.told()[0].0, "r2");
    sqlx::query("update callback_lines set next_at = now() - interval '1 s' where rule = $1")
        .bind(id)
        .execute(&app.db)
        .await
        .expect("aged");
    receiver.has(3).await;
    all_are(&app, id, "done", 3).await;
}

/// The one moment at which a delivery could be forgotten: it comes while its queue is being removed as empty.
#[tokio::test]
async fn a_queue_to_which_a_delivery_comes_at_the_last_moment_stays() {
    if skipped_on_cluster("it watches who waits for a lock, and there that is on another node").await {
        return;
    }
    let app = TestApp::new().await;
    let id = paused_rule(&app).await;
    happen(&app, "r1", 1).await;
    let db = Db::new(sqlx::PgPool::connect(shared_database()).await.expect("the database"));
    let queue = deliveries::claim(&db, id, 1, Duration::from_mins(1)).await.expect("claimed").remove(0);
    sqlx::query("update deliveries set state = 'done' where rule = $1").bind(id).execute(&app.db).await.expect("done");

    let mut change = app.db.begin().await.expect("a transaction");
    sqlx::query("insert into deliveries (rule, app, chatroom, n) values ($1, $2, 'r1', 2)")
        .bind(id)
        .bind(app.app.id)
        .execute(&mut *change)
        .await
        .expect("a delivery");
    sqlx::query(
        "insert into callback_lines (rule, app, chatroom) values ($1, $2, 'r1')
         on conflict (rule, chatroom) do update set next_at = callback_lines.next_at",
    )
    .bind(id)
    .bind(app.app.id)
    .execute(&mut *change)
    .await
    .expect("a queue");
    let closing = tokio::spawn(async move { deliveries::close(&db, &queue).await });
    eventually("the other waits", || waiting_for_locks(&app, 1)).await;
    change.commit().await.expect("committed");
    assert!(!closing.await.expect("no panic").expect("asked"), "something has come");
    let left: i64 = sqlx::query_scalar("select count(*) from callback_lines where rule = $1")
        .bind(id)
        .fetch_one(&app.db)
        .await
        .expect("a count");
    assert_eq!(left, 1);
}

#[tokio::test]
async fn a_result_that_comes_after_the_claim_is_lost_is_not_written() {
    let (app, receiver) = (TestApp::new().await, Receiver::start(|_| Reaction::Hang));
    let id = rule(&app, &receiver.url("/"), &["*"]).await;
    happen(&app, "r1", 1).await;
    receiver.has(1).await;
    sqlx::query("update callback_lines set claim = $2, next_at = now() + interval '1 hour' where rule = $1")
        .bind(id)
        .bind(uuid::Uuid::new_v4())
        .execute(&app.db)
        .await
        .expect("taken over");
    receiver.release();
    // A second rule tells when the first one's answer must have been seen.
    let other = Receiver::ok();
    let second = rule(&app, &other.url("/"), &["LEAVE"]).await;
    write(&app, "r1", "LEAVE/KICK", 1).await;
    all_are(&app, second, "done", 1).await;
    assert_eq!(log(&app, id, "?state=pending").await.len(), 2);
    sqlx::query("update callback_lines set next_at = now() where rule = $1").bind(id).execute(&app.db).await.expect("aged");
    all_are(&app, id, "done", 2).await;
    assert_eq!(receiver.received().len(), 3, "at least once, and here twice");
}

#[tokio::test]
async fn stopping_lets_what_is_under_way_finish_and_gives_the_rest_back() {
    let receiver = Receiver::start(|_| Reaction::Hang);
    let (instance, app) = alone(|_| {}).await;
    let id = rule(&app, &receiver.url("/"), &["*"]).await;
    happen(&app, "r1", 2).await;
    receiver.has(1).await;
    let stop = instance.stop.clone();
    let stopping = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(stop.stop());
    });
    eventually("it takes no calls", || async { TcpStream::connect(app.address).is_err() }).await;
    receiver.release();
    instance.join();
    stopping.join().expect("no panic");
    let states: Vec<(i64, String)> = sqlx::query_as("select n, state from deliveries where rule = $1 order by n")
        .bind(id)
        .fetch_all(&app.db)
        .await
        .expect("rows");
    assert_eq!(states, [(1, "done".into()), (2, "pending".into())]);
    let (free, due): (bool, bool) = sqlx::query_as("select claim is null, next_at <= now() from callback_lines where rule = $1")
        .bind(id)
        .fetch_one(&app.db)
        .await
        .expect("a queue");
    assert!(free && due);
    receiver.has(1).await;
}
