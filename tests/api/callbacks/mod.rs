//! Callbacks, as their receivers see them. What the tests share is here: a receiver, rules, and things that happen.

mod deliveries;
mod queues;
mod rules;
mod targets;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use md5::Digest as _;
use reqwest::Method;
use roomward::config::Settings;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{Answer, Instance, TestApp, eventually, migrated_database, settings};

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

    /// Requests that hang are answered with 200 from now on.
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

/// Makes a rule whose deliveries wait, and returns its id.
async fn paused_rule(app: &TestApp) -> Uuid {
    let body = json!({"url": "http://127.0.0.1:9/", "secret": HUSH, "paused": true});
    let made = app.post_json("/callbacks/rules", body).await.json();
    made["data"]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
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

/// Whether so many statements wait for a row of this app's tables that another session has locked.
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
    let url = migrated_database().await;
    let mut settings = settings(&url);
    set(&mut settings);
    let instance = Instance::start(settings);
    let app = TestApp::on(instance.address, &url).await;
    (instance, app)
}
