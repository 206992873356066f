//! Reads rooms themselves: their details, and lists of them.

use time::OffsetDateTime;

use crate::db::Db;
use crate::error::Error;
use crate::names::RoomKey;

/// What there is to know of a room.
pub struct Detail {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// Whatever its creator keeps with it.
    pub custom: String,
    /// The owner.
    pub owner: String,
    /// How many members there may be, the owner counted.
    pub maxusers: i32,
    /// How many there are, the owner counted.
    pub member_count: i32,
    /// Whether the whole room is muted.
    pub mute_all: bool,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// The first members besides the owner, in the order in which they came.
    pub members: Vec<String>,
}

/// The rooms of `ids` that exist, in that order, each with at most `affiliations` people (the owner counted).
pub async fn details(db: &Db, app: i32, ids: &[RoomKey], affiliations: u32) -> Result<Vec<Detail>, Error> {
    let wanted: Vec<String> = ids.iter().map(|key| key.id().to_owned()).collect();
    let mut found = sqlx::query_as!(
        Detail,
        r#"
        select id, name, description, custom, owner, maxusers, member_count, mute_all, created_at, array(
            select username from members
            where members.app = chatrooms.app and members.chatroom = chatrooms.id and username <> owner
            order by seq limit $3
        ) as "members!"
        from chatrooms where app = $1 and id = any($2::text[]) and deleted_at is null
        "#,
        app,
        &wanted,
        i64::from(affiliations) - 1,
    )
    .fetch_all(db.pool())
    .await?;
    found.sort_by_key(|room| wanted.iter().position(|id| *id == room.id));
    Ok(found)
}

/// A room in a list of rooms.
pub struct Summary {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// The owner.
    pub owner: String,
    /// How many members there are, the owner counted.
    pub member_count: i32,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

/// Reads `size` rooms of an app, the newest first, behind the one of that id made at that moment. However far that is,
/// the cost is the same.
pub async fn list(db: &Db, app: i32, after: Option<(OffsetDateTime, String)>, size: i64) -> Result<Vec<Summary>, Error> {
    let Some((created_at, id)) = after else { return list_by_number(db, app, 0, size).await };
    Ok(sqlx::query_as!(
        Summary,
        "select id, name, owner, member_count, created_at from chatrooms
         where app = $1 and deleted_at is null and (created_at, id) < ($2, $3)
         order by created_at desc, id desc limit $4",
        app,
        created_at,
        id,
        size,
    )
    .fetch_all(db.pool())
    .await?)
}

/// Reads `size` rooms of an app, the newest first, the first `skip` left out; those are passed over in the index alone.
pub async fn list_by_number(db: &Db, app: i32, skip: i64, size: i64) -> Result<Vec<Summary>, Error> {
    Ok(sqlx::query_as!(
        Summary,
        "select id, name, owner, member_count, created_at from chatrooms
         where app = $1 and id = any(array(
             select id from chatrooms where app = $1 and deleted_at is null
             order by created_at desc, id desc offset $2 limit $3
         ))
         order by created_at desc, id desc",
        app,
        skip,
        size,
    )
    .fetch_all(db.pool())
    .await?)
}

/// Fails if there is no such room.
pub async fn require(db: &Db, key: &RoomKey) -> Result<(), Error> {
    let found =
        sqlx::query_scalar!("select true from chatrooms where app = $1 and id = $2 and deleted_at is null", key.app, key.id(),)
            .fetch_optional(db.pool())
            .await?;
    found.map(drop).ok_or_else(|| key.not_found())
}
