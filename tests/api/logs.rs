//! Logs: that none tells a secret, whatever happens and however much it tells.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::app::{eventually, new_database, server_url};
use crate::callbacks::{Reaction, Receiver};
use crate::secrets::{Files, err, roomward};

/// What may not be told, and everything that was said where it would be told.
#[derive(Default)]
struct Hidden {
    secrets: Vec<(&'static str, String)>,
    said: Vec<(String, String)>,
}

impl Hidden {
    /// A new secret, which is found wherever it turns up.
    fn new_secret(&mut self, what: &'static str) -> String {
        self.keep(what, format!("{}{}", what.replace(' ', ""), Uuid::new_v4().simple()))
    }

    fn keep(&mut self, what: &'static str, secret: String) -> String {
        assert!(secret.len() >= 20, "{what} is too short to be found");
        self.secrets.push((what, secret.clone()));
        secret
    }

    fn said(&mut self, by: &str, what: impl Into<String>) {
        self.said.push((by.to_owned(), what.into()));
    }

    fn assert_untold(&self) {
        for (by, said) in &self.said {
            for (what, secret) in &self.secrets {
                for form in forms(secret) {
                    let Some(at) = said.find(&form) else { continue };
                    let start = said[..at].rfind('\n').map_or(0, |line| line + 1);
                    let line = said[start..].lines().next().unwrap_or_default();
                    panic!("{by} tells the {what}: {}", line.chars().take(600).collect::<String>());
                }
            }
        }
    }
}

/// How a secret may be written: as it is, in base64 (at any of the three offsets), in hexadecimal, as a list of bytes.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let hex = bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let list = bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let base64 = (0..3).map(|offset| {
        let inner = &bytes[offset..];
        BASE64_STANDARD_NO_PAD.encode(&inner[..inner.len() / 3 * 3])
    });
    base64.chain([secret.to_owned(), hex, list]).collect()
}

/// A service in a process of its own, whose output goes to a file.
struct Process {
    child: Child,
    address: SocketAddr,
    output: PathBuf,
}

impl Process {
    fn serve(environment: &[(&str, String)], output: PathBuf) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let file = File::create(&output).expect("a file");
        let child = Command::new(env!("CARGO_BIN_EXE_roomward"))
            .arg("serve")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("ROOMWARD__SERVER__PORT", address.port().to_string())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file"))
            .stderr(file)
            .spawn()
            .expect("the binary");
        Self { child, address, output }
    }

    /// All that it has said, once it has ended by itself.
    fn stop(mut self) -> String {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill");
        assert!(told.success() && self.child.wait().expect("gone").success());
        fs::read_to_string(&self.output).expect("a log")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The calls of a client. What they are answered is said in the open, but for tokens, which are what was asked for.
struct Caller {
    client: Client,
    base: String,
    answers: Vec<String>,
}

impl Caller {
    async fn call(&mut self, method: Method, path: &str, token: &str, body: impl ToString) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(token).body(body.to_string());
        let answer = request.header("Idempotency-Key", Uuid::new_v4().to_string()).send().await.expect("an answer");
        let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
        let body = serde_json::from_str(&text).unwrap_or_default();
        self.answers.push(text);
        (status, body)
    }

    async fn ok(&mut self, method: Method, path: &str, token: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, token, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// A token, for whatever earns one.
    async fn sign_in(&mut self, token: &str, body: Value) -> Option<String> {
        let (_, answer) = self.call(Method::POST, "/token", token, body).await;
        let token = answer["access_token"].as_str().map(str::to_owned);
        if token.is_some() {
            self.answers.pop();
        }
        token
    }
}

/// A service that has a secret of every kind, and an app on it. What an operator and clients do there is right and wrong.
struct Stage {
    files: Files,
    hidden: Hidden,
    environment: Vec<(&'static str, String)>,
    database: Database,
    app: Caller,
    process: Process,
    client_secrets: [String; 2],
    passwords: [String; 2],
    app_token: String,
    user_token: String,
}

/// A database whose owner has a password of its own.
struct Database {
    url: String,
    role: String,
    password: String,
}

impl Database {
    async fn new(password: String) -> Self {
        let (url, role) = (new_database().await, format!("role_{}", Uuid::new_v4().simple()));
        let name = url.rsplit(['/', '?']).find(|part| part.starts_with("test_")).expect("a database");
        as_admin(format!("create role {role} login password '{password}'; alter database {name} owner to {role}")).await;
        let server = url.split_once('@').map(|(_, server)| server).expect("a server");
        Self { url: format!("postgres://{role}:{password}@{server}"), role, password }
    }
}

async fn as_admin(statements: String) {
    let mut admin = PgConnection::connect(&server_url()).await.expect("the test server");
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut admin).await.expect("done");
}

/// Runs a command. What it was asked for is printed, and is the answer; what it says beside that is a log.
fn run(hidden: &mut Hidden, environment: &[(&'static str, String)], arguments: &[&str]) -> (bool, String) {
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, &**value)).collect();
    let output = roomward(arguments, &environment);
    hidden.said(&arguments[..2.min(arguments.len())].join(" "), err(&output));
    (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn grant(secret: &str) -> Value {
    json!({"grant_type": "client_credentials", "client_id": "client", "client_secret": secret})
}

fn by_password(password: &str) -> Value {
    json!({"grant_type": "password", "username": "ann", "password": password})
}

impl Stage {
    async fn new() -> Self {
        let (files, mut hidden) = (Files::new(), Hidden::default());
        let database = Database::new(hidden.new_secret("database password")).await;
        let environment = vec![
            ("ROOMWARD__DATABASE__URL_FILE", files.write("url", &database.url)),
            ("ROOMWARD__AUTH__SECRET_FILE", files.write("secret", &hidden.new_secret("auth secret"))),
            ("ROOMWARD__AUTH__PREVIOUS_SECRETS_FILE", files.write("previous", &hidden.new_secret("previous secret"))),
            ("ROOMWARD__LOG__FILTER", "trace".into()),
            ("ROOMWARD__SERVER__WORKERS", "1".into()),
            ("ROOMWARD__DATABASE__MAX_CONNECTIONS", "4".into()),
            ("ROOMWARD__DATABASE__ACQUIRE_TIMEOUT_MS", "500".into()),
            ("ROOMWARD__PASSWORDS__MEMORY_KIB", "8".into()),
            ("ROOMWARD__PASSWORDS__ITERATIONS", "1".into()),
            ("ROOMWARD__CALLBACKS__ALLOW_PRIVATE_TARGETS", "true".into()),
            ("ROOMWARD__CALLBACKS__EVERY_MS", "50".into()),
            ("ROOMWARD__CALLBACKS__TIMEOUT_MS", "500".into()),
        ];
        let first = hidden.new_secret("first client secret");
        assert!(run(&mut hidden, &environment, &["migrate"]).0);
        let create = ["app", "create", "acme/live", "--client-id", "client", "--client-secret", &first];
        assert!(run(&mut hidden, &environment, &create).0);
        assert!(!run(&mut hidden, &environment, &create).0, "there already");
        let rotated = run(&mut hidden, &environment, &["app", "rotate-secret", "acme/live"]).1;
        let second = hidden.keep("client secret", rotated.rsplit_once(' ').expect("a secret").1.to_owned());

        let process = Process::serve(&environment, files.0.join("log"));
        let ready = format!("http://{}/readyz", process.address);
        eventually("the service is ready", || async { reqwest::get(&ready).await.is_ok_and(|answer| answer.status() == 200) })
            .await;
        let app = Caller { client: Client::new(), base: format!("http://{}/acme/live", process.address), answers: Vec::new() };
        let passwords = [hidden.new_secret("password"), hidden.new_secret("wrong password")];
        let (app_token, user_token, client_secrets) = (String::new(), String::new(), [first, second]);
        Self { files, hidden, environment, database, app, process, client_secrets, passwords, app_token, user_token }
    }

    fn run(&mut self, arguments: &[&str]) -> (bool, String) {
        run(&mut self.hidden, &self.environment, arguments)
    }

    /// The same where one setting is another.
    fn run_with(&mut self, name: &'static str, value: String, arguments: &[&str]) -> (bool, String) {
        let environment = [self.environment.as_slice(), &[(name, value)]].concat();
        run(&mut self.hidden, &environment, arguments)
    }

    async fn clients_and_users_sign_in(&mut self) {
        let ([old, new], [password, wrong]) = (self.client_secrets.clone(), self.passwords.clone());
        let app_token = self.app.sign_in("", grant(&new)).await.expect("a token");
        self.app_token = self.hidden.keep("app token", app_token);
        assert_eq!(self.app.sign_in("", grant(&old)).await, None);
        let wrong_secret = self.hidden.new_secret("wrong client secret");
        for _ in 0..12 {
            assert_eq!(self.app.sign_in("", grant(&wrong_secret)).await, None, "wrong, and in the end once too often");
        }
        let printed = self.run(&["token", "acme/live"]).1;
        let printed = self.hidden.keep("printed token", printed);
        for (name, token) in [("ann", &printed), ("bob", &self.app_token)] {
            self.app.ok(Method::POST, "/users", token, json!([{"username": name, "password": password}])).await;
        }
        let user_token = self.app.sign_in("", by_password(&password)).await.expect("a token");
        self.user_token = self.hidden.keep("user token", user_token);
        assert_eq!(self.app.sign_in("", by_password(&wrong)).await, None);
    }

    /// Of another type, broken, twice, too long, too large.
    async fn passwords_come_in_calls_that_cannot_be(&mut self) {
        let [password, wrong] = &self.passwords;
        for body in [
            json!({"username": "carl", "password": [wrong]}).to_string(),
            json!([{"username": "carl", "password": password}, {"username": "carl", "password": wrong}]).to_string(),
            json!({"username": "carl", "password": wrong.repeat(10)}).to_string(),
            json!({"username": "not a name", "password": wrong}).to_string(),
            format!(r#"{{"username": "carl", "password": "{wrong}", oops"#),
            format!(r#"{{"username": "carl", "password": "{wrong}\ud800"}}"#),
            format!("grant_type=password&username=ann&password={wrong}"),
            format!(r#"{{"password": "{wrong}", "filler": "{}"}}"#, "x".repeat(1 << 20)),
        ] {
            for (path, token) in [("/users", &*self.app_token), ("/token", "")] {
                assert!(self.app.call(Method::POST, path, token, &body).await.0 >= 400, "{path} {}", &body[..60]);
            }
        }
    }

    /// To a receiver that takes them, to one that fails, to where none is; by the service and by hand.
    async fn callbacks_are_sent(&mut self) {
        let receiver = Receiver::start(|received| {
            Reaction::Status(if received.path.starts_with("/fails") { 500 } else { 200 }, String::new())
        });
        let (secret, in_url) = (self.hidden.new_secret("callback secret"), self.hidden.new_secret("secret in a URL"));
        let nowhere = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let token = self.app_token.clone();
        let mut rules = Vec::new();
        for (url, is_taken) in [
            (receiver.url(&format!("/{in_url}")), true),
            (receiver.url(&format!("/fails?token={in_url}")), true),
            (format!("http://{nowhere}/?token={in_url}"), true),
            (format!("http://user:{in_url}@localhost/"), false),
            (format!("ftp://localhost/{in_url}"), false),
        ] {
            let rule = json!({"url": url, "secret": secret, "kinds": ["*"]});
            let (status, answer) = self.app.call(Method::POST, "/callbacks/rules", &token, rule).await;
            assert_eq!(status == 200, is_taken, "{answer}");
            if is_taken {
                // The answer has the URL in it: it is no secret to who has made the rule.
                let answer_with_url = self.app.answers.pop().expect("an answer");
                self.hidden.said("a rule", answer_with_url.replace(&in_url, ""));
                rules.push(answer["data"]["id"].as_str().expect("an id").to_owned());
            }
        }
        let room = json!({"name": "n", "description": "d", "owner": "ann", "roomid": "r"});
        self.app.ok(Method::POST, "/chatrooms", &token, room).await;
        self.app.ok(Method::POST, "/chatrooms/r/users/bob", &token, json!({})).await;
        let mute = json!({"usernames": ["bob"], "mute_duration": 60_000});
        self.app.ok(Method::POST, "/chatrooms/r/mute", &self.user_token, mute).await;
        for rule in &rules {
            self.app.call(Method::POST, &format!("/callbacks/rules/{rule}/test"), &token, "").await;
            self.run(&["callback", "test", "acme/live", rule]);
        }
        let by_hand = self.hidden.new_secret("secret of a rule made by hand");
        let create = ["callback", "create", "acme/live", &receiver.url("/"), "--paused", "--secret", &by_hand];
        assert!(self.run(&create).0);
        eventually("callbacks came", || async { receiver.received().len() >= 8 }).await;
    }

    /// Asked about, revoked, without a right, spoilt, in a request that is none.
    async fn tokens_are_used_up(&mut self) {
        let (app_token, user_token) = (self.app_token.clone(), self.user_token.clone());
        let inherited = self.app.sign_in(&app_token, json!({"grant_type": "inherit", "username": "bob"})).await.expect("a token");
        let inherited = self.hidden.keep("inherited token", inherited);
        assert_eq!(self.app.call(Method::DELETE, "/chatrooms/r", &inherited, "").await.0, 401);
        self.app.ok(Method::POST, "/token/introspect", &app_token, json!({"token": user_token})).await;
        let new_password = self.hidden.new_secret("new password");
        self.app.ok(Method::PUT, "/users/ann/password", &app_token, json!({"newpassword": new_password})).await;
        self.app.ok(Method::POST, "/token/revoke", &app_token, json!({"token": inherited})).await;
        let spoilt = self.hidden.keep("spoilt token", format!("{}x", &app_token[..app_token.len() - 4]));
        let [password, _] = &self.passwords;
        for token in [&spoilt, &user_token, password] {
            assert_eq!(self.app.call(Method::GET, "/chatrooms", token, "").await.0, 401);
        }
        for request in [
            format!("GET /acme/live/users HTTP/1.1\r\nAuthorization: Bearer {app_token}\r\nno header\r\n\r\n"),
            format!("GET /acme/live/users HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {app_token}\u{1}\r\n\r\n"),
            format!("POST /acme/live/users HTTP/1.1\r\nHost: h\r\nContent-Length: many\r\n\r\n{{\"password\":\"{password}\"}}"),
            format!("{{\"password\":\"{password}\"}}\r\n\r\n"),
        ] {
            let mut connection = TcpStream::connect(self.process.address).expect("connected");
            connection.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
            connection.write_all(request.as_bytes()).expect("sent");
            let mut answer = String::new();
            let _ = connection.read_to_string(&mut answer);
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        }
    }

    /// Its password becomes another one, and then the service may not come in at all.
    async fn the_database_lets_no_one_in(&mut self) {
        let Database { role, password, .. } = &self.database;
        let (role, new_password) = (role.clone(), self.hidden.new_secret("new database password"));
        let end = format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'");
        for (change, words) in [
            (format!("alter role {role} password '{new_password}'"), "password authentication failed"),
            (format!("alter role {role} nologin password '{password}'"), "is not permitted to log in"),
        ] {
            as_admin(format!("{change}; {end}")).await;
            eventually(words, || async {
                let _ = reqwest::get(format!("http://{}/readyz", self.process.address)).await;
                fs::read_to_string(&self.process.output).expect("a log").contains(words)
            })
            .await;
            let user = json!({"username": "dora", "password": self.passwords[0]});
            assert_eq!(self.app.call(Method::POST, "/users", &self.app_token, user).await.0, 503);
            assert_eq!(self.app.sign_in("", by_password(&self.passwords[0])).await, None);
            assert!(!run(&mut self.hidden, &self.environment, &["app", "list"]).0);
        }
    }

    fn the_url_of_the_database_is_wrong(&mut self) {
        let (url, password) = (self.database.url.clone(), self.database.password.clone());
        for wrong in [
            password.clone(),
            format!("postgres://u:{password}@h:many/d"),
            format!("postgres://u:{password}@h/d?sslpassword={password}"),
            format!("postgres://u:x?{password}@h/d"),
        ] {
            let file = self.files.write("wrong-url", &wrong);
            assert!(!self.run_with("ROOMWARD__DATABASE__URL_FILE", file, &["app", "list"]).0);
        }
        // A file of passwords with nothing but the password in it.
        let pgpass = self.files.write("pgpass", &format!("{password}\n"));
        fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o600)).expect("mode");
        self.files.write("url", &url.replace(&format!(":{password}"), ""));
        assert!(!self.run_with("PGPASSFILE", pgpass, &["app", "list"]).0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_tells_a_secret_whatever_happens() {
    let mut stage = Stage::new().await;
    stage.clients_and_users_sign_in().await;
    stage.passwords_come_in_calls_that_cannot_be().await;
    stage.callbacks_are_sent().await;
    stage.tokens_are_used_up().await;
    stage.the_database_lets_no_one_in().await;
    stage.the_url_of_the_database_is_wrong();

    let Stage { mut hidden, process, app, files: _files, .. } = stage;
    let log = process.stop();
    for told in ["TRACE", "DEBUG", "answered", "the call failed", "sqlx", "hyper", "stopped"] {
        assert!(log.contains(told), "the log tells what happens: {told}");
    }
    hidden.said("the log", log);
    app.answers.into_iter().for_each(|answer| hidden.said("an answer", answer));
    hidden.assert_untold();
}
