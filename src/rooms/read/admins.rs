//! Reads the admins of a room.

use crate::db::Db;
use crate::error::Error;
use crate::names::{CursorPage, RoomKey};

/// The admins, in the order in which they became so.
pub async fn list(db: &Db, key: &RoomKey) -> Result<Vec<String>, Error> {
    sqlx::query_scalar!(
        r#"
        select array(
            select username from admins where admins.app = $1 and admins.chatroom = $2 order by seq
        ) as "admins!"
        from chatrooms where app = $1 and id = $2 and deleted_at is null
        "#,
        key.app,
        key.id(),
    )
    .fetch_optional(db.pool())
    .await?
    .ok_or_else(|| key.not_found())
}

/// Reads `size` of them behind the number `after`. However far that is, the cost is the same.
pub async fn list_after(db: &Db, key: &RoomKey, after: Option<i64>, size: i64) -> Result<CursorPage<String>, Error> {
    let rows = sqlx::query!(
        r#"
        select page.seq as "seq?", page.username as "username?"
        from chatrooms left join lateral (
            select seq, username from admins
            where admins.app = $1 and admins.chatroom = $2 and seq > $3
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
    CursorPage::new(rows.into_iter().map(|row| (row.seq, row.username)).collect(), size).ok_or_else(|| key.not_found())
}
