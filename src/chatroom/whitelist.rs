//! The whitelist of a room: members who may speak while the whole room is muted.

use super::change::{Change, change};
use super::events::{Actor, Kind};
use super::{Db, Names, RoomKey, Slice};
use crate::error::Error;

/// The users on the list, in the order in which they were put there. The owner and admins need not be.
pub async fn list(db: &Db, key: &RoomKey) -> Result<Vec<String>, Error> {
    sqlx::query_scalar!(
        r#"
        select array(
            select username from whitelist
            where whitelist.app = chatrooms.app and whitelist.chatroom = chatrooms.id order by seq
        ) as "whitelist!"
        from chatrooms where app = $1 and id = $2 and deleted_at is null
        "#,
        key.app,
        key.id(),
    )
    .fetch_optional(db.pool())
    .await?
    .ok_or_else(|| key.not_found())
}

/// Reads `size` of them who were put on the list after the place `after`. However far that is, the cost is the same.
pub async fn slice(db: &Db, key: &RoomKey, after: Option<i64>, size: i64) -> Result<Slice<String>, Error> {
    let rows = sqlx::query!(
        r#"
        select page.seq as "seq?", page.username as "username?"
        from chatrooms left join lateral (
            select seq, username from whitelist
            where whitelist.app = $1 and whitelist.chatroom = $2 and seq > $3
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

/// Puts members on the list; who is a member, and so on the list from now on, is told place by place.
pub async fn add(db: &Db, key: &RoomKey, actor: &Actor, names: &Names) -> Result<Vec<bool>, Error> {
    change(db, key, actor, async |change| {
        let is_member: Vec<bool> = change.standing(names).await?.iter().map(|standing| standing.member).collect();
        let members = names.select(|place| is_member[place]);
        let before = change.numbers(members.len());
        let listed = sqlx::query_scalar!(
            "insert into whitelist (app, chatroom, username, seq)
             select $1, $2, username, $3 + place from unnest($4::text[]) with ordinality given (username, place)
             on conflict (app, chatroom, username) do nothing
             returning username",
            key.app,
            key.id(),
            before,
            &members,
        )
        .fetch_all(change.connection())
        .await?;
        if !listed.is_empty() {
            change.record(Kind::WhiteAdd, |event| event.users(members.into_iter().filter(|name| listed.contains(name))));
        }
        Ok(is_member)
    })
    .await
}

/// Takes members off the list; who is a member, and so not on the list from now on, is told place by place.
pub async fn remove(db: &Db, key: &RoomKey, actor: &Actor, names: &Names) -> Result<Vec<bool>, Error> {
    change(db, key, actor, async |change| {
        let is_member: Vec<bool> = change.standing(names).await?.iter().map(|standing| standing.member).collect();
        delete(change, &names.select(|place| is_member[place])).await?;
        Ok(is_member)
    })
    .await
}

pub(super) async fn delete(change: &mut Change, users: &[String]) -> Result<(), Error> {
    let key = change.key.clone();
    let gone = sqlx::query_scalar!(
        "delete from whitelist where app = $1 and chatroom = $2 and username = any($3::text[]) returning username",
        key.app,
        key.id(),
        users,
    )
    .fetch_all(change.connection())
    .await?;
    if !gone.is_empty() {
        change.record(Kind::WhiteRemove, |event| event.users(users.iter().filter(|name| gone.contains(name)).cloned()));
    }
    Ok(())
}
