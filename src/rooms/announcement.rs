//! The announcement of a room: one text for everybody who comes in.

use crate::db::Db;
use crate::error::Error;
use crate::events::log::{Actor, Kind};
use crate::names::RoomKey;
use crate::rooms::change::change;

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
