//! The rules of an app's callbacks: which events are sent to which URL.
//!
//! A rule's secret comes here sealed and leaves sealed; see [`crate::auth::Seals`].

use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::Db;
use crate::error::Error;
use crate::events::log::Kind;
use crate::idempotency::Uncommitted;

/// The most rules of one app.
pub const MAX_RULES: i64 = 4;

/// The longest secret, in characters.
const MAX_SECRET: usize = 256;

/// What every kind is called.
pub const EVERYTHING: &str = "*";

/// The most queues that a change of a rule makes due at once; the others keep their own time.
const QUEUES_MADE_DUE: i64 = 10_000;

/// A rule, as it may be shown.
pub struct Rule {
    /// Its id.
    pub id: Uuid,
    /// Where the events go.
    pub url: String,
    /// Which events: kinds, operations, or [`EVERYTHING`].
    pub kinds: Vec<String>,
    /// Whether they wait.
    pub paused: bool,
    /// Since when every attempt has failed, if the last one did.
    pub failing_since: Option<OffsetDateTime>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// How old the event is that has waited longest, in milliseconds; 0 if none waits.
    pub lag_ms: i64,
}

/// A rule that is to be made. The caller chooses the id, since the secret is sealed for it.
pub struct NewRule<'a> {
    /// Its id.
    pub id: Uuid,
    /// Where the events go.
    pub url: &'a str,
    /// What they are signed with, sealed.
    pub sealed: &'a [u8],
    /// Which events; see [`are_kinds`].
    pub kinds: &'a [String],
    /// Whether they wait.
    pub paused: bool,
}

/// What is to be another in a rule; the rest stays.
#[derive(Default)]
pub struct Changes<'a> {
    /// Where the events go.
    pub url: Option<&'a str>,
    /// What they are signed with, sealed.
    pub sealed: Option<&'a [u8]>,
    /// Which events; see [`are_kinds`].
    pub kinds: Option<&'a [String]>,
    /// Whether they wait.
    pub paused: Option<bool>,
}

/// Where a rule sends, and what it signs with.
#[derive(Debug, Clone)]
pub struct Target {
    /// The URL.
    pub url: String,
    /// The secret, sealed.
    pub sealed: Vec<u8>,
}

/// Whether a rule may ask for that: everything, operations, or kinds.
pub fn are_kinds(patterns: &[String]) -> bool {
    let is_kind = |pattern: &String| pattern == EVERYTHING || !Kind::named(pattern).is_empty();
    (1..=Kind::ALL.len()).contains(&patterns.len()) && patterns.iter().all(is_kind)
}

/// Whether a rule may sign with that.
pub fn is_secret(text: &str) -> bool {
    (1..=MAX_SECRET).contains(&text.chars().count())
}

/// Makes a rule, and returns when that was. Locks the app's row first, so that no other call makes a fifth rule meanwhile.
pub async fn create(db: &Db, app: i32, rule: &NewRule<'_>) -> Result<Uncommitted<OffsetDateTime>, Error> {
    let mut transaction = db.begin().await?;
    let done = async {
        transaction.hold_app(app).await?;
        sqlx::query!("select from apps where id = $1 for no key update", app).fetch_one(&mut *transaction).await?;
        let others = sqlx::query_scalar!(
            r#"select count(*) as "number!" from callback_rules where app = $1 and deleted_at is null"#,
            app,
        )
        .fetch_one(&mut *transaction)
        .await?;
        if others >= MAX_RULES {
            return Err(Error::ExceedLimit(format!("callback rules exceed the limit {MAX_RULES}!")));
        }
        Ok(sqlx::query_scalar!(
            "insert into callback_rules (id, app, url, secret, kinds, paused) values ($2, $1, $3, $4, $5, $6)
             returning created_at",
            app,
            rule.id,
            rule.url,
            rule.sealed,
            rule.kinds,
            rule.paused,
        )
        .fetch_one(&mut *transaction)
        .await?)
    }
    .await;
    Uncommitted::new(db, transaction, done).await
}

/// The rules of an app, in the order in which they were made.
pub async fn list(db: &Db, app: i32) -> Result<Vec<Rule>, Error> {
    read(db, app, None).await
}

/// One of them.
pub async fn get(db: &Db, app: i32, id: Uuid) -> Result<Rule, Error> {
    read(db, app, Some(id)).await?.pop().ok_or_else(|| not_found(id))
}

/// The first pending delivery by id is the oldest, but for replays.
async fn read(db: &Db, app: i32, only: Option<Uuid>) -> Result<Vec<Rule>, Error> {
    if db.layout().await?.is_distributed() {
        return read_on_nodes(db, app, only).await;
    }
    Ok(sqlx::query_as!(
        Rule,
        r#"
        select rule.id, url, kinds, paused, failing_since, created_at,
               coalesce((extract(epoch from now() - oldest.happened_at) * 1000)::bigint, 0) as "lag_ms!"
        from callback_rules rule
        left join lateral (
            select happened_at
            from (select app, chatroom, n from deliveries where rule = rule.id and state = 'pending' order by id limit 1) first
            join events using (app, chatroom, n)
        ) oldest on true
        where rule.app = $1 and deleted_at is null and ($2::uuid is null or rule.id = $2)
        order by created_at, rule.id
        "#,
        app,
        only,
    )
    .fetch_all(db.pool())
    .await?)
}

/// The same on a cluster, where what waits is elsewhere than the rules.
async fn read_on_nodes(db: &Db, app: i32, only: Option<Uuid>) -> Result<Vec<Rule>, Error> {
    let mut rules = sqlx::query_as!(
        Rule,
        r#"
        select id, url, kinds, paused, failing_since, created_at, 0::bigint as "lag_ms!"
        from callback_rules where app = $1 and deleted_at is null and ($2::uuid is null or id = $2) order by created_at, id
        "#,
        app,
        only,
    )
    .fetch_all(db.pool())
    .await?;
    for rule in &mut rules {
        let lag_ms = sqlx::query_scalar!(
            r#"select (extract(epoch from now() - happened_at) * 1000)::bigint as "lag_ms!"
               from deliveries join events using (app, chatroom, n)
               where rule = $1 and state = 'pending' order by deliveries.id limit 1"#,
            rule.id,
        );
        rule.lag_ms = lag_ms.fetch_optional(db.pool()).await?.unwrap_or_default();
    }
    Ok(rules)
}

/// Where a rule sends.
pub async fn target(db: &Db, app: i32, id: Uuid) -> Result<Target, Error> {
    sqlx::query_as!(
        Target,
        "select url, secret as sealed from callback_rules where app = $1 and id = $2 and deleted_at is null",
        app,
        id,
    )
    .fetch_optional(db.pool())
    .await?
    .ok_or_else(|| not_found(id))
}

/// Changes a rule. What waits after failures is tried at once: the change may have mended the rule.
pub async fn update(db: &Db, app: i32, id: Uuid, wanted: &Changes<'_>) -> Result<(), Error> {
    let changed = sqlx::query!(
        "update callback_rules
         set url = coalesce($3, url), secret = coalesce($4, secret), kinds = coalesce($5, kinds), paused = coalesce($6, paused)
         where app = $1 and id = $2 and deleted_at is null",
        app,
        id,
        wanted.url,
        wanted.sealed,
        wanted.kinds,
        wanted.paused,
    )
    .execute(db.pool())
    .await?;
    if changed.rows_affected() == 0 {
        return Err(not_found(id));
    }
    // An attempt under way to the former target loses its claim: it says nothing about the rule any more.
    let is_elsewhere = wanted.url.is_some() || wanted.sealed.is_some();
    if db.layout().await?.is_distributed() {
        sqlx::query!(
            "update callback_lines set next_at = now(), claim = null
             where rule = $1 and next_at > now() and (claim is null or $2)",
            id,
            is_elsewhere,
        )
        .execute(db.pool())
        .await?;
        db.events_committed();
        return Ok(());
    }
    sqlx::query!(
        "with waiting as (
             select chatroom from callback_lines where rule = $1 and next_at > now() and (claim is null or $3)
             order by next_at limit $2 for no key update skip locked
         )
         update callback_lines queue set next_at = now(), claim = null
         from waiting where queue.rule = $1 and queue.chatroom = waiting.chatroom",
        id,
        QUEUES_MADE_DUE,
        is_elsewhere,
    )
    .execute(db.pool())
    .await?;
    db.events_committed();
    Ok(())
}

/// Deletes a rule: nothing more is sent, and its deliveries go in the background.
pub async fn delete(db: &Db, app: i32, id: Uuid) -> Result<Uncommitted<()>, Error> {
    let mut transaction = db.begin().await?;
    let done = async {
        let deleted = sqlx::query!(
            "update callback_rules set deleted_at = now() where app = $1 and id = $2 and deleted_at is null",
            app,
            id
        )
        .execute(&mut *transaction)
        .await?;
        if deleted.rows_affected() == 0 { Err(not_found(id)) } else { Ok(()) }
    }
    .await;
    Uncommitted::new(db, transaction, done).await
}

/// The sealed secrets of `size` rules behind `after`, of all apps, by id.
pub async fn secrets(db: &Db, after: Uuid, size: i64) -> Result<Vec<(Uuid, Vec<u8>)>, Error> {
    let rows = sqlx::query!("select id, secret from callback_rules where id > $1 order by id limit $2", after, size)
        .fetch_all(db.pool())
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.secret)).collect())
}

/// Replaces a sealed secret by the same one sealed anew, unless it is another by now.
pub async fn reseal(db: &Db, id: Uuid, old: &[u8], new: &[u8]) -> Result<(), Error> {
    sqlx::query!("update callback_rules set secret = $3 where id = $1 and secret = $2", id, old, new).execute(db.pool()).await?;
    Ok(())
}

fn not_found(id: Uuid) -> Error {
    Error::RuleNotFound { rule: id.to_string() }
}
