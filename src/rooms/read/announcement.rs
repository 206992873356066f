//! Reads the announcement of a room.

use crate::db::Db;
use crate::error::Error;
use crate::names::RoomKey;

/// The announcement; empty if there is none.
pub async fn get(db: &Db, key: &RoomKey) -> Result<String, Error> {
    sqlx::query_scalar!(
        "select announcement from chatrooms where app = $1 and id = $2 and deleted_at is null",
        key.app,
        key.id(),
    )
    .fetch_optional(db.pool())
    .await?
    .ok_or_else(|| key.not_found())
}
