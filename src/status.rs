//! How a service fares as its database knows it: for `roomward status`.

use serde::Serialize;

use crate::callbacks::{deliveries, rules};
use crate::db::Db;
use crate::error::Error;
use crate::migrations;
use crate::rooms::store::purge;
use crate::rooms::user_deletion;

/// The state of a service and its database.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "named as what they count")]
pub struct Status {
    /// Of this program.
    pub version: &'static str,
    pub database: Database,
    pub migrations_missing: usize,
    /// About how many there are: what the planner believes.
    pub rooms: i64,
    pub users: i64,
    pub members: i64,
    pub apps: i64,
    /// How long the oldest end of a mute or block has waited to be told, in milliseconds; more than a second or two: no
    /// instance serves.
    pub expiry_lag_ms: i64,
    /// Deleted rooms and users whose rows are still there; counted up to 100,000.
    pub purge_backlog_rooms: i64,
    pub purge_backlog_users: i64,
    pub deliveries_pending: i64,
    pub deliveries_dead: i64,
    pub rules: Vec<Rule>,
}

/// The database, and who is connected to it.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "named as PostgreSQL does")]
pub struct Database {
    pub name: String,
    pub server_version: String,
    pub size_bytes: i64,
    /// Connections of instances of this service.
    pub connections: i64,
    /// Those of them that are at work.
    pub connections_active: i64,
    /// All connections of the server.
    pub server_connections: i64,
    pub max_connections: i64,
}

/// A callback rule.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "named as on the wire")]
pub struct Rule {
    pub app: String,
    pub id: uuid::Uuid,
    /// Its URL without what may be secret in it: the scheme and the host.
    pub target: String,
    pub paused: bool,
    pub failing: bool,
    /// How old the event is that has waited longest, in milliseconds.
    pub lag_ms: i64,
}

/// Looks at all of it.
pub async fn read(db: &Db) -> Result<Status, Error> {
    let (deliveries_pending, deliveries_dead) = deliveries::count(db).await?;
    let mut transaction = db.begin().await?;
    let migrations_missing = migrations::missing(&mut transaction).await?;
    transaction.undo().await;
    let sums = sqlx::query!(
        r#"select (select count(*) from apps) as "apps!",
                  (select greatest(0, reltuples)::bigint from pg_class where oid = 'chatrooms'::regclass) as "rooms!",
                  (select greatest(0, reltuples)::bigint from pg_class where oid = 'users'::regclass) as "users!",
                  (select greatest(0, reltuples)::bigint from pg_class where oid = 'members'::regclass) as "members!",
                  (select coalesce(extract(epoch from now() - min(next_end)) * 1000, 0)::bigint
                   from room_counters where next_end <= now()) as "expiry_lag_ms!""#
    )
    .fetch_one(db.pool())
    .await?;
    let apps = crate::accounts::apps::list(db).await?;
    let mut all_rules = Vec::new();
    for (app, _) in &apps {
        for rule in rules::list(db, app.id).await? {
            all_rules.push(Rule {
                app: format!("{}/{}", app.org, app.name),
                id: rule.id,
                target: rule.url.split('/').take(3).collect::<Vec<_>>().join("/"),
                paused: rule.paused,
                failing: rule.failing_since.is_some(),
                lag_ms: rule.lag_ms,
            });
        }
    }
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        database: database(db).await?,
        migrations_missing,
        rooms: sums.rooms,
        users: sums.users,
        members: sums.members,
        apps: sums.apps,
        expiry_lag_ms: sums.expiry_lag_ms,
        purge_backlog_rooms: purge::count(db).await?,
        purge_backlog_users: user_deletion::count(db).await?,
        deliveries_pending,
        deliveries_dead,
        rules: all_rules,
    })
}

async fn database(db: &Db) -> Result<Database, Error> {
    let row = sqlx::query!(
        r#"with ours as (
               select state from pg_stat_activity
               where application_name = 'roomward' and datname = current_database() and pid <> pg_backend_pid()
           )
           select current_database()::text as "name!", current_setting('server_version') as "server_version!",
                  pg_database_size(current_database()) as "size_bytes!", (select count(*) from ours) as "connections!",
                  (select count(*) from ours where state = 'active') as "connections_active!",
                  (select count(*) from pg_stat_activity where backend_type = 'client backend') as "server_connections!",
                  current_setting('max_connections')::bigint as "max_connections!""#
    )
    .fetch_one(db.pool())
    .await?;
    Ok(Database {
        name: row.name,
        server_version: row.server_version,
        size_bytes: row.size_bytes,
        connections: row.connections,
        connections_active: row.connections_active,
        server_connections: row.server_connections,
        max_connections: row.max_connections,
    })
}
