//! The announcement of a room: one text for everybody who comes in.

use sqlx::PgPool;

use super::RoomKey;
use super::change::change;
use crate::error::Error;

/// The announcement; empty if there is none.
pub async fn get(db: &PgPool, key: &RoomKey) -> Result<String, Error> {
    sqlx::query_scalar!(
        "select announcement from chatrooms where app = $1 and id = $2 and deleted_at is null",
        key.app,
        key.id(),
    )
    .fetch_optional(db)
    .await?
    .ok_or_else(|| key.not_found())
}

/// Puts another text in the place of the announcement.
pub async fn set(db: &PgPool, key: &RoomKey, text: &str) -> Result<(), Error> {
    change(db, key, async |change| {
        sqlx::query!("update chatrooms set announcement = $3 where app = $1 and id = $2", key.app, key.id(), text)
            .execute(change.connection())
            .await?;
        Ok(())
    })
    .await
}
