//! The ends of global mutes: found app by app, and told once each.
//!
//! A row of which some parts have ended goes on without them; one of which all have is gone.

use std::time::Duration;

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{about, note_next_end, record};
use crate::accounts::super_admins;
use crate::db::{Db, Transaction};
use crate::error::Error;
use crate::events::log::{Actor, Kind, Last, NewEvent};

/// An app in which a part of a global mute has ended.
pub struct DueApp {
    /// The app.
    pub app: i32,
    /// How long ago the first of them has ended.
    pub waiting: Duration,
}

/// Reads up to `limit` of them, the longest waiting first, those in `except` left out. Each app is one entry of an index,
/// however much has ended in it.
pub async fn due_apps(db: &Db, except: &[i32], limit: i64) -> Result<Vec<DueApp>, Error> {
    let rows = sqlx::query!(
        r#"
        select id, extract(epoch from statement_timestamp() - next_end)::double precision as "waiting!"
        from apps
        where next_end <= statement_timestamp() and next_end < '2117-01-01 00:00:00+08' and id <> all($1::integer[])
        order by next_end limit $2
        "#,
        except,
        limit,
    )
    .fetch_all(db.pool())
    .await?;
    Ok(rows.into_iter().map(|row| DueApp { app: row.id, waiting: Duration::from_secs_f64(row.waiting.max(0.0)) }).collect())
}

/// What to do about an app whose row another transaction has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfLocked {
    /// Leave it for later.
    Skip,
    /// Wait for it, up to `database.lock_timeout_ms`.
    Wait,
}

/// Takes what has ended out of up to `batch` mutes of an app, those that ended first, and tells of the parts for rooms.
/// Returns the number of mutes; `None`: the app was skipped.
pub async fn end_expired(db: &Db, app: i32, batch: u32, if_locked: IfLocked) -> Result<Option<usize>, Error> {
    let mut transaction = db.begin().await?;
    let done = async {
        let last = match if_locked {
            IfLocked::Wait => Some(super_admins::lock(&mut transaction, app).await?),
            IfLocked::Skip => super_admins::try_lock(&mut transaction, app).await?,
        };
        let Some(last) = last else { return Ok(None) };
        end_under_lock(&mut transaction, app, last, batch).await.map(Some)
    };
    let done = db.in_time(done).await;
    let ended = transaction.end(done).await?;
    db.events_committed();
    Ok(ended)
}

async fn end_under_lock(transaction: &mut Transaction, app: i32, last: Last, batch: u32) -> Result<usize, Error> {
    let due = sqlx::query!(
        r#"
        select username, chatroom_ends_at, statement_timestamp() as "now!" from global_mutes
        where app = $1 and next_end <= statement_timestamp() and next_end < '2117-01-01 00:00:00+08'
        order by next_end, username limit $2
        "#,
        app,
        i64::from(batch),
    )
    .fetch_all(&mut **transaction)
    .await?;
    if let Some(now) = due.first().map(|row| row.now) {
        let users: Vec<String> = due.iter().map(|row| row.username.clone()).collect();
        take_ended(transaction, app, &users, now).await?;
    }
    note_next_end(transaction, app).await?;
    let in_rooms = due.iter().filter_map(|row| {
        let ends_at = row.chatroom_ends_at.filter(|ends_at| *ends_at <= row.now)?;
        Some((row.username.clone(), ends_at))
    });
    let mut over: Vec<(String, OffsetDateTime)> = in_rooms.collect();
    over.sort_unstable_by(|(one, ends), (other, end)| (ends, one).cmp(&(end, other)));
    let told =
        over.chunks(NewEvent::MOST_USERS).filter_map(|over| about(Kind::GlobalMuteExpire, &Actor::system(), over)).collect();
    record(transaction, app, last, told).await?;
    Ok(due.len())
}

/// Takes what has ended by `now` out of the mutes of `users`. Rows of which nothing is left go first: none may be without a
/// part.
async fn take_ended(connection: &mut PgConnection, app: i32, users: &[String], now: OffsetDateTime) -> Result<(), Error> {
    sqlx::query!(
        "delete from global_mutes
         where app = $1 and username = any($2::text[])
           and greatest(chat_ends_at, groupchat_ends_at, chatroom_ends_at) <= $3",
        app,
        users,
        now,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "update global_mutes set
             chat_ends_at = case when chat_ends_at > $3 then chat_ends_at end,
             groupchat_ends_at = case when groupchat_ends_at > $3 then groupchat_ends_at end,
             chatroom_ends_at = case when chatroom_ends_at > $3 then chatroom_ends_at end,
             actor = case when chatroom_ends_at > $3 then actor end,
             reason = case when chatroom_ends_at > $3 then reason end,
             since = case when chatroom_ends_at > $3 then since end
         where app = $1 and username = any($2::text[])",
        app,
        users,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
