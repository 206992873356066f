//! Reads the mutes of a room that are in force.

use time::OffsetDateTime;

use crate::db::Db;
use crate::error::Error;
use crate::names::{CursorPage, RoomKey};

/// A mute in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MuteEntry {
    /// Who is muted.
    pub username: String,
    /// Until when.
    pub ends_at: OffsetDateTime,
}

/// The mutes in force, in the order in which they began.
pub async fn list(db: &Db, key: &RoomKey) -> Result<Vec<MuteEntry>, Error> {
    let rows = sqlx::query!(
        r#"
        select mutes.username as "username?", mutes.ends_at as "ends_at?"
        from chatrooms left join mutes
            on mutes.app = $1 and mutes.chatroom = $2 and mutes.ends_at > now()
        where chatrooms.app = $1 and chatrooms.id = $2 and chatrooms.deleted_at is null
        order by mutes.seq
        "#,
        key.app,
        key.id(),
    )
    .fetch_all(db.pool())
    .await?;
    if rows.is_empty() {
        return Err(key.not_found());
    }
    let mute = |(username, ends_at): (Option<String>, Option<OffsetDateTime>)| {
        Some(MuteEntry { username: username?, ends_at: ends_at? })
    };
    Ok(rows.into_iter().filter_map(|row| mute((row.username, row.ends_at))).collect())
}

/// Reads `size` of them behind the number `after`. However far that is, the cost is the same.
pub async fn list_after(db: &Db, key: &RoomKey, after: Option<i64>, size: i64) -> Result<CursorPage<MuteEntry>, Error> {
    let rows = sqlx::query!(
        r#"
        select page.seq as "seq?", page.username as "username?", page.ends_at as "ends_at?"
        from chatrooms left join lateral (
            select seq, username, ends_at from mutes
            where mutes.app = $1 and mutes.chatroom = $2 and seq > $3 and ends_at > now()
            order by seq limit $4
        ) page on true
        where app = $1 and id = $2 and deleted_at is null
        order by page.seq
        "#,
        key.app,
        key.id(),
        after.unwrap_or(0),
        size + 1,
    )
    .fetch_all(db.pool())
    .await?;
    let mute =
        |username: Option<String>, ends_at: Option<OffsetDateTime>| Some(MuteEntry { username: username?, ends_at: ends_at? });
    let rows = rows.into_iter().map(|row| (row.seq, mute(row.username, row.ends_at))).collect();
    CursorPage::new(rows, size).ok_or_else(|| key.not_found())
}
