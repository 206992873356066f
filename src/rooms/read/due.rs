//! Rooms in which mutes or blocks have ended.

use std::time::Duration;

use time::OffsetDateTime;

use crate::db::Db;
use crate::error::Error;
use crate::names::RoomKey;

/// A room in which something has ended. It may be deleted.
#[derive(Clone)]
pub struct DueRoom {
    /// The room.
    pub room: RoomKey,
    /// How long ago the first of it has ended.
    pub waiting: Duration,
    next_end: OffsetDateTime,
}

/// Reads up to `limit` of them behind `after`, the longest waiting first. Each room is one entry of an index, however much
/// has ended in it.
pub async fn rooms(db: &Db, after: Option<&DueRoom>, limit: i64) -> Result<Vec<DueRoom>, Error> {
    let rows = sqlx::query!(
        r#"
        select app, chatroom, next_end, extract(epoch from statement_timestamp() - next_end)::double precision as "waiting!"
        from room_counters
        where next_end <= statement_timestamp() and next_end < '2117-01-01 00:00:00+08'
          and next_end >= $1 and (next_end, app, chatroom) > ($1, $2, $3)
        order by next_end, app, chatroom limit $4
        "#,
        after.map_or(OffsetDateTime::UNIX_EPOCH, |due| due.next_end),
        after.map_or(0, |due| due.room.app),
        after.map_or("", |due| due.room.id()),
        limit,
    )
    .fetch_all(db.pool())
    .await?;
    let due = rows.into_iter().map(|row| DueRoom {
        room: RoomKey::from_row(row.app, row.chatroom),
        waiting: Duration::from_secs_f64(row.waiting.max(0.0)),
        next_end: row.next_end,
    });
    Ok(due.collect())
}
