//! The whitelist of a room: members who may speak while the whole room is muted.

use crate::db::Db;
use crate::error::Error;
use crate::events::log::{Actor, Kind};
use crate::names::{Names, RoomKey};
use crate::rooms::change::{Change, change};

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

pub(crate) async fn delete(change: &mut Change, users: &[String]) -> Result<(), Error> {
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
