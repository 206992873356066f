//! Removes the rows of deleted rooms, batch by batch, and tells who was in them.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::create::set_last;
use crate::db::{Db, Transaction};
use crate::error::Error;
use crate::events::log::{self, Actor, Kind, Last, NewEvent};
use crate::names::{RoomKey, Scope};
use crate::rooms::members::{Leaver, leaving};
use crate::rooms::restrictions::about;

/// How many deleted rooms whose rows are still there, up to 100,000.
pub async fn count(db: &Db) -> Result<i64, Error> {
    let counted = sqlx::query_scalar!(
        r#"select count(*) as "count!" from (select 1 from chatrooms where deleted_at is not null limit 100000) deleted"#
    );
    Ok(counted.fetch_one(db.pool()).await?)
}

/// Rooms that were deleted but not yet removed, longest waiting first.
pub async fn deleted(db: &Db, limit: i64) -> Result<Vec<RoomKey>, Error> {
    let rows = sqlx::query!("select app, id from chatrooms where deleted_at is not null order by deleted_at limit $1", limit)
        .fetch_all(db.pool())
        .await?;
    Ok(rows.into_iter().map(|row| RoomKey::from_row(row.app, row.id)).collect())
}

/// Removes up to `batch` rows from each list of a deleted room, and with the last of them the room itself. Returns the
/// number of rows; 0 if another instance removes it, or nothing is left.
pub async fn purge(db: &Db, key: &RoomKey, batch: i64) -> Result<u64, Error> {
    let mut transaction = db.begin().await?;
    let done = db.in_time(purge_some(&mut transaction, key, batch)).await;
    let rows = transaction.end(done).await?;
    if rows > 0 {
        db.events_committed();
    }
    Ok(rows)
}

async fn purge_some(transaction: &mut Transaction, key: &RoomKey, batch: i64) -> Result<u64, Error> {
    let Some(last) = lock(transaction, key).await? else { return Ok(0) };
    let Some(room) = deleted_room(transaction, key).await? else { return Ok(0) };
    let mutes = mutes(transaction, key, batch).await?;
    let blocks = blocks(transaction, key, batch).await?;
    let mut leavers = members(transaction, key, batch).await?;
    let rows = mutes.len() + blocks.len() + leavers.len() + 1;
    let is_last = [mutes.len(), blocks.len(), leavers.len()].into_iter().all(|rows| rows < usize::try_from(batch).unwrap_or(0));
    if is_last {
        leavers.push(Leaver { username: room.owner, admin: false, whitelisted: room.whitelisted });
    }

    // What had ended before the room did has ended by itself; what was in force is gone with it, like everything else.
    let mut events = Vec::new();
    for (removed, ended) in [(mutes, Kind::MuteExpire), (blocks, Kind::BlockExpire)] {
        let over: Vec<_> =
            removed.into_iter().filter(|entry| !entry.in_force).map(|entry| (entry.username, entry.ends_at)).collect();
        let event = || NewEvent::new(ended, &Actor::system());
        events.extend(over.chunks(NewEvent::MOST_USERS).map(|over| about(event(), over)));
    }
    let actor = Actor::kept(room.deleted_by, room.deleted_reason);
    while !leavers.is_empty() {
        let rest = leavers.split_off(leavers.len().min(NewEvent::MOST_USERS));
        events.push(leaving(NewEvent::new(Kind::LeaveDeleted, &actor), leavers));
        leavers = rest;
    }
    if is_last {
        events.push(NewEvent::new(Kind::Delete, &actor));
    }
    let last = log::append(transaction, &Scope::Room(key.clone()), last, events).await?;
    if is_last {
        retire(transaction, key, last).await?;
    } else {
        set_last(transaction, key, last).await?;
    }
    Ok(u64::try_from(rows).unwrap_or(u64::MAX))
}

/// Locks the room alone: rows that its last members refer to go.
async fn lock(connection: &mut PgConnection, key: &RoomKey) -> Result<Option<Last>, Error> {
    Ok(sqlx::query_as!(
        Last,
        "select last_event as n, last_xact as xact from room_counters where app = $1 and chatroom = $2 for update skip locked",
        key.app,
        key.id(),
    )
    .fetch_optional(connection)
    .await?)
}

/// A room that is deleted.
struct DeletedRoom {
    owner: String,
    deleted_by: Option<String>,
    deleted_reason: Option<String>,
    whitelisted: bool,
}

/// Looks, under the lock, whether the room is deleted.
async fn deleted_room(connection: &mut PgConnection, key: &RoomKey) -> Result<Option<DeletedRoom>, Error> {
    Ok(sqlx::query_as!(
        DeletedRoom,
        r#"select owner, deleted_by, deleted_reason,
                  exists (select from whitelist where app = $1 and chatroom = $2 and username = owner) as "whitelisted!"
           from chatrooms where app = $1 and id = $2 and deleted_at is not null"#,
        key.app,
        key.id(),
    )
    .fetch_optional(connection)
    .await?)
}

/// A mute or a block that was taken away; in force is one that had not ended when the room was deleted.
struct RemovedEntry {
    username: String,
    ends_at: OffsetDateTime,
    in_force: bool,
}

/// Removes mutes, those that end first.
async fn mutes(connection: &mut PgConnection, key: &RoomKey, batch: i64) -> Result<Vec<RemovedEntry>, Error> {
    Ok(sqlx::query_as!(
        RemovedEntry,
        r#"
        with gone as (
            delete from mutes where app = $1 and chatroom = $2 and username = any(array(
                select username from mutes where app = $1 and chatroom = $2 order by ends_at limit $3
            ))
            returning username, ends_at
        )
        select username, ends_at, ends_at > (select deleted_at from chatrooms where app = $1 and id = $2) as "in_force!"
        from gone order by ends_at, username
        "#,
        key.app,
        key.id(),
        batch,
    )
    .fetch_all(connection)
    .await?)
}

/// Removes blocks, the oldest first.
async fn blocks(connection: &mut PgConnection, key: &RoomKey, batch: i64) -> Result<Vec<RemovedEntry>, Error> {
    Ok(sqlx::query_as!(
        RemovedEntry,
        r#"
        with gone as (
            delete from blocks where app = $1 and chatroom = $2 and username = any(array(
                select username from blocks where app = $1 and chatroom = $2 order by seq limit $3
            ))
            returning username, ends_at
        )
        select username, ends_at, ends_at > (select deleted_at from chatrooms where app = $1 and id = $2) as "in_force!"
        from gone order by ends_at, username
        "#,
        key.app,
        key.id(),
        batch,
    )
    .fetch_all(connection)
    .await?)
}

/// Removes members, the owner excepted, and returns them in the order in which they came.
async fn members(connection: &mut PgConnection, key: &RoomKey, batch: i64) -> Result<Vec<Leaver>, Error> {
    Ok(sqlx::query_as!(
        Leaver,
        r#"
        with leavers as (
            delete from members where app = $1 and chatroom = $2 and username = any(array(
                select username from members
                where app = $1 and chatroom = $2
                  and username <> (select owner from chatrooms where app = $1 and id = $2)
                order by seq limit $3
            ))
            returning username, seq
        )
        select username,
               exists (select from admins where app = $1 and chatroom = $2 and admins.username = leavers.username) as "admin!",
               exists (
                   select from whitelist where app = $1 and chatroom = $2 and whitelist.username = leavers.username
               ) as "whitelisted!"
        from leavers order by seq
        "#,
        key.app,
        key.id(),
        batch,
    )
    .fetch_all(connection)
    .await?)
}

/// Removes a room in which only its owner is left, and keeps where its events end.
async fn retire(transaction: &mut Transaction, key: &RoomKey, last: Last) -> Result<(), Error> {
    // Room and owner refer to each other, so they go in one statement.
    sqlx::query!(
        "with owner as (delete from members where app = $1 and chatroom = $2),
         room as (delete from chatrooms where app = $1 and id = $2)
         insert into retired_rooms (app, id, last_event, last_xact)
         values ($1, $2, $3, $4)
         on conflict (app, id) do update set last_event = excluded.last_event, last_xact = excluded.last_xact",
        key.app,
        key.id(),
        last.n,
        last.xact,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
