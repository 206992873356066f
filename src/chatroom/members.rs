//! The members of a room: the owner, the admins, everyone who may be there.

use sqlx::PgConnection;

use super::change::{Change, change};
use super::events::{Actor, Kind, NewEvent};
use super::{Db, Names, RoomKey, Slice, blocks, users};
use crate::error::Error;

/// A page of the member list: the owner first, then everyone else in the order in which they came.
pub struct Page {
    /// The owner, if this page shows the owner.
    pub owner: Option<String>,
    /// The others on this page.
    pub members: Vec<String>,
}

/// Reads `size` members, the first `skip` left out. However many those are, the cost is the same.
pub async fn page(db: &Db, key: &RoomKey, skip: i64, size: i64) -> Result<Page, Error> {
    let page = if skip == 0 { first_page(db, key, size).await? } else { later_page(db, key, skip - 1, size).await? };
    page.ok_or_else(|| Error::RoomNotFoundOnRead { room: key.given().into() })
}

/// The page that begins with the owner.
async fn first_page(db: &Db, key: &RoomKey, size: i64) -> Result<Option<Page>, Error> {
    let row = sqlx::query!(
        r#"
        select owner, array(
            select username from members
            where members.app = chatrooms.app and members.chatroom = chatrooms.id and username <> owner
            order by seq limit $3
        ) as "members!"
        from chatrooms where app = $1 and id = $2 and deleted_at is null
        "#,
        key.app,
        key.id(),
        (size - 1).max(0),
    )
    .fetch_optional(db.pool())
    .await?;
    Ok(row.map(|row| Page { owner: Some(row.owner).filter(|_| size > 0), members: row.members }))
}

/// A page without the owner: `skip` others come before it. The counts tell in which thousand of seq it begins, so that
/// no more than a thousand rows are passed over.
async fn later_page(db: &Db, key: &RoomKey, skip: i64, size: i64) -> Result<Option<Page>, Error> {
    let members = sqlx::query_scalar!(
        r#"
        select array(
            select username from members
            where members.app = chatrooms.app and members.chatroom = chatrooms.id and username <> owner
              and seq >= start.seq
            order by seq offset start.skip limit $4
        ) as "members!"
        from chatrooms
        cross join lateral (
            select thousand * 1000 as seq, $3 - before as skip
            from (
                select thousand, sum(others) over (order by thousand) - others as before
                from (
                    select member_counts.thousand, members - (member_counts.thousand = owners.thousand)::integer as others
                    from member_counts, (
                        select seq / 1000 as thousand from members
                        where members.app = $1 and members.chatroom = $2 and username = owner
                    ) owners
                    where member_counts.app = $1 and member_counts.chatroom = $2
                ) counted
            ) running
            where before <= $3 order by thousand desc limit 1
        ) start
        where app = $1 and id = $2 and deleted_at is null
        "#,
        key.app,
        key.id(),
        skip,
        size,
    )
    .fetch_optional(db.pool())
    .await?;
    Ok(members.map(|members| Page { owner: None, members }))
}

/// The order in which members are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Who came first is first.
    Oldest,
    /// Who came last is first.
    Newest,
}

/// Reads `size` members besides the owner who come behind the place `after`. However far that is, the cost is the same.
pub async fn slice(db: &Db, key: &RoomKey, order: Order, after: Option<i64>, size: i64) -> Result<Slice<String>, Error> {
    let rows: Vec<(Option<i64>, Option<String>)> = match order {
        Order::Oldest => sqlx::query!(
            r#"
            select page.seq as "seq?", page.username as "username?"
            from chatrooms left join lateral (
                select seq, username from members
                where members.app = $1 and members.chatroom = $2 and username <> owner and seq > $3
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
        .await?
        .into_iter()
        .map(|row| (row.seq, row.username))
        .collect(),
        Order::Newest => sqlx::query!(
            r#"
            select page.seq as "seq?", page.username as "username?"
            from chatrooms left join lateral (
                select seq, username from members
                where members.app = $1 and members.chatroom = $2 and username <> owner and seq < $3
                order by seq desc limit $4
            ) page on true
            where app = $1 and id = $2 and deleted_at is null
            order by page.seq desc
            "#,
            key.app,
            key.id(),
            after.unwrap_or(i64::MAX),
            size + 1,
        )
        .fetch_all(db.pool())
        .await?
        .into_iter()
        .map(|row| (row.seq, row.username))
        .collect(),
    };
    Slice::new(rows, size).ok_or_else(|| Error::RoomNotFoundOnRead { room: key.given().into() })
}

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
pub(super) async fn delete(change: &mut Change, leavers: &[String], kind: Kind) -> Result<(), Error> {
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
pub(super) struct Leaver {
    pub username: String,
    pub admin: bool,
    pub whitelisted: bool,
}

/// Tells of an event who has left, and what they have lost: the names of the lists on which they were.
pub(super) fn leaving(event: NewEvent, leavers: Vec<Leaver>) -> NewEvent {
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
pub(super) async fn purge(connection: &mut PgConnection, key: &RoomKey, batch: i64) -> Result<Vec<Leaver>, Error> {
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
