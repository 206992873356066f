//! Reads rooms themselves: their details, and lists of them.

use time::OffsetDateTime;

use crate::db::Db;
use crate::error::Error;
use crate::names::{NameList, RoomKey};

/// What there is to know of a room.
pub struct Detail {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// A text that its creator keeps with it.
    pub custom: String,
    /// The owner.
    pub owner: String,
    /// How many members there may be, the owner counted.
    pub maxusers: i32,
    /// How many there are, the owner counted.
    pub member_count: i32,
    /// Whether the whole room is muted.
    pub mute_all: bool,
    /// When the mute of the whole room ends, if it is muted.
    pub mute_ends_at: Option<OffsetDateTime>,
    /// Why it is muted.
    pub mute_reason: Option<String>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// Whether the answer has room for any of its people; the owner comes first.
    pub shows_owner: bool,
    /// The first members besides the owner, in the order in which they came, as far as the answer has room for them.
    pub members: NameList,
}

/// Those of `rooms` that exist, in that order, with at most `affiliations` people in all of them together (the owners
/// counted): the first rooms come with theirs, and those behind them with what is left.
pub async fn details(db: &Db, app: i32, rooms: &[RoomKey], affiliations: u32) -> Result<Vec<Detail>, Error> {
    let mut wanted: Vec<String> = Vec::with_capacity(rooms.len());
    for key in rooms {
        if wanted.iter().all(|id| id != key.id()) {
            wanted.push(key.id().to_owned());
        }
    }
    if db.layout().await?.is_distributed() {
        return details_on_nodes(db, app, &wanted, affiliations).await;
    }
    Ok(sqlx::query_as!(
        Detail,
        r#"
        select id, name, description, custom, owner, maxusers, member_count, mute_all as "mute_all!",
               case when mute_all then mute_ends_at end as "mute_ends_at?", case when mute_all then mute_reason end as "mute_reason?",
               created_at,
               space > 0 as "shows_owner!", array(
                   select username from members
                   where members.app = $1 and members.chatroom = room.id and username <> owner
                   order by seq limit greatest(space - 1, 0)
               ) as "members!: NameList"
        from (
            select found.*, maxusers, member_count, index, $3 - coalesce(
                       sum(member_count) over (order by index rows between unbounded preceding and 1 preceding), 0
                   ) as space
            from unnest($2::text[]) with ordinality wanted (wanted_id, index)
            cross join lateral (
                select id, name, description, custom, owner, mute_all and mute_ends_at > now() as mute_all,
                       mute_ends_at, mute_reason, created_at
                from chatrooms
                where app = $1 and id = wanted_id and deleted_at is null limit 1
            ) found
            cross join lateral (
                select maxusers, member_count from room_counters
                where room_counters.app = $1 and room_counters.chatroom = found.id limit 1
            ) counted
        ) room
        order by index
        "#,
        app,
        &wanted,
        i64::from(affiliations),
    )
    .fetch_all(db.pool())
    .await?)
}

/// The same on a cluster: of all rooms at once what there is to know, and of each its people.
async fn details_on_nodes(db: &Db, app: i32, wanted: &[String], affiliations: u32) -> Result<Vec<Detail>, Error> {
    let mut found = sqlx::query_as!(
        Detail,
        r#"
        select id, name, description, custom, owner, maxusers, member_count, mute_all and mute_ends_at > now() as "mute_all!",
               case when mute_all and mute_ends_at > now() then mute_ends_at end as "mute_ends_at?",
               case when mute_all and mute_ends_at > now() then mute_reason end as "mute_reason?",
               created_at, false as "shows_owner!", '{}'::text[] as "members!: NameList"
        from chatrooms join room_counters on room_counters.app = chatrooms.app and room_counters.chatroom = chatrooms.id
        where chatrooms.app = $1 and id = any($2::text[]) and deleted_at is null
        "#,
        app,
        wanted,
    )
    .fetch_all(db.pool())
    .await?;
    found.sort_by_key(|room| wanted.iter().position(|id| *id == room.id));
    let mut space = i64::from(affiliations);
    for room in &mut found {
        room.shows_owner = space > 0;
        if space > 1 {
            room.members = sqlx::query_scalar!(
                r#"select array(
                       select username from members where app = $1 and chatroom = $2 and username <> $3 order by seq limit $4
                   ) as "members!: NameList"
                   from room_counters where app = $1 and chatroom = $2"#,
                app,
                room.id,
                room.owner,
                space - 1,
            )
            .fetch_optional(db.pool())
            .await?
            .unwrap_or_default();
        }
        space -= i64::from(room.member_count);
    }
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
         cross join lateral (
             select member_count from room_counters
             where room_counters.app = chatrooms.app and room_counters.chatroom = chatrooms.id limit 1
         ) counters
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
         cross join lateral (
             select member_count from room_counters
             where room_counters.app = chatrooms.app and room_counters.chatroom = chatrooms.id limit 1
         ) counters
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

/// Fails with the first of `rooms` that does not exist.
pub async fn require_all(db: &Db, app: i32, rooms: &[RoomKey]) -> Result<(), Error> {
    let ids: Vec<&str> = rooms.iter().map(RoomKey::id).collect();
    let there = sqlx::query_scalar!(
        "select id from chatrooms where app = $1 and id = any($2::text[]) and deleted_at is null",
        app,
        &ids as &[&str],
    )
    .fetch_all(db.pool())
    .await?;
    let missing = ids.into_iter().find(|id| there.iter().all(|room| room != id));
    missing.map_or(Ok(()), |room| Err(Error::RoomNotFound { room: room.into() }))
}
