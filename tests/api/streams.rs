//! Events as streams (server-sent events): they go on with what happens, and resume without a gap or a repeat.

use std::time::Duration;

use reqwest::{Method, Response};
use roomward::auth::{Keys, Life, Subject};
use roomward::config::Settings;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::app::{Instance, SECRET, TestApp, eventually, migrated_database, numbered, settings, shared_database};

/// A service of its own on a database of its own.
async fn alone(adjust: impl FnOnce(&mut Settings)) -> (Instance, TestApp) {
    let url = migrated_database().await;
    let mut settings = settings(&url);
    adjust(&mut settings);
    let instance = Instance::start(settings);
    let app = TestApp::on(instance.address, &url).await;
    (instance, app)
}

/// An open stream, block by block.
struct Stream {
    response: Response,
    read: String,
}

impl Stream {
    async fn open(app: &TestApp, path: &str, last_id: Option<&str>) -> Self {
        let mut request = app.request(Method::GET, path).header("Accept", "text/event-stream");
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let mut stream = Self { response, read: String::new() };
        assert_eq!(stream.block().await.as_deref(), Some("retry: 1000"));
        stream
    }

    /// The next block; `None` at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, _)) = self.read.split_once("\n\n") {
                let block = block.to_owned();
                self.read.drain(..block.len() + 2);
                return Some(block);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(10), self.response.chunk()).await.expect("in time");
            self.read += std::str::from_utf8(&chunk.ok()??).expect("UTF-8");
        }
    }

    /// The next event: its id and itself. What says that the stream is alive is passed over.
    async fn event(&mut self) -> Option<(String, Value)> {
        loop {
            let block = self.block().await?;
            if block.starts_with(':') {
                continue;
            }
            let lines: Vec<&str> = block.lines().collect();
            let [id, kind, data] = lines[..] else { panic!("{block}") };
            let event: Value = serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
            assert_eq!(kind.strip_prefix("event: "), event["kind"].as_str());
            return Some((id.strip_prefix("id: ").expect("an id").to_owned(), event));
        }
    }

    async fn numbers(&mut self, count: usize) -> Vec<i64> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(self.event().await.expect("an event").1["n"].as_i64().expect("a number"));
        }
        numbers
    }
}

async fn join(app: &TestApp, room: &str, user: &str) {
    assert_eq!(app.post(&format!("/chatrooms/{room}/users/{user}")).await.status, 200);
}

#[tokio::test]
async fn a_stream_of_a_room_begins_now_and_goes_on_with_what_happens_on_any_instance() {
    let app = TestApp::new().await;
    let second = Instance::start(settings(shared_database()));
    let elsewhere = app.through(second.address);
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob", "cid"]).await;
    let mut stream = Stream::open(&app, &format!("/chatrooms/{room}/events"), None).await;
    join(&app, &room, "bob").await;
    let (id, event) = stream.event().await.expect("an event");
    let timestamp = event["timestamp"].clone();
    assert_eq!(
        (&*id, event),
        (
            "2",
            json!({"chatroom": room, "n": 2, "kind": "JOIN/DIRECT", "users": ["bob"], "actor": "@ppAdmin", "timestamp": timestamp})
        )
    );
    join(&elsewhere, &room, "cid").await;
    assert_eq!(stream.numbers(1).await, [3]);
    let mute = json!({"usernames": ["bob"], "mute_duration": 200});
    elsewhere.post_json(&format!("/chatrooms/{room}/mute"), mute).await;
    assert_eq!(stream.event().await.expect("an event").1["kind"], "MUTE/ADD");
    let end = stream.event().await.expect("an event").1;
    assert_eq!((&end["kind"], &end["actor"]), (&json!("MUTE/EXPIRE"), &json!("@system")));
}

#[tokio::test]
async fn a_stream_resumes_behind_the_last_id_and_else_behind_since() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let names = numbered("user", 8);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for name in &names[..5] {
        join(&app, &room, name).await;
    }
    let path = format!("/chatrooms/{room}/events");
    assert_eq!(Stream::open(&app, &format!("{path}?since=0"), None).await.numbers(6).await, [1, 2, 3, 4, 5, 6]);
    let mut resumed = Stream::open(&app, &format!("{path}?since=0"), Some("4")).await;
    assert_eq!(resumed.numbers(2).await, [5, 6]);
    join(&app, &room, &names[5]).await;
    assert_eq!(resumed.numbers(1).await, [7]);
    let mut filtered = Stream::open(&app, &format!("{path}?since=0&kind=CREATE,LEAVE"), None).await;
    assert_eq!(filtered.numbers(1).await, [1]);
    app.delete(&format!("{path}/").replace("/events/", "/users/user0")).await;
    assert_eq!(filtered.numbers(1).await, [8]);
}

#[tokio::test]
async fn a_stream_of_an_app_tells_every_event_once_however_often_it_breaks_off() {
    let app = TestApp::new().await;
    let rooms = [app.room_with("ann", &[]).await, app.room("ann", &[]).await, app.room("ann", &[]).await];
    let names = numbered("user", 60);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let writer = {
        let (app, rooms) = (app.through(app.address), rooms.clone());
        tokio::spawn(async move {
            for (number, name) in names.iter().enumerate() {
                join(&app, &rooms[number % 3], name).await;
            }
        })
    };
    let (mut seen, mut last_id): (Vec<Value>, Option<String>) = (Vec::new(), None);
    while seen.len() < 63 {
        let mut stream = match &last_id {
            None => {
                let oldest = app.get("/events").await.json()["oldest"].as_str().expect("a cursor").to_owned();
                Stream::open(&app, &format!("/events?since={oldest}"), None).await
            }
            id => Stream::open(&app, "/events", id.as_deref()).await,
        };
        for _ in 0..7.min(63 - seen.len()) {
            let (id, event) = stream.event().await.expect("an event");
            last_id = Some(id);
            seen.push(event);
        }
    }
    writer.await.expect("written");
    for room in &rooms {
        let numbers: Vec<_> = seen.iter().filter(|event| event["chatroom"] == **room).map(|event| event["n"].as_i64()).collect();
        assert_eq!(numbers, (1..=21).map(Some).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_silent_stream_says_that_it_is_alive() {
    let (_instance, app) = alone(|settings| settings.events.heartbeat_seconds = 1).await;
    let room = app.room_with("ann", &[]).await;
    let mut stream = Stream::open(&app, &format!("/chatrooms/{room}/events"), None).await;
    assert_eq!(stream.block().await.as_deref(), Some(": alive"));
}

/// The system closes what is not read, so that only the system is asked.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection_and_a_silent_stream_goes_on() {
    let (instance, app) = alone(|settings| settings.server.unread_seconds = 1).await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let mut stream = Stream::open(&app, &format!("/chatrooms/{room}/events"), None).await;

    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    let mut client = socket.connect(instance.address).await.expect("connected");
    client.write_all("GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n".repeat(50).as_bytes()).await.expect("sent");
    let ports = (instance.address.port(), client.local_addr().expect("an address").port());
    assert!(is_open(ports));
    eventually("the connection is closed", || async { !is_open(ports) }).await;
    client.read_to_end(&mut Vec::new()).await.expect_err("broken off");

    join(&app, &room, "bob").await;
    assert_eq!(stream.numbers(1).await, [2]);
}

/// Whether this machine has a connection between these ports, as its first end sees it.
#[cfg(target_os = "linux")]
fn is_open((own, other): (u16, u16)) -> bool {
    let connections = std::fs::read_to_string("/proc/net/tcp").expect("a list");
    connections.contains(&format!(":{own:04X} 0100007F:{other:04X}"))
}

#[tokio::test]
async fn a_stream_of_a_room_ends_with_the_room() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let mut stream = Stream::open(&app, &format!("/chatrooms/{room}/events"), None).await;
    app.delete(&format!("/chatrooms/{room}")).await;
    assert_eq!(stream.event().await.expect("an event").1["kind"], "LEAVE/DELETE");
    assert_eq!(stream.event().await.expect("an event").1["kind"], "DELETE");
    assert!(stream.event().await.is_none());
}

#[tokio::test]
async fn a_stream_of_a_room_ends_with_the_room_also_if_that_is_not_asked_for() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let mut stream = Stream::open(&app, &format!("/chatrooms/{room}/events?kind=JOIN"), None).await;
    app.delete(&format!("/chatrooms/{room}")).await;
    assert!(stream.event().await.is_none());
}

#[tokio::test]
async fn a_position_ahead_of_the_last_event_is_the_present_one() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob"]).await;
    let mut stream = Stream::open(&app, &format!("/chatrooms/{room}/events"), Some("99999")).await;
    join(&app, &room, "bob").await;
    assert_eq!(stream.numbers(1).await, [2]);
}

#[tokio::test]
async fn only_who_asks_for_a_stream_by_its_name_gets_one() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let ask = |accept: &str| app.request(Method::GET, &format!("/chatrooms/{room}/events")).header("Accept", accept);
    for accept in ["*/*", "text/*", "text/event-streamx", "text/event-stream;q=0", "application/json"] {
        assert_eq!(app.send(ask(accept)).await.json()["count"], 1, "{accept}");
    }
    for accept in ["text/event-stream", "TEXT/Event-Stream", "application/json;q=0.5, text/event-stream"] {
        let answer = ask(accept).send().await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "text/event-stream", "{accept}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_with_the_service() {
    let (instance, app) = alone(|_| {}).await;
    let room = app.room_with("ann", &[]).await;
    let path = format!("/chatrooms/{room}/events");
    let mut long = Stream::open(&app, &path, None).await;
    let mut short_lived = app.through(app.address);
    let subject = Subject::Client("test");
    short_lived.token = Keys::new(&[SECRET]).issue(app.app.audience(), &subject, Life::Seconds(1)).expect("a token").text;
    let mut short = Stream::open(&short_lived, &path, None).await;
    assert!(short.event().await.is_none());
    instance.stop.stop().await;
    instance.join();
    assert!(long.event().await.is_none());
}

#[tokio::test]
async fn a_stream_ends_when_its_user_may_not_read_the_room_any_more_or_its_token_is_revoked() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let path = format!("/chatrooms/{room}/events");
    app.post_json(&format!("/chatrooms/{room}/admin"), json!({"newadmin": "bob"})).await;
    let (mut by_owner, mut by_admin) = (app.through(app.address), app.through(app.address));
    (by_owner.token, by_admin.token) = (app.user_token("ann").await, app.user_token("bob").await);
    let (mut owner, mut admin) =
        (Stream::open(&by_owner, &path, Some("0")).await, Stream::open(&by_admin, &path, Some("0")).await);
    assert_eq!((owner.numbers(2).await, admin.numbers(2).await), (vec![1, 2], vec![1, 2]));
    app.delete(&format!("/chatrooms/{room}/admin/bob")).await;
    while admin.event().await.is_some() {}
    app.get("/users/ann/disconnect").await;
    while owner.event().await.is_some() {}
}

#[tokio::test]
async fn a_reader_that_is_too_far_behind_is_closed_and_no_other_waits_for_it() {
    let (_instance, app) = alone(|settings| settings.events.stream_buffer = 4).await;
    let room = app.room_with("ann", &["bob"]).await;
    let mut stream = Stream::open(&app, &format!("/chatrooms/{room}/events"), None).await;
    // Until the sockets between are full, and then the buffer.
    let reason = "x".repeat(512);
    let mute = async |duration: i64| {
        let body = json!({"usernames": ["bob"], "mute_duration": duration}).to_string();
        let request = app.request(Method::POST, &format!("/chatrooms/{room}/mute")).header("X-Audit-Reason", &reason);
        assert_eq!(app.send(request.body(body)).await.status, 200);
    };
    sqlx::query(
        "insert into events (app, chatroom, n, kind, users, after, actor, happened_at, xact)
         select $1, $2, 1 + n, 'UPDATE/INFO', '{}', json_build_object('description', repeat('x', 8000)), 'x', now(), 1
         from generate_series(1, 5000) n",
    )
    .bind(app.app.id)
    .bind(&room)
    .execute(&app.db)
    .await
    .expect("written");
    sqlx::query("update room_counters set last_event = 5001 where app = $1 and chatroom = $2")
        .bind(app.app.id)
        .bind(&room)
        .execute(&app.db)
        .await
        .expect("counted");
    mute(60_000).await;
    let mut last = 0;
    while let Some((id, _)) = stream.event().await {
        last = id.parse().expect("a number");
    }
    assert!(last < 5002, "closed at {last}");
    let mut resumed = Stream::open(&app, &format!("/chatrooms/{room}/events"), Some(&last.to_string())).await;
    assert_eq!(resumed.event().await.expect("an event").1["n"], last + 1, "without a gap");
}

#[tokio::test]
async fn there_are_so_many_streams_and_no_more() {
    let (_instance, app) = alone(|settings| settings.events.streams = 2).await;
    let room = app.room_with("ann", &[]).await;
    let path = format!("/chatrooms/{room}/events");
    let open = [Stream::open(&app, &path, None).await, Stream::open(&app, "/events", None).await];
    let third = app.request(Method::GET, &path).header("Accept", "text/event-stream");
    app.send(third).await.fails(503, "service_unavailable", "ServiceUnavailableException", "Service Unavailable");
    drop(open);
}

#[tokio::test]
async fn what_is_wrong_with_a_stream_is_told_before_it_begins() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let ask = |path: &str| app.request(Method::GET, path).header("Accept", "text/event-stream");
    app.send(ask("/chatrooms/123/events")).await.fails_room("123");
    let no_number = "since is invalid: the number of an event";
    app.send(ask(&format!("/chatrooms/{room}/events?since=x"))).await.fails_parameter(no_number);
    app.send(ask(&format!("/chatrooms/{room}/events")).header("Last-Event-ID", "x")).await.fails_parameter(no_number);
    app.send(ask("/events?since=x")).await.fails_parameter("cursor is invalid");
    app.send(ask("/events").header("Last-Event-ID", "5")).await.fails_parameter("cursor is invalid");
    let without_token = app.client.get(format!("{}/events", app.base())).header("Accept", "text/event-stream");
    app.send(without_token).await.fails_auth();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_this_instance_reaches_a_thousand_streams_at_once() {
    // The service does not look by itself within the time that the readers wait.
    let (_instance, app) = alone(|settings| settings.events.every_ms = 60_000).await;
    let room = app.room_with("ann", &["bob"]).await;
    let path = format!("/chatrooms/{room}/events");
    let mut streams = Vec::new();
    for _ in 0..1000 {
        streams.push(Stream::open(&app, &path, None).await);
    }
    app.delete(&format!("/chatrooms/{room}/users/bob")).await;
    for stream in &mut streams {
        assert_eq!(stream.numbers(1).await, [2]);
    }
}
