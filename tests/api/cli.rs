//! The command line, as an operator uses it.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::app::{Instance, SECRET, new_database, settings};
use crate::callbacks::{Receiver, security};

fn roomward(url: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roomward"))
        .args(arguments)
        .env("ROOMWARD__DATABASE__URL", url)
        .env("ROOMWARD__AUTH__SECRET", SECRET)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the binary")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn migrations_are_applied_once_also_by_instances_that_start_together() {
    let url = new_database().await;
    let status = roomward(&url, &["migrate", "--status"], &[]);
    assert!(!status.status.success() && out(&status).contains("V1__rooms  missing"), "{}", out(&status));
    let together: Vec<_> = (0..3)
        .map(|_| {
            let url = url.clone();
            std::thread::spawn(move || roomward(&url, &["migrate"], &[]))
        })
        .collect();
    let outputs: Vec<Output> = together.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
    assert_eq!(outputs.iter().filter(|output| out(output).contains("applied V1__rooms")).count(), 1);
    assert!(roomward(&url, &["migrate", "--status"], &[]).status.success());
}

#[tokio::test]
async fn apps_are_made_listed_and_given_new_secrets() {
    let url = new_database().await;
    assert!(roomward(&url, &["migrate"], &[]).status.success());
    let made = roomward(&url, &["app", "create", "acme/live"], &[]);
    assert!(made.status.success(), "{}", err(&made));
    let secret = out(&made).lines().find_map(|line| line.strip_prefix("client_secret ").map(str::to_owned)).expect("a secret");
    assert_eq!(secret.len(), 64);
    let twice = roomward(&url, &["app", "create", "acme/live"], &[]);
    assert!(!twice.status.success() && err(&twice).contains("acme/live exists already"), "{}", err(&twice));
    assert!(roomward(&url, &["app", "create", "acme/live", "--if-not-exists"], &[]).status.success());
    let list = out(&roomward(&url, &["app", "list"], &[]));
    assert!(list.starts_with("acme/live  application ") && !list.contains(&secret), "{list}");
    let rotated = out(&roomward(&url, &["app", "rotate-secret", "acme/live"], &[]));
    assert!(rotated.starts_with("client_secret ") && !rotated.contains(&secret), "{rotated}");
    let token = out(&roomward(&url, &["token", "acme/live", "--ttl", "60"], &[]));
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    for wrong in ["acme", "acme/", "acme/a b"] {
        assert!(!roomward(&url, &["app", "create", wrong], &[]).status.success(), "{wrong}");
    }
    let missing = roomward(&url, &["token", "acme/nothing"], &[]);
    assert!(!missing.status.success() && err(&missing).contains("there is no app acme/nothing"), "{}", err(&missing));
}

#[tokio::test]
async fn moderators_are_made_and_unmade_and_tokens_minted_and_revoked() {
    let url = new_database().await;
    let run = |arguments: &[&str]| roomward(&url, arguments, &[]);
    assert!(run(&["migrate"]).status.success());
    assert!(run(&["app", "create", "acme/live"]).status.success());
    let db = sqlx::PgPool::connect(&url).await.expect("the database");
    sqlx::query("insert into users (app, username) select id, 'ann' from apps").execute(&db).await.expect("a user");

    let added = run(&["moderator", "add", "acme/live", "Ann", "--role", "viewer"]);
    assert_eq!(out(&added), "ann  viewer  all rooms  added by @operator\n", "{}", err(&added));
    assert_eq!(out(&run(&["moderator", "list", "acme/live"])), out(&added));
    for (wrong, words) in [
        (["moderator", "add", "acme/live", "bob"].as_slice(), "username bob doesn't exist!"),
        (&["moderator", "add", "acme/live", "ann", "--role", "boss"], "--role is viewer or moderator"),
        (&["moderator", "add", "acme/live", "ann", "--rooms", "1"], "grpID 1 does not exist!"),
        (&["moderator", "remove", "acme/live", "bob"], "bob is no moderator"),
        (&["token", "acme/live", "--user", "bob"], "there is no active user bob"),
        (&["app", "revoke-tokens", "acme/live", "--user", "bob"], "there is no user bob"),
    ] {
        let refused = run(wrong);
        assert!(!refused.status.success() && err(&refused).contains(words), "{wrong:?}: {}", err(&refused));
    }
    let token = out(&run(&["token", "acme/live", "--user", "ANN", "--ttl", "60"]));
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    let generations = async || -> (i32, i32, i64) {
        sqlx::query_as(
            "select apps.token_generation, users.token_generation, (select count(*) from revoked_tokens) from apps, users",
        )
        .fetch_one(&db)
        .await
        .expect("a row")
    };
    assert!(run(&["app", "revoke-tokens", "acme/live"]).status.success());
    assert!(run(&["app", "revoke-tokens", "acme/live", "--user", "ann"]).status.success());
    let jti = "00000000-0000-4000-8000-000000000000";
    assert!(run(&["app", "revoke-tokens", "acme/live", "--jti", jti]).status.success());
    assert_eq!(generations().await, (1, 1, 1));
    assert!(run(&["moderator", "remove", "acme/live", "ann"]).status.success());
    assert_eq!(out(&run(&["moderator", "list", "acme/live"])), "");
}

#[tokio::test]
async fn callbacks_are_made_tried_paused_replayed_and_deleted() {
    let (url, receiver) = (new_database().await, Receiver::ok());
    let local = [("ROOMWARD__CALLBACKS__ALLOW_PRIVATE_TARGETS", "true")];
    let run = |arguments: &[&str]| roomward(&url, &[&["callback"], arguments].concat(), &local);
    assert!(roomward(&url, &["migrate"], &[]).status.success());
    assert!(roomward(&url, &["app", "create", "acme/live"], &[]).status.success());

    let made = run(&["create", "acme/live", &receiver.url("/a"), "--kinds", "MUTE,JOIN/DIRECT"]);
    let (id, secret) =
        out(&made).split_once("\nsecret ").map(|(id, secret)| (id.replace("id ", ""), secret.trim().to_owned())).expect("both");
    assert_eq!(secret.len(), 64);
    let given = [local[0], ("ROOMWARD_CALLBACK_SECRET", "from the environment")];
    let second = roomward(&url, &["callback", "create", "acme/live", &receiver.url("/b"), "--paused"], &given);
    assert!(out(&second).starts_with("id ") && !out(&second).contains("secret"), "{}", out(&second));
    let list = out(&run(&["list", "acme/live"]));
    assert!(list.contains(&format!("{id}  {}  kinds MUTE,JOIN/DIRECT  active  lag 0 ms", receiver.url("/a"))), "{list}");
    assert!(list.contains(&format!("{}  kinds *  paused", receiver.url("/b"))) && !list.contains(&secret), "{list}");

    let tested = run(&["test", "acme/live", &id]);
    assert!(tested.status.success() && out(&tested).starts_with("status 200 after "), "{}", out(&tested));
    let body = receiver.received().remove(0).json();
    assert_eq!(body["security"], security(&body, &secret));

    assert!(run(&["pause", "acme/live", &id]).status.success());
    assert!(out(&run(&["list", "acme/live"])).lines().all(|line| line.contains("paused")));
    assert!(run(&["resume", "acme/live", &id]).status.success());
    for range in [
        ["--room", "r1", "--from", "1", "--to", "9"].as_slice(),
        &["--from-ms", "0", "--to-ms", "1"],
        &["--from-ms=-210866803200001", "--to-ms=-210866803200000"],
        &["--room", "r1", "--from", "1"],
    ] {
        let replayed = run(&[&["replay", "acme/live", &id], range].concat());
        assert_eq!(out(&replayed), "0 events\n", "{}", err(&replayed));
    }
    for wrong in [["--from", "1"].as_slice(), &["--room", "r1"], &["--from-ms", "1"], &[]] {
        assert!(!run(&[&["replay", "acme/live", &id], wrong].concat()).status.success(), "{wrong:?}");
    }
    assert!(run(&["delete", "acme/live", &id]).status.success());
    let gone = run(&["test", "acme/live", &id]);
    assert!(!gone.status.success() && err(&gone).contains(&format!("callback rule {id} does not exist!")), "{}", err(&gone));
    for wrong in [
        ["acme/live", "ftp://x/", "--secret", "s"],
        ["acme/live", "http://x/", "--secret", ""],
        ["acme/live", "http://x/", "--kinds", "NONE"],
    ] {
        assert!(!run(&[&["create"], wrong.as_slice()].concat()).status.success(), "{wrong:?}");
    }
    let private = roomward(&url, &["callback", "create", "acme/live", &receiver.url("/")], &[]);
    assert!(!private.status.success() && err(&private).contains("allow_private_targets"), "{}", err(&private));
}

#[tokio::test]
async fn weak_secrets_are_for_development_only() {
    let url = new_database().await;
    assert!(roomward(&url, &["migrate"], &[]).status.success());
    for secret in ["demo-secret", "fifteen-letters"] {
        let refused = roomward(&url, &["app", "create", "demo/chat", "--client-secret", secret], &[]);
        assert!(!refused.status.success() && err(&refused).contains("at least 16 characters"), "{}", err(&refused));
        assert!(!err(&refused).contains(secret));
    }
    let development = [("ROOMWARD__SERVER__DEVELOPMENT", "true")];
    let made = roomward(&url, &["app", "create", "demo/chat", "--client-secret", "demo-secret"], &development);
    assert!(made.status.success(), "{}", err(&made));
    let serve = roomward(&url, &["serve"], &[("ROOMWARD__AUTH__SECRET", "too-short")]);
    assert!(
        !serve.status.success() && err(&serve).contains("auth.secret") && !err(&serve).contains("too-short"),
        "{}",
        err(&serve)
    );
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    for (name, value, words) in [
        ("ROOMWARD__SERVER__PRT", "1", "prt"),
        ("ROOMWARD__SERVER__PORT", "many", "port"),
        ("ROOMWARD__SERVER__MAX_CONNECTIONS", "0", "server.max_connections must be at least 1"),
        ("ROOMWARD__DATABASE__MAX_CONNECTIONS", "0", "database.max_connections must be at least 1"),
        ("ROOMWARD__DATABASE__URL", "", "database.url is not set"),
        ("ROOMWARD__DATABASE__URL", "not a url with hunter2", "database.url is not a PostgreSQL URL"),
        ("ROOMWARD__DATABASE__URL", "mysql://u:hunter2@h/d", "database.url is not a PostgreSQL URL"),
        ("ROOMWARD__AUTH__SECRET", "", "auth.secret is not set"),
        ("ROOMWARD_SERVER_PORT", "9000", "ROOMWARD_SERVER_PORT is not read: ROOMWARD__SERVER__PORT is"),
        ("ROOMWARD__LOG__FORMAT", "xml", "format"),
        ("ROOMWARD__DATABASE", "postgres://u:hunter2@h/d", "database"),
        ("ROOMWARD__LIMITS__AFFILIATIONS_IN_DETAIL", "0", "limits.affiliations_in_detail must be at least 1"),
        ("ROOMWARD_CONFIG", "/nowhere/roomward.toml", "/nowhere/roomward.toml"),
    ] {
        let output = roomward("postgres://nobody@127.0.0.1:1/none", &["serve"], &[(name, value)]);
        assert!(!output.status.success() && err(&output).contains(words), "{name}={value}: {}", err(&output));
        assert!(!err(&output).contains("hunter2"));
    }
}

#[test]
fn a_broken_file_is_refused_without_showing_what_is_in_it() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken.toml");
    std::fs::write(&file, "[auth]\nsecret = \"hunter2\nx").expect("written");
    let output = roomward("x", &["serve"], &[("ROOMWARD_CONFIG", file.to_str().expect("a text"))]);
    assert!(!output.status.success() && err(&output).contains("line 3"), "{}", err(&output));
    assert!(!err(&output).contains("hunter2"), "{}", err(&output));
}

#[test]
fn a_secret_that_looks_like_a_number_stays_a_text() {
    let environment =
        [("ROOMWARD__AUTH__SECRET", "007e2"), ("ROOMWARD__SERVER__DEVELOPMENT", "true"), ("ROOMWARD__SERVER__PORT", "1")];
    // It gets as far as the port, which only root may take, or as the database: the secret itself was read.
    let output = roomward("not a url", &["serve"], &environment);
    assert!(err(&output).contains("database.url is not a PostgreSQL URL"), "{}", err(&output));
}

#[test]
fn health_fails_where_no_service_runs() {
    let output = roomward("postgres://nobody@127.0.0.1:1/none", &["health"], &[("ROOMWARD__SERVER__PORT", "1")]);
    assert!(!output.status.success());
    assert!(err(&output).starts_with("roomward: no service answers on 127.0.0.1:1: "), "{}", err(&output));
}

/// Commands that need a database, by each of which it is missed.
const NEEDS_DATABASE: [&[&str]; 8] = [
    &["app", "list"],
    &["callback", "list", "acme/live"],
    &["moderator", "list", "acme/live"],
    &["token", "acme/live"],
    &["migrate"],
    &["migrate", "--status"],
    &["status"],
    &["doctor"],
];

#[tokio::test]
async fn a_database_that_cannot_be_used_is_told_in_one_line_with_what_helps() {
    let url = new_database().await;
    let base = url.rsplit_once('/').expect("a database").0;
    // Accepts, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("postgres://u:hunter2@{}/d", silent.local_addr().expect("an address"));
    for (url, words) in [
        ("postgres://u:hunter2@127.0.0.1:1/d", "cannot reach PostgreSQL at 127.0.0.1:1: "),
        (&silent, "does not answer within 3 s: is the host in database.url right"),
        (&format!("{base}/nowhere"), "refuses: database \"nowhere\" does not exist: make it with `createdb`"),
    ] {
        // Each command waits its three seconds here.
        let commands = if url == silent { &NEEDS_DATABASE[..1] } else { &NEEDS_DATABASE };
        for command in commands {
            let output = roomward(url, command, &[]);
            let told = err(&output);
            assert!(output.status.code() == Some(1) && told.contains(words), "{command:?}: {told}");
            assert!(told.lines().count() == 1 && told.starts_with("roomward: ") && !told.contains("hunter2"), "{told}");
        }
    }
    for command in
        NEEDS_DATABASE.iter().filter(|command| !matches!(command[0], "migrate" | "doctor")).chain([&["serve"].as_slice()])
    {
        let told = err(&roomward(&url, command, &[]));
        assert!(told.ends_with(" migrations are missing in the database: run `roomward migrate`\n"), "{command:?}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[tokio::test]
async fn what_went_wrong_inside_is_told_on_the_command_line() {
    let url = new_database().await;
    assert!(roomward(&url, &["migrate"], &[]).status.success());
    assert!(roomward(&url, &["app", "create", "acme/live"], &[]).status.success());
    let made = roomward(&url, &["callback", "create", "acme/live", "https://example.com/"], &[]);
    let id = out(&made).lines().find_map(|line| line.strip_prefix("id ").map(str::to_owned)).expect("an id");
    let other = [("ROOMWARD__AUTH__SECRET", "another secret, which is long enough, too")];
    let tested = roomward(&url, &["callback", "test", "acme/live", &id], &other);
    assert!(!tested.status.success() && err(&tested).contains("auth.secret"), "{}", err(&tested));
}

#[tokio::test]
async fn the_status_is_told_to_people_and_programs() {
    let url = new_database().await;
    assert!(roomward(&url, &["migrate"], &[]).status.success());
    assert!(roomward(&url, &["app", "create", "acme/live"], &[]).status.success());
    let made = roomward(&url, &["callback", "create", "acme/live", "https://example.com/a?key=hunter2", "--paused"], &[]);
    assert!(made.status.success(), "{}", err(&made));
    let text = out(&roomward(&url, &["status"], &[]));
    assert!(
        text.contains("\nmigrations     0 missing\n") && text.contains("  https://example.com  paused  lag 0 ms\n"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
    let json: Value = serde_json::from_str(&out(&roomward(&url, &["status", "--json"], &[]))).expect("JSON");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&json["migrations_missing"], &json["apps"], &json["expiry_lag_ms"]), (&json!(0), &json!(1), &json!(0)));
    assert_eq!((&json["rules"][0]["app"], &json["rules"][0]["paused"]), (&json!("acme/live"), &json!(true)));
    for (command, first) in [
        (["app", "list", "--json"].as_slice(), json!("acme")),
        (&["callback", "list", "acme/live", "--json"], json!(null)),
        (&["migrate", "--status", "--json"], json!(null)),
        (&["moderator", "list", "acme/live", "--json"], json!(null)),
    ] {
        let list: Value = serde_json::from_str(&out(&roomward(&url, command, &[]))).expect("JSON");
        assert!(list.is_array() && list[0]["org"] == first, "{command:?}: {list}");
    }
}

#[tokio::test]
async fn the_doctor_finds_what_loses_data_or_does_not_work() {
    let url = new_database().await;
    let examine = |environment: &[(&str, &str)]| -> (Option<i32>, Vec<Value>) {
        let output = roomward(&url, &["doctor", "--json"], environment);
        (output.status.code(), serde_json::from_str(&out(&output)).unwrap_or_else(|_| panic!("{}", err(&output))))
    };
    let finding = |findings: &[Value], check: &str| {
        findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("{check}: {findings:?}")).clone()
    };
    let (code, unmigrated) = examine(&[]);
    assert_eq!((code, &finding(&unmigrated, "migrations")["level"]), (Some(1), &json!("failure")));
    assert_eq!(finding(&unmigrated, "migrations")["remedy"], "run `roomward migrate`");
    assert_eq!(finding(&unmigrated, "indexes")["level"], "failure");

    assert!(roomward(&url, &["migrate"], &[]).status.success());
    let (_, healthy) = examine(&[]);
    for check in ["auth.secret", "PostgreSQL", "migrations", "clocks", "indexes", "dead rows", "transaction ids", "connections"] {
        assert_eq!(finding(&healthy, check)["level"], "ok", "{check}: {healthy:?}");
    }

    let db = sqlx::PgPool::connect(&url).await.expect("the database");
    sqlx::query("drop index members_by_user").execute(&db).await.expect("dropped");
    let wrong = [("ROOMWARD__DATABASE__MAX_CONNECTIONS", "100000"), ("ROOMWARD__SERVER__DEVELOPMENT", "true")];
    let (code, findings) = examine(&wrong);
    assert_eq!(code, Some(1));
    assert_eq!(finding(&findings, "indexes")["seen"], "missing or unfinished: members_by_user");
    assert_eq!(finding(&findings, "connections")["level"], "failure");
    assert_eq!(finding(&findings, "server.development")["level"], "warning");
    let text = out(&roomward(&url, &["doctor"], &[]));
    assert!(text.contains("FAILURE  indexes: missing or unfinished: members_by_user\n         make them again"), "{text}");
}

#[test]
fn help_names_the_environment_and_shells_complete_commands() {
    let help = out(&roomward("", &["--help"], &[]));
    assert!(help.contains("ROOMWARD__DATABASE__URL") && help.contains("Exit codes:"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        let script = out(&roomward("", &["completions", shell], &[]));
        assert!(script.contains("roomward") && script.contains("moderator"), "{shell}: {script}");
    }
    assert_eq!(roomward("", &["no-such-command"], &[]).status.code(), Some(2));
}

#[tokio::test]
async fn a_service_without_its_schema_is_alive_and_not_ready() {
    let url = new_database().await;
    let instance = Instance::start(settings(&url));
    let port = instance.address.port().to_string();
    let ask = |arguments: &[&str]| roomward(&url, arguments, &[("ROOMWARD__SERVER__PORT", &port)]);
    let alive = ask(&["health", "--alive"]);
    assert!(alive.status.success(), "{}", err(&alive));
    assert_eq!(out(&alive), "{\"status\":\"alive\"}\n");
    let ready = ask(&["health"]);
    assert_eq!(ready.status.code(), Some(1), "{}", err(&ready));
    let missing = std::fs::read_dir("migrations").expect("the migrations").count();
    assert_eq!(
        out(&ready),
        format!("{{\"reason\":\"{missing} migrations are missing: run `roomward migrate`\",\"status\":\"not ready\"}}\n")
    );
}
