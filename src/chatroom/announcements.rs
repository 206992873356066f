//! The announcement of a room: one text for everybody who comes in.

use super::change::change;
use super::{Db, RoomKey};
use crate::error::Error;

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

/// Puts another text in the place of the announcement.
pub async fn set(db: &Db, key: &RoomKey, text: &str) -> Result<(), Error> {
    change(db, key, async |change| {
        sqlx::query!("update chatrooms set announcement = $3 where app = $1 and id = $2", key.app, key.id(), text)
            .execute(change.connection())
            .await?;
        Ok(())
    })
    .await
}
