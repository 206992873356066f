//! What may be wrong with an installation, and what helps: for `roomward doctor`.
//!
//! Each check says what it has seen. A warning is worth a look; a failure loses data, or keeps the service from working.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use sqlx::PgConnection;

use crate::config::Settings;
use crate::db::standby;
use crate::error::Error;
use crate::migrations;

/// The oldest PostgreSQL that the statements run on, as `server_version_num`.
const OLDEST_POSTGRES: i32 = 130_000;

/// Clocks that differ by more are worth a look: tokens end by this machine's, mutes by the database's.
const CLOCK_SKEW_MS: i64 = 1_000;

/// How old a transaction may be before it keeps too many dead rows alive.
const LONG_TRANSACTION_SECONDS: f64 = 300.0;

/// When the numbers of transactions run out, PostgreSQL stops; vacuum should have come long before this age.
const OLD_XIDS: i64 = 1_000_000_000;

/// Secrets that stand in documents.
const KNOWN_SECRETS: [&str; 2] = ["demo-secret", "change-me"];

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth a look.
    Warning,
    /// Loses data, or does not work.
    Failure,
}

/// What a check has seen.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// What helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, seen: seen.into(), remedy: None }
    }

    fn new(check: &'static str, level: Level, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level, seen: seen.into(), remedy: Some(remedy.into()) }
    }
}

/// Makes all checks, in the order in which they are to be read.
///
/// The standby is what a connection to it has come to, if there is to be one.
pub async fn examine(
    settings: &Settings,
    connection: &mut PgConnection,
    standby: Option<Result<PgConnection, String>>,
) -> Result<Vec<Finding>, Error> {
    let mut findings = vec![secret(settings), development(settings), file_descriptors(settings)];
    findings.push(version(connection).await?);
    findings.push(schema(connection).await?);
    findings.extend(durability(connection).await?);
    findings.push(connections(settings, connection).await?);
    findings.push(clock(connection).await?);
    findings.push(indexes(connection).await?);
    findings.push(dead_rows(connection).await?);
    findings.push(long_transactions(connection).await?);
    findings.push(slots(connection).await?);
    findings.push(transaction_ids(connection).await?);
    if let Some(standby) = standby {
        findings.push(follower(settings, connection, standby).await?);
    }
    Ok(findings)
}

fn secret(settings: &Settings) -> Finding {
    const CHECK: &str = "auth.secret";
    match settings.token_secrets() {
        Err(error) => Finding::new(CHECK, Level::Failure, error.to_string(), "set it to 32 random bytes: `openssl rand -hex 32`"),
        Ok(secrets) if secrets.iter().any(|secret| KNOWN_SECRETS.contains(secret)) => {
            Finding::new(CHECK, Level::Failure, "it stands in documents", "set it to 32 random bytes: `openssl rand -hex 32`")
        }
        Ok(secrets) => Finding::ok(CHECK, format!("set; {} previous ones verify, too", secrets.len() - 1)),
    }
}

fn development(settings: &Settings) -> Finding {
    const CHECK: &str = "server.development";
    if settings.server.development {
        return Finding::new(CHECK, Level::Warning, "on: short secrets are accepted", "switch it off in production");
    }
    Finding::ok(CHECK, "off")
}

fn file_descriptors(settings: &Settings) -> Finding {
    const CHECK: &str = "file descriptors";
    let limit = std::fs::read_to_string("/proc/self/limits").ok().and_then(|limits| {
        let line = limits.lines().find(|line| line.starts_with("Max open files"))?.to_owned();
        line.split_whitespace().nth(3)?.parse::<usize>().ok()
    });
    let wanted = settings.server.max_connections + settings.database.max_connections as usize + 100;
    match limit {
        None => Finding::ok(CHECK, "the limit of this system is not known"),
        Some(limit) if limit < wanted => Finding::new(
            CHECK,
            Level::Warning,
            format!("{limit} may be open, {wanted} are needed for server.max_connections"),
            format!("`ulimit -n {wanted}`, or LimitNOFILE={wanted} in systemd"),
        ),
        Some(limit) => Finding::ok(CHECK, format!("{limit} may be open")),
    }
}

async fn version(connection: &mut PgConnection) -> Result<Finding, Error> {
    const CHECK: &str = "PostgreSQL";
    let row = sqlx::query!(
        r#"select current_setting('server_version') as "name!", current_setting('server_version_num')::integer as "number!""#
    )
    .fetch_one(connection)
    .await?;
    let (name, number) = (row.name, row.number);
    Ok(if number < OLDEST_POSTGRES {
        Finding::new(CHECK, Level::Failure, format!("version {name}"), "use version 13 or newer")
    } else {
        Finding::ok(CHECK, format!("version {name}"))
    })
}

async fn schema(connection: &mut PgConnection) -> Result<Finding, Error> {
    const CHECK: &str = "migrations";
    Ok(match migrations::missing(connection).await? {
        0 => Finding::ok(CHECK, "all are applied"),
        missing => Finding::new(CHECK, Level::Failure, format!("{missing} are missing"), "run `roomward migrate`"),
    })
}

/// What PostgreSQL must do for an acknowledged change to survive.
async fn durability(connection: &mut PgConnection) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for (name, needed, level, loss) in [
        ("fsync", "on", Level::Failure, "a crash of the machine may destroy the database"),
        ("full_page_writes", "on", Level::Failure, "a crash of the machine may destroy pages"),
        ("synchronous_commit", "on", Level::Warning, "a crash loses changes that were acknowledged"),
        ("autovacuum", "on", Level::Failure, "dead rows are never removed"),
        ("track_counts", "on", Level::Failure, "autovacuum does not know where to work"),
    ] {
        let value = sqlx::query_scalar!(r#"select current_setting($1) as "value!""#, name).fetch_one(&mut *connection).await?;
        // Stronger promises than `on` are good as well.
        let is_good = value == needed || name == "synchronous_commit" && value.starts_with("remote_");
        findings.push(if is_good {
            Finding::ok(name, value)
        } else {
            Finding::new(name, level, format!("{value}: {loss}"), format!("`alter system set {name} = {needed}`"))
        });
    }
    Ok(findings)
}

async fn connections(settings: &Settings, connection: &mut PgConnection) -> Result<Finding, Error> {
    const CHECK: &str = "connections";
    let row = sqlx::query!(
        r#"select current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
                      as "most!",
                  count(*) as "used!"
           from pg_stat_activity where backend_type = 'client backend'"#
    )
    .fetch_one(connection)
    .await?;
    let (most, used) = (row.most, row.used);
    let ours = i64::from(settings.database.max_connections);
    Ok(if ours > most {
        Finding::new(
            CHECK,
            Level::Failure,
            format!("one instance may take {ours}, and PostgreSQL has {most}"),
            "lower database.max_connections, or raise max_connections",
        )
    } else {
        let instances = most / ours.max(1);
        Finding::ok(CHECK, format!("{used} of {most} in use; {instances} instances of {ours} each fit"))
    })
}

async fn clock(connection: &mut PgConnection) -> Result<Finding, Error> {
    const CHECK: &str = "clocks";
    let here = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
    let before = here();
    let there = sqlx::query_scalar!(r#"select (extract(epoch from clock_timestamp()) * 1000)::bigint as "ms!""#)
        .fetch_one(connection)
        .await?;
    let skew = there - before.midpoint(here());
    Ok(if skew.abs() > CLOCK_SKEW_MS {
        Finding::new(
            CHECK,
            Level::Warning,
            format!("the database's is {skew} ms ahead: tokens end by this machine's, mutes by the database's"),
            "let both follow the same time servers (NTP)",
        )
    } else {
        Finding::ok(CHECK, format!("{skew} ms apart"))
    })
}

/// Indexes that the migrations make, and that are not there, or were left unfinished.
async fn indexes(connection: &mut PgConnection) -> Result<Finding, Error> {
    const CHECK: &str = "indexes";
    let wanted: Vec<String> = migrations::indexes();
    let bad = sqlx::query_scalar!(
        r#"select wanted.name as "name!" from unnest($1::text[]) wanted (name)
           left join pg_index on indexrelid = to_regclass(wanted.name)
           where indisvalid is not true order by wanted.name"#,
        &wanted,
    )
    .fetch_all(connection)
    .await?;
    Ok(if bad.is_empty() {
        Finding::ok(CHECK, format!("{} are there and whole", wanted.len()))
    } else {
        Finding::new(
            CHECK,
            Level::Failure,
            format!("missing or unfinished: {}", bad.join(", ")),
            "make them again as in migrations/ (with `create index concurrently`), after `drop index` of an unfinished one",
        )
    })
}

async fn dead_rows(connection: &mut PgConnection) -> Result<Finding, Error> {
    const CHECK: &str = "dead rows";
    let bad = sqlx::query!(
        r#"select relname::text as "table!", n_dead_tup as "dead!", n_live_tup as "live!" from pg_stat_user_tables
           where n_dead_tup > 100000 and n_dead_tup > n_live_tup / 2 order by n_dead_tup desc limit 5"#
    )
    .fetch_all(connection)
    .await?;
    Ok(if bad.is_empty() {
        Finding::ok(CHECK, "vacuum keeps up")
    } else {
        let tables: Vec<String> = bad.iter().map(|row| format!("{} {} beside {}", row.table, row.dead, row.live)).collect();
        Finding::new(
            CHECK,
            Level::Warning,
            tables.join(", "),
            "`vacuum` those tables; look for long transactions, and let autovacuum work harder (autovacuum_vacuum_cost_limit)",
        )
    })
}

async fn long_transactions(connection: &mut PgConnection) -> Result<Finding, Error> {
    const CHECK: &str = "long transactions";
    let long = sqlx::query!(
        r#"select pid as "pid!", coalesce(nullif(application_name, ''), usename::text, '?') as "who!",
                  extract(epoch from now() - xact_start)::bigint as "age!"
           from pg_stat_activity
           where xact_start < now() - make_interval(secs => $1) and backend_type = 'client backend'
           order by xact_start limit 5"#,
        LONG_TRANSACTION_SECONDS,
    )
    .fetch_all(&mut *connection)
    .await?;
    let prepared = sqlx::query_scalar!(r#"select count(*) as "count!" from pg_prepared_xacts"#).fetch_one(connection).await?;
    Ok(if long.is_empty() && prepared == 0 {
        Finding::ok(CHECK, "none")
    } else {
        let mut seen: Vec<String> =
            long.iter().map(|row| format!("pid {} of {} since {} s", row.pid, row.who, row.age)).collect();
        seen.extend((prepared > 0).then(|| format!("{prepared} prepared ones")));
        Finding::new(
            CHECK,
            Level::Warning,
            seen.join(", "),
            "end what is not needed (`pg_terminate_backend`): dead rows stay, and feeds of apps wait for transactions that write",
        )
    })
}

async fn slots(connection: &mut PgConnection) -> Result<Finding, Error> {
    const CHECK: &str = "replication slots";
    let idle = sqlx::query_scalar!(r#"select slot_name::text as "name!" from pg_replication_slots where not active order by 1"#)
        .fetch_all(connection)
        .await?;
    Ok(if idle.is_empty() {
        Finding::ok(CHECK, "none is left behind")
    } else {
        Finding::new(
            CHECK,
            Level::Warning,
            format!("nobody reads {}: WAL piles up", idle.join(", ")),
            "start the standby, or `pg_drop_replication_slot`",
        )
    })
}

async fn transaction_ids(connection: &mut PgConnection) -> Result<Finding, Error> {
    const CHECK: &str = "transaction ids";
    let age =
        sqlx::query_scalar!(r#"select age(datfrozenxid)::bigint as "age!" from pg_database where datname = current_database()"#)
            .fetch_one(connection)
            .await?;
    Ok(if age > OLD_XIDS {
        Finding::new(
            CHECK,
            Level::Failure,
            format!("the oldest is {age} back"),
            "`vacuum freeze`; look why autovacuum does not come",
        )
    } else {
        Finding::ok(CHECK, format!("the oldest is {age} back"))
    })
}

/// Whether the standby can answer reads.
async fn follower(
    settings: &Settings,
    primary: &mut PgConnection,
    there: Result<PgConnection, String>,
) -> Result<Finding, Error> {
    const CHECK: &str = "standby";
    let bad =
        |seen: String, remedy: &str| Ok(Finding::new(CHECK, Level::Warning, format!("{seen}; the primary answers"), remedy));
    let mut there = match there {
        Ok(there) => there,
        Err(error) => return bad(error, "start it, or leave database.read_url empty"),
    };
    let source = standby::position(&mut *primary).await?;
    let started = Instant::now();
    loop {
        let copy = standby::position(&mut there).await?;
        if let Err(why) = copy.follows(&source) {
            return bad(why.into(), "lead database.read_url to a standby of the server at database.url");
        }
        let age = started.elapsed();
        if copy.is_past(&source) {
            return Ok(Finding::ok(CHECK, format!("follows, at most {} ms behind", age.as_millis())));
        }
        if age > Duration::from_millis(settings.database.read_max_age_ms) {
            return bad(
                format!("more than {} ms behind", age.as_millis()),
                "look for what holds it up: long queries there, its disk, the network; or raise database.read_max_age_ms",
            );
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
