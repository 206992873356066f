//! Makes rooms. No other change waits for a room that is not there yet, so this needs no queue: it is a transaction of
//! its own.

use serde_json::Value;
use sqlx::PgConnection;

use super::purge;
use super::save::LEVELS;
use crate::accounts::users;
use crate::db::{Db, Transaction};
use crate::error::Error;
use crate::events::log::{self, Actor, Kind, Last, NewEvent};
use crate::idempotency::Uncommitted;
use crate::names::{Names, RoomKey, Scope};

/// A room to be made.
pub struct NewRoom {
    /// The id that its creator has chosen, if so.
    pub key: Option<RoomKey>,
    /// What it is called.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// A text that its creator keeps with it.
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

/// How often a generated id may meet one that a creator has chosen, and how many batches of a room that is being
/// removed are taken along to free its id.
const ATTEMPTS: u32 = 10;

/// How many rows of a removed room the next owner of its id takes away in one go.
const PURGE_ON_CREATE: i64 = 5000;

/// Makes a room with its owner and first members; comes to its id.
pub async fn create(
    db: &Db,
    app: &AppKey<'_>,
    actor: &Actor,
    room: &NewRoom,
    quota: Quota,
) -> Result<Uncommitted<String>, Error> {
    for _ in 0..ATTEMPTS {
        let mut transaction = db.begin().await?;
        match try_create(&mut transaction, app, actor, room, quota).await.transpose() {
            Some(made) => return Uncommitted::new(db, transaction, made).await,
            None => transaction.undo().await,
        }
        let Some(key) = &room.key else { continue };
        if !is_deleted(db, key).await? {
            return Err(Error::RoomIdTaken { room: key.id().into() });
        }
        purge::purge(db, key, PURGE_ON_CREATE).await?;
    }
    Err(Error::RoomIdBusy { room: room.key.as_ref().map(RoomKey::id).unwrap_or_default().into() })
}

/// `None`: the id is taken.
async fn try_create(
    transaction: &mut Transaction,
    app: &AppKey<'_>,
    actor: &Actor,
    room: &NewRoom,
    quota: Quota,
) -> Result<Option<String>, Error> {
    if quota.rooms_per_app > 0 {
        count_against_app(transaction, app, quota.rooms_per_app).await?;
    }
    let people = &room.people;
    let registered = users::hold(transaction, app.app, people.usernames(), quota.rooms_per_user > 0).await?;
    if let Some(user) = people.given().iter().find(|name| !registered.contains(*name)) {
        return Err(Error::UserNotFound { user: user.clone() });
    }
    let full = users::in_too_many_rooms(transaction, app.app, people.usernames(), quota.rooms_per_user).await?;
    if let Some(user) = people.usernames().iter().find(|name| full.contains(*name)) {
        return Err(Error::ExceedLimit(format!("user {user} has joined too many chatrooms!")));
    }
    let Some(id) = insert(transaction, app.app, room).await? else { return Ok(None) };
    record(transaction, &RoomKey::from_row(app.app, id.clone()), actor, room).await?;
    Ok(Some(id))
}

/// Writes the room, what is counted in it, and its people. Room and owner refer to each other, so they come in one
/// statement.
async fn insert(transaction: &mut Transaction, app: i32, room: &NewRoom) -> Result<Option<String>, Error> {
    let (levels, shifts): (Vec<i16>, Vec<i32>) = LEVELS.iter().map(|(level, shift)| (*level, shift.cast_signed())).unzip();
    Ok(sqlx::query_scalar!(
        "with room as (
             insert into chatrooms (app, id, name, description, custom, owner)
             select $1, coalesce($2, nextval('chatroom_ids')::text), $3, $4, $5, ($7::text[])[1]
             on conflict (app, id) do nothing
             returning app, id
         ),
         counters as (
             insert into room_counters (app, chatroom, maxusers, member_count, last_seq)
             select app, id, $6, cardinality($7::text[]), cardinality($7::text[]) from room
         ),
         people as (
             insert into members (app, chatroom, username, seq)
             select room.app, room.id, given.username, given.seq
             from room, unnest($7::text[]) with ordinality given (username, seq)
         ),
         counts as (
             insert into member_counts (app, chatroom, level, bucket, members)
             select room.app, room.id, level, seq >> shift, count(*)
             from room, generate_series(1, cardinality($7::text[])::bigint) seq, unnest($8::smallint[], $9::integer[]) level (level, shift)
             group by 1, 2, 3, 4
         )
         select id from room",
        app,
        room.key.as_ref().map(RoomKey::id),
        room.name,
        room.description,
        room.custom,
        room.maxusers,
        room.people.usernames(),
        &levels,
        &shifts,
    )
    .fetch_optional(&mut **transaction)
    .await?)
}

/// The most users that the event of a creation names; the others come in right behind, so many at a time.
const CREATED_WITH: usize = 60;

/// Tells that a room was made. One whose id another room has had before goes on with the numbers of that one.
async fn record(transaction: &mut Transaction, key: &RoomKey, actor: &Actor, room: &NewRoom) -> Result<(), Error> {
    let mut events = Vec::new();
    let mut members = 0;
    for people in room.people.usernames().chunks(CREATED_WITH) {
        members += i32::try_from(people.len()).unwrap_or(i32::MAX);
        let kind = if events.is_empty() { Kind::Create } else { Kind::Join };
        let event = NewEvent::new(kind, actor).users(people).counting(members);
        events.push(if kind == Kind::Create { event.after(room.fields()) } else { event });
    }
    let former = take_former(transaction, key).await?;
    let last = log::append(transaction, &Scope::Room(key.clone()), former, events).await?;
    set_last(transaction, key, last).await
}

/// The last event of the former room of this id: the new one goes on behind it. In a statement of its own: the insertion of
/// the new one may have waited for the end of the former, and not seen it.
pub(crate) async fn take_former(connection: &mut PgConnection, key: &RoomKey) -> Result<Last, Error> {
    let former = sqlx::query_as!(
        Last,
        r#"delete from retired_rooms where app = $1 and id = $2 returning last_event as n, last_xact as xact"#,
        key.app,
        key.id(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(former.unwrap_or_default())
}

/// Says which event of a room is the last one, and that it happened just now.
pub(crate) async fn set_last(connection: &mut PgConnection, key: &RoomKey, last: Last) -> Result<(), Error> {
    sqlx::query!(
        "update room_counters set last_event = $3, last_xact = $4, last_event_at = date_trunc('milliseconds', statement_timestamp())
         where app = $1 and chatroom = $2",
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
            ("owner", self.people.usernames().first().cloned().into()),
            ("maxusers", self.maxusers.into()),
        ]
    }
}

/// Refuses one room too many. Creations in one app take turns here, but only where there is a quota.
async fn count_against_app(transaction: &mut Transaction, app: &AppKey<'_>, limit: u32) -> Result<(), Error> {
    transaction.hold_app(app.app).await?;
    sqlx::query!("select id from apps where id = $1 for no key update", app.app).fetch_one(&mut **transaction).await?;
    let rooms = sqlx::query_scalar!(
        r#"select count(*) as "count!" from (
               select 1 from chatrooms where app = $1 and deleted_at is null limit $2
           ) counted"#,
        app.app,
        i64::from(limit),
    )
    .fetch_one(&mut **transaction)
    .await?;
    if rooms >= i64::from(limit) {
        return Err(Error::ExceedLimit(format!("appKey:{} has create too many chatrooms!", app.text)));
    }
    Ok(())
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
