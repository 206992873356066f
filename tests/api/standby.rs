//! A standby: lists are read from it as long as it is not too far behind, and it takes over with all that was acknowledged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roomward::config::Settings;
use roomward::{doctor, migrations};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::app::{Instance, TestApp, eventually, settings};
use crate::cluster::Cluster;

const MAX_AGE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_from_a_standby_that_is_not_too_far_behind_and_else_from_the_primary() {
    let primary = Cluster::start("primary-pg");
    migrations::run(&primary.url()).await.expect("migrated");
    let standby = Cluster::follow("standby-pg", &primary);
    let mut reading = settings(&primary.url());
    reading.database.read_url = standby.url().into();
    reading.database.read_max_age_ms = MAX_AGE.as_millis().try_into().expect("small");
    let instance = Instance::start(reading.clone());
    let app = TestApp::on(instance.address, &primary.url()).await;
    app.users(&["carol", "dave"]).await;
    let room = app.room_with("ann", &["bob"]).await;
    let (users, speech) = (format!("/chatrooms/{room}/users"), format!("/chatrooms/{room}/users/bob/speak"));
    let members = async || app.members(&room).await;
    let read_there = async || figure(&app, "roomward_standby_reads_total{outcome=\"answered\"}").await;
    eventually("the standby is asked", || async {
        members().await;
        read_there().await > 0.0
    })
    .await;
    eventually("the list is there", || async { members().await == ["ann", "bob"] }).await;
    assert!(figure(&app, "roomward_standby_lag_seconds").await < MAX_AGE.as_secs_f64());

    let mut there = PgConnection::connect(&standby.url()).await.expect("the standby");
    let (seen, _) = doctor_of_standby(&reading, &primary, &standby).await;
    assert!(seen.starts_with("follows, at most "), "{seen}");

    // It stands still: what it says is as old as it may be, and not older. What decides who may speak never is.
    sqlx::query("select pg_wal_replay_pause()").execute(&mut there).await.expect("paused");
    eventually("it stands still", || async {
        let mut there = PgConnection::connect(&standby.url()).await.expect("the standby");
        let paused = sqlx::query_scalar::<_, String>("select pg_get_wal_replay_pause_state()").fetch_one(&mut there).await;
        paused.expect("a state") == "paused"
    })
    .await;
    assert_eq!(app.post(&format!("{users}/carol")).await.status, 200);
    let muted = json!({"usernames": ["bob"], "mute_duration": 60_000});
    assert_eq!(app.post_json(&format!("/chatrooms/{room}/mute"), muted).await.status, 200);
    assert!(app.get(&speech).await.text.contains("\"muted\""), "who may speak is read from the primary");
    tokio::time::sleep(MAX_AGE).await;
    let read_before = read_there().await;
    assert_eq!(members().await, ["ann", "bob", "carol"]);
    assert!(read_there().await <= read_before, "the primary has answered");
    eventually("the lag is told", || async { figure(&app, "roomward_standby_lag_seconds").await > MAX_AGE.as_secs_f64() }).await;
    sqlx::query("select pg_wal_replay_resume()").execute(&mut there).await.expect("resumed");
    eventually("it is asked again", || async {
        members().await;
        read_there().await > read_before
    })
    .await;

    // It is gone: no call is the worse for it.
    standby.run("kill", &[]);
    assert_eq!(app.post(&format!("{users}/dave")).await.status, 200);
    eventually("the lag is not known", || async { figure(&app, "roomward_standby_lag_seconds").await.is_nan() }).await;
    assert_eq!(members().await, ["ann", "bob", "carol", "dave"]);
    standby.run("start", &[]);
    let read_before = read_there().await;
    eventually("it is asked again", || async {
        members().await;
        read_there().await > read_before
    })
    .await;

    // One that has become a primary follows nobody.
    standby.run("promote", &[]);
    let (seen, remedy) = doctor_of_standby(&reading, &primary, &standby).await;
    assert_eq!(seen, "the server at database.read_url is no standby; the primary answers");
    assert_eq!(remedy.as_deref(), Some("lead database.read_url to a standby of the server at database.url"));
    eventually("the lag is not known", || async { figure(&app, "roomward_standby_lag_seconds").await.is_nan() }).await;
    assert_eq!(members().await, ["ann", "bob", "carol", "dave"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_on_the_standby_that_takes_over() {
    let primary = Cluster::start("failing-primary-pg");
    migrations::run(&primary.url()).await.expect("migrated");
    let standby = Cluster::follow("failing-standby-pg", &primary);
    let mut there = PgConnection::connect(&primary.url()).await.expect("the primary");
    sqlx::query("alter system set synchronous_standby_names = '*'").execute(&mut there).await.expect("set");
    sqlx::query("select pg_reload_conf()").execute(&mut there).await.expect("reloaded");
    eventually("each commit waits for the standby", || async {
        let mut there = PgConnection::connect(&primary.url()).await.expect("the primary");
        let state = sqlx::query_scalar::<_, String>("select sync_state from pg_stat_replication").fetch_optional(&mut there);
        state.await.expect("a state").as_deref() == Some("sync")
    })
    .await;

    let way = Way::to(&primary.url()).await;
    let mut impatient = settings(&way.url(&primary.url()));
    impatient.database.acquire_timeout_ms = 2000;
    let instance = Instance::start(impatient);
    let app = Arc::new(TestApp::on(instance.address, &primary.url()).await);
    app.users(&["ann"]).await;
    let room = app.room_of(10_000, "ann", &[]).await;
    let (over, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let mut load = JoinSet::new();
    for task in 0..8 {
        let (app, users) = (app.clone(), format!("/chatrooms/{room}/users"));
        let (over, acknowledged) = (over.clone(), acknowledged.clone());
        load.spawn(async move {
            for number in 0.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let name = format!("user-{task}-{number}");
                let registered = app.post_json("/users", json!([{"username": name, "password": "pw"}])).await.status == 200;
                if registered && app.post(&format!("{users}/{name}")).await.status == 200 {
                    acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                } else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
    }
    let count = || acknowledged.lock().unwrap_or_else(PoisonError::into_inner).len();
    eventually("changes are acknowledged", || async { count() > 40 }).await;
    primary.run("kill", &[]);
    let before = count();
    standby.run("promote", &[]);
    // Nobody follows the new primary: it is not to wait for anybody.
    let mut there = PgConnection::connect(&standby.url()).await.expect("the new primary");
    sqlx::query("alter system set synchronous_standby_names = ''").execute(&mut there).await.expect("set");
    sqlx::query("select pg_reload_conf()").execute(&mut there).await.expect("reloaded");
    way.lead_to(&standby.url());
    eventually("changes are acknowledged again", || async { count() > before + 20 }).await;
    over.store(true, Ordering::Relaxed);
    load.join_all().await;
    app.db.close().await;

    let db = sqlx::PgPool::connect(&standby.url()).await.expect("the new primary");
    let app = TestApp { db, ..Arc::into_inner(app).expect("alone") };
    let members: Vec<String> = sqlx::query_scalar("select username from members").fetch_all(&app.db).await.expect("a list");
    for name in acknowledged.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        assert!(members.contains(name), "{name} was acknowledged");
    }
    app.assert_invariants().await;
}

/// What the doctor says of the standby, and what helps.
async fn doctor_of_standby(settings: &Settings, primary: &Cluster, standby: &Cluster) -> (String, Option<String>) {
    let mut primary = PgConnection::connect(&primary.url()).await.expect("the primary");
    let standby = PgConnection::connect(&standby.url()).await.map_err(|error| error.to_string());
    let findings = doctor::examine(settings, &mut primary, Some(standby)).await.expect("findings");
    let finding = findings.into_iter().find(|finding| finding.check == "standby").expect("a finding");
    (finding.seen, finding.remedy)
}

/// What a figure of the service is. NaN if it is not there.
async fn figure(app: &TestApp, name: &str) -> f64 {
    let text = reqwest::get(format!("http://{}/metrics", app.address)).await.expect("figures").text().await.expect("text");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or(f64::NAN)
}

/// A way that leads to one server, and later to another.
struct Way {
    address: SocketAddr,
    target: Arc<Mutex<String>>,
    accepting: AbortHandle,
}

impl Way {
    async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let target = Arc::new(Mutex::new(host(url)));
        let leads_to = target.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.expect("a client");
                let target = leads_to.lock().unwrap_or_else(PoisonError::into_inner).clone();
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { address, target, accepting: accepting.abort_handle() }
    }

    fn lead_to(&self, url: &str) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = host(url);
    }

    fn url(&self, url: &str) -> String {
        url.replace(&host(url), &self.address.to_string())
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The host and port in a URL.
fn host(url: &str) -> String {
    let (_, rest) = url.rsplit_once('@').expect("a password");
    rest.split('/').next().expect("a host").to_owned()
}
