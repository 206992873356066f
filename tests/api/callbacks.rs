//! Callbacks, as their receivers see them: what is said, in which order, how often, and what the rules allow.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Digest as _;
use reqwest::Method;
use roomward::auth::{Keys, Life, Subject};
use roomward::callbacks::deliveries::{self, Attempt, Next, Settled, Timeouts};
use roomward::config::Settings;
use roomward::db::Db;
use roomward::migrations;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{Answer, Instance, TestApp, eventually, new_database, numbered, settings, shared_database};

const HUSH: &str = "hush, this is the rule's";

/// What a receiver was sent.
#[derive(Clone)]
pub struct Received {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// `room n`, as the payload of [`happen`] tells it, and which attempt it was.
    fn tells(&self) -> (String, i64, i64) {
        let body = self.json();
        let n = body["payload"]["member"][0].as_str().and_then(|name| name.strip_prefix('u')?.parse().ok());
        let attempt = self.headers["x-roomward-attempt"].parse().expect("a number");
        (body["id"].as_str().expect("a room").to_owned(), n.expect("a number"), attempt)
    }
}

/// A receiver's answer: a status with more header lines; or none at all, until the receiver is [released](Receiver).
pub enum Reaction {
    Status(u16, String),
    Hang,
}

fn status(status: u16) -> Reaction {
    Reaction::Status(status, String::new())
}

/// A receiver of callbacks on a port of its own.
pub struct Receiver {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    hangs: Arc<Mutex<bool>>,
}

impl Receiver {
    pub fn start(react: impl Fn(&Received) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (received, hangs) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(true)));
        let (react, all, hanging) = (Arc::new(react), received.clone(), hangs.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (react, all, hanging) = (react.clone(), all.clone(), hanging.clone());
                std::thread::spawn(move || serve(connection, &*react, &all, &hanging));
            }
        });
        Self { address, received, hangs }
    }

    pub fn ok() -> Self {
        Self::start(|_| status(200))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("unpoisoned").clone()
    }

    /// Whoever hangs is answered with 200 from now on.
    fn release(&self) {
        *self.hangs.lock().expect("unpoisoned") = false;
    }

    fn told(&self) -> Vec<(String, i64, i64)> {
        self.received().iter().map(Received::tells).collect()
    }

    async fn has(&self, count: usize) {
        eventually(&format!("{count} callbacks"), || async { self.received().len() >= count }).await;
        assert_eq!(self.received().len(), count);
    }
}

fn serve(mut connection: TcpStream, react: &dyn Fn(&Received) -> Reaction, all: &Mutex<Vec<Received>>, hangs: &Mutex<bool>) {
    let mut lines = BufReader::new(connection.try_clone().expect("a socket"));
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let headers: HashMap<String, String> = head[1..]
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().expect("a length"))];
        lines.read_exact(&mut body).expect("a body");
        let path = head[0].split(' ').nth(1).expect("a path").to_owned();
        let received = Received { path, headers, body: String::from_utf8(body).expect("UTF-8") };
        all.lock().expect("unpoisoned").push(received.clone());
        let (status, more) = match react(&received) {
            Reaction::Status(status, more) => (status, more),
            Reaction::Hang => {
                while *hangs.lock().expect("unpoisoned") {
                    std::thread::sleep(Duration::from_millis(5));
                }
                (200, String::new())
            }
        };
        let answer = format!("HTTP/1.1 {status} X\r\n{more}Content-Length: {}\r\n\r\n", if status == 204 { "0" } else { "2" });
        let body = if status == 204 { "" } else { "ok" };
        if connection.write_all(format!("{answer}{body}").as_bytes()).is_err() {
            return;
        }
    }
}

/// Makes a rule, and returns its id.
async fn rule(app: &TestApp, url: &str, kinds: &[&str]) -> Uuid {
    let answer = app.post_json("/callbacks/rules", json!({"url": url, "secret": HUSH, "kinds": kinds})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["data"]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

async fn put(app: &TestApp, path: &str, body: Value) -> Answer {
    app.send(app.request(Method::PUT, path).body(body.to_string())).await
}

/// Lets `count` users join a room, the event of number `n` being about `u{n}`.
async fn happen(app: &TestApp, room: &str, count: i64) {
    write(app, room, "JOIN/DIRECT", count).await;
}

/// Writes events as a change of the room does, with what rules ask for because of them, in one transaction.
async fn write(app: &TestApp, room: &str, kind: &str, count: i64) {
    sqlx::query(
        "with last as (select coalesce(max(n), 0) as n from events where app = $1 and chatroom = $2),
         written as (
             insert into events (app, chatroom, n, kind, users, actor, member_count, happened_at, xact)
             select $1, $2, last.n + i, $3, array['u' || last.n + i], '@ppAdmin', 7, date_trunc('milliseconds', now()),
                    pg_current_xact_id()::text::bigint
             from last, generate_series(1, $4) i returning n
         ),
         asked as (
             insert into deliveries (rule, app, chatroom, n)
             select rules.id, $1, $2, written.n from written
             join callback_rules rules on rules.app = $1 and deleted_at is null and kinds && array['*', $3, split_part($3, '/', 1)]
             order by written.n returning rule
         )
         insert into callback_lines (rule, app, chatroom) select distinct rule, $1, $2 from asked order by rule
         on conflict (rule, chatroom) do update set next_at = callback_lines.next_at",
    )
    .bind(app.app.id)
    .bind(room)
    .bind(kind)
    .bind(count)
    .execute(&app.db)
    .await
    .expect("written");
}

/// The deliveries of a rule in a state.
async fn log(app: &TestApp, rule: Uuid, query: &str) -> Vec<Value> {
    let answer = app.get(&format!("/callbacks/rules/{rule}/deliveries{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["data"].as_array().expect("a list").clone()
}

async fn all_are(app: &TestApp, rule: Uuid, state: &str, count: usize) {
    eventually(&format!("{count} deliveries are {state}"), || async {
        log(app, rule, &format!("?state={state}")).await.len() == count
    })
    .await;
}

/// Whether so many statements wait for a row of this app's tables that somebody else has locked.
async fn waiting_for_locks(app: &TestApp, count: i64) -> bool {
    let waiting: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
         and (query like '%from apps where id%' or query like '%from callback_lines where rule%')",
    )
    .fetch_one(&app.db)
    .await
    .expect("a count");
    waiting >= count
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The hosted service's signature of a body.
pub fn security(body: &Value, secret: &str) -> String {
    let signed = format!("{}{secret}{}", body["callId"].as_str().expect("a text"), body["timestamp"]);
    hex(&md5::Md5::digest(signed))
}

/// An instance with settings of its own, alone with its database, and an app on it.
async fn alone(set: impl FnOnce(&mut Settings)) -> (Instance, TestApp) {
    let url = new_database().await;
    migrations::run(&url).await.expect("migrated");
    let mut settings = settings(&url);
    set(&mut settings);
    let instance = Instance::start(settings);
    let app = TestApp::on(instance.address, &url).await;
    (instance, app)
}

#[tokio::test]
async fn a_callback_says_what_has_happened_and_is_signed_in_both_ways() {
    let (app, receiver) = (TestApp::new().await, Receiver::ok());
    rule(&app, &receiver.url("/hook?a=b"), &["*"]).await;
    happen(&app, "r1", 1).await;
    receiver.has(1).await;
    let letter = receiver.received().remove(0);
    let body = letter.json();
    let (call, timestamp) = (body["callId"].as_str().expect("a text"), body["timestamp"].as_i64().expect("a number"));
    let appkey = format!("{}#app", app.app.org);
    let delivery = &letter.headers["x-roomward-delivery"];
    assert_eq!(call, format!("{appkey}_{delivery}"));
    let security = security(&body, HUSH);
    assert_eq!(
        letter.body,
        format!(
            r#"{{"callId":"{call}","security":"{security}","payload":{{"member":["u1"],"type":"DIRECT"}},"appkey":"{appkey}","id":"r1","type":"CHATROOM","event":"group_op_event","operation":"JOIN","operator":"@ppAdmin","timestamp":{timestamp},"member_count":7}}"#
        )
    );
    let header = |name: &str| letter.headers[name].as_str();
    assert_eq!((&*letter.path, header("content-type"), header("x-roomward-attempt")), ("/hook?a=b", "application/json", "1"));
    assert!(header("user-agent").starts_with("roomward/"));
    let (t, v1) = header("x-roomward-signature").split_once(",v1=").expect("two parts");
    let t = t.strip_prefix("t=").expect("a moment");
    let key = Hmac::<sha2::Sha256>::new_from_slice(HUSH.as_bytes()).expect("a key");
    assert_eq!(v1, hex(&key.chain_update(format!("{t}.{}", letter.body)).finalize().into_bytes()));
}

#[tokio::test]
async fn every_change_of_a_room_is_told_in_the_words_of_the_hosted_service() {
    let (app, receiver) = (TestApp::new().await, Receiver::ok());
    rule(&app, &receiver.url("/"), &["*"]).await;
    app.users(&["ann", "bob", "cid"]).await;
    let made =
        json!({"name": "Lobby", "description": "all", "owner": "ann", "members": ["bob"], "maxusers": 200, "roomid": "lobby"});
    assert_eq!(app.post_json("/chatrooms", made).await.status, 200);
    for (method, path, body) in [
        (Method::POST, "/users/cid", json!(null)),
        (Method::POST, "/admin", json!({"newadmin": "bob"})),
        (Method::DELETE, "/admin/bob", json!(null)),
        (Method::POST, "/white/users/bob", json!(null)),
        (Method::DELETE, "/white/users/bob", json!(null)),
        (Method::POST, "/mute", json!({"usernames": ["bob", "cid"], "mute_duration": -1})),
        (Method::DELETE, "/mute/bob,cid", json!(null)),
        (Method::POST, "/ban", json!(null)),
        (Method::DELETE, "/ban", json!(null)),
        (Method::DELETE, "/users/bob", json!(null)),
        (Method::POST, "/blocks/users/cid", json!(null)),
        (Method::DELETE, "/blocks/users/cid", json!(null)),
        (Method::POST, "/users/bob", json!(null)),
        (Method::PUT, "", json!({"name": "Hall", "maxusers": 300})),
        (Method::PUT, "", json!({"newowner": "bob"})),
        (Method::POST, "/announcement", json!({"announcement": "hi"})),
        (Method::DELETE, "", json!(null)),
    ] {
        let answer = app.send(app.request(method, &format!("/chatrooms/lobby{path}")).body(body.to_string())).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    assert_eq!(app.post_json("/chatrooms/super_admin", json!({"superadmin": "ann"})).await.status, 200);
    receiver.has(21).await;
    let appkey = format!("{}#app", app.app.org);
    let told = |wanted: &str| -> Vec<String> {
        let tell = |received: Received| {
            let body = received.json();
            let created =
                received.body.split_once(r#""created":""#).map_or("no moment".into(), |(_, rest)| rest[..13].to_owned());
            let (_, rest) = received.body.split_once(r#","payload":"#).unwrap_or(("", "{}"));
            let (payload, _) = rest.split_once(r#","appkey":"#).unwrap_or((rest, ""));
            let payload = payload.replace(&appkey, "APPKEY").replace(&created, "CREATED");
            let count = body.get("member_count").map(|count| format!(" {count}")).unwrap_or_default();
            (body["id"] == wanted).then(|| format!("{} {payload}{count}", body["operation"].as_str().expect("a text")))
        };
        receiver.received().into_iter().filter_map(tell).collect()
    };
    assert_eq!(told(""), [r#"ROOM_SUPER_ADMIN {"admin":["ann"],"type":"ADD"}"#]);
    let of_room = told("lobby");
    let expected = [
        r#"CREATE {"role":{"ann":"owner"},"member":["bob"],"info":{"owner":"APPKEY_ann","created":"CREATED","custom":"","description":"all","mute":"false","mute_duration":"-1","title":"Lobby","max_users":"200"}}"#,
        r#"JOIN {"member":["cid"],"type":"DIRECT"} 3"#,
        r#"ADMIN {"admin":["bob"],"type":"ADD"}"#,
        r#"ADMIN {"admin":["bob"],"type":"REMOVE"}"#,
        r#"WHITE {"member":["bob"],"type":"ADD"}"#,
        r#"WHITE {"member":["bob"],"type":"REMOVE"}"#,
        r#"MUTE {"member":["bob","cid"],"type":"ADD","expire_timestamp":4638873600000}"#,
        r#"MUTE {"member":["bob","cid"],"type":"REMOVE"}"#,
        r#"UPDATE {"type":"MUTE","mute":true}"#,
        r#"UPDATE {"type":"MUTE","mute":false}"#,
        r#"LEAVE {"member":["bob"],"type":"KICK"} 2"#,
    ];
    assert_eq!(of_room[..11], expected);
    // Which of these two comes first is the room's affair.
    assert!(of_room[11..13].contains(&r#"LEAVE {"member":["cid"],"type":"BLOCK"} 1"#.to_owned()), "{of_room:?}");
    let block = r#"BLOCK {"member":["cid"],"type":"ADD","expire_timestamp":4638873600000}"#;
    assert!(of_room[11..13].contains(&block.to_owned()), "{of_room:?}");
    let expected = [
        r#"BLOCK {"member":["cid"],"type":"REMOVE"}"#,
        r#"JOIN {"member":["bob"],"type":"DIRECT"} 2"#,
        r#"UPDATE {"type":"INFO","info":{"title":"Hall","max_users":"300"}}"#,
        r#"UPDATE {"type":"OWNER","owner":"ann","new_owner":"bob"}"#,
        r#"UPDATE {"type":"ANNOUNCEMENT","announcement":"hi"}"#,
        r#"LEAVE {"member":["ann","bob"],"type":"DELETE"}"#,
        "DELETE {}",
    ];
    assert_eq!(of_room[13..], expected);
    let ours = |received: &Received| received.json()["operator"] == "@ppAdmin";
    assert!(receiver.received().iter().all(ours));
}

#[tokio::test]
async fn the_callbacks_of_a_room_come_in_its_order_and_a_failed_one_again_as_the_same() {
    let app = TestApp::new().await;
    let receiver = Receiver::start(|received| match received.tells() {
        (_, 2, 1) => status(500),
        _ => status(200),
    });
    let rule = rule(&app, &receiver.url("/"), &["JOIN"]).await;
    happen(&app, "r1", 4).await;
    all_are(&app, rule, "done", 4).await;
    let told: Vec<(i64, i64)> = receiver.told().into_iter().map(|(_, n, attempt)| (n, attempt)).collect();
    assert_eq!(told, [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1)]);
    let letters = receiver.received();
    assert_eq!(letters[1].body, letters[2].body, "the same callId, the same bytes");
    assert_eq!(letters[1].headers["x-roomward-delivery"], letters[2].headers["x-roomward-delivery"]);
    let shown = app.get(&format!("/callbacks/rules/{rule}")).await;
    assert!(!shown.text.contains("failing_since"), "{}", shown.text);
}

#[tokio::test]
async fn a_room_that_fails_holds_up_no_other_and_the_rule_says_since_when_it_fails() {
    let app = TestApp::new().await;
    let receiver = Receiver::start(|received| if received.tells().0 == "bad" { status(503) } else { status(200) });
    let rule = rule(&app, &receiver.url("/"), &["*"]).await;
    happen(&app, "bad", 2).await;
    eventually("the bad room fails", || async { !receiver.received().is_empty() }).await;
    eventually("the rule is failing", || async {
        app.get(&format!("/callbacks/rules/{rule}")).await.text.contains("failing_since")
    })
    .await;
    happen(&app, "good", 3).await;
    all_are(&app, rule, "done", 3).await;
    let waiting = log(&app, rule, "?state=pending&room=bad").await;
    assert_eq!(waiting.len(), 2);
    assert_eq!((&waiting[1]["status"], &waiting[1]["n"]), (&json!(503), &json!(1)));
    assert!(waiting[1]["next_at"].is_i64() && waiting[0].get("status").is_none(), "{waiting:?}");
    let told = receiver.told();
    assert!(told.iter().all(|(room, n, _)| room == "good" || *n == 1), "nothing overtakes: {told:?}");
    let shown = app.get(&format!("/callbacks/rules/{rule}")).await.json();
    assert!(shown["data"]["lag"].as_i64().expect("a lag") > 0, "{shown}");
    assert!(shown["data"].get("failing_since").is_none(), "the last attempt was a success: {shown}");
}

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
async fn an_app_has_four_rules_at_most_whoever_makes_them_at_once() {
    let app = Arc::new(TestApp::new().await);
    // Whoever comes waits for the app, so that all of them count at once when it is free.
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
    let whole = json!({"url": "https://example.com/", "secret": HUSH, "kinds": ["*"], "paused": false});
    for (field, value, words) in [
        ("url", Value::Null, "url must be provided"),
        ("url", json!("ftp://example.com/"), "url is invalid"),
        ("url", json!("https://user:pw@example.com/"), "url is invalid"),
        ("url", json!(format!("https://example.com/{}", "x".repeat(2048))), "url is invalid"),
        ("secret", Value::Null, "secret must be provided"),
        ("secret", json!(""), "secret is invalid"),
        ("secret", json!("x".repeat(257)), "secret is invalid"),
        ("kinds", json!([]), "kinds is invalid"),
        ("kinds", json!(["JOIN", "NONSENSE"]), "kinds is invalid"),
        ("kinds", json!(["JOIN/"]), "kinds is invalid"),
        ("kinds", json!([1]), "kinds must be strings"),
        ("paused", json!("no"), "paused is invalid"),
    ] {
        let mut body = whole.clone();
        body[field] = value;
        app.post_json("/callbacks/rules", body).await.fails_parameter(words);
    }
    assert_eq!(app.get("/callbacks/rules").await.json()["data"], json!([]));
    let id = rule(&app, "https://example.com/", &["*"]).await;
    put(&app, &format!("/callbacks/rules/{id}"), json!({"url": "nowhere"})).await.fails_parameter("url is invalid");
    app.post_json(&format!("/callbacks/rules/{id}/replay"), json!({})).await.fails_parameter("room must be provided");
    app.get(&format!("/callbacks/rules/{id}/deliveries?state=lost")).await.fails_parameter("state is invalid");
    app.get(&format!("/callbacks/rules/{id}/deliveries?cursor=x")).await.fails_parameter("cursor is invalid");
}

#[tokio::test]
async fn the_log_of_deliveries_is_read_page_by_page_and_by_room() {
    let (app, receiver) = (TestApp::new().await, Receiver::ok());
    let id = rule(&app, &receiver.url("/"), &["*"]).await;
    for room in ["a", "b", "c"] {
        happen(&app, room, 5).await;
        all_are(&app, id, "pending", 0).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/callbacks/rules/{id}/deliveries?limit=4{cursor}")).await.json();
        let entries = page["data"].as_array().expect("a list").clone();
        seen.extend(entries.iter().map(|entry| format!("{}{}", entry["chatroom"].as_str().expect("a room"), entry["n"])));
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.join(" "), "c5 c4 c3 c2 c1 b5 b4 b3 b2 b1 a5 a4 a3 a2 a1");
    let of_room = log(&app, id, "?room=b&state=done").await;
    assert_eq!(of_room.iter().map(|entry| entry["n"].as_i64().expect("a number")).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    let known: Vec<Value> = receiver.received().iter().map(|received| received.json()["callId"].clone()).collect();
    assert!(of_room.iter().all(|entry| {
        let call = entry["callid"].as_str().expect("a text").replace("ORG", &app.app.org);
        known.contains(&json!(call)) && entry["attempts"] == 1 && entry.get("next_at").is_none()
    }));
    assert_eq!(log(&app, id, "?room=nowhere").await.len(), 0);
    assert_eq!(log(&app, id, "?room=b&limit=2").await.len(), 2);
}

#[tokio::test]
async fn what_was_sent_is_sent_again_on_demand_by_numbers_and_by_moments() {
    let (app, receiver) = (TestApp::new().await, Receiver::ok());
    happen(&app, "r1", 10).await;
    write(&app, "r1", "LEAVE/KICK", 2).await;
    happen(&app, "r2", 3).await;
    let id = rule(&app, &receiver.url("/"), &["JOIN"]).await;
    let path = format!("/callbacks/rules/{id}/replay");
    for beyond in [i64::MIN, -210_866_803_200_001, i64::MAX] {
        let nothing = app.post_json(&path, json!({"from_ms": beyond, "to_ms": beyond})).await;
        assert_eq!(nothing.json()["data"], json!({"events": 0}), "{beyond}");
    }
    let replayed = app.post_json(&path, json!({"room": "r1", "from": 3, "to": 5})).await;
    assert_eq!(replayed.json()["data"], json!({"events": 3}));
    receiver.has(3).await;
    assert_eq!(app.post_json(&path, json!({"room": "r1", "from": 9})).await.json()["data"], json!({"events": 2}));
    receiver.has(5).await;
    assert_eq!(receiver.told().iter().map(|(_, n, _)| *n).collect::<Vec<_>>(), [3, 4, 5, 9, 10]);
    for nowhere in ["r3", "R1", "no such room"] {
        assert_eq!(app.post_json(&path, json!({"room": nowhere, "from": 1})).await.json()["data"]["events"], 0);
    }
    sqlx::query("update events set happened_at = to_timestamp(n) where app = $1")
        .bind(app.app.id)
        .execute(&app.db)
        .await
        .expect("aged");
    let moments = json!({"from_ms": 2000, "to_ms": 4000});
    assert_eq!(app.post_json(&path, moments.clone()).await.json()["data"], json!({"events": 4}), "the end is not counted");
    receiver.has(9).await;
    let mut told = receiver.told().split_off(5);
    told.sort();
    let expected: Vec<_> = [("r1", 2), ("r1", 3), ("r2", 2), ("r2", 3)].map(|(room, n)| (room.to_owned(), n, 1)).into();
    assert_eq!(told, expected);
    let calls: std::collections::HashSet<String> =
        receiver.received().iter().map(|received| received.json()["callId"].to_string()).collect();
    assert_eq!(calls.len(), 9, "each time another callId");
}

#[tokio::test]
async fn a_replay_of_any_size_goes_step_by_step_and_misses_nothing() {
    let app = TestApp::new().await;
    happen(&app, "r1", 12_000).await;
    happen(&app, "r2", 5_001).await;
    let body = json!({"url": "https://example.com/", "secret": HUSH, "paused": true});
    let id = app.post_json("/callbacks/rules", body).await.json()["data"]["id"].as_str().expect("an id").to_owned();
    let path = format!("/callbacks/rules/{id}/replay");
    assert_eq!(app.post_json(&path, json!({"room": "r1", "from": 1})).await.json()["data"]["events"], 12_000);
    let ever = json!({"from_ms": 0, "to_ms": 4_638_873_600_000_i64});
    assert_eq!(app.post_json(&path, ever).await.json()["data"]["events"], 17_001);
    let made: Vec<(String, i64, i64)> = sqlx::query_as(
        "select chatroom, count(*), count(distinct n) from deliveries where rule = $1::uuid group by chatroom order by chatroom",
    )
    .bind(&id)
    .fetch_all(&app.db)
    .await
    .expect("rows");
    assert_eq!(made, [("r1".into(), 24_000, 12_000), ("r2".into(), 5_001, 5_001)]);
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
async fn a_target_that_takes_too_long_has_failed() {
    let hanging = Receiver::start(|_| Reaction::Hang);
    let (_instance, app) = alone(|settings| settings.callbacks.timeout_ms = 200).await;
    let id = rule(&app, &hanging.url("/"), &["*"]).await;
    happen(&app, "r1", 1).await;
    eventually("it has failed", || async { log(&app, id, "").await[0]["attempts"] == 1 }).await;
    let entry = log(&app, id, "").await.remove(0);
    assert!(entry.get("status").is_none() && entry["latency"].as_i64().is_some_and(|ms| ms >= 200), "{entry}");
    let tested = app.post(&format!("/callbacks/rules/{id}/test")).await.json();
    assert_eq!((&tested["data"]["status"], &tested["data"]["error"]), (&json!(0), &json!("timed out")));
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
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    put(&app, &format!("/callbacks/rules/{id}"), json!({"url": format!("http://{nobody}/")})).await;
    let tested = app.post(&format!("/callbacks/rules/{id}/test")).await.json();
    assert_eq!((&tested["data"]["status"], &tested["data"]["error"]), (&json!(0), &json!("cannot connect")));
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
async fn what_cannot_be_delivered_for_too_long_is_given_up_and_the_next_has_its_turn() {
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
async fn a_failed_delivery_rests_ever_longer_up_to_an_hour() {
    let app = TestApp::new().await;
    let made = app.post_json("/callbacks/rules", json!({"url": "http://127.0.0.1:9/", "secret": HUSH, "paused": true})).await;
    let id: Uuid = made.json()["data"]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    happen(&app, "r1", 1).await;
    let db = Db::new(app.db.clone());
    let attempt = Attempt { succeeded: false, status: Some(500), latency: Duration::from_millis(7) };
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
    let app = TestApp::new().await;
    let made = app.post_json("/callbacks/rules", json!({"url": "http://127.0.0.1:9/", "secret": HUSH, "paused": true})).await;
    let id: Uuid = made.json()["data"]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
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
    sqlx::query("update callback_lines set claim = gen_random_uuid(), next_at = now() + interval '1 hour' where rule = $1")
        .bind(id)
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

#[tokio::test]
async fn secrets_are_sealed_anew_when_the_services_own_is_replaced() {
    const OLD: &str = "the first secret of thirty-two bytes";
    const NEW: &str = "another secret of thirty-two bytes, too";
    let (url, receiver) = (new_database().await, Receiver::ok());
    migrations::run(&url).await.expect("migrated");
    let mut first = settings(&url);
    first.auth.secret = OLD.to_owned().into();
    let old = Instance::start(first);
    let mut app = TestApp::on(old.address, &url).await;
    app.token = Keys::new(&[OLD]).issue(app.app.uuid, &Subject::Client("test"), Life::Seconds(60)).expect("a token").text;
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
