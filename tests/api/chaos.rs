//! Everything goes wrong at once: instances are killed and started again under load, and the receivers of their callbacks
//! fails, hangs and dies. Nothing may be lost, nothing may come out of order, and no end may be told twice.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use roomward::migrations;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use crate::app::{SECRET, TestApp, new_database, numbered};

const TROUBLE: Duration = Duration::from_secs(10);
const INSTANCES: usize = 3;
const ROOMS: usize = 6;

/// A number below `end` that cannot be foreseen.
pub fn chance(end: u64) -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one(COUNT.fetch_add(1, Ordering::Relaxed)) % end
}

/// A service in a process of its own, which can be killed.
struct Process {
    child: Child,
    address: SocketAddr,
    url: String,
}

impl Process {
    fn start(url: &str) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        Self { child: Self::serve(url, address), address, url: url.to_owned() }
    }

    fn serve(url: &str, address: SocketAddr) -> Child {
        Command::new(env!("CARGO_BIN_EXE_roomward"))
            .arg("serve")
            .env("ROOMWARD__DATABASE__URL", url)
            .env("ROOMWARD__DATABASE__MAX_CONNECTIONS", "5")
            .env("ROOMWARD__AUTH__SECRET", SECRET)
            .env("ROOMWARD__SERVER__PORT", address.port().to_string())
            .env("ROOMWARD__SERVER__WORKERS", "1")
            .env("ROOMWARD__EXPIRY__EVERY_MS", "100")
            .env("ROOMWARD__CALLBACKS__EVERY_MS", "100")
            .env("ROOMWARD__CALLBACKS__TIMEOUT_MS", "400")
            .env("ROOMWARD__CALLBACKS__ALLOW_PRIVATE_TARGETS", "true")
            .env("ROOMWARD__LOG__FILTER", "error")
            .stdin(Stdio::null())
            .spawn()
            .expect("the binary")
    }

    /// As the machine does it: without a chance to finish anything.
    fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    fn start_again(&mut self) {
        self.child = Self::serve(&self.url, self.address);
    }

    async fn answers(&self) {
        wait("an instance answers", async || reqwest::get(format!("http://{}/readyz", self.address)).await.is_ok()).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn wait(what: &str, so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !so().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// A callback that has come: its id, and whether it was to be answered with 200.
type Arrivals = Arc<Mutex<Vec<(Uuid, bool)>>>;

/// Receives callbacks until it is dropped; while there is `trouble`, every which way.
async fn receive(listener: TcpListener, arrivals: Arrivals, trouble: Arc<AtomicBool>) {
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        connections.spawn(receive_on(connection, arrivals.clone(), trouble.clone()));
    }
}

async fn receive_on(connection: TcpStream, arrivals: Arrivals, trouble: Arc<AtomicBool>) -> std::io::Result<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let (mut id, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let Some((name, value)) = line.trim().split_once(": ") else {
                if line.trim().is_empty() {
                    break;
                }
                continue;
            };
            match &*name.to_ascii_lowercase() {
                "x-roomward-delivery" => id = value.parse().ok(),
                "content-length" => length = value.parse().expect("a length"),
                _ => {}
            }
        }
        connection.read_exact(&mut vec![0; length]).await?;
        let mood = if trouble.load(Ordering::Relaxed) { chance(30) } else { 30 };
        let is_taken = mood > 2;
        arrivals.lock().expect("unpoisoned").push((id.expect("an id"), is_taken));
        match mood {
            0 => connection.write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").await?,
            1 => sleep(Duration::from_secs(2)).await,
            2 => return Ok(()),
            _ => connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?,
        }
    }
}

/// Changes a room as long as there is trouble, through whichever instance, and returns who was certainly let in how often.
async fn change(
    apps: Vec<TestApp>,
    room: String,
    users: Vec<String>,
    trouble: Arc<AtomicBool>,
) -> (String, HashMap<String, usize>) {
    let mut joined = HashMap::new();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().expect("a client");
    while trouble.load(Ordering::Relaxed) {
        let app = &apps[usize::try_from(chance(INSTANCES as u64)).expect("small")];
        let user = &users[usize::try_from(chance(users.len() as u64)).expect("small")];
        let at = |path: &str| format!("{}/chatrooms/{room}{path}", app.base());
        let (method, url, body) = match chance(7) {
            0..3 => (Method::POST, at(&format!("/users/{user}")), json!({})),
            3 => (Method::DELETE, at(&format!("/users/{user}")), json!({})),
            4..6 => (Method::POST, at("/mute"), json!({"usernames": [user], "mute_duration": 50 + chance(1500)})),
            _ => (Method::POST, at(&format!("/blocks/users/{user}")), json!({"block_duration": 50 + chance(1000)})),
        };
        let adds = method == Method::POST && url.ends_with(&format!("/users/{user}")) && !url.contains("/blocks/");
        let request = client.request(method, url).bearer_auth(&app.token).body(body.to_string());
        match request.send().await {
            Ok(answer) if adds && answer.status() == 200 => *joined.entry(user.clone()).or_default() += 1,
            _ => {}
        }
        sleep(Duration::from_millis(10)).await;
    }
    (room, joined)
}

/// Kills and starts instances again as long as there is trouble.
async fn kill(mut processes: Vec<Process>, trouble: Arc<AtomicBool>) -> Vec<Process> {
    let mut kills = 0;
    while trouble.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(300 + chance(700))).await;
        let process = &mut processes[usize::try_from(chance(INSTANCES as u64)).expect("small")];
        process.kill();
        sleep(Duration::from_millis(chance(300))).await;
        process.start_again();
        kills += 1;
    }
    assert!(kills >= 3, "{kills}");
    processes
}

/// The events of a room, all of them; fails if a number is missing.
pub async fn events(app: &TestApp, room: &str) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    loop {
        let page = app.get(&format!("/chatrooms/{room}/events?since={}&limit=1000", events.len())).await.json();
        let page = page["data"].as_array().expect("events").clone();
        if page.is_empty() {
            break;
        }
        events.extend(page);
    }
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["n"], index + 1);
    }
    events
}

/// Fails unless every mute and every block of the events that began has ended once.
fn assert_ends(events: &[Value]) {
    let mut running: HashSet<(&str, &str)> = HashSet::new();
    for event in events {
        let Some((list @ ("MUTE" | "BLOCK"), what)) = event["kind"].as_str().and_then(|kind| kind.split_once('/')) else {
            continue;
        };
        for user in event["users"].as_array().expect("users").iter().filter_map(Value::as_str) {
            let is_new = match what {
                "ADD" => event["before"][user].is_null(),
                _ => false,
            };
            assert_eq!(running.contains(&(list, user)), !is_new, "{event}");
            if what == "ADD" {
                running.insert((list, user));
            } else {
                running.remove(&(list, user));
            }
        }
    }
    assert!(running.is_empty(), "{running:?} never ended");
}

/// Fails unless every delivery has come, and none before those of smaller numbers in its room were taken.
fn assert_order(arrivals: &[(Uuid, bool)], deliveries: &[(Uuid, String, i64)]) {
    let known: HashMap<Uuid, (&str, i64)> = deliveries.iter().map(|(id, room, n)| (*id, (&**room, *n))).collect();
    let mut taken: HashMap<&str, i64> = HashMap::new();
    for (id, is_taken) in arrivals {
        let (room, n) = known[id];
        let last = taken.entry(room).or_default();
        assert!(n <= *last + 1, "{room} {n} came when {last} was the last to be taken");
        if *is_taken && n == *last + 1 {
            *last = n;
        }
    }
    for (_, room, n) in deliveries {
        assert!(taken[&**room] >= *n, "{room} {n} was never taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_instances_are_killed_and_receivers_fail() {
    let url = new_database().await;
    migrations::run(&url).await.expect("migrated");
    let processes: Vec<Process> = (0..INSTANCES).map(|_| Process::start(&url)).collect();
    for process in &processes {
        process.answers().await;
    }
    let app = TestApp::on(processes[0].address, &url).await;
    let users = numbered("user", 8);
    app.users(&["ann"]).await;
    app.users(&users.iter().map(String::as_str).collect::<Vec<_>>()).await;

    let (arrivals, trouble) = (Arrivals::default(), Arc::new(AtomicBool::new(true)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = listener.local_addr().expect("an address");
    let rule = json!({"url": format!("http://{target}/"), "secret": "s"});
    let rule = app.post_json("/callbacks/rules", rule).await.json()["data"]["id"].as_str().expect("an id").to_owned();
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        rooms.push(app.room("ann", &[]).await);
    }

    // The receiver dies and comes back on its own port.
    let dying = {
        let (arrivals, trouble) = (arrivals.clone(), trouble.clone());
        tokio::spawn(async move {
            let mut receiver = tokio::spawn(receive(listener, arrivals.clone(), trouble.clone()));
            while trouble.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(500 + chance(1500))).await;
                receiver.abort();
                let _ = receiver.await;
                sleep(Duration::from_millis(chance(500))).await;
                let listener = TcpListener::bind(target).await.expect("the same port");
                receiver = tokio::spawn(receive(listener, arrivals.clone(), trouble.clone()));
            }
            receiver.abort_handle()
        })
    };
    let apps = || processes.iter().map(|process| app.through(process.address)).collect::<Vec<_>>();
    let mut load = JoinSet::new();
    for room in &rooms {
        load.spawn(change(apps(), room.clone(), users.clone(), trouble.clone()));
    }
    let killing = tokio::spawn(kill(processes, trouble.clone()));
    sleep(TROUBLE).await;
    trouble.store(false, Ordering::Relaxed);
    let joined = load.join_all().await;
    let processes = killing.await.expect("no panic");
    let receiver = dying.await.expect("no panic");
    for process in &processes {
        process.answers().await;
    }

    // All mutes and blocks end, and everything is delivered; what waits after failures is tried when its rule changes.
    let count =
        async |statement: &'static str| -> i64 { sqlx::query_scalar(statement).fetch_one(&app.db).await.expect("a count") };
    wait("everything has ended", async || {
        count("select count(*) from (select from mutes union all select from blocks) running").await == 0
    })
    .await;
    wait("everything is delivered", async || {
        let again = app.request(Method::PUT, &format!("/callbacks/rules/{rule}")).body(r#"{"paused":false}"#);
        assert_eq!(app.send(again).await.status, 200);
        count("select count(*) from deliveries where state = 'pending'").await == 0
    })
    .await;
    receiver.abort();

    let deliveries: Vec<(Uuid, String, i64)> =
        sqlx::query_as("select call_id, chatroom, n from deliveries where state = 'done' order by chatroom, n")
            .fetch_all(&app.db)
            .await
            .expect("deliveries");
    let mut told = Vec::new();
    for (room, joined) in joined {
        let events = events(&app, &room).await;
        assert_ends(&events);
        for (user, times) in joined {
            let joins = events.iter().filter(|event| event["kind"] == "JOIN/DIRECT" && event["users"] == json!([user]));
            assert!(joins.count() >= times, "{room}: {user} was let in {times} times");
        }
        told.extend((1..).take(events.len()).map(|n| (room.clone(), n)));
    }
    told.sort();
    let delivered: Vec<(String, i64)> = deliveries.iter().map(|(_, room, n)| (room.clone(), *n)).collect();
    assert_eq!(delivered, told, "a delivery for each event");
    let arrivals = arrivals.lock().expect("unpoisoned").clone();
    assert_order(&arrivals, &deliveries);
    println!("{} events, {} arrivals", told.len(), arrivals.len());
    app.assert_invariants().await;
}
