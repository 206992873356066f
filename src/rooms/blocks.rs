//! The block list of a room: who was thrown out and may not come back until unblocked, or until the block ends.
//!
//! The read is the truth: a block whose end has come is none, whether or not its row has been swept.

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::accounts::users;
use crate::db::Db;
use crate::error::Error;
use crate::events::log::{Actor, Kind};
use crate::names::{Names, RoomKey};
use crate::rooms::change::{Change, change};
use crate::rooms::expiry::{self, Begun, Term};
use crate::rooms::members;

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

/// How users are blocked.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// For how long, in milliseconds.
    pub duration_ms: i64,
    /// Whether registered users who are not in the room are blocked, too, so that they cannot come in.
    pub strangers: bool,
    /// Whether the end of a block in force is moved.
    pub again: bool,
    /// The most that the list may have; 0 = no limit.
    pub limit: u32,
}

/// Blocks members of a room, one by one, and tells until when. Each loses membership and every standing that hangs on
/// it; a mute stays.
pub async fn block(
    db: &Db,
    key: &RoomKey,
    actor: &Actor,
    names: &Names,
    terms: Terms,
) -> Result<(Vec<Blocked>, OffsetDateTime), Error> {
    change(db, key, actor, async |change| {
        let standing = change.standing(names).await?;
        // Held, so that none of them is deleted before this is done: a deleted user is on no list.
        let held = if terms.strangers {
            users::hold(change.connection(), key.app, names.stored(), false).await?
        } else {
            std::collections::HashSet::new()
        };
        let blocked: Vec<Blocked> = standing
            .iter()
            .zip(names.stored())
            .map(|(standing, name)| match (standing.member, standing.blocked) {
                (true, _) if *name == change.room.owner => Blocked::Owner,
                (true, _) => Blocked::Out,
                (false, true) if terms.again => Blocked::Out,
                (false, _) if held.contains(name) => Blocked::Out,
                (false, _) => Blocked::NotMember,
            })
            .collect();
        let ends_at = change.moment(terms.duration_ms).await?;
        let leavers = names.select(|place| blocked[place] == Blocked::Out && standing[place].member);
        if !leavers.is_empty() {
            members::delete(change, &leavers, Kind::LeaveBlocked).await?;
        }
        let out = names.select(|place| blocked[place] == Blocked::Out);
        if !out.is_empty() {
            if standing.iter().any(|standing| standing.block_has_ended) {
                end_named(change, &out).await?;
            }
            upsert(change, &out, ends_at, terms.limit).await?;
        }
        Ok((blocked, ends_at))
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
            select username, ends_at, reason from blocks
            where app = $1 and chatroom = $2 and username = any($4::text[])
        ),
        blocked as (
            insert into blocks (app, chatroom, username, seq, ends_at, reason)
            select $1, $2, username, $3 + place, $5, $6
            from unnest($4::text[]) with ordinality given (username, place)
            on conflict (app, chatroom, username) do update set ends_at = excluded.ends_at, reason = excluded.reason
            returning username
        )
        select username as "username!", former.ends_at as "former?" from blocked left join former using (username)
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
                   select from blocks where app = $1 and chatroom = $2 and ends_at > statement_timestamp() limit $3
               ) counted"#,
            key.app,
            key.id(),
            i64::from(limit) + 1,
        )
        .fetch_one(change.connection())
        .await?;
        if number > i64::from(limit) {
            return Err(Error::ExceedLimit(format!("block list exceeds the limit {limit}!")));
        }
    }
    expiry::record_begin(change, Kind::BlockAdd, &changed, ends_at);
    Ok(())
}

/// Takes users off the block list; who was on it is told place by place. None of them is a member again by that.
pub async fn unblock(db: &Db, key: &RoomKey, actor: &Actor, names: &Names) -> Result<Vec<bool>, Error> {
    change(db, key, actor, async |change| {
        let freed = delete(change, names.stored()).await?;
        Ok(names.stored().iter().map(|name| freed.contains(name)).collect())
    })
    .await
}

/// Returns those who were blocked. Blocks that had ended go as well, but they were not lifted.
pub(crate) async fn delete(change: &mut Change, users: &[String]) -> Result<Vec<String>, Error> {
    let key = change.key.clone();
    let gone = sqlx::query_as!(
        Term,
        r#"
        with gone as (
            delete from blocks where app = $1 and chatroom = $2 and username = any($3::text[])
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
    Ok(expiry::record(change, gone, Kind::BlockRemove, Kind::BlockExpire))
}

/// Ends what has ended among the blocks of `users`: who comes in is on the list no more, and their next block is a new
/// one, not the old one moved.
pub(crate) async fn end_named(change: &mut Change, users: &[String]) -> Result<(), Error> {
    let key = change.key.clone();
    let gone = sqlx::query_as!(
        Term,
        r#"
        with gone as (
            delete from blocks
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
    expiry::record(change, gone, Kind::BlockRemove, Kind::BlockExpire);
    Ok(())
}

/// Ends up to `batch` blocks of a room that have ended, those that ended first, and returns how many it were.
pub(crate) async fn end_some(change: &mut Change, batch: i64) -> Result<usize, Error> {
    let key = change.key.clone();
    let gone = sqlx::query_as!(
        Term,
        r#"
        with gone as (
            delete from blocks where app = $1 and chatroom = $2 and username = any(array(
                select username from blocks
                where app = $1 and chatroom = $2
                  and ends_at <= statement_timestamp() and ends_at < '2117-01-01 00:00:00+08'
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
    expiry::record(change, gone, Kind::BlockRemove, Kind::BlockExpire);
    Ok(ended)
}

/// Removes up to `batch` blocks of a deleted room, and returns them: in force are those that had not ended when it was
/// deleted.
pub(crate) async fn purge(connection: &mut PgConnection, key: &RoomKey, batch: i64) -> Result<Vec<Term>, Error> {
    Ok(sqlx::query_as!(
        Term,
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
