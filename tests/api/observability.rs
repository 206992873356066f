//! What the operator sees: figures, log lines, readiness.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use reqwest::Method;
use roomward::migrations;
use serde_json::{Value, json};

use crate::app::{Instance, SECRET, TestApp, eventually, migrated_database, new_database, settings};

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port")
}

/// A service in a process of its own, and the lines of its log.
struct Logged {
    child: Child,
    lines: mpsc::Receiver<Value>,
}

impl Logged {
    fn start(url: &str, address: SocketAddr, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_roomward"))
            .arg("serve")
            .env("ROOMWARD__DATABASE__URL", url)
            .env("ROOMWARD__AUTH__SECRET", SECRET)
            .env("ROOMWARD__SERVER__PORT", address.port().to_string())
            .env("ROOMWARD__LOG__FORMAT", "json")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let (tell, lines) = mpsc::channel();
        let log = BufReader::new(child.stderr.take().expect("a log"));
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let _ = tell.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        Self { child, lines }
    }

    /// The next line that is about this.
    fn next(&self, message: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(20)).expect("a line in time");
            if line["message"] == message {
                return line;
            }
        }
    }

    /// The next line about an answered call, without what differs from run to run.
    fn next_call(&self) -> Value {
        let mut line = self.next("answered");
        let fields = line.as_object_mut().expect("an object");
        assert!(fields.remove("duration_ms").is_some_and(|duration| duration.is_u64()));
        assert!(fields.remove("timestamp").is_some());
        assert_eq!(fields.remove("level"), Some(json!("INFO")));
        assert_eq!(fields.remove("target"), Some(json!("roomward::api::observe")));
        assert_eq!(fields.remove("message"), Some(json!("answered")));
        line
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_in_the_log_says_what_was_asked_by_whom_and_why_it_was_refused() {
    let url = migrated_database().await;
    let address = free_port();
    let log = Logged::start(&url, address, &[]);
    log.next("serving");
    let app = TestApp::on(address, &url).await;
    let get = |path: &str| app.request(Method::GET, path).header("x-request-id", "r1");
    let (org_app, client) = (format!("{}/{}", app.app.org, app.app.name), "127.0.0.1");
    let span = |id: &str| json!({"id": id, "name": "request"});

    // A probe is asked all the time, and leaves no line.
    app.send(app.client.get(format!("http://{address}/healthz"))).await;
    assert_eq!(app.send(get("/chatrooms/7/users")).await.status, 404);
    let route = "/{org_name}/{app_name}/chatrooms/{chatroom_id}";
    assert_eq!(
        log.next_call(),
        json!({
            "method": "GET", "route": format!("{route}/users"), "app": org_app, "room": "7", "client": client, "status": 404,
            "error": "service_resource_not_found", "span": span("r1"),
        })
    );

    let mute = app.request(Method::POST, "/chatrooms/7/mute").header("x-operator", "eve").header("x-request-id", "r2");
    let mute = mute.header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(app.send(mute.body(r#"{"usernames":["bob"],"mute_duration":1000}"#)).await.status, 404);
    assert_eq!(
        log.next_call(),
        json!({
            "method": "POST", "route": format!("{route}/mute"), "app": org_app, "room": "7", "actor": "eve", "client": client,
            "status": 404, "error": "resource_not_found",
            "span": {"id": "r2", "name": "request", "trace": "0af7651916cd43dd8448eb211c80319c"},
        })
    );

    app.users(&["ann"]).await;
    log.next_call();
    let token = app.user_token("ann").await;
    assert_eq!(app.send(app.as_user(&token, Method::GET, "/chatrooms")).await.status, 401);
    let line = std::iter::repeat_with(|| log.next_call()).find(|line| line["status"] == 401).expect("a line");
    assert_eq!((&line["actor"], &line["error"], line.get("token")), (&json!("ann"), &json!("group_authorization"), None));

    for (token, why) in [("", "no_token"), ("Bearer x.y.z", "unreadable"), ("Basic x", "no_token")] {
        let call = app.client.get(format!("http://{address}/{org_app}/chatrooms")).header("authorization", token);
        assert_eq!(app.send(call).await.status, 401);
        let line = log.next_call();
        assert_eq!((&line["error"], &line["token"]), (&json!("unauthorized"), &json!(why)));
    }
    let figures = app.send(app.client.get(format!("http://{address}/metrics"))).await.text;
    assert!(figures.contains("roomward_unauthenticated_total{reason=\"no_token\"} 2"), "{figures}");
    assert!(figures.contains("roomward_sign_ins_wrong_total 0"), "{figures}");
}

#[tokio::test]
async fn every_figure_says_what_it_means() {
    let app = TestApp::new().await;
    app.get("/users/nobody").await;
    let metrics = async || app.send(app.client.get(format!("http://{}/metrics", app.address))).await.text;
    eventually("the tasks have come round", async || metrics().await.contains(r#"_timestamp_seconds{task="expiry"}"#)).await;
    let figures = metrics().await;
    let described = |kind: &str| -> Vec<String> {
        let lines = figures.lines().filter_map(|line| line.strip_prefix(&format!("# {kind} ")));
        lines.map(|line| line.split(' ').next().expect("a name").to_owned()).collect()
    };
    let (helps, types) = (described("HELP"), described("TYPE"));
    for line in figures.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        let is_described = |list: &[String]| list.iter().any(|known| known == name || known == base);
        assert!(is_described(&helps) && is_described(&types), "{line}");
    }
    for name in [
        "roomward_build_info{version=\"",
        "roomward_requests_in_flight ",
        "roomward_database_connections_in_use ",
        "roomward_database_waiting ",
        "roomward_deliveries{state=\"pending\"} ",
        "roomward_purge_backlog{kind=\"rooms\"} ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
    ] {
        assert!(figures.contains(name), "{name} is missing: {figures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_made_waits_no_more() {
    let url = migrated_database().await;
    let address = free_port();
    let service = Logged::start(&url, address, &[]);
    service.next("serving");
    let app = TestApp::on(address, &url).await;
    app.users(&["ann", "bob"]).await;
    let room = app.room("ann", &[]).await;
    assert_eq!(app.post(&format!("/chatrooms/{room}/users/bob")).await.status, 200);
    let figures = app.send(app.client.get(format!("http://{address}/metrics"))).await.text;
    assert!(figures.contains("\nroomward_changes_waiting 0\n"), "{figures}");
}

#[tokio::test]
async fn figures_may_have_a_port_of_their_own() {
    let mut apart = settings(&new_database().await);
    let own = free_port();
    apart.metrics.port = own.port();
    let instance = Instance::start(apart);
    let status = async |url: String| reqwest::get(url).await.map(|answer| answer.status().as_u16());
    assert_eq!(status(format!("http://{own}/metrics")).await.ok(), Some(200));
    assert_eq!(status(format!("http://{}/metrics", instance.address)).await.ok(), Some(404));
    assert_eq!(status(format!("http://{own}/healthz")).await.ok(), Some(404), "it serves nothing else");
    instance.stop.stop().await;
    instance.join();
    assert!(status(format!("http://{own}/metrics")).await.is_err(), "both ports are closed");
}

#[tokio::test]
async fn a_service_that_is_not_ready_says_why() {
    let url = new_database().await;
    let mut slow = settings(&url);
    slow.server.drain_seconds = 2;
    let instance = Instance::start(slow);
    let ready = async || {
        let answer = reqwest::get(format!("http://{}/readyz", instance.address)).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    let missing = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).expect("a folder").count();
    let reason = format!("{missing} migrations are missing: run `roomward migrate`");
    assert_eq!(ready().await, (503, format!(r#"{{"reason":"{reason}","status":"not ready"}}"#)));
    migrations::run(&url).await.expect("migrated");
    assert_eq!(ready().await, (200, r#"{"status":"ready"}"#.into()));
    let head = reqwest::Client::new().head(format!("http://{}/readyz", instance.address)).send().await.expect("an answer");
    assert_eq!(head.status().as_u16(), 200);

    // As long as it drains, it serves, and says that it should not be asked.
    let stop = instance.stop.clone();
    let stopped = tokio::spawn(async move { stop.stop().await });
    eventually("the service drains", async || ready().await == (503, r#"{"reason":"stopping","status":"not ready"}"#.into()))
        .await;
    let app = TestApp::on(instance.address, &url).await;
    assert_eq!(app.get("/chatrooms").await.status, 200);
    stopped.await.expect("no panic");
    assert!(reqwest::get(format!("http://{}/readyz", instance.address)).await.is_err());
}

/// What a collector has received on its socket, as text where it is text.
#[cfg(feature = "otel")]
fn collect(listener: &TcpListener, wanted: &[u8]) -> Vec<u8> {
    use std::io::{Read as _, Write as _};
    loop {
        let (mut connection, _) = listener.accept().expect("an exporter");
        connection.set_read_timeout(Some(Duration::from_secs(2))).expect("a time-out");
        let (mut request, mut part) = (Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = connection.read(&mut part) {
            request.extend(&part[..length]);
            if request.windows(wanted.len()).any(|bytes| bytes == wanted) {
                let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                return request;
            }
        }
    }
}

#[cfg(feature = "otel")]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_of_the_trace_that_its_caller_names() {
    let url = migrated_database().await;
    let (address, collector) = (free_port(), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let endpoint = format!("http://{}", collector.local_addr().expect("an address"));
    let log = Logged::start(&url, address, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "100")]);
    log.next("serving");
    let app = TestApp::on(address, &url).await;
    let trace = (1..=16).collect::<Vec<u8>>();
    let received = std::thread::spawn(move || collect(&collector, &trace));
    let call = app
        .request(Method::GET, "/chatrooms/7/users")
        .header("traceparent", "00-0102030405060708090a0b0c0d0e0f10-b7ad6b7169203331-01");
    assert_eq!(app.send(call).await.status, 404);
    let received = String::from_utf8_lossy(&received.join().expect("no panic")).into_owned();
    for words in ["POST /v1/traces ", "roomward", "GET /{org_name}/{app_name}/chatrooms/{chatroom_id}/users", "http.route"] {
        assert!(received.contains(words), "{words}: {received}");
    }
}
