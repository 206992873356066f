//! The announcement of a room: one text for everybody who comes in.

use super::change::change;
use super::events::{Actor, Kind};
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
pub async fn set(db: &Db, key: &RoomKey, actor: &Actor, text: &str) -> Result<(), Error> {
    change(db, key, actor, async |change| {
        let former = sqlx::query_scalar!(
            r#"
            with former as (select announcement from chatrooms where app = $1 and id = $2)
            update chatrooms set announcement = $3 from former
            where app = $1 and id = $2 and chatrooms.announcement <> $3
            returning former.announcement
            "#,
            key.app,
            key.id(),
            text,
        )
        .fetch_optional(change.connection())
        .await?;
        if let Some(former) = former {
            change.record(Kind::UpdateAnnouncement, |event| {
                event.before([("announcement", former)]).after([("announcement", text)])
            });
        }
        Ok(())
    })
    .await
}
