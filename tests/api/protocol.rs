//! Everything answers JSON: what no call is, what cannot be read, and what operators ask.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::app::{Answer, Instance, TestApp, eventually_waits_for_a_lock, new_database, settings, shared_database};
use crate::citus::skipped_on_cluster;

fn fails_unsupported(answer: &Answer, status: u16) {
    answer.fails(
        status,
        "unsupported_service_operation",
        "UnsupportedServiceOperationException",
        "Service operation not supported",
    );
}

#[tokio::test]
async fn an_unknown_path_is_404_and_a_wrong_method_405() {
    let app = TestApp::new().await;
    for path in ["", "/nothing", "/chatrooms/1/nothing", "/chatrooms/1/users/a/b", "//chatrooms/1/users", "/users/a/b/c"] {
        fails_unsupported(&app.get(path).await, 404);
    }
    let root = |path: &str| app.client.get(format!("http://{}{path}", app.address));
    for path in ["/nothing", "/favicon.ico", "/docs/nothing"] {
        fails_unsupported(&app.send(root(path)).await, 404);
    }
    for (method, path) in [
        (Method::GET, "/token"),
        (Method::PUT, "/chatrooms/1/users"),
        (Method::PATCH, "/chatrooms/1/users/a"),
        (Method::GET, "/chatrooms/1/users/a"),
        (Method::OPTIONS, "/users"),
        (Method::from_bytes(b"BREW").expect("a method"), "/users"),
    ] {
        fails_unsupported(&app.send(app.request(method, path)).await, 405);
    }
}

/// Calls of the hosted service ignore what they do not know, as it does.
#[tokio::test]
async fn calls_that_the_hosted_service_does_not_have_refuse_parameters_that_they_do_not_know() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let rule = "/callbacks/rules/00000000-0000-0000-0000-000000000000";
    for (method, path) in [
        ("GET", "/audit"),
        ("GET", "/events"),
        ("GET", &format!("/chatrooms/{room}/events")),
        ("GET", "/restrictions"),
        ("GET", "/users/bob/standing"),
        ("GET", &format!("/chatrooms/{room}/users/bob/speak")),
        ("POST", &format!("/chatrooms/{room}/speak")),
        ("GET", "/moderators"),
        ("POST", "/moderators"),
        ("DELETE", "/moderators/bob"),
        ("POST", "/undo"),
        ("POST", "/token/introspect"),
        ("POST", "/token/revoke"),
        ("GET", "/callbacks/rules"),
        ("POST", "/callbacks/rules"),
        ("GET", rule),
        ("PUT", rule),
        ("DELETE", rule),
        ("POST", &format!("{rule}/test")),
        ("POST", &format!("{rule}/replay")),
        ("GET", &format!("{rule}/deliveries")),
    ] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = app.send(app.request(method.clone(), &format!("{path}?usr=bob")).body("{}")).await;
        assert!(answer.text.contains("unknown parameter usr"), "{method} {path}: {}", answer.text);
        answer.fails_parameter("unknown parameter usr");
    }
    for path in ["/users", "/chatrooms", &format!("/chatrooms/{room}/users"), &format!("/chatrooms/{room}/mute")] {
        assert_eq!(app.get(&format!("{path}?usr=bob")).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_body_over_one_mebibyte_is_413_and_one_at_the_limit_is_read() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let path = format!("/chatrooms/{room}/users");
    let filled = |bytes: usize| {
        let frame = r#"{"usernames":["ann"],"x":""}"#.len();
        format!(r#"{{"usernames":["ann"],"x":"{}"}}"#, "x".repeat(bytes - frame))
    };
    let answer = app.send(app.request(Method::POST, &path).body(filled(1_048_577))).await;
    answer.fails(413, "request_entity_too_large", "RequestEntityTooLargeException", "Request Entity Too Large");
    let answer = app.send(app.request(Method::POST, &path).body(filled(1_048_576))).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn json_that_is_too_deep_or_not_utf8_is_a_parse_error() {
    let app = TestApp::new().await;
    for body in [b"[".repeat(100_000), b"\xff\xfe".to_vec(), br#"{"usernames":["\ud800"]}"#.to_vec(), b"{\"a\":1}x".to_vec()] {
        let answer = app.send(app.request(Method::POST, "/chatrooms/1/users").body(body)).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("json_parse")));
    }
}

#[tokio::test]
async fn no_header_that_clients_send_or_leave_out_is_asked_for() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    for (name, value) in [("Content-Type", ""), ("Content-Type", "text/xml"), ("Accept", "image/png"), ("Accept", "*/*")] {
        let body = json!({"name": "n", "description": "d", "owner": "ann"}).to_string();
        let answer = app.send(app.request(Method::POST, "/chatrooms").header(name, value).body(body)).await;
        assert_eq!(answer.status, 200, "{name}: {value}: {}", answer.text);
    }
}

/// Sends bytes as they are, and reads what comes until the other side closes.
fn raw(app: &TestApp, request: &str) -> String {
    let mut connection = TcpStream::connect(app.address).expect("connected");
    connection.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    connection.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_uri_is_the_path_as_sent_on_the_host_that_was_asked() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let path = format!("/{}/app/chatrooms/{room}/users/b%6Fb%2C", app.app.org);
    let request = |forwarded: &str| {
        format!(
            "DELETE {path}?a=1 HTTP/1.1\r\nHost: im.example:8443\r\n{forwarded}Authorization: Bearer {}\r\nConnection: close\r\n\r\n",
            app.token
        )
    };
    let answer = raw(&app, &request("X-Forwarded-Proto: https\r\n"));
    assert!(answer.contains(&format!(r#""uri":"http://im.example:8443{path}""#)), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("content-type: application/json"), "{answer}");

    let mut behind_a_proxy = settings(shared_database());
    behind_a_proxy.server.trust_forwarded_proto = true;
    let instance = Instance::start(behind_a_proxy);
    let answer = raw(
        &app.through(instance.address),
        &request("X-Forwarded-Proto: https\r\n").replace("DELETE", "POST").replace("%2C", ""),
    );
    assert!(answer.contains(r#""uri":"https://im.example:8443/"#), "{answer}");
}

/// What the HTTP parser itself refuses never becomes a call: it is answered with a bare status. Clients send names
/// percent-encoded, and those are answered like any other.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_refused_and_harms_no_other_call() {
    let app = TestApp::new().await;
    for request in ["GET /org/app/users/张 HTTP/1.1\r\nHost: h\r\n\r\n", "nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let answer = raw(&app, request);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(app.get("/users/%E5%BC%A0").await.status, 404);
}

#[tokio::test]
async fn a_request_keeps_its_own_id_or_is_given_one() {
    let app = TestApp::new().await;
    let answer = app.request(Method::GET, "/nothing").header("X-Request-Id", "mine-1").send().await.expect("an answer");
    assert_eq!(answer.headers()["x-request-id"], "mine-1");
    let answer = app.request(Method::GET, "/nothing").send().await.expect("an answer");
    assert_eq!(answer.headers()["x-request-id"].len(), 36);
}

#[tokio::test]
async fn the_operators_questions_are_answered() {
    let app = TestApp::new().await;
    app.get("/users/nobody").await;
    let ask = async |path: &str| app.send(app.client.get(format!("http://{}{path}", app.address))).await;
    ask("/healthz").await.is(r#"{"status":"alive"}"#);
    ask("/readyz").await.is(r#"{"status":"ready"}"#);
    let figures = ask("/metrics").await.text;
    let label = r#"roomward_request_seconds_count{method="GET",route="/{org_name}/{app_name}/users/{usernames}",status="404"}"#;
    assert!(figures.contains(label), "{figures}");
    assert!(!figures.contains("nobody"), "names are no labels");
}

#[tokio::test]
async fn a_database_without_its_migrations_is_alive_but_not_ready() {
    let instance = Instance::start(settings(&new_database().await));
    let ask =
        async |path: &str| reqwest::get(format!("http://{}{path}", instance.address)).await.expect("an answer").status().as_u16();
    assert_eq!((ask("/healthz").await, ask("/readyz").await), (200, 503));
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_finish_and_does_not_wait_for_idle_connections() {
    if skipped_on_cluster("it watches who waits for a lock, and there that is on another node").await {
        return;
    }
    let instance = Instance::start(settings(shared_database()));
    let app = TestApp::on(instance.address, shared_database()).await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let _idle = TcpStream::connect(instance.address).expect("connected");
    let busy = app.lock_room(&room).await;

    let adding = tokio::spawn(app.request(Method::POST, &format!("/chatrooms/{room}/users/bob")).send());
    // The request is in flight once its backend waits for the lock.
    eventually_waits_for_a_lock(&app.db, "%from room_counters%for no key update%").await;
    let stop = instance.stop.clone();
    let started = Instant::now();
    let stopping = tokio::spawn(async move { stop.stop().await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    busy.rollback().await.expect("unlocked");
    let answer = adding.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 200);
    stopping.await.expect("no panic");
    instance.join();
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_path_that_is_far_too_long_is_refused_before_it_costs_anything() {
    let app = TestApp::new().await;
    app.get(&format!("/users/{}", "x".repeat(40_000))).await.fails_argument("this is an invalid request.");
}

#[tokio::test]
async fn there_are_so_many_connections_and_no_more_and_who_comes_later_waits() {
    let mut small = settings(shared_database());
    small.server.max_connections = 2;
    let instance = Instance::start(small);
    let connect = || {
        let mut connection = TcpStream::connect(instance.address).expect("connected");
        connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n").expect("written");
        connection
    };
    let answered = |connection: &mut TcpStream, patience: Duration| {
        connection.set_read_timeout(Some(patience)).expect("set");
        connection.read(&mut [0; 512]).is_ok_and(|read| read > 0)
    };
    let mut held = [connect(), connect()];
    for connection in &mut held {
        assert!(answered(connection, Duration::from_secs(5)));
    }
    let mut waiting = connect();
    assert!(!answered(&mut waiting, Duration::from_millis(300)));
    drop(held);
    assert!(answered(&mut waiting, Duration::from_secs(5)));
}

#[tokio::test]
async fn a_connection_that_was_opened_long_before_its_first_request_is_answered() {
    let app = TestApp::new().await;
    let mut connection = TcpStream::connect(app.address).expect("connected");
    connection.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    // The framework's own patience is five seconds.
    tokio::time::sleep(Duration::from_secs(6)).await;
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}
