//! How rooms go.
//!
//! A deleted room is gone for everybody at once: its row is marked, and every statement asks for the mark. Its members
//! go afterwards, batch by batch, so that a room of a million does not hold up anything; its last events tell of them.

use sqlx::PgConnection;

use crate::db::Db;
use crate::error::{Causes, Error};
use crate::events::log::{self, Actor, Kind, Last, NewEvent};
use crate::names::RoomKey;
use crate::rooms::change::change;
use crate::rooms::{blocks, details, expiry, members, mutes};

/// Deletes a room. It is gone for everybody at once; what is left of a large one goes in the background, and with it come
/// its last events.
pub async fn delete(db: &Db, key: &RoomKey, actor: &Actor) -> Result<(), Error> {
    change(db, key, actor, async |change| {
        change.room.deleted = true;
        Ok(())
    })
    .await?;
    if let Err(error) = purge(db, key, PURGE_ON_DELETE).await {
        tracing::warn!(error = %Causes(&error), "a deleted room is still there; the background task goes on");
    }
    Ok(())
}

/// How many rows of each list of a deleted room go before its deletion is answered.
const PURGE_ON_DELETE: i64 = 1000;

/// Rooms that were deleted but not yet removed, longest waiting first.
pub async fn deleted(db: &Db, limit: i64) -> Result<Vec<RoomKey>, Error> {
    let rows = sqlx::query!("select app, id from chatrooms where deleted_at is not null order by deleted_at limit $1", limit)
        .fetch_all(db.pool())
        .await?;
    Ok(rows.into_iter().map(|row| RoomKey::new(row.app, row.id)).collect())
}

/// Removes up to `batch` rows from each list of a deleted room, and with the last of them the room itself. Returns how
/// many rows it were; 0 if another instance is at it, or nothing is left.
pub async fn purge(db: &Db, key: &RoomKey, batch: i64) -> Result<u64, Error> {
    let rows = db.transact(async |connection| purge_some(connection, key, batch).await).await?;
    if rows > 0 {
        db.tell_news();
    }
    Ok(rows)
}

async fn purge_some(connection: &mut PgConnection, key: &RoomKey, batch: i64) -> Result<u64, Error> {
    let ours = sqlx::query!(
        r#"select owner, last_event, last_xact, deleted_by, deleted_reason,
                  exists (select from whitelist where app = $1 and chatroom = $2 and username = owner) as "whitelisted!"
           from chatrooms where app = $1 and id = $2 and deleted_at is not null for update skip locked"#,
        key.app,
        key.id(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(room) = ours else { return Ok(0) };
    let mutes = mutes::purge(&mut *connection, key, batch).await?;
    let blocks = blocks::purge(&mut *connection, key, batch).await?;
    let mut leavers = members::purge(&mut *connection, key, batch).await?;
    let rows = mutes.len() + blocks.len() + leavers.len() + 1;
    let is_last = [mutes.len(), blocks.len(), leavers.len()].into_iter().all(|rows| rows < usize::try_from(batch).unwrap_or(0));
    if is_last {
        leavers.push(members::Leaver { username: room.owner, admin: false, whitelisted: room.whitelisted });
    }

    // What had ended before the room did has ended by itself; what was in force is gone with it, like everything else.
    let mut events = Vec::new();
    for (terms, ended) in [(mutes, Kind::MuteExpire), (blocks, Kind::BlockExpire)] {
        let over: Vec<_> = terms.into_iter().filter(|term| !term.in_force).collect();
        let event = || NewEvent::new(ended, &Actor::system());
        events.extend(over.chunks(NewEvent::MOST_USERS).map(|over| expiry::about(event(), over)));
    }
    let actor = Actor::kept(room.deleted_by, room.deleted_reason);
    while !leavers.is_empty() {
        let rest = leavers.split_off(leavers.len().min(NewEvent::MOST_USERS));
        events.push(members::leaving(NewEvent::new(Kind::LeaveDeleted, &actor), leavers));
        leavers = rest;
    }
    if is_last {
        events.push(NewEvent::new(Kind::Delete, &actor));
    }
    let last = Last { n: room.last_event, xact: room.last_xact };
    let last = log::append(&mut *connection, key, last, &events).await?;
    if is_last {
        retire(connection, key, last).await?;
    } else {
        details::set_last(connection, key, last).await?;
    }
    Ok(u64::try_from(rows).unwrap_or(u64::MAX))
}

/// Removes a room that has nobody in it but its owner, and keeps where its events end.
async fn retire(connection: &mut PgConnection, key: &RoomKey, last: Last) -> Result<(), Error> {
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
    .execute(connection)
    .await?;
    Ok(())
}
