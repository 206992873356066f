//! The rules of callbacks: how they are made, shown, changed, tried and paused, and what keeps their secrets.

use std::net::TcpListener;
use std::sync::Arc;

use reqwest::Method;
use roomward::auth::{Keys, Life, Subject};
use roomward::events::log::Kind;
use serde_json::{Value, json};

use super::{HUSH, Reaction, Receiver, all_are, happen, log, put, rule, security, status, waiting_for_locks, write};
use crate::app::{Instance, TestApp, eventually, migrated_database, settings};
use crate::citus::skipped_on_cluster;

#[tokio::test]
async fn a_rule_is_read_changed_and_deleted_and_its_secret_never_comes_out() {
    let (app, receiver) = (TestApp::new().await, Receiver::ok());
    let body = json!({"url": receiver.url("/a"), "secret": HUSH});
    let made = app.post_json("/callbacks/rules", body).await;
    let id = made.json()["data"]["id"].as_str().expect("an id").to_owned();
    made.is(&format!(
        r#"{{"action":"post","application":"APP","uri":"BASE/callbacks/rules","entities":[],"data":{{"id":"{id}","url":"{}","kinds":["*"],"paused":false,"created":T}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#,
        receiver.url("/a")
    ));
    let path = format!("/callbacks/rules/{id}");
    let changed =
        put(&app, &path, json!({"url": receiver.url("/b"), "secret": "another hush", "kinds": ["MUTE", "JOIN/DIRECT"]})).await;
    let expected =
        json!({"id": id, "url": receiver.url("/b"), "kinds": ["MUTE", "JOIN/DIRECT"], "paused": false, "created": 0, "lag": 0});
    assert_eq!(changed.json()["data"], expected);
    let (one, all) = (app.get(&path).await, app.get("/callbacks/rules").await);
    assert_eq!((&one.json()["data"], &all.json()["data"][0]), (&expected, &expected));
    happen(&app, "r1", 1).await;
    receiver.has(1).await;
    let letter = receiver.received().remove(0);
    let body = letter.json();
    assert_eq!((&*letter.path, &body["security"]), ("/b", &json!(security(&body, "another hush"))));
    let sealed: Vec<u8> = sqlx::query_scalar("select secret from callback_rules where id = $1::uuid")
        .bind(&id)
        .fetch_one(&app.db)
        .await
        .expect("a row");
    assert!(!sealed.windows(4).any(|part| part == b"hush"));
    let logged = app.get(&format!("{path}/deliveries")).await;
    let tested = app.post(&format!("{path}/test")).await;
    let deleted = app.delete(&path).await;
    for answer in [made, changed, one, all, logged, tested, deleted] {
        assert!(!answer.text.contains("hush"), "{}", answer.text);
    }
    let gone = format!("callback rule {id} does not exist!");
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::PUT, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/test")),
        (Method::POST, format!("{path}/replay")),
        (Method::GET, format!("{path}/deliveries")),
    ] {
        let answer = app.send(app.request(method, &path).body(r#"{"room":"r1","from":1}"#)).await;
        answer.fails(404, "resource_not_found", "com.easemob.group.exception.ResourceNotFoundException", &gone);
    }
    let mut stranger = TestApp::new().await;
    let mine = rule(&app, &receiver.url("/"), &["*"]).await;
    let foreign = stranger.get(&format!("/callbacks/rules/{mine}")).await;
    assert_eq!(foreign.status, 404, "{}", foreign.text);
    app.get("/callbacks/rules/nonsense").await.fails(
        404,
        "resource_not_found",
        "com.easemob.group.exception.ResourceNotFoundException",
        "callback rule nonsense does not exist!",
    );
    stranger.token = "nonsense".into();
    stranger.get("/callbacks/rules").await.fails_auth();
    stranger.post_json(&format!("/callbacks/rules/{mine}/replay"), json!({})).await.fails_auth();
}

#[tokio::test]
async fn what_a_rule_cannot_be_is_refused() {
    let app = TestApp::new().await;
    let kinds = format!("kinds is invalid: *, {}", Kind::names().join(", "));
    let whole = json!({"url": "https://example.com/", "secret": HUSH, "kinds": ["*"], "paused": false});
    for (field, value, words) in [
        ("url", Value::Null, "url must be provided"),
        ("url", json!("ftp://example.com/"), "url is invalid"),
        ("url", json!("https://user:pw@example.com/"), "url is invalid"),
        ("url", json!(format!("https://example.com/{}", "x".repeat(2048))), "url is invalid"),
        ("secret", Value::Null, "secret must be provided"),
        ("secret", json!(""), "secret is invalid"),
        ("secret", json!("x".repeat(257)), "secret is invalid"),
        ("kinds", json!([]), &kinds),
        ("kinds", json!(["JOIN", "NONSENSE"]), &kinds),
        ("kinds", json!(["JOIN/"]), &kinds),
        ("kinds", json!([1]), "kinds must be strings"),
        ("paused", json!("no"), "paused is invalid: true, false"),
    ] {
        let mut body = whole.clone();
        body[field] = value;
        app.post_json("/callbacks/rules", body).await.fails_parameter(words);
    }
    assert_eq!(app.get("/callbacks/rules").await.json()["data"], json!([]));
    let id = rule(&app, "https://example.com/", &["*"]).await;
    put(&app, &format!("/callbacks/rules/{id}"), json!({"url": "nowhere"})).await.fails_parameter("url is invalid");
    app.post_json(&format!("/callbacks/rules/{id}/replay"), json!({})).await.fails_parameter("room must be provided");
    let lost = app.get(&format!("/callbacks/rules/{id}/deliveries?state=lost")).await;
    lost.fails_parameter("state is invalid: pending, done, dead");
    app.get(&format!("/callbacks/rules/{id}/deliveries?cursor=x")).await.fails_parameter("cursor is invalid");
}

#[tokio::test]
async fn an_app_has_four_rules_at_most_also_when_many_are_made_at_once() {
    if skipped_on_cluster("it watches who waits for a lock, and there that is on another node").await {
        return;
    }
    let app = Arc::new(TestApp::new().await);
    // All of them wait for the app, so that they count at once when it is free.
    let mut busy = app.db.begin().await.expect("a transaction");
    sqlx::query("select from apps where id = $1 for no key update").bind(app.app.id).fetch_one(&mut *busy).await.expect("a lock");
    let making: Vec<_> = (0..10)
        .map(|_| {
            let app = app.clone();
            let body = json!({"url": "https://example.com/", "secret": HUSH, "paused": true});
            tokio::spawn(async move { app.post_json("/callbacks/rules", body).await })
        })
        .collect();
    eventually("two wait", || waiting_for_locks(&app, 2)).await;
    busy.rollback().await.expect("free");
    let mut made = 0;
    for answer in making {
        match answer.await.expect("no panic") {
            answer if answer.status == 200 => made += 1,
            answer => answer.fails_limit("callback rules exceed the limit 4!"),
        }
    }
    assert_eq!(made, 4);
    let rules = app.get("/callbacks/rules").await.json();
    assert_eq!(rules["data"].as_array().expect("a list").len(), 4);
    let first = rules["data"][0]["id"].as_str().expect("an id");
    let deleted = app.delete(&format!("/callbacks/rules/{first}")).await;
    assert_eq!(deleted.json()["data"], json!({"id": first, "deleted": true}));
    rule(&app, "https://example.com/", &["*"]).await;
}

#[tokio::test]
async fn a_rule_can_be_tried_with_something_that_has_not_happened() {
    let (app, receiver) = (TestApp::new().await, Receiver::start(|_| status(418)));
    let id = rule(&app, &receiver.url("/"), &["*"]).await;
    let tested = app.post(&format!("/callbacks/rules/{id}/test")).await;
    assert_eq!((tested.status, &tested.json()["data"]["status"]), (200, &json!(418)));
    receiver.has(1).await;
    let body = receiver.received().remove(0).json();
    assert_eq!((&body["operation"], &body["payload"], &body["id"]), (&json!("TEST"), &json!({"type": "TEST"}), &json!("")));
    assert!(log(&app, id, "").await.is_empty());
    let unused = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    put(&app, &format!("/callbacks/rules/{id}"), json!({"url": format!("http://{unused}/")})).await;
    let tested = app.post(&format!("/callbacks/rules/{id}/test")).await.json();
    assert_eq!((&tested["data"]["status"], &tested["data"]["error"]), (&json!(0), &json!("cannot connect")));
}

#[tokio::test]
async fn a_paused_rule_loses_nothing() {
    let (app, paused, other) = (TestApp::new().await, Receiver::ok(), Receiver::ok());
    let id = rule(&app, &paused.url("/"), &["JOIN/DIRECT"]).await;
    rule(&app, &other.url("/"), &["*"]).await;
    let path = format!("/callbacks/rules/{id}");
    assert_eq!(put(&app, &path, json!({"paused": true})).await.json()["data"]["paused"], true);
    happen(&app, "r1", 3).await;
    write(&app, "r1", "LEAVE/KICK", 1).await;
    other.has(4).await;
    assert!(paused.received().is_empty());
    all_are(&app, id, "pending", 3).await;
    assert_eq!(put(&app, &path, json!({"paused": false})).await.json()["data"]["paused"], false);
    paused.has(3).await;
    assert_eq!(paused.told().iter().map(|(_, n, _)| *n).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn pausing_holds_before_the_next_delivery() {
    let (app, receiver) = (TestApp::new().await, Receiver::start(|_| Reaction::Hang));
    let id = rule(&app, &receiver.url("/"), &["*"]).await;
    happen(&app, "r1", 3).await;
    receiver.has(1).await;
    put(&app, &format!("/callbacks/rules/{id}"), json!({"paused": true})).await;
    receiver.release();
    all_are(&app, id, "done", 1).await;
    eventually("the queue is given back", || async {
        let claimed: bool = sqlx::query_scalar("select claim is not null from callback_lines where rule = $1")
            .bind(id)
            .fetch_one(&app.db)
            .await
            .expect("a queue");
        !claimed
    })
    .await;
    receiver.has(1).await;
    put(&app, &format!("/callbacks/rules/{id}"), json!({"paused": false})).await;
    receiver.has(3).await;
}

#[tokio::test]
async fn secrets_are_sealed_anew_when_the_services_own_is_replaced() {
    const OLD: &str = "the first secret of thirty-two bytes";
    const NEW: &str = "another secret of thirty-two bytes, too";
    let (url, receiver) = (migrated_database().await, Receiver::ok());
    let mut first = settings(&url);
    first.auth.secret = OLD.to_owned().into();
    let old = Instance::start(first);
    let mut app = TestApp::on(old.address, &url).await;
    app.token = Keys::new(&[OLD]).issue(app.app.audience(), &Subject::Client("test"), Life::Seconds(60)).expect("a token").text;
    let id = rule(&app, &receiver.url("/"), &["*"]).await;
    drop(old);
    let sealed = async || -> Vec<u8> {
        sqlx::query_scalar("select secret from callback_rules where id = $1").bind(id).fetch_one(&app.db).await.expect("a row")
    };
    let before = sealed().await;
    let mut rotating = settings(&url);
    rotating.auth.secret = NEW.to_owned().into();
    rotating.auth.previous_secrets = OLD.to_owned().into();
    let instance = Instance::start(rotating);
    eventually("it is sealed anew", || async { sealed().await != before }).await;
    drop(instance);
    let mut rotated = settings(&url);
    rotated.auth.secret = NEW.to_owned().into();
    let instance = Instance::start(rotated);
    app.address = instance.address;
    happen(&app, "r1", 1).await;
    receiver.has(1).await;
    let body = receiver.received().remove(0).json();
    assert_eq!(body["security"], security(&body, HUSH));
}
