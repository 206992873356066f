//! Reads the custom attributes of a room.

use std::collections::BTreeMap;

use super::details;
use crate::db::Db;
use crate::error::Error;
use crate::names::RoomKey;

/// The attributes of those `keys`, or all of them; keys that a room does not have are left out.
pub async fn get(db: &Db, key: &RoomKey, keys: Option<&[String]>) -> Result<BTreeMap<String, String>, Error> {
    details::require(db, key).await?;
    let rows = sqlx::query!(
        "select key, value from attributes where app = $1 and chatroom = $2 and ($3::text[] is null or key = any($3))",
        key.app,
        key.id(),
        keys,
    )
    .fetch_all(db.pool())
    .await?;
    Ok(rows.into_iter().map(|row| (row.key, row.value)).collect())
}
