//! The block list of a room: who was thrown out and may not come back until unblocked.

use super::change::{Change, change};
use super::{Db, Names, RoomKey, Slice, members};
use crate::error::Error;

/// The blocked users, in the order in which they were blocked.
pub async fn list(db: &Db, key: &RoomKey) -> Result<Vec<String>, Error> {
    sqlx::query_scalar!(
        r#"
        select array(
            select username from blocks where blocks.app = chatrooms.app and blocks.chatroom = chatrooms.id order by seq
        ) as "blocks!"
        from chatrooms where app = $1 and id = $2 and deleted_at is null
        "#,
        key.app,
        key.id(),
    )
    .fetch_optional(db.pool())
    .await?
    .ok_or_else(|| key.not_found())
}

/// Reads `size` of them who were blocked after the place `after`. However far that is, the cost is the same.
pub async fn slice(db: &Db, key: &RoomKey, after: Option<i64>, size: i64) -> Result<Slice<String>, Error> {
    let rows = sqlx::query!(
        r#"
        select page.seq as "seq?", page.username as "username?"
        from chatrooms left join lateral (
            select seq, username from blocks
            where blocks.app = $1 and blocks.chatroom = $2 and seq > $3
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
    Slice::new(rows.into_iter().map(|row| (row.seq, row.username)).collect(), size).ok_or_else(|| key.not_found())
}

/// What blocking a user came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// The user is out, and stays out.
    Out,
    /// The user was not in the room.
    NotMember,
    /// The user owns the room and stays.
    Owner,
}

/// Blocks members of a room, one by one. Each loses membership and every standing that hangs on it; a mute stays.
///
/// `limit` is the most that the list may have; 0 = no limit.
pub async fn block(db: &Db, key: &RoomKey, names: &Names, limit: u32) -> Result<Vec<Blocked>, Error> {
    change(db, key, async |change| {
        let owner = change.room.owner.clone();
        let blocked: Vec<Blocked> = change
            .standing(names)
            .await?
            .iter()
            .zip(names.stored())
            .map(|(standing, name)| match standing.member {
                true if *name == owner => Blocked::Owner,
                true => Blocked::Out,
                false => Blocked::NotMember,
            })
            .collect();
        let out = names.select(|place| blocked[place] == Blocked::Out);
        if !out.is_empty() {
            members::delete(change, &out).await?;
            insert(change, &out, limit).await?;
        }
        Ok(blocked)
    })
    .await
}

async fn insert(change: &mut Change, users: &[String], limit: u32) -> Result<(), Error> {
    let (key, before) = (change.key.clone(), change.numbers(users.len()));
    if limit > 0 {
        let number = sqlx::query_scalar!(
            r#"select count(*) as "count!" from (select from blocks where app = $1 and chatroom = $2 limit $3) counted"#,
            key.app,
            key.id(),
            i64::from(limit),
        )
        .fetch_one(change.connection())
        .await?;
        if number + i64::try_from(users.len()).unwrap_or(i64::MAX) > i64::from(limit) {
            return Err(Error::ExceedLimit(format!("block list exceeds the limit {limit}!")));
        }
    }
    sqlx::query!(
        "insert into blocks (app, chatroom, username, seq)
         select $1, $2, username, $3 + place from unnest($4::text[]) with ordinality given (username, place)",
        key.app,
        key.id(),
        before,
        users,
    )
    .execute(change.connection())
    .await?;
    Ok(())
}

/// Takes users off the block list; who was on it is told place by place. None of them is a member again by that.
pub async fn unblock(db: &Db, key: &RoomKey, names: &Names) -> Result<Vec<bool>, Error> {
    change(db, key, async |change| {
        let freed = delete(change, names.stored()).await?;
        Ok(names.stored().iter().map(|name| freed.contains(name)).collect())
    })
    .await
}

/// Returns those who were on the list.
pub(super) async fn delete(change: &mut Change, users: &[String]) -> Result<Vec<String>, Error> {
    let key = change.key.clone();
    Ok(sqlx::query_scalar!(
        "delete from blocks where app = $1 and chatroom = $2 and username = any($3::text[]) returning username",
        key.app,
        key.id(),
        users,
    )
    .fetch_all(change.connection())
    .await?)
}
