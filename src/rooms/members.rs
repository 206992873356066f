//! The members of a room: the owner, the admins, everyone who may be there.

use sqlx::PgConnection;

use crate::accounts::users;
use crate::db::Db;
use crate::error::Error;
use crate::events::log::{Actor, Kind, NewEvent};
use crate::names::{Names, RoomKey};
use crate::rooms::blocks;
use crate::rooms::change::{Change, change};

/// What adding a user came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// The user has come in.
    New,
    /// The user was in already; nothing changed.
    Already,
}

/// Adds users to a room: all of them, or nobody and the first reason why not, walking through `names` in order.
///
/// Someone who is in already needs no seat. `rooms_per_user` is the most rooms that a user may be in; 0 = no limit.
pub async fn add(db: &Db, key: &RoomKey, actor: &Actor, names: &Names, rooms_per_user: u32) -> Result<Vec<Added>, Error> {
    change(db, key, actor, async |change| {
        let registered = users::hold(change.connection(), key.app, names.stored(), rooms_per_user > 0).await?;
        let standing = change.standing(names).await?;
        let full_of_rooms = users::in_too_many_rooms(change.connection(), key.app, names.stored(), rooms_per_user).await?;

        let mut seats_left = change.room.maxusers - change.room.member_count;
        let mut newcomers = Vec::new();
        let mut added = Vec::with_capacity(names.len());
        for (place, name) in names.given().iter().enumerate() {
            let (user, room) = (|| name.clone(), || key.given().to_owned());
            let stored = &names.stored()[place];
            if !registered.contains(stored) {
                return Err(Error::UserNotFound { user: user() });
            }
            if standing[place].blocked {
                return Err(Error::Blocked { user: user(), room: room() });
            }
            if standing[place].member {
                added.push(Added::Already);
                continue;
            }
            if seats_left == 0 {
                return Err(Error::RoomFull);
            }
            if full_of_rooms.contains(stored) {
                return Err(Error::TooManyRooms { user: user() });
            }
            seats_left -= 1;
            newcomers.push(stored.clone());
            added.push(Added::New);
        }
        if standing.iter().any(|standing| standing.block_has_ended) {
            blocks::end_named(change, names.stored()).await?;
        }
        if !newcomers.is_empty() {
            insert(change, &newcomers).await?;
        }
        Ok(added)
    })
    .await
}

/// Seats `newcomers`, who are not in the room yet, and counts them.
async fn insert(change: &mut Change, newcomers: &[String]) -> Result<(), Error> {
    let (key, before) = (change.key.clone(), change.numbers(newcomers.len()));
    sqlx::query!(
        "with newcomers as (
             insert into members (app, chatroom, username, seq)
             select $1, $2, username, $3 + place from unnest($4::text[]) with ordinality given (username, place)
             returning seq
         )
         insert into member_counts (app, chatroom, thousand, members)
         select $1, $2, seq / 1000, count(*) from newcomers group by seq / 1000
         on conflict (app, chatroom, thousand) do update set members = member_counts.members + excluded.members",
        key.app,
        key.id(),
        before,
        newcomers,
    )
    .execute(change.connection())
    .await?;
    change.room.member_count += i32::try_from(newcomers.len()).unwrap_or(i32::MAX);
    change.record(Kind::Join, |event| event.users(newcomers));
    Ok(())
}

/// What removing a user came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// The user is out.
    Out,
    /// The user was not in the room.
    NotMember,
    /// The user owns the room and stays.
    Owner,
}

/// Removes users from a room, one by one; fails as a whole if one of them is not registered.
///
/// The standing as admin and on the whitelist goes along. A mute stays.
pub async fn remove(db: &Db, key: &RoomKey, actor: &Actor, names: &Names) -> Result<Vec<Removed>, Error> {
    change(db, key, actor, async |change| {
        let registered = users::registered(change.connection(), key.app, names.stored()).await?;
        if let Some(place) = names.stored().iter().position(|name| !registered.contains(name)) {
            return Err(Error::UserNotFound { user: names.given()[place].clone() });
        }
        let removed: Vec<Removed> = change
            .standing(names)
            .await?
            .iter()
            .zip(names.stored())
            .map(|(standing, name)| match standing.member {
                true if *name == change.room.owner => Removed::Owner,
                true => Removed::Out,
                false => Removed::NotMember,
            })
            .collect();
        let leavers = names.select(|place| removed[place] == Removed::Out);
        if !leavers.is_empty() {
            delete(change, &leavers, Kind::Kick).await?;
        }
        Ok(removed)
    })
    .await
}

/// Unseats `leavers`, who are in the room and do not own it, and counts them. `kind` tells why they leave.
pub(crate) async fn delete(change: &mut Change, leavers: &[String], kind: Kind) -> Result<(), Error> {
    let key = change.key.clone();
    // The whole statement sees the lists as they were before it: what the leavers lose is still there.
    let gone = sqlx::query_as!(
        Leaver,
        r#"
        with leavers as (
            delete from members where app = $1 and chatroom = $2 and username = any($3::text[])
            returning username, seq
        ),
        gone as (select seq / 1000 as thousand, count(*) as number from leavers group by seq / 1000),
        emptied as (
            delete from member_counts using gone
            where app = $1 and chatroom = $2 and member_counts.thousand = gone.thousand and members = number
        ),
        lessened as (
            update member_counts set members = members - number from gone
            where app = $1 and chatroom = $2 and member_counts.thousand = gone.thousand and members > number
        )
        select username,
               exists (select from admins where app = $1 and chatroom = $2 and admins.username = leavers.username) as "admin!",
               exists (
                   select from whitelist where app = $1 and chatroom = $2 and whitelist.username = leavers.username
               ) as "whitelisted!"
        from leavers order by array_position($3::text[], username)
        "#,
        key.app,
        key.id(),
        leavers,
    )
    .fetch_all(change.connection())
    .await?;
    change.room.member_count -= i32::try_from(gone.len()).unwrap_or(i32::MAX);
    change.record(kind, |event| leaving(event, gone));
    Ok(())
}

/// Somebody who was in the room, and what else was lost by leaving.
pub(crate) struct Leaver {
    pub username: String,
    pub admin: bool,
    pub whitelisted: bool,
}

/// Tells of an event who has left, and what they have lost: the names of the lists on which they were.
pub(crate) fn leaving(event: NewEvent, leavers: Vec<Leaver>) -> NewEvent {
    let lost = |leaver: &Leaver| {
        let lists = [("admin", leaver.admin), ("whitelist", leaver.whitelisted)];
        let lists: Vec<&str> = lists.into_iter().filter(|(_, was_on)| *was_on).map(|(list, _)| list).collect();
        (!lists.is_empty()).then(|| (leaver.username.clone(), lists))
    };
    let lost: Vec<_> = leavers.iter().filter_map(lost).collect();
    let event = event.users(leavers.into_iter().map(|leaver| leaver.username));
    if lost.is_empty() { event } else { event.before(lost) }
}

/// Removes up to `batch` members of a deleted room, its owner excepted, and returns them in the order in which they came.
pub(crate) async fn purge(connection: &mut PgConnection, key: &RoomKey, batch: i64) -> Result<Vec<Leaver>, Error> {
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
