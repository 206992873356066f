//! Lays the schema out over a cluster of PostgreSQL servers, by Citus. docs/scaling.md says why each table lies where it does.
//!
//! Rooms are distributed by their ids, with all that belongs to a room beside it, on one node; users by their names. What
//! is small, and read together with either, is on every node. The apps are the coordinator's alone.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

use super::{MigrationError, take_turns};

/// Tables that lie by the room, and the column that names it: the first one, and those beside it. Those to which others
/// have keys come first. What happens in an app as a whole has the room ''.
const BY_ROOM: [(&str, &str); 15] = [
    ("chatrooms", "id"),
    ("room_counters", "chatroom"),
    ("members", "chatroom"),
    ("member_counts", "chatroom"),
    ("admins", "chatroom"),
    ("whitelist", "chatroom"),
    ("blocks", "chatroom"),
    ("mutes", "chatroom"),
    ("attributes", "chatroom"),
    ("events", "chatroom"),
    ("event_users", "chatroom"),
    ("retired_rooms", "id"),
    ("deliveries", "chatroom"),
    ("callback_lines", "chatroom"),
    ("idempotency_keys", "scope"),
];

/// Tables that are on every node: read with rooms and users, and written under the lock of an app, or hardly ever.
const EVERYWHERE: [&str; 5] = ["callback_rules", "super_admins", "moderators", "revoked_tokens", "global_mutes"];

/// Keys that Citus cannot hold: between tables that lie differently, or not by a column of the key. Apps are never deleted;
/// the number of a delivery is drawn from one sequence. The owner's key comes back when rooms and members lie together.
const BEFORE: &str = "
    alter table users drop constraint if exists users_app_fkey;
    alter table chatrooms drop constraint if exists chatrooms_app_fkey, drop constraint if exists owner_is_member;
    alter table callback_rules drop constraint if exists callback_rules_app_fkey;
    alter table deliveries drop constraint deliveries_pkey, add primary key (chatroom, id);
";

/// Deferred: other nodes do not hear when a transaction asks for that.
const AFTER: &str = "
    alter table chatrooms add constraint owner_is_member
        foreign key (app, id, owner) references members (app, chatroom, username) deferrable initially deferred;
";

/// Distributes what is not distributed yet, and returns the names of those tables. All or nothing: it is one transaction,
/// which copies all rows to their nodes. No instance may serve meanwhile.
pub async fn run(url: &str) -> Result<Vec<String>, MigrationError> {
    let mut connection = PgConnection::connect(url).await?;
    take_turns(&mut connection).await?;
    let done = distribute(&mut connection).await;
    connection.close().await?;
    done
}

async fn distribute(connection: &mut PgConnection) -> Result<Vec<String>, MigrationError> {
    require_cluster(connection).await?;
    let there = names(connection, "select logicalrelid::text from pg_dist_partition").await?;
    let is_first = !there.contains(&BY_ROOM[0].0.to_owned());
    if is_first {
        require_quiet(connection).await?;
    }
    let mut steps: Vec<(&str, String)> = vec![("apps", "citus_add_local_table_to_metadata('apps')".into())];
    steps.extend(EVERYWHERE.map(|table| (table, format!("create_reference_table('{table}')"))));
    steps.push(("users", "create_distributed_table('users', 'username', colocate_with := 'none')".into()));
    for (index, (table, column)) in BY_ROOM.into_iter().enumerate() {
        let beside = if index == 0 { "none" } else { BY_ROOM[0].0 };
        steps.push((table, format!("create_distributed_table('{table}', '{column}', colocate_with := '{beside}')")));
    }
    steps.retain(|(table, _)| there.iter().all(|name| name != table));

    let mut transaction = connection.begin().await?;
    let only_if_first = |statements| if is_first { statements } else { "" };
    transaction.execute(only_if_first(BEFORE)).await?;
    for (table, step) in &steps {
        tracing::info!(table, "distributing");
        transaction.execute(AssertSqlSafe(format!("select {step}"))).await?;
    }
    transaction.execute(only_if_first(AFTER)).await?;
    transaction.commit().await?;
    Ok(steps.into_iter().map(|(table, _)| table.to_owned()).collect())
}

/// Fails unless this is the coordinator of a cluster with workers.
async fn require_cluster(connection: &mut PgConnection) -> Result<(), MigrationError> {
    let undistributable = |reason: &str| Err(MigrationError::Undistributable(reason.into()));
    if names(connection, "select extname::text from pg_extension where extname = 'citus'").await?.is_empty() {
        return undistributable("this database has no Citus: `create extension citus` in it, on every node");
    }
    if names(connection, "select nodename from pg_dist_node where groupid = 0").await?.is_empty() {
        return undistributable("the cluster has no coordinator: `select citus_set_coordinator_host('HOST', PORT)` on this node");
    }
    if names(connection, "select 'here' from pg_dist_local_group where groupid = 0").await?.is_empty() {
        return undistributable("this node is a worker: name the coordinator in database.url");
    }
    let workers =
        "select nodename from pg_dist_node where groupid <> 0 and noderole = 'primary' and isactive and shouldhaveshards";
    if names(connection, workers).await?.is_empty() {
        return undistributable("the coordinator knows no worker: `select citus_add_node('HOST', PORT)` on it for each");
    }
    Ok(())
}

/// Fails while instances are connected: what they know of the tables would be wrong at once.
async fn require_quiet(connection: &mut PgConnection) -> Result<(), MigrationError> {
    let serving = "select pid::text from pg_stat_activity where datname = current_database() and application_name = 'roomward'";
    match names(connection, serving).await?.len() {
        0 => Ok(()),
        open => Err(MigrationError::Undistributable(format!("instances have {open} connections open: stop them first"))),
    }
}

/// The first column of a statement about what only Citus has: no macro can check it on a PostgreSQL without.
async fn names(connection: &mut PgConnection, statement: &'static str) -> Result<Vec<String>, sqlx::Error> {
    connection.fetch_all(statement).await?.iter().map(|row| row.try_get(0)).collect()
}
