//! The mutes of a room: members who may not speak until a moment. A mute belongs to the user, not to the membership:
//! it outlives leaving and coming back.
//!
//! The read is the truth: a mute whose end has come is none, whether or not its row has been swept.

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::accounts::users;
use crate::db::Db;
use crate::error::Error;
use crate::events::log::{Actor, Kind};
use crate::names::{Names, RoomKey};
use crate::rooms::change::{Change, change};
use crate::rooms::expiry::{self, Begun, Term};
use crate::rooms::read::mutes::Mute;

/// Those who were to be muted but are not in the room.
#[derive(Debug, PartialEq, Eq)]
pub struct Strangers(pub Vec<String>);

/// Mutes members for `duration_ms` from now, or moves the end of the mutes they have. 0 lifts their mutes.
///
/// All or nothing: one stranger leaves the list as it was. `limit` is the most that the list may have; 0 = no limit.
pub async fn mute(
    db: &Db,
    key: &RoomKey,
    actor: &Actor,
    names: &Names,
    duration_ms: i64,
    limit: u32,
) -> Result<Result<Vec<Mute>, Strangers>, Error> {
    change(db, key, actor, async |change| {
        let standing = change.standing(names).await?;
        let strangers = names.select(|place| !standing[place].member);
        if !strangers.is_empty() {
            return Ok(Err(Strangers(strangers)));
        }
        if duration_ms == 0 {
            delete(change, names.stored()).await?;
        } else {
            end_named(change, names.stored()).await?;
        }
        let ends_at = change.moment(duration_ms).await?;
        if duration_ms > 0 {
            upsert(change, names.stored(), ends_at, limit).await?;
        }
        Ok(Ok(names.stored().iter().map(|username| Mute { username: username.clone(), ends_at }).collect()))
    })
    .await
}

async fn upsert(change: &mut Change, users: &[String], ends_at: OffsetDateTime, limit: u32) -> Result<(), Error> {
    let (key, before) = (change.key.clone(), change.numbers(users.len()));
    let (reason, connection) = (change.actor.reason.clone(), change.connection());
    let changed = sqlx::query_as!(
        Begun,
        r#"
        with former as (
            select username, ends_at, reason from mutes
            where app = $1 and chatroom = $2 and username = any($4::text[])
        ),
        muted as (
            insert into mutes (app, chatroom, username, seq, ends_at, reason)
            select $1, $2, username, $3 + place, $5, $6
            from unnest($4::text[]) with ordinality given (username, place)
            on conflict (app, chatroom, username) do update set ends_at = excluded.ends_at, reason = excluded.reason
            returning username
        )
        select username as "username!", former.ends_at as "former?" from muted left join former using (username)
        where (former.ends_at, former.reason) is distinct from ($5, $6)
        order by array_position($4::text[], username)
        "#,
        key.app,
        key.id(),
        before,
        users,
        ends_at,
        reason,
    )
    .fetch_all(connection)
    .await?;
    if limit > 0 && changed.iter().any(|row| row.former.is_none()) {
        let number = sqlx::query_scalar!(
            r#"select count(*) as "count!" from (
                   select from mutes where app = $1 and chatroom = $2 and ends_at > statement_timestamp() limit $3
               ) counted"#,
            key.app,
            key.id(),
            i64::from(limit) + 1,
        )
        .fetch_one(change.connection())
        .await?;
        if number > i64::from(limit) {
            return Err(Error::ExceedLimit(format!("mute list exceeds the limit {limit}!")));
        }
    }
    expiry::record_begin(change, Kind::MuteAdd, &changed, ends_at);
    Ok(())
}

/// Lifts mutes. Told place by place: whether the user may be spoken of as not muted now, which is so for everybody who
/// is registered or was muted.
pub async fn unmute(db: &Db, key: &RoomKey, actor: &Actor, names: &Names) -> Result<Vec<bool>, Error> {
    change(db, key, actor, async |change| {
        let registered = users::registered(change.connection(), key.app, names.stored()).await?;
        let lifted = delete(change, names.stored()).await?;
        Ok(names.stored().iter().map(|name| lifted.contains(name) || registered.contains(name)).collect())
    })
    .await
}

/// Returns those who were muted. Mutes that had ended go as well, but they were not lifted.
pub(crate) async fn delete(change: &mut Change, users: &[String]) -> Result<Vec<String>, Error> {
    let key = change.key.clone();
    let gone = sqlx::query_as!(
        Term,
        r#"
        with gone as (
            delete from mutes where app = $1 and chatroom = $2 and username = any($3::text[])
            returning username, ends_at
        )
        select username, ends_at, ends_at > statement_timestamp() as "in_force!" from gone
        order by array_position($3::text[], username)
        "#,
        key.app,
        key.id(),
        users,
    )
    .fetch_all(change.connection())
    .await?;
    Ok(expiry::record(change, gone, Kind::MuteRemove, Kind::MuteExpire))
}

/// Ends what has ended among the mutes of `users`: their next mute is a new one, not the old one moved.
async fn end_named(change: &mut Change, users: &[String]) -> Result<(), Error> {
    let key = change.key.clone();
    let gone = sqlx::query_as!(
        Term,
        r#"
        with gone as (
            delete from mutes
            where app = $1 and chatroom = $2 and username = any($3::text[]) and ends_at <= statement_timestamp()
            returning username, ends_at
        )
        select username, ends_at, false as "in_force!" from gone order by ends_at, username
        "#,
        key.app,
        key.id(),
        users,
    )
    .fetch_all(change.connection())
    .await?;
    expiry::record(change, gone, Kind::MuteRemove, Kind::MuteExpire);
    Ok(())
}

/// Ends up to `batch` mutes of a room that have ended, those that ended first, and returns how many it were.
pub(crate) async fn end_some(change: &mut Change, batch: i64) -> Result<usize, Error> {
    let key = change.key.clone();
    let gone = sqlx::query_as!(
        Term,
        r#"
        with gone as (
            delete from mutes where app = $1 and chatroom = $2 and username = any(array(
                select username from mutes
                where app = $1 and chatroom = $2 and ends_at <= statement_timestamp()
                order by ends_at limit $3
            ))
            returning username, ends_at
        )
        select username, ends_at, false as "in_force!" from gone order by ends_at, username
        "#,
        key.app,
        key.id(),
        batch,
    )
    .fetch_all(change.connection())
    .await?;
    let ended = gone.len();
    expiry::record(change, gone, Kind::MuteRemove, Kind::MuteExpire);
    Ok(ended)
}

/// Removes up to `batch` mutes of a deleted room, and returns them: in force are those that had not ended when it was
/// deleted.
pub(crate) async fn purge(connection: &mut PgConnection, key: &RoomKey, batch: i64) -> Result<Vec<Term>, Error> {
    Ok(sqlx::query_as!(
        Term,
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
