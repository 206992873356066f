//! A cluster of PostgreSQL servers, where the tests are given the coordinator of one, and what only is true there.
//!
//! All other tests run on it as they do on one PostgreSQL: each database of theirs is made on every node, and its schema is
//! distributed.

use futures_util::future::join_all;
use roomward::db::{Db, Layout};
use roomward::migrations::{self, distribution};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool, SqlSafeStr as _, SqlStr};
use tokio::sync::{Mutex, OnceCell};

use crate::app::{TestApp, new_database, numbered, server_url};

/// A node of the cluster.
struct Node {
    host: String,
    port: u16,
}

/// The nodes of the cluster, the coordinator first; none: the tests run on one PostgreSQL.
async fn nodes() -> &'static [Node] {
    static NODES: OnceCell<Vec<Node>> = OnceCell::const_new();
    NODES
        .get_or_init(|| async {
            let mut server = PgConnection::connect(&server_url()).await.expect("the test server");
            let is_cluster: bool = sqlx::query_scalar("select to_regclass('pg_dist_node') is not null")
                .fetch_one(&mut server)
                .await
                .expect("a catalogue");
            if !is_cluster {
                return Vec::new();
            }
            let nodes: Vec<(String, i32)> = sqlx::query_as("select nodename, nodeport from pg_dist_node order by groupid")
                .fetch_all(&mut server)
                .await
                .expect("nodes");
            nodes.into_iter().map(|(host, port)| Node { host, port: u16::try_from(port).expect("a port") }).collect()
        })
        .await
}

/// Whether the tests run on a cluster.
pub async fn is_cluster() -> bool {
    !nodes().await.is_empty()
}

/// Whether a test is to be left out since the tests run on a cluster; says so, and why.
pub async fn skipped_on_cluster(why: &str) -> bool {
    let skipped = is_cluster().await;
    if skipped {
        eprintln!("skipped on a cluster: {why}");
    }
    skipped
}

/// Adding a node makes the roles of its whole server anew, and fails where another does so at the same moment.
static ADDING: Mutex<()> = Mutex::const_new(());

/// Makes a database on every node, with Citus in it, and lets its coordinator know the others.
pub async fn make_database(name: &str) {
    let server: PgConnectOptions = server_url().parse().expect("a URL");
    for node in nodes().await {
        let options = server.clone().host(&node.host).port(node.port);
        run(&options, &format!("set citus.enable_create_database_propagation = off; create database {name}")).await;
        run(&options.database(name), "create extension citus").await;
    }
    let [coordinator, workers @ ..] = nodes().await else { panic!("a cluster") };
    let known = std::iter::once(format!("select citus_set_coordinator_host('{}', {})", coordinator.host, coordinator.port));
    let added = workers.iter().map(|node| format!("select citus_add_node('{}', {})", node.host, node.port));
    let options = server.host(&coordinator.host).port(coordinator.port).database(name);
    let _alone = ADDING.lock().await;
    for statement in known.chain(added) {
        run(&options, &statement).await;
    }
}

/// The same query about whole tables. On a cluster it looks at copies that the coordinator gathers: a query may then be of
/// any form. Tables with those names in it must be read, and not written.
pub async fn gathered(query: &'static str) -> SqlStr {
    const TABLES: [&str; 18] = [
        "chatrooms",
        "room_counters",
        "members",
        "member_counts",
        "admins",
        "whitelist",
        "blocks",
        "mutes",
        "attributes",
        "events",
        "event_users",
        "retired_rooms",
        "deliveries",
        "callback_lines",
        "idempotency_keys",
        "users",
        "global_mutes",
        "apps",
    ];
    if !is_cluster().await {
        return query.into_sql_str();
    }
    let words: Vec<&str> = query.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
    let named = TABLES.iter().filter(|table| words.contains(*table));
    let copies: Vec<String> = named.map(|table| format!("{table} as materialized (select * from {table})")).collect();
    let copies = copies.join(", ");
    let query = query.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    AssertSqlSafe(match query.trim_start().strip_prefix("with ") {
        Some(rest) => format!("with {copies}, {rest}"),
        None => format!("with {copies} {query}"),
    })
    .into_sql_str()
}

/// Says in every room of an app when the next mute or block ends, room by room.
pub async fn find_next_ends(db: &PgPool, app: i32) {
    let rooms: Vec<String> = sqlx::query_scalar("select chatroom from room_counters where app = $1 order by chatroom")
        .bind(app)
        .fetch_all(db)
        .await
        .expect("rooms");
    for room in rooms {
        let mut transaction = db.begin().await.expect("a transaction");
        let locked = sqlx::query("select 1 from room_counters where app = $1 and chatroom = $2 for update skip locked");
        if locked.bind(app).bind(&room).fetch_optional(&mut *transaction).await.expect("a room").is_some() {
            sqlx::query(
                "update room_counters set next_end = least(
                     timestamptz '2117-01-01 00:00:00+08',
                     (select mute_ends_at from chatrooms where app = $1 and id = $2),
                     (select min(ends_at) from mutes where app = $1 and chatroom = $2),
                     (select min(ends_at) from blocks where app = $1 and chatroom = $2))
                 where app = $1 and chatroom = $2",
            )
            .bind(app)
            .bind(&room)
            .execute(&mut *transaction)
            .await
            .expect("ends");
        }
        transaction.commit().await.expect("committed");
    }
}

/// Runs statements one by one: some may not share a transaction.
async fn run(options: &PgConnectOptions, statements: &str) {
    let mut connection = options.connect().await.expect("a node");
    for statement in statements.split("; ") {
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    connection.close().await.expect("closed");
}

#[tokio::test]
async fn only_a_cluster_that_knows_its_workers_is_distributed_over() {
    let url = new_database().await;
    migrations::run(&url).await.expect("migrated");
    if !is_cluster().await {
        let refused = distribution::run(&url).await.expect_err("no Citus").to_string();
        assert_eq!(refused, "cannot distribute: this database has no Citus: `create extension citus` in it, on every node");
        return;
    }
    let options: PgConnectOptions = url.parse().expect("a URL");
    for (statement, refusal) in [
        ("drop extension citus", "this database has no Citus: `create extension citus` in it, on every node"),
        (
            "create extension citus",
            "the cluster has no coordinator: `select citus_set_coordinator_host('HOST', PORT)` on this node",
        ),
    ] {
        run(&options, statement).await;
        let refused = distribution::run(&url).await.expect_err(statement).to_string();
        assert_eq!(refused, format!("cannot distribute: {refusal}"));
    }
    let coordinator = &nodes().await[0];
    run(&options, &format!("select citus_set_coordinator_host('{}', {})", coordinator.host, coordinator.port)).await;
    let refused = distribution::run(&url).await.expect_err("no worker").to_string();
    assert_eq!(
        refused,
        "cannot distribute: the coordinator knows no worker: `select citus_add_node('HOST', PORT)` on it for each"
    );
}

#[tokio::test]
async fn a_schema_is_distributed_once_and_found_so() {
    if !is_cluster().await {
        eprintln!("skipped: it needs a cluster (make test-citus)");
        return;
    }
    let url = new_database().await;
    migrations::run(&url).await.expect("migrated");
    let layout = async || {
        let mut connection = PgConnection::connect(&url).await.expect("the database");
        Layout::of(&mut connection).await.expect("a layout").is_distributed()
    };
    assert!(!layout().await);

    let serving = url.parse::<PgConnectOptions>().expect("a URL").application_name("roomward");
    let instance = serving.connect().await.expect("the database");
    let refused = distribution::run(&url).await.expect_err("an instance is there").to_string();
    assert_eq!(refused, "cannot distribute: instances have 1 connections open: stop them first");
    instance.close().await.expect("closed");

    let distributed = distribution::run(&url).await.expect("distributed");
    assert_eq!(distributed.len(), 22);
    assert!(layout().await);
    assert_eq!(distribution::run(&url).await.expect("distributed"), [""; 0]);
    assert_eq!(migrations::run(&url).await.expect("migrated"), [""; 0]);
}

/// Some change rooms of which the one counts and the others do not, and the other way round.
#[tokio::test]
async fn users_are_held_in_one_order_whether_alone_or_together() {
    if !is_cluster().await {
        eprintln!("skipped: it needs a cluster (make test-citus)");
        return;
    }
    let app = TestApp::new().await;
    let names = numbered("user", 8);
    let hold = |turn: usize| {
        let (db, app) = (Db::new(app.db.clone()), app.app.id);
        let (alone, shared) = names.split_at(4);
        let (alone, shared) = if turn.is_multiple_of(2) { (alone, shared) } else { (shared, alone) };
        async move {
            for _ in 0..40 {
                let mut transaction = db.begin().await.expect("a transaction");
                transaction.hold_users(app, alone, shared).await.expect("no deadlock");
                transaction.undo().await;
            }
        }
    };
    join_all((0..8).map(hold)).await;
}
