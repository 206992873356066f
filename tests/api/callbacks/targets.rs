//! Targets that refuse, hang, redirect or cannot be reached: what counts as a failure, and what becomes of it.

use std::time::Duration;

use roomward::callbacks::deliveries::{self, Attempt, Next, Settled, Timeouts};
use roomward::db::Db;
use serde_json::json;

use super::{HUSH, Reaction, Receiver, all_are, alone, happen, log, paused_rule, put, rule, status};
use crate::app::{TestApp, eventually, numbered};

#[tokio::test]
async fn only_200_is_a_success() {
    let app = TestApp::new().await;
    let receiver = Receiver::start(|received| {
        let code = received.tells().0.parse().expect("a status");
        Reaction::Status(code, "Location: /elsewhere\r\n".into())
    });
    let rule = rule(&app, &receiver.url("/"), &["*"]).await;
    let codes = ["200", "201", "202", "204", "302", "307", "400", "500"];
    for code in codes {
        happen(&app, code, 1).await;
    }
    eventually("all were tried", || async { log(&app, rule, "").await.iter().all(|entry| entry["attempts"] != 0) }).await;
    let mut entries = log(&app, rule, "").await;
    entries.reverse();
    for (entry, code) in entries.iter().zip(codes) {
        assert_eq!((entry["status"].to_string().as_str(), &entry["chatroom"]), (code, &json!(code)));
        assert_eq!(entry["state"], if code == "200" { "done" } else { "pending" }, "{code}");
        assert!(entry["latency"].is_i64());
    }
    assert!(receiver.received().iter().all(|received| received.path == "/"), "no redirect is followed");
}

#[tokio::test]
async fn a_target_that_takes_too_long_has_failed() {
    let hanging = Receiver::start(|_| Reaction::Hang);
    let (_instance, app) = alone(|settings| settings.callbacks.timeout_ms = 200).await;
    let id = rule(&app, &hanging.url("/"), &["*"]).await;
    happen(&app, "r1", 1).await;
    eventually("it has failed", || async { log(&app, id, "").await[0]["attempts"] == 1 }).await;
    let entry = log(&app, id, "").await.remove(0);
    assert!(entry.get("status").is_none() && entry["latency"].as_i64().is_some_and(|ms| ms >= 200), "{entry}");
    assert_eq!(entry["error"], "timed out");
    let tested = app.post(&format!("/callbacks/rules/{id}/test")).await.json();
    assert_eq!((&tested["data"]["status"], &tested["data"]["error"]), (&json!(0), &json!("timed out")));
}

#[tokio::test]
async fn a_target_that_hangs_holds_up_neither_other_rules_nor_calls() {
    let (receiver, hanging) = (Receiver::ok(), Receiver::start(|_| Reaction::Hang));
    let (_instance, app) = alone(|settings| {
        settings.database.max_connections = 2;
        settings.callbacks.at_once = 4;
    })
    .await;
    let slow = rule(&app, &hanging.url("/"), &["*"]).await;
    for room in numbered("r", 10) {
        happen(&app, &room, 2).await;
    }
    hanging.has(4).await;
    let quick = rule(&app, &receiver.url("/"), &["*"]).await;
    for room in numbered("q", 10) {
        happen(&app, &room, 2).await;
    }
    all_are(&app, quick, "done", 20).await;
    hanging.has(4).await;
    app.room_with("ann", &["bob"]).await;
    hanging.release();
    // All of both, and the room.
    all_are(&app, slow, "done", 41).await;
}

#[tokio::test]
async fn targets_that_the_internet_cannot_reach_are_refused() {
    let receiver = Receiver::ok();
    let (_instance, app) = alone(|settings| settings.callbacks.allow_private_targets = false).await;
    for private in
        [receiver.url("/"), format!("http://[::ffff:127.0.0.1]:{}/", receiver.address.port()), "http://10.0.0.1/".into()]
    {
        let body = json!({"url": private, "secret": HUSH});
        app.post_json("/callbacks/rules", body).await.fails_parameter("url is invalid");
    }
    // A name is asked when it is needed: it may mean something else tomorrow.
    let id = rule(&app, &format!("http://localhost:{}/", receiver.address.port()), &["*"]).await;
    let tested = app.post(&format!("/callbacks/rules/{id}/test")).await.json();
    assert_eq!(tested["data"]["error"], "refused: the target is not on the internet");
    happen(&app, "r1", 1).await;
    eventually("it has failed", || async { log(&app, id, "").await[0]["attempts"] != 0 }).await;
    // A rule from the days before the guard.
    sqlx::query("update callback_rules set url = $1").bind(receiver.url("/")).execute(&app.db).await.expect("changed");
    let tested = app.post(&format!("/callbacks/rules/{id}/test")).await.json();
    assert_eq!(tested["data"]["error"], "refused: the target is not on the internet");
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn a_redirect_is_followed_only_where_that_is_allowed_and_only_with_the_whole_message() {
    let receiver = Receiver::start(|received| match &*received.path {
        "/307" => Reaction::Status(307, "Location: /here\r\n".into()),
        "/302" => Reaction::Status(302, "Location: /here\r\n".into()),
        "/loop" => Reaction::Status(308, "Location: /loop\r\n".into()),
        _ => status(200),
    });
    let (_instance, app) = alone(|settings| settings.callbacks.follow_redirects = true).await;
    let id = rule(&app, &receiver.url("/307"), &["*"]).await;
    for (path, status) in [("/307", 200), ("/302", 302), ("/loop", 308)] {
        put(&app, &format!("/callbacks/rules/{id}"), json!({"url": receiver.url(path)})).await;
        let tested = app.post(&format!("/callbacks/rules/{id}/test")).await.json();
        assert_eq!(tested["data"]["status"], status, "{path}");
    }
    let letters = receiver.received();
    assert_eq!((&*letters[1].path, &letters[1].body), ("/here", &letters[0].body));
    assert!(letters.len() < 12, "no endless walk: {}", letters.len());
}

#[tokio::test]
async fn a_failed_delivery_rests_ever_longer_up_to_an_hour() {
    let app = TestApp::new().await;
    let id = paused_rule(&app).await;
    happen(&app, "r1", 1).await;
    let db = Db::new(app.db.clone());
    let attempt = Attempt { succeeded: false, status: Some(500), error: None, latency: Duration::from_millis(7) };
    let timeouts =
        Timeouts { request: Duration::from_secs(1), lease: Duration::from_mins(1), give_up_after: Duration::from_hours(1) };
    for failures in 0..20_i32 {
        let queue = deliveries::claim(&db, id, 1, timeouts.lease).await.expect("claimed").remove(0);
        let Next::Paused = deliveries::next(&db, &queue, timeouts.request).await.expect("asked") else { panic!("it is paused") };
        let delivery: i64 =
            sqlx::query_scalar("select id from deliveries where rule = $1").bind(id).fetch_one(&app.db).await.expect("one");
        assert_eq!(deliveries::settle(&db, &queue, delivery, &attempt, &timeouts).await.expect("settled"), Settled::Waits);
        let rest: f64 =
            sqlx::query_scalar("select extract(epoch from next_at - now())::float8 from callback_lines where rule = $1")
                .bind(id)
                .fetch_one(&app.db)
                .await
                .expect("a queue");
        let expected = 2_f64.powi(failures);
        // What has passed since counts for a little.
        assert!(rest >= (0.8 * expected).min(3200.0) - 1.0 && rest <= (1.2 * expected).min(3600.0), "{failures}: {rest} s");
        sqlx::query("update callback_lines set next_at = now() where rule = $1").bind(id).execute(&app.db).await.expect("aged");
    }
}

#[tokio::test]
async fn what_cannot_be_delivered_for_too_long_is_given_up_and_the_next_is_sent() {
    let app = TestApp::new().await;
    let receiver = Receiver::start(|received| if received.tells().1 == 1 { status(500) } else { status(200) });
    let id = rule(&app, &receiver.url("/"), &["*"]).await;
    happen(&app, "r1", 2).await;
    eventually("it has failed", || async { log(&app, id, "").await[1]["attempts"] == 1 }).await;
    sqlx::query("update deliveries set first_at = now() - interval '72 hours' where rule = $1 and n = 1")
        .bind(id)
        .execute(&app.db)
        .await
        .expect("aged");
    all_are(&app, id, "dead", 1).await;
    all_are(&app, id, "done", 1).await;
    let dead = log(&app, id, "?state=dead").await.remove(0);
    assert_eq!((&dead["n"], &dead["attempts"], &dead["status"]), (&json!(1), &json!(2), &json!(500)));
}

#[tokio::test]
async fn a_delivery_whose_event_is_gone_is_given_up() {
    let (app, receiver) = (TestApp::new().await, Receiver::ok());
    let id = rule(&app, &receiver.url("/"), &["*"]).await;
    put(&app, &format!("/callbacks/rules/{id}"), json!({"paused": true})).await;
    happen(&app, "r1", 2).await;
    sqlx::query("delete from events where app = $1 and n = 1").bind(app.app.id).execute(&app.db).await.expect("gone");
    put(&app, &format!("/callbacks/rules/{id}"), json!({"paused": false})).await;
    all_are(&app, id, "dead", 1).await;
    receiver.has(1).await;
    assert_eq!(receiver.told()[0].1, 2);
}
