//! The programs in `examples/`, as a reader runs them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{Instance, TestApp, eventually, migrated_database, settings};

/// An example that runs, and the lines that it prints.
struct Example {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Example {
    fn start(file: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new("python3")
            .arg(format!("{}/examples/{file}", env!("CARGO_MANIFEST_DIR")))
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python3");
        let (tell, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().expect("its output"));
        std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line))));
        Self { child, lines }
    }

    /// The first line of what it says of itself.
    fn says(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stderr.as_mut().expect("its errors")).read_line(&mut line).expect("a line");
        line
    }

    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(Duration::from_secs(20)).expect("a line in time");
        serde_json::from_str(&line).expect("JSON")
    }

    fn is_silent(&self) -> bool {
        self.lines.recv_timeout(Duration::from_millis(300)).is_err()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_takes_what_is_signed_once_and_refuses_the_rest() {
    let app = TestApp::new().await;
    let mut receiver = Example::start("receiver.py", &[], &[("SECRET", "my secret"), ("PORT", "0")]);
    let url = receiver.says().trim().trim_start_matches("receiver: ").to_owned();
    let rule = app.post_json("/callbacks/rules", json!({"url": url, "secret": "my secret"})).await.json();
    let room = app.room_with("ann", &["bob"]).await;
    let created = receiver.next();
    assert_eq!((&created["id"], &created["operation"]), (&json!(room), &json!("CREATE")));
    let id = rule["data"]["id"].as_str().expect("an id");
    eventually("it is delivered", || async {
        let path = format!("/callbacks/rules/{id}/deliveries?state=done");
        app.get(&path).await.json()["count"] == 1
    })
    .await;

    // What is signed with another secret is refused, and what was seen is taken and passed over.
    let other = app.post_json("/callbacks/rules", json!({"url": url, "secret": "another"})).await.json();
    let other = other["data"]["id"].as_str().expect("an id");
    let tested = app.post(&format!("/callbacks/rules/{other}/test")).await.json();
    assert_eq!(tested["data"]["status"], 401);
    let again = reqwest::Client::new().post(&url).body("{}").send().await.expect("an answer");
    assert_eq!(again.status().as_u16(), 401);
    assert!(receiver.is_silent());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_follower_misses_nothing_and_repeats_nothing_over_restarts() {
    let url = migrated_database().await;
    let instance = Instance::start(settings(&url));
    let app = TestApp::on(instance.address, &url).await;
    let room = app.room_with("ann", &[]).await;
    app.users(&["bob", "cid", "dan"]).await;
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("position-{}", app.app.name));
    let position = file.to_str().expect("a text");
    let _ = std::fs::remove_file(&file);
    let base = format!("http://{}/{}/{}", app.address, app.app.org, app.app.name);
    let environment = [("URL", base.as_str()), ("TOKEN", app.token.as_str()), ("POSITION", position)];
    let follow = || Example::start("follow.py", &[&room], &environment);
    let add = async |user: &str| assert_eq!(app.post(&format!("/chatrooms/{room}/users/{user}")).await.status, 200);

    std::fs::write(&file, "1").expect("the creation was read");
    let first = follow();
    add("bob").await;
    assert_eq!((&first.next()["users"], &json!(1)), (&json!(["bob"]), &json!(1)));
    eventually("it has noted how far it came", || async { std::fs::read_to_string(&file).is_ok_and(|n| n == "2") }).await;
    drop(first);
    add("cid").await;
    let second = follow();
    assert_eq!(second.next()["users"], json!(["cid"]));
    add("dan").await;
    assert_eq!(second.next()["users"], json!(["dan"]));
    assert!(second.is_silent());

    // What cannot get better ends it, with the reason.
    let mut refused = Example::start("follow.py", &["nowhere"], &environment);
    let mut told = String::new();
    refused.child.stderr.take().expect("its errors").read_to_string(&mut told).expect("told");
    assert!(told.starts_with("follow: 404: ") && told.contains("nowhere"), "{told}");
}
