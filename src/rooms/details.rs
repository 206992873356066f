//! Rooms themselves: made, shown, changed. How they go is in [`super::room_deletion`].

use serde_json::Value;
use sqlx::PgConnection;

use crate::accounts::users;
use crate::db::Db;
use crate::error::Error;
use crate::events::log::{self, Actor, Kind, Last, NewEvent};
use crate::names::{Names, RoomKey};
use crate::rooms::change::{Change, change};
use crate::rooms::{admins, room_deletion, whitelist};

/// A room to be made.
pub struct NewRoom {
    /// The id that its creator has chosen, if so. Legal.
    pub id: Option<String>,
    /// What it is called.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// Whatever its creator likes to keep with it.
    pub custom: String,
    /// How many members there may be, the owner counted.
    pub maxusers: i32,
    /// The owner, then the first members.
    pub people: Names,
}

/// How many rooms there may be; 0 = no limit.
#[derive(Debug, Clone, Copy)]
pub struct Quota {
    /// In the app.
    pub rooms_per_app: u32,
    /// For one user; the ones that the user owns count.
    pub rooms_per_user: u32,
}

/// What the quota of an app is called in refusals, its app key.
pub struct AppKey<'a> {
    /// The app, by its key in the database.
    pub app: i32,
    /// `{org}#{app}`.
    pub text: &'a str,
}

/// How often a generated id may meet one that somebody has chosen, and how many batches of a room that is being
/// removed are taken along to free its id.
const ATTEMPTS: u32 = 10;

/// Makes a room with its owner and first members, and returns its id.
pub async fn create(db: &Db, app: &AppKey<'_>, actor: &Actor, room: &NewRoom, quota: Quota) -> Result<String, Error> {
    for _ in 0..ATTEMPTS {
        if let Some(id) = db.transact(async |connection| try_create(connection, app, actor, room, quota).await).await? {
            db.tell_news();
            return Ok(id);
        }
        let Some(id) = &room.id else { continue };
        let key = RoomKey::new(app.app, id.clone());
        if !is_deleted(db, &key).await? {
            return Err(Error::RoomIdTaken { room: id.clone() });
        }
        room_deletion::purge(db, &key, PURGE_ON_CREATE).await?;
    }
    Err(Error::RoomIdBusy { room: room.id.clone().unwrap_or_default() })
}

/// How many rows of a removed room the next owner of its id takes away in one go.
const PURGE_ON_CREATE: i64 = 5000;

/// `None`: the id is taken.
async fn try_create(
    connection: &mut PgConnection,
    app: &AppKey<'_>,
    actor: &Actor,
    room: &NewRoom,
    quota: Quota,
) -> Result<Option<String>, Error> {
    if quota.rooms_per_app > 0 {
        count_against_app(&mut *connection, app, quota.rooms_per_app).await?;
    }
    let people = &room.people;
    let registered = users::hold(&mut *connection, app.app, people.stored(), quota.rooms_per_user > 0).await?;
    if let Some(stranger) = people.select(|place| !registered.contains(&people.stored()[place])).into_iter().next() {
        return Err(Error::UserNotFound { user: stranger });
    }
    let full = users::in_too_many_rooms(&mut *connection, app.app, people.stored(), quota.rooms_per_user).await?;
    if let Some(user) = people.stored().iter().find(|name| full.contains(*name)) {
        return Err(Error::ExceedLimit(format!("user {user} has joined too many chatrooms!")));
    }
    // Room and owner refer to each other, so they come in one statement.
    let id = sqlx::query_scalar!(
        "with room as (
             insert into chatrooms (app, id, name, description, custom, owner, maxusers, member_count, last_seq)
             select $1, coalesce($2, nextval('chatroom_ids')::text), $3, $4, $5, ($7::text[])[1], $6,
                    cardinality($7::text[]), cardinality($7::text[])
             on conflict (app, id) do nothing
             returning app, id
         ),
         people as (
             insert into members (app, chatroom, username, seq)
             select room.app, room.id, given.username, given.place
             from room, unnest($7::text[]) with ordinality given (username, place)
         ),
         counts as (
             insert into member_counts (app, chatroom, thousand, members)
             select room.app, room.id, place / 1000, count(*)
             from room, generate_series(1, cardinality($7::text[])) place group by 1, 2, 3
         )
         select id from room",
        app.app,
        room.id,
        room.name,
        room.description,
        room.custom,
        room.maxusers,
        people.stored(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(id) = &id {
        write_creation(connection, &RoomKey::new(app.app, id.clone()), actor, room).await?;
    }
    Ok(id)
}

/// The most users that the event of a creation names; the others come in right behind, so many at a time.
const CREATED_WITH: usize = 60;

/// Tells that a room was made. One whose id another room has had before goes on with the numbers of that one.
async fn write_creation(connection: &mut PgConnection, key: &RoomKey, actor: &Actor, room: &NewRoom) -> Result<(), Error> {
    let mut events = Vec::new();
    let mut members = 0;
    for people in room.people.stored().chunks(CREATED_WITH) {
        members += i32::try_from(people.len()).unwrap_or(i32::MAX);
        let kind = if events.is_empty() { Kind::Create } else { Kind::Join };
        let event = NewEvent::new(kind, actor).users(people).counting(members);
        events.push(if kind == Kind::Create { event.after(room.fields()) } else { event });
    }
    // In a statement of its own: the insertion may have waited for the end of the former room, and not seen it. An earlier
    // version of this service, in the middle of an upgrade, removes rooms without a word about their events.
    let former = sqlx::query_as!(
        Last,
        r#"
        with retired as (delete from retired_rooms where app = $1 and id = $2 returning last_event, last_xact)
        select last_event as "n!", last_xact as "xact!" from retired
        union all
        (select n, xact from events where app = $1 and chatroom = $2 order by n desc limit 1)
        order by 1 desc limit 1
        "#,
        key.app,
        key.id(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    let last = former.unwrap_or_default();
    let last = log::append(&mut *connection, key, last, &events).await?;
    set_last(connection, key, last).await
}

/// Says which event of a room is the last one.
pub(crate) async fn set_last(connection: &mut PgConnection, key: &RoomKey, last: Last) -> Result<(), Error> {
    sqlx::query!(
        "update chatrooms set last_event = $3, last_xact = $4 where app = $1 and id = $2",
        key.app,
        key.id(),
        last.n,
        last.xact,
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl NewRoom {
    fn fields(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("name", self.name.clone().into()),
            ("description", self.description.clone().into()),
            ("custom", self.custom.clone().into()),
            ("owner", self.people.stored().first().cloned().into()),
            ("maxusers", self.maxusers.into()),
        ]
    }
}

/// Refuses one room too many. Creations in one app take turns here, but only where there is a quota.
async fn count_against_app(connection: &mut PgConnection, app: &AppKey<'_>, limit: u32) -> Result<(), Error> {
    sqlx::query!("select id from apps where id = $1 for no key update", app.app).fetch_one(&mut *connection).await?;
    let rooms = sqlx::query_scalar!(
        r#"select count(*) as "count!" from (
               select from chatrooms where app = $1 and deleted_at is null limit $2
           ) counted"#,
        app.app,
        i64::from(limit),
    )
    .fetch_one(connection)
    .await?;
    if rooms >= i64::from(limit) {
        return Err(Error::ExceedLimit(format!("appKey:{} has create too many chatrooms!", app.text)));
    }
    Ok(())
}

/// What is to change about a room; what is absent stays.
#[derive(Default)]
pub struct Update {
    /// What it is called.
    pub name: Option<String>,
    /// What it is about.
    pub description: Option<String>,
    /// Whatever its creator keeps with it.
    pub custom: Option<String>,
    /// How many members there may be, the owner counted.
    pub maxusers: Option<i32>,
    /// The member who is to own it.
    pub new_owner: Option<Names>,
}

/// Changes a room, in all that is asked for or in nothing.
pub async fn update(db: &Db, key: &RoomKey, actor: &Actor, update: &Update) -> Result<(), Error> {
    change(db, key, actor, async |change| {
        if update.maxusers.is_some_and(|maxusers| maxusers < change.room.member_count) {
            return Err(Error::SeatsTaken);
        }
        if let Some(new_owner) = &update.new_owner {
            transfer(change, new_owner).await?;
        }
        update_info(change, update).await
    })
    .await
}

/// Changes what a room is called, is about, and holds; the event names what is another now.
async fn update_info(change: &mut Change, update: &Update) -> Result<(), Error> {
    let (key, maxusers) = (change.key.clone(), change.room.maxusers);
    let mut changes: Vec<(&str, Value, Value)> = Vec::new();
    if update.name.is_some() || update.description.is_some() || update.custom.is_some() {
        let former = sqlx::query!(
            "with former as (select name, description, custom from chatrooms where app = $1 and id = $2)
             update chatrooms
             set name = coalesce($3, chatrooms.name), description = coalesce($4, chatrooms.description),
                 custom = coalesce($5, chatrooms.custom)
             from former where app = $1 and id = $2
             returning former.name, former.description, former.custom",
            key.app,
            key.id(),
            update.name,
            update.description,
            update.custom,
        )
        .fetch_one(change.connection())
        .await?;
        for (field, former, now) in [
            ("name", former.name, &update.name),
            ("description", former.description, &update.description),
            ("custom", former.custom, &update.custom),
        ] {
            if let Some(now) = now {
                changes.push((field, former.into(), now.clone().into()));
            }
        }
    }
    if let Some(now) = update.maxusers {
        changes.push(("maxusers", maxusers.into(), now.into()));
        change.room.maxusers = now;
    }
    changes.retain(|(_, former, now)| former != now);
    if !changes.is_empty() {
        let before = changes.iter().map(|(field, former, _)| (*field, former.clone())).collect::<Vec<_>>();
        let after = changes.into_iter().map(|(field, _, now)| (field, now));
        change.record(Kind::UpdateInfo, |event| event.before(before).after(after));
    }
    Ok(())
}

/// Makes another member the owner. The former owner stays as a plain member; the new one needs no standing as admin or
/// on the whitelist any more.
async fn transfer(change: &mut Change, new_owner: &Names) -> Result<(), Error> {
    let key = change.key.clone();
    let name = users::require(change.connection(), key.app, new_owner).await?;
    if name == change.room.owner {
        return Err(Error::OwnerAlready);
    }
    if !change.standing(new_owner).await?[0].member {
        return Err(Error::NewOwnerNotInRoom { user: name, room: key.given().into() });
    }
    admins::delete(change, &name).await?;
    whitelist::delete(change, std::slice::from_ref(&name)).await?;
    let former = std::mem::replace(&mut change.room.owner, name.clone());
    change.record(Kind::UpdateOwner, |event| {
        event.users([&former, &name]).before([("owner", &*former)]).after([("owner", &*name)])
    });
    Ok(())
}

/// Mutes or unmutes the whole room. The mute list has no part in it.
pub async fn set_mute_all(db: &Db, key: &RoomKey, actor: &Actor, mute_all: bool) -> Result<(), Error> {
    change(db, key, actor, async |change| {
        let former = std::mem::replace(&mut change.room.mute_all, mute_all);
        let reason = change.actor.reason.clone().filter(|_| mute_all);
        let former_reason = std::mem::replace(&mut change.room.mute_reason, reason);
        if former != mute_all || former_reason != change.room.mute_reason {
            change.record(Kind::UpdateMute, |event| event.before([("mute", former)]).after([("mute", mute_all)]));
        }
        Ok(())
    })
    .await
}

async fn is_deleted(db: &Db, key: &RoomKey) -> Result<bool, Error> {
    let deleted = sqlx::query_scalar!(
        r#"select deleted_at is not null as "deleted!" from chatrooms where app = $1 and id = $2"#,
        key.app,
        key.id(),
    )
    .fetch_optional(db.pool())
    .await?;
    Ok(deleted.unwrap_or(true))
}
