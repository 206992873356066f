//! Apps moved in and out, as an operator does it: by a file, and straight out of another service.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use roomward::accounts::apps;
use roomward::auth;
use roomward::db::Db;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::app::{CLIENT_ID, SECRET, TestApp, eventually, mask_number, numbered, shared_database};

/// What opens an app that is read by its API.
const SOURCE_SECRET: &str = "hunter2-of-the-source";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomward"));
    command
        .args(arguments)
        .env("ROOMWARD__DATABASE__URL", shared_database())
        .env("ROOMWARD__AUTH__SECRET", SECRET)
        .env("ROOMWARD_IMPORT_CLIENT_SECRET", SOURCE_SECRET)
        .stdin(Stdio::null());
    command
}

/// Runs the command line beside the service, without keeping the service of this test from answering.
async fn roomward(arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    tokio::task::spawn_blocking(move || command.output().expect("the binary")).await.expect("no panic")
}

/// What a command printed, and whether it ended well. No secret is ever in it.
fn told(output: &Output) -> (bool, String) {
    let text = [&*output.stdout, &*output.stderr].concat();
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(!text.contains(SOURCE_SECRET) && !text.contains(SECRET) && !text.contains("eyJ"), "{text}");
    (output.status.success(), text)
}

fn name(app: &TestApp) -> String {
    format!("{}/{}", app.app.org, app.app.name)
}

/// A file of its own.
fn file(what: &str) -> PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{what}-{}.ndjson", uuid::Uuid::new_v4().simple()))
}

async fn export(app: &TestApp, arguments: &[&str]) -> PathBuf {
    let path = file("export");
    let output = roomward(&[&["export", &name(app), path.to_str().expect("a text")], arguments].concat()).await;
    assert!(told(&output).0, "{output:?}");
    path
}

async fn import(app: &TestApp, path: &std::path::Path, arguments: &[&str]) -> (bool, String) {
    told(&roomward(&[&["import", &name(app), path.to_str().expect("a text")], arguments].concat()).await)
}

async fn import_from(app: &TestApp, source: &TestApp, arguments: &[&str]) -> (bool, String) {
    let hash = auth::hash_client_secret(source.app.uuid, SOURCE_SECRET);
    apps::set_client_secret(&Db::new(source.db.clone()), source.app.id, &hash).await.expect("a secret");
    let base = source.base();
    let fixed = ["import", &name(app), "--from", &base, "--client-id", CLIENT_ID, "--rate", "5000"];
    told(&roomward(&[&fixed, arguments].concat()).await)
}

/// A file with these lines between its first and its last.
fn lines(lines: &[Value]) -> PathBuf {
    let path = file("lines");
    let first = json!({"roomward": {"version": 1, "app": "acme/live", "exported": 0}});
    let last = json!({"end": {"lines": lines.len() + 1}});
    let all = std::iter::once(&first).chain(lines).chain([&last]);
    let text: String = all.flat_map(|line| [line.to_string(), "\n".into()]).collect();
    std::fs::write(&path, text).expect("written");
    path
}

/// A room as a line.
fn room(id: &str, owner: &str) -> Value {
    json!({"room": {"id": id, "name": "n", "description": "d", "owner": owner, "maxusers": 50}})
}

/// An app with something on every list. Its rooms are `full` and `bare`.
async fn furnished() -> TestApp {
    let app = TestApp::new().await;
    app.users(&["ann", "bob", "cid", "dan", "eve", "fay"]).await;
    for (id, owner, members) in [("full", "ann", json!(["bob", "cid", "dan"])), ("bare", "bob", json!([]))] {
        let body = json!({
            "roomid": id, "name": format!("{id} \"名\""), "description": "d\\e\nf", "custom": "{\"a\":1}", "owner": owner,
            "members": members, "maxusers": 30,
        });
        assert_eq!(app.post_json("/chatrooms", body).await.status, 200);
    }
    for (path, body) in [
        ("/chatrooms/full/admin", json!({"newadmin": "cid"})),
        ("/chatrooms/full/white/users", json!({"usernames": ["dan", "bob"]})),
        ("/chatrooms/full/mute", json!({"usernames": ["dan"], "mute_duration": 3_600_000})),
        ("/chatrooms/full/mute", json!({"usernames": ["bob"], "mute_duration": -1})),
        ("/chatrooms/full/users", json!({"usernames": ["eve"]})),
        ("/chatrooms/full/blocks/users", json!({"usernames": ["eve"]})),
        ("/chatrooms/full/announcement", json!({"announcement": "hear\tthis"})),
        ("/chatrooms/super_admin", json!({"superadmin": "fay"})),
        ("/mutes", json!({"username": "cid", "chatroom": 3600, "chat": -1})),
    ] {
        let answer = app.post_json(path, body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    assert_eq!(app.post("/chatrooms/bare/ban").await.status, 200);
    assert_eq!(app.post("/users/dan/deactivate").await.status, 200);
    let set = app.request(reqwest::Method::PUT, "/metadata/chatroom/full/user/bob");
    let answer = app.send(set.body(json!({"metaData": {"k": "v\\\n"}, "autoDelete": "NO_DELETE"}).to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let nickname = app.request(reqwest::Method::PUT, "/users/ann").body(json!({"nickname": "Ann"}).to_string());
    assert_eq!(app.send(nickname).await.status, 200);
    app
}

/// All that the API tells of an app, moments and numbers of the app itself left out.
async fn lists(app: &TestApp) -> Vec<String> {
    let mut told = Vec::new();
    let users = app.get("/users?limit=100").await.json()["entities"].clone();
    for user in users.as_array().expect("a list") {
        told.push(format!("{} {} {}", user["username"], user["nickname"], user["activated"]));
    }
    let mut paths = vec!["/chatrooms/super_admin".to_owned(), "/mutes".into()];
    for room in ["full", "bare"] {
        for list in ["", "/users", "/admin", "/white/users", "/blocks/users", "/mute", "/announcement"] {
            paths.push(format!("/chatrooms/{room}{list}"));
        }
    }
    for path in paths {
        let answer = app.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        // Global mutes are told in seconds that are left.
        let data = mask_number(&answer.json()["data"].to_string(), "\"chatroom\":");
        told.push(format!("{path} {}", data.split(",\"unixtime\"").next().expect("a text")));
    }
    told.push(app.send(app.request(reqwest::Method::POST, "/metadata/chatroom/full")).await.json()["data"].to_string());
    told
}

/// How many events of a kind an app has, and what the last of them says.
async fn events(app: &TestApp, kind: &str) -> Vec<(String, Value)> {
    sqlx::query_as("select chatroom, coalesce(after, 'null') from events where app = $1 and kind = $2 order by chatroom, n")
        .bind(app.app.id)
        .bind(kind)
        .fetch_all(&app.db)
        .await
        .expect("events")
}

/// Fails unless all is as it must be; what was brought in is told by few events, and numbered without gaps all the same.
async fn assert_whole(app: &TestApp) {
    app.assert_invariants().await;
    let wrong: Vec<String> = sqlx::query_scalar(
        "select chatroom from room_counters where app = $1 and (
             last_event <> (select count(*) from events where app = $1 and events.chatroom = room_counters.chatroom)
             or last_event <> (select max(n) from events where app = $1 and events.chatroom = room_counters.chatroom)
             or last_seq < (select max(seq) from members where app = $1 and members.chatroom = room_counters.chatroom))",
    )
    .bind(app.app.id)
    .fetch_all(&app.db)
    .await
    .expect("a query");
    assert!(wrong.is_empty(), "{wrong:?}");
}

async fn count(db: &PgPool, app: i32, table: &str) -> i64 {
    let count = sqlx::AssertSqlSafe(format!("select count(*) from {table} where app = $1"));
    sqlx::query_scalar(count).bind(app).fetch_one(db).await.expect("a count")
}

#[tokio::test]
async fn an_app_moves_by_a_file_with_every_list() {
    let (from, to) = (furnished().await, TestApp::new().await);
    let path = export(&from, &["--with-password-hashes"]).await;
    let (good, text) = import(&to, &path, &["--verify"]).await;
    assert!(good, "{text}");
    assert_eq!(
        text,
        "users: 6 new\nrooms: 2 new\nmembers: 3 new\nadmins: 1 new\nwhitelist: 2 new\nblocks: 1 new\nmutes: 2 new\n\
         attributes: 1 new\nsuper admins: 1 new\nglobal mutes: 1 new\ncompared:\nusers: 6 there already\nrooms: 2 there already\n\
         members: 3 there already\nadmins: 1 there already\nwhitelist: 2 there already\nblocks: 1 there already\n\
         mutes: 2 there already\nattributes: 1 there already\nsuper admins: 1 there already\nmoderators: 0\n\
         global mutes: 1 there already\n"
    );
    assert_eq!(lists(&to).await, lists(&from).await);
    assert_whole(&to).await;
    let created = events(&to, "CREATE/IMPORT").await;
    assert_eq!(created.iter().map(|(room, _)| &**room).collect::<Vec<_>>(), ["bare", "full"]);
    assert_eq!(
        created[1].1,
        json!({
            "name": "full \"名\"", "description": "d\\e\nf", "custom": "{\"a\":1}", "owner": "ann", "maxusers": 30,
            "members": 3, "admins": 1, "whitelist": 2, "blocks": 1, "mutes": 2, "attributes": 1,
        })
    );
    // The passwords came along.
    let login = json!({"grant_type": "password", "username": "bob", "password": "password"});
    assert_eq!(to.post_json("/token", login).await.status, 200);
    // What goes out again is the same file, but for its first line.
    let again = export(&to, &["--with-password-hashes"]).await;
    let rows = |path| std::fs::read_to_string(path).expect("a file").split_once('\n').expect("lines").1.to_owned();
    assert_eq!(rows(&again), rows(&path));
    // Once more there is nothing to do.
    let (good, text) = import(&to, &path, &[]).await;
    assert!(good && !text.contains("new") && text.contains("members: 3 there already"), "{text}");
    assert_eq!((events(&to, "CREATE/IMPORT").await.len(), events(&to, "UPDATE/IMPORT").await.len()), (2, 0));
}

#[tokio::test]
async fn what_a_room_has_is_changed_after_a_move_as_before() {
    let (from, to) = (furnished().await, TestApp::new().await);
    assert!(import(&to, &export(&from, &[]).await, &[]).await.0);
    assert_eq!(to.delete("/chatrooms/full/users/bob").await.status, 200);
    assert_eq!(to.post("/chatrooms/full/users/fay").await.status, 200);
    assert_eq!(to.delete("/chatrooms/full/blocks/users/eve").await.status, 200);
    assert_eq!(to.delete("/chatrooms/full/mute/dan").await.status, 200);
    assert_eq!(to.members("full").await, ["ann", "cid", "dan", "fay"]);
    // Without hashes no password opens an account.
    let login = json!({"grant_type": "password", "username": "fay", "password": "password"});
    assert_eq!(to.post_json("/token", login).await.status, 400);
    // A mute that came along ends by itself, and is told.
    sqlx::query("update mutes set ends_at = now() where app = $1").bind(to.app.id).execute(&to.db).await.expect("moved");
    crate::app::find_next_ends(&to.db, to.app.id).await;
    eventually("its end", async || events(&to, "MUTE/EXPIRE").await.len() == 1).await;
    assert_eq!(to.delete("/chatrooms/full").await.status, 200);
    assert_whole(&to).await;
}

#[tokio::test]
async fn an_app_moves_straight_out_of_another_service() {
    let (from, to) = (furnished().await, TestApp::new().await);
    let (good, text) = import_from(&to, &from, &["--verify", "--parallel", "3"]).await;
    assert!(good, "{text}");
    assert!(text.starts_with("users: 6 new\nrooms: 2 new\nmembers: 3 new\nadmins: 1 new\nwhitelist: 2 new\n"), "{text}");
    assert_eq!(lists(&to).await, lists(&from).await);
    assert_whole(&to).await;
    let (good, text) = import_from(&to, &from, &["--resume"]).await;
    assert!(good && text.contains("rooms: 2 there already\nsuper admins: 1 there already"), "{text}");
    // What has changed there meanwhile is told, and comes along.
    assert_eq!(from.post("/chatrooms/full/users/fay").await.status, 200);
    assert_eq!(from.delete("/chatrooms/full/users/bob").await.status, 200);
    let (good, text) = import_from(&to, &from, &["--verify", "--resume"]).await;
    assert!(!good, "{text}");
    assert!(text.contains("members of room full: fay: is not here\nmembers of room full: bob: is only here\n"), "{text}");
    let (good, text) = import_from(&to, &from, &["--verify"]).await;
    assert!(!good && text.contains("members: 1 new, 2 there already"), "{text}");
    assert_eq!(events(&to, "UPDATE/IMPORT").await, [("full".to_owned(), json!({"members": 1}))]);
    assert_whole(&to).await;
}

/// A source as the hosted service may be: busy at times, forgetful of tokens, with pages smaller than asked for, with numbers
/// as texts and ids as numbers, and with a room that goes while it is read.
struct Hosted {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Hosted {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (address, calls) = (listener.local_addr().expect("an address"), Arc::new(Mutex::new(Vec::new())));
        let all = calls.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let all = all.clone();
                std::thread::spawn(move || Self::serve(connection, &all));
            }
        });
        Self { address, calls }
    }

    fn serve(mut connection: TcpStream, calls: &Mutex<Vec<String>>) {
        let mut lines = BufReader::new(connection.try_clone().expect("a socket"));
        loop {
            let (mut head, mut length, mut line) = (String::new(), 0, String::new());
            while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                if let Some(given) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = given.trim().parse().expect("a length");
                }
                head.push_str(&line);
                line.clear();
            }
            let mut body = vec![0; length];
            if head.is_empty() || lines.read_exact(&mut body).is_err() {
                return;
            }
            let call = head.split(' ').take(2).collect::<Vec<_>>().join(" ").replace("/org/app", "");
            let mut calls = calls.lock().expect("unpoisoned");
            calls.push(call.clone());
            let again = calls.iter().filter(|known| **known == call).count() > 1;
            let (status, body) = Self::answer(&call, again);
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status} X\r\nRetry-After: 0\r\nContent-Length: {}\r\n\r\n", body.len());
            drop(calls);
            if connection.write_all(format!("{head}{body}").as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(call: &str, again: bool) -> (u16, Value) {
        let user = |name: &str| json!({"username": name, "created": "1700000000000", "activated": true});
        match call {
            "POST /token" => (200, json!({"access_token": "YWMt", "expires_in": 5000})),
            "GET /users?limit=100" if !again => (503, json!("busy")),
            "GET /users?limit=100" => (200, json!({"entities": [user("Ann"), user("bob"), user("cid")], "cursor": 7})),
            "GET /users?limit=100&cursor=7" => (200, json!({"entities": [user("dan"), user("eve")]})),
            "GET /chatrooms?limit=100" if !again => (429, json!({"error": "reach_limit"})),
            "GET /chatrooms?limit=100" => (200, json!({"data": [{"id": 66_213_271_109_633_i64}, {"id": "2"}, {"id": "3"}]})),
            "GET /chatrooms/66213271109633,2,3" => {
                let room = |id: Value| {
                    json!({"id": id, "name": "n", "description": "d", "owner": "ann", "maxusers": "200", "mute": false,
                           "affiliations_count": "5", "created": "1700000000000"})
                };
                (200, json!({"data": [room(66_213_271_109_633_i64.into()), room("2".into())]}))
            }
            "GET /chatrooms/66213271109633/users?pagenum=1&pagesize=1000" if !again => (401, json!({"error": "unauthorized"})),
            "GET /chatrooms/66213271109633/users?pagenum=1&pagesize=1000" => {
                (200, json!({"data": [{"member": "bob"}, {"owner": "ann"}]}))
            }
            "GET /chatrooms/66213271109633/users?pagenum=2&pagesize=1000" => {
                (200, json!({"data": [{"member": "cid"}, {"member": "dan"}]}))
            }
            "GET /chatrooms/66213271109633/users?pagenum=3&pagesize=1000" => (200, json!({"data": [{"member": "stranger"}]})),
            "GET /chatrooms/66213271109633/admin" => (200, json!({"data": ["Bob"]})),
            "GET /chatrooms/66213271109633/white/users" => (200, json!({"data": [], "count": 0})),
            "GET /chatrooms/66213271109633/blocks/users" => (200, json!({"data": ["eve"]})),
            "GET /chatrooms/66213271109633/mute" => (200, json!({"data": [{"user": "cid", "expire": "4000000000000"}]})),
            "GET /chatrooms/66213271109633/announcement" => (200, json!({"data": {"announcement": null}})),
            "GET /chatrooms/super_admin?pagenum=1&pagesize=100" => (200, json!({"data": ["dan"]})),
            "GET /chatrooms/super_admin?pagenum=2&pagesize=100" => (200, json!({"data": []})),
            _ => (404, json!({"error": "resource_not_found"})),
        }
    }
}

#[tokio::test]
async fn a_source_that_is_busy_and_speaks_a_dialect_is_read_all_the_same() {
    let (to, hosted) = (TestApp::new().await, Hosted::start());
    let base = format!("http://{}/org/app", hosted.address);
    let fixed = ["import", &name(&to), "--from", &base, "--client-id", "id", "--rate", "5000", "--parallel", "1"];
    let (good, text) = told(&roomward(&fixed).await);
    assert!(!good, "{text}");
    assert_eq!(
        text,
        "users: 5 new\nrooms: 1 new, 2 refused\nmembers: 3 new, 1 refused\nadmins: 1 new\nblocks: 1 new\nmutes: 1 new\n\
         super admins: 1 new\nmembers of room 66213271109633: stranger: the user is not registered\n\
         rooms: 3: the source does not have it any more, or does not show it\n\
         rooms: 2: the source does not have it any more, or does not show it\n"
    );
    assert_eq!(to.members("66213271109633").await, ["ann", "bob", "cid", "dan"]);
    let mutes = to.get("/chatrooms/66213271109633/mute").await.json();
    assert_eq!(mutes["data"], json!([{"expire": 4_000_000_000_000_i64, "user": "cid"}]));
    let tokens = hosted.calls.lock().expect("unpoisoned").iter().filter(|call| *call == "POST /token").count();
    assert_eq!(tokens, 2, "one more for the one that was refused");
    assert_whole(&to).await;
}

#[tokio::test]
async fn wrong_credentials_and_sources_are_told_without_secrets() {
    let (from, to) = (TestApp::new().await, TestApp::new().await);
    let base = from.base();
    let run = async |base: &str, secret: &str| {
        let mut command = command(&["import", &name(&to), "--from", base, "--client-id", CLIENT_ID]);
        command.env("ROOMWARD_IMPORT_CLIENT_SECRET", secret);
        told(&tokio::task::spawn_blocking(move || command.output().expect("the binary")).await.expect("no panic"))
    };
    let (good, text) = run(&base, "hunter2-hunter2-hunter2").await;
    assert!(!good && text.contains("refuses the client id and secret: client_secret does not match"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let (good, text) = run(&base, "").await;
    assert!(!good && text.contains("the client secret is missing: --client-secret-file"), "{text}");
    let (good, text) = run("http://user:hunter2@127.0.0.1:1/a/b", "x").await;
    assert!(!good && text.contains("--from is the URL of an app") && !text.contains("hunter2"), "{text}");
    let secret = file("secret");
    std::fs::write(&secret, format!("{SOURCE_SECRET}\n")).expect("written");
    let given = ["--client-secret-file", secret.to_str().expect("a text")];
    assert!(import_from(&to, &from, &given).await.0);
}

#[tokio::test]
async fn a_trial_tells_what_would_come_and_changes_nothing() {
    let (from, to) = (furnished().await, TestApp::new().await);
    let path = export(&from, &[]).await;
    let (good, trial) = import(&to, &path, &["--dry-run"]).await;
    assert!(good && trial.contains("users: 6 would be new\nrooms: 2 would be new\nmembers: 3 would be new"), "{trial}");
    let (good, from_service) = import_from(&to, &from, &["--dry-run"]).await;
    assert!(good && from_service == trial, "{from_service}");
    for table in ["users", "chatrooms", "members", "events", "super_admins", "global_mutes"] {
        assert_eq!(count(&to.db, to.app.id, table).await, 0, "{table}");
    }
    let (good, text) = import(&to, &path, &[]).await;
    assert!(good, "{text}");
    assert_eq!(text, trial.replace("would be new", "new"));
}

#[tokio::test]
async fn what_cannot_be_is_refused_row_by_row_and_told() {
    let to = TestApp::new().await;
    to.users(&["there"]).await;
    let (user, row) = (|name: &str| json!({"user": {"name": name}}), |list: &str, name: &str| json!({list: {"user": name}}));
    let long = "x".repeat(129);
    let mut too_long = room("3", "ann");
    too_long["room"]["name"] = long.clone().into();
    let mut small = room("4", "ann");
    small["room"]["maxusers"] = 2.into();
    let path = lines(&[
        user("Ann"),
        user("bob"),
        user("cid"),
        user(&"y".repeat(65)),
        user("no blanks"),
        json!({"user": {"name": "there", "nickname": "other"}}),
        room("1", "ann"),
        row("member", "bob"),
        row("member", "ghost"),
        row("member", "BOB"),
        row("admin", "cid"),
        row("admin", "ann"),
        row("whitelist", "cid"),
        row("block", "bob"),
        row("block", "cid"),
        json!({"mute": {"user": "ghost", "until": 4_638_873_600_000_i64}}),
        json!({"mute": {"user": "bob", "until": 1}}),
        json!({"attribute": {"key": "no blanks", "value": "v"}}),
        json!({"attribute": {"key": "k", "value": "v", "setter": "ghost", "leaves_with_setter": true}}),
        room("2", "ghost"),
        row("member", "bob"),
        too_long,
        row("member", "bob"),
        small,
        row("member", "bob"),
        row("member", "cid"),
        json!({"room": {"id": "5"}}),
        row("member", "bob"),
        row("super_admin", "ghost"),
        json!({"moderator": {"user": "bob", "role": "moderator", "rooms": ["9"]}}),
        json!({"global_mute": {"user": "ghost", "chatroom": 4_638_873_600_000_i64}}),
    ]);
    let report = file("report");
    let given = ["--report", report.to_str().expect("a text")];
    let (good, text) = import(&to, &path, &[&["--dry-run"], &given[..]].concat()).await;
    assert!(!good, "{text}");
    let trial = std::fs::read_to_string(&report).expect("a report");
    let (good, text) = import(&to, &path, &given).await;
    assert!(!good && text.contains("users: 3 new, 3 refused\nrooms: 2 new, 2 refused\n"), "{text}");
    let told = std::fs::read_to_string(&report).expect("a report");
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(sorted(&told), sorted(&trial), "a trial tells the same");
    let mut told: Vec<String> = told
        .lines()
        .map(|line| {
            let refusal: Value = serde_json::from_str(line).expect("JSON");
            let text = |field: &str| refusal[field].as_str().unwrap_or("-").chars().take(100).collect::<String>();
            format!("{} {} {}: {}", text("kind"), text("room"), text("name"), text("why"))
        })
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "admin 1 ann: the user is the owner",
            "admin 1 cid: the user is no member of the room",
            "attribute 1 k: its setter is no member of the room",
            "attribute 1 no blanks: properties key 'no blanks' is not Legal",
            "block 1 bob: the user is a member of the room",
            "global_mute - ghost: the user is not registered",
            "member 1 ghost: the user is not registered",
            "member 4 cid: the room is full",
            "moderator - bob: room 9 is not here",
            "mute 1 ghost: the user is not registered",
            "room - 2: its owner ghost is not registered",
            "room - 3: the name is longer than 128 characters",
            "source - line 28: missing field `name` at line 1 column 18",
            "source - line 29: the row belongs to no room that could be read",
            "super_admin - ghost: the user is not registered",
            "user - no blanks: no user may be called so: 1 to 64 of a-z 0-9 _ . -",
            "user - there: the nickname is another one here",
            &format!("user - {}: no user may be called so: 1 to 64 of a-z 0-9 _ . -", "y".repeat(65)),
            "whitelist 1 cid: the user is no member of the room",
        ]
    );
    assert_eq!(to.members("1").await, ["ann", "bob"]);
    assert_eq!(to.get("/chatrooms/1/mute").await.json()["data"], json!([]));
    assert_whole(&to).await;
    // A member who is blocked where the room is there already, and a room that is another one there.
    let mut other = room("1", "bob");
    other["room"]["description"] = "else".into();
    let (good, text) = import(&to, &lines(&[other, row("member", "cid")]), &[]).await;
    assert!(!good, "{text}");
    assert_eq!(
        text,
        "rooms: 2 refused\nmembers: 1 refused\nrooms: 1: the description is another one here\nrooms: 1: the owner is another one here\n\
         members of room 1: cid: the user is blocked in the room\n"
    );
    assert_whole(&to).await;
}

#[tokio::test]
async fn a_room_and_who_stands_above_rooms_come_once_in_a_file_and_a_trial_says_so_too() {
    let to = TestApp::new().await;
    to.users(&["ann", "bob"]).await;
    let member = |user| json!({"member": {"user": user}});
    let above = |user| {
        let mute = json!({"global_mute": {"user": user, "chatroom": 4_638_873_600_000_i64}});
        [json!({"super_admin": {"user": user}}), json!({"moderator": {"user": user, "role": "viewer"}}), mute]
    };
    let rooms = [room("1", "ann"), member("bob"), room("1", "bob"), member("ann")];
    let twice = lines(&[&rooms[..], &above("ann"), &above("Ann")].concat());
    for arguments in [&["--dry-run"][..], &[]] {
        let (good, told) = import(&to, &twice, arguments).await;
        assert!(!good, "{told}");
        assert_eq!(
            told.replace("would be ", ""),
            "rooms: 1 new\nmembers: 1 new\nsuper admins: 1 new\nmoderators: 1 new\nglobal mutes: 1 new\nsource: 5 refused\n\
             source: line 4: it came before\nsource: line 5: the row belongs to no room that could be read\n\
             source: line 9: it came before\nsource: line 10: it came before\nsource: line 11: it came before\n"
        );
    }
    assert_whole(&to).await;
}

#[tokio::test]
async fn a_file_that_is_cut_off_or_none_of_ours_is_told() {
    let to = TestApp::new().await;
    let whole = lines(&[json!({"user": {"name": "ann"}}), room("1", "ann")]);
    let text = std::fs::read_to_string(&whole).expect("a file");
    let cut = file("cut");
    std::fs::write(&cut, &text[..text.len() - 10]).expect("written");
    let (good, told) = import(&to, &cut, &[]).await;
    assert!(!good && told.contains("source: line 4: the file is cut off here, or lines are missing"), "{told}");
    for (wrong, words) in [
        ("{}\n", "it is no file of `roomward export`"),
        ("{\"user\":{\"name\":\"ann\"}}\n", "its first line does not say so"),
        ("{\"roomward\":{\"version\":2,\"app\":\"a/b\",\"exported\":0}}\n", "its version 2 is not 1"),
    ] {
        std::fs::write(&cut, wrong).expect("written");
        let (good, told) = import(&to, &cut, &[]).await;
        assert!(!good && told.contains(words), "{told}");
    }
    let (good, told) = import(&to, std::path::Path::new("/nowhere/file"), &[]).await;
    assert!(!good && told.contains("/nowhere/file: No such file"), "{told}");
    assert_whole(&to).await;
}

/// A file of one room with so many members, and a small one behind it.
fn large(members: usize) -> PathBuf {
    let names = numbered("user", members);
    let mut rows: Vec<Value> = vec![json!({"user": {"name": "ann"}})];
    rows.extend(names.iter().map(|name| json!({"user": {"name": name}})));
    let mut large = room("large", "ann");
    large["room"]["maxusers"] = 1_000_000.into();
    rows.push(large);
    rows.extend(names.iter().map(|name| json!({"member": {"user": name, "joined": 1_700_000_000_000_i64}})));
    rows.extend(names.iter().take(50).map(|name| json!({"admin": {"user": name}})));
    rows.extend(names.iter().rev().take(5).map(|name| json!({"mute": {"user": name, "until": 4_000_000_000_000_i64}})));
    rows.push(room("small", "ann"));
    lines(&rows)
}

fn start(to: &TestApp, path: &std::path::Path) -> Child {
    let mut command = command(&["import", &name(to), path.to_str().expect("a text")]);
    command.env("ROOMWARD__LIMITS__MEMBERS_PER_ROOM", "1000000").stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary")
}

async fn finished(child: Child) -> (bool, String) {
    told(&tokio::task::spawn_blocking(move || child.wait_with_output().expect("an end")).await.expect("no panic"))
}

#[tokio::test]
async fn an_import_that_was_killed_goes_on_where_it_was() {
    let to = TestApp::new().await;
    let path = large(35_000);
    let mut child = start(&to, &path);
    let members = async || count(&to.db, to.app.id, "members").await;
    eventually("the first part", async || members().await > 1).await;
    child.kill().expect("killed");
    child.wait().expect("an end");
    let there = members().await;
    assert!((1..35_001).contains(&there), "{there}");
    assert_whole(&to).await;
    let (good, text) = finished(start(&to, &path)).await;
    assert!(good, "{text}");
    let rest = 35_001 - there;
    assert!(text.contains(&format!("members: {rest} new, {} there already\nadmins: 50 ", there - 1)), "{text}");
    assert_eq!(members().await, 35_002);
    let second = to.get("/chatrooms/large/users?pagenum=35&pagesize=1000").await.json();
    assert_eq!(second["data"][0], json!({"member": "user33999"}), "they are in order");
    assert_eq!(events(&to, "CREATE/IMPORT").await.len(), 2);
    assert_whole(&to).await;
}

#[tokio::test]
async fn an_import_runs_beside_live_traffic() {
    let to = TestApp::new().await;
    to.users(&["live1", "live2"]).await;
    let path = large(25_000);
    let child = start(&to, &path);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let traffic = async {
        let mut made = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            for (method, path) in [
                (reqwest::Method::POST, "/chatrooms/large/users/live1"),
                (reqwest::Method::POST, "/chatrooms/large/blocks/users/live1"),
                (reqwest::Method::DELETE, "/chatrooms/large/blocks/users/live1"),
                (reqwest::Method::DELETE, "/chatrooms/large/users/user300"),
                (reqwest::Method::POST, "/chatrooms/large/users/user300"),
            ] {
                let answer = to.send(to.request(method, path)).await;
                assert!(answer.status < 500, "{}", answer.text);
                made += usize::from(answer.status == 200);
            }
            // The service registers users meanwhile, some of them those that are brought in.
            let body = json!({"username": format!("user{}", 24_000 + made % 1000), "password": "p"});
            assert!(to.post_json("/users", body).await.status < 500);
        }
        made
    };
    let import = async {
        let finished = finished(child).await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        finished
    };
    let (made, (good, text)) = tokio::join!(traffic, import);
    assert!(good && made > 0, "{made} {text}");
    assert_whole(&to).await;
}

#[tokio::test]
async fn an_export_is_one_moment_of_an_app_that_changes() {
    let from = TestApp::new().await;
    from.users(&["ann", "bob"]).await;
    from.room("ann", &[]).await;
    let room = from.room("ann", &["bob"]).await;
    // A user leaves one room for the other again and again: a picture of one moment has the user in one of them.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let moving = async {
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            from.delete(&format!("/chatrooms/{room}/users/bob")).await;
            from.post(&format!("/chatrooms/{room}/users/bob")).await;
        }
    };
    let exporting = async {
        for _ in 0..3 {
            let text = std::fs::read_to_string(export(&from, &[]).await).expect("a file");
            let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            assert_eq!(lines.last(), Some(&json!({"end": {"lines": lines.len() - 1}})));
            assert!(!text.contains("password_hash"), "{text}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(moving, exporting);
    from.assert_invariants().await;
}

#[tokio::test]
async fn an_export_is_for_its_owner_alone_and_goes_to_a_pipe_as_well() {
    use std::os::unix::fs::PermissionsExt as _;
    let from = furnished().await;
    let path = export(&from, &[]).await;
    assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    let piped = roomward(&["export", &name(&from)]).await;
    assert!(piped.status.success());
    let rows = |text: &str| text.split_once('\n').expect("lines").1.to_owned();
    let text = String::from_utf8(piped.stdout).expect("UTF-8");
    assert_eq!(rows(&text), rows(&std::fs::read_to_string(&path).expect("a file")));
}
