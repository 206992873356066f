//! The mutes of a room: members who may not speak until a moment. A mute belongs to the user, not to the membership:
//! it outlives leaving and coming back.
//!
//! The read is the truth: a mute whose end has come is none, whether or not its row has been swept.

use time::OffsetDateTime;

use super::change::{Change, change, change_if_free};
use super::{Db, Names, RoomKey, Slice, users};
use crate::error::Error;

/// The end of a mute without an end, in Unix milliseconds: 2117-01-01 00:00 +08:00. No mute ends later.
pub const PERMANENT_MS: i64 = 4_638_873_600_000;

/// A mute in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mute {
    /// Who is muted.
    pub username: String,
    /// Until when.
    pub ends_at: OffsetDateTime,
}

/// The mutes in force, in the order in which they began.
pub async fn list(db: &Db, key: &RoomKey) -> Result<Vec<Mute>, Error> {
    let rows = sqlx::query!(
        r#"
        select mutes.username as "username?", mutes.ends_at as "ends_at?"
        from chatrooms left join mutes
            on mutes.app = $1 and mutes.chatroom = $2 and mutes.ends_at > now()
        where chatrooms.app = $1 and chatrooms.id = $2 and chatrooms.deleted_at is null
        order by mutes.seq
        "#,
        key.app,
        key.id(),
    )
    .fetch_all(db.pool())
    .await?;
    if rows.is_empty() {
        return Err(key.not_found());
    }
    let mute =
        |(username, ends_at): (Option<String>, Option<OffsetDateTime>)| Some(Mute { username: username?, ends_at: ends_at? });
    Ok(rows.into_iter().filter_map(|row| mute((row.username, row.ends_at))).collect())
}

/// Reads `size` of them that began after the place `after`. However far that is, the cost is the same.
pub async fn slice(db: &Db, key: &RoomKey, after: Option<i64>, size: i64) -> Result<Slice<Mute>, Error> {
    let rows = sqlx::query!(
        r#"
        select page.seq as "seq?", page.username as "username?", page.ends_at as "ends_at?"
        from chatrooms left join lateral (
            select seq, username, ends_at from mutes
            where mutes.app = $1 and mutes.chatroom = $2 and seq > $3 and ends_at > now()
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
    let mute = |username: Option<String>, ends_at: Option<OffsetDateTime>| Some(Mute { username: username?, ends_at: ends_at? });
    let rows = rows.into_iter().map(|row| (row.seq, mute(row.username, row.ends_at))).collect();
    Slice::new(rows, size).ok_or_else(|| key.not_found())
}

/// Those who were to be muted but are not in the room.
#[derive(Debug, PartialEq, Eq)]
pub struct Strangers(pub Vec<String>);

/// Mutes members for `duration_ms` from now, or moves the end of the mutes they have. 0 lifts their mutes.
///
/// All or nothing: one stranger leaves the list as it was. `limit` is the most that the list may have; 0 = no limit.
pub async fn mute(
    db: &Db,
    key: &RoomKey,
    names: &Names,
    duration_ms: i64,
    limit: u32,
) -> Result<Result<Vec<Mute>, Strangers>, Error> {
    change(db, key, async |change| {
        let standing = change.standing(names).await?;
        let strangers = names.select(|place| !standing[place].member);
        if !strangers.is_empty() {
            return Ok(Err(Strangers(strangers)));
        }
        if duration_ms == 0 {
            delete(change, names.stored()).await?;
        } else {
            sweep_named(change, names.stored()).await?;
        }
        let ends_at = moment(change, duration_ms).await?;
        if duration_ms > 0 {
            upsert(change, names.stored(), ends_at, limit).await?;
        }
        Ok(Ok(names.stored().iter().map(|username| Mute { username: username.clone(), ends_at }).collect()))
    })
    .await
}

/// So long after now, by the database's clock, but not later than the end of a mute without an end.
async fn moment(change: &mut Change, after_ms: i64) -> Result<OffsetDateTime, Error> {
    Ok(sqlx::query_scalar!(
        r#"select least(
               date_trunc('milliseconds', statement_timestamp()) + $1::bigint * interval '1 ms',
               timestamptz 'epoch' + $2::bigint * interval '1 ms'
           ) as "moment!""#,
        after_ms.min(PERMANENT_MS),
        PERMANENT_MS,
    )
    .fetch_one(change.connection())
    .await?)
}

async fn upsert(change: &mut Change, users: &[String], ends_at: OffsetDateTime, limit: u32) -> Result<(), Error> {
    let (key, before) = (change.key.clone(), change.numbers(users.len()));
    sqlx::query!(
        "insert into mutes (app, chatroom, username, seq, ends_at)
         select $1, $2, username, $3 + place, $5 from unnest($4::text[]) with ordinality given (username, place)
         on conflict (app, chatroom, username) do update set ends_at = excluded.ends_at",
        key.app,
        key.id(),
        before,
        users,
        ends_at,
    )
    .execute(change.connection())
    .await?;
    if limit > 0 {
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
    Ok(())
}

/// Lifts mutes. Told place by place: whether the user may be spoken of as not muted now, which is so for everybody who
/// is registered or was muted.
pub async fn unmute(db: &Db, key: &RoomKey, names: &Names) -> Result<Vec<bool>, Error> {
    change(db, key, async |change| {
        let registered = users::registered(change.connection(), key.app, names.stored()).await?;
        let lifted = delete(change, names.stored()).await?;
        Ok(names.stored().iter().map(|name| lifted.contains(name) || registered.contains(name)).collect())
    })
    .await
}

/// Returns those who were muted; mutes that had ended go as well, but do not count.
pub(super) async fn delete(change: &mut Change, users: &[String]) -> Result<Vec<String>, Error> {
    let key = change.key.clone();
    let rows = sqlx::query!(
        r#"delete from mutes where app = $1 and chatroom = $2 and username = any($3::text[])
           returning username, ends_at > statement_timestamp() as "in_force!""#,
        key.app,
        key.id(),
        users,
    )
    .fetch_all(change.connection())
    .await?;
    Ok(rows.into_iter().filter(|row| row.in_force).map(|row| row.username).collect())
}

/// Ends what has ended among the mutes of `users`: their next mute is a new one, not the old one moved.
async fn sweep_named(change: &mut Change, users: &[String]) -> Result<(), Error> {
    let key = change.key.clone();
    sqlx::query!(
        "delete from mutes
         where app = $1 and chatroom = $2 and username = any($3::text[]) and ends_at <= statement_timestamp()",
        key.app,
        key.id(),
        users,
    )
    .execute(change.connection())
    .await?;
    Ok(())
}

/// Rooms with ended mutes, and since when the oldest of them waits.
pub struct Due {
    /// The rooms, the longest waiting first. Deleted ones may be among them.
    pub rooms: Vec<RoomKey>,
    /// How long ago the first of these mutes ended.
    pub lag: std::time::Duration,
}

/// Finds rooms with ended mutes, among the `batch` mutes that ended first. Locks nothing.
pub async fn due(db: &Db, batch: i64) -> Result<Due, Error> {
    // The limit comes before anything else is asked, so that ten million ended mutes cost no more than `batch`.
    let rows = sqlx::query!(
        r#"
        select app as "app!", chatroom as "chatroom!",
               extract(epoch from statement_timestamp() - min(ends_at))::double precision as "waiting!"
        from (
            select app, chatroom, ends_at from mutes where ends_at <= statement_timestamp() order by ends_at limit $1
        ) ended
        group by app, chatroom order by min(ends_at)
        "#,
        batch,
    )
    .fetch_all(db.pool())
    .await?;
    let lag = rows.first().map_or(0.0, |row| row.waiting.max(0.0));
    Ok(Due {
        rooms: rows.into_iter().map(|row| RoomKey::new(row.app, row.chatroom)).collect(),
        lag: std::time::Duration::from_secs_f64(lag),
    })
}

/// Takes up to `batch` ended mutes of a room away, those that ended first; returns how many it were. `None`: somebody
/// is changing the room at the moment, and `wait` was not asked for.
pub async fn sweep(db: &Db, key: &RoomKey, batch: i64, wait: bool) -> Result<Option<u64>, Error> {
    let act = async |change: &mut Change| {
        let gone = sqlx::query!(
            "delete from mutes where app = $1 and chatroom = $2 and username = any(array(
                 select username from mutes
                 where app = $1 and chatroom = $2 and ends_at <= statement_timestamp()
                 order by ends_at limit $3
             ))",
            key.app,
            key.id(),
            batch,
        )
        .execute(change.connection())
        .await?;
        Ok(gone.rows_affected())
    };
    if wait { change(db, key, act).await.map(Some) } else { change_if_free(db, key, act).await }
}
