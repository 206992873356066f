//! Where a user stands: every room that knows the user, as a member, muted or blocked. And how the members of a room stand there.

use time::OffsetDateTime;

use crate::accounts::users;
use crate::db::Db;
use crate::error::Error;
use crate::names::{Names, RoomKey};
use crate::search::Prefix;

/// What a user is in a room.
#[expect(clippy::struct_excessive_bools, reason = "each is a list of its own")]
pub struct Standing {
    /// The room's id.
    pub room: String,
    /// Owns it.
    pub owner: bool,
    /// Is among its admins.
    pub admin: bool,
    /// Is in it at all.
    pub member: bool,
    /// Is on its whitelist.
    pub whitelisted: bool,
    /// Until when the user is muted there, if so.
    pub muted_until: Option<OffsetDateTime>,
    /// Until when the user is blocked there, if so.
    pub blocked_until: Option<OffsetDateTime>,
}

/// Reads `size` rooms behind the id `after`, by id. However far that is, the cost is the same.
pub async fn list(db: &Db, app: i32, name: &Names, after: &str, size: i64) -> Result<Vec<Standing>, Error> {
    let user = users::find(db, app, name).await?.ok_or_else(|| Error::UserNotFound { user: name.given().join(",") })?;
    // Each list gives its next rooms, and the first of all of them are looked at closely.
    Ok(sqlx::query_as!(
        Standing,
        r#"
        select known.chatroom as "room!", chatrooms.owner = $2 as "owner!",
               exists (select from admins where app = $1 and chatroom = chatrooms.id and username = $2) as "admin!",
               exists (select from members where app = $1 and chatroom = chatrooms.id and username = $2) as "member!",
               exists (select from whitelist where app = $1 and chatroom = chatrooms.id and username = $2) as "whitelisted!",
               (select ends_at from mutes
                where app = $1 and chatroom = chatrooms.id and username = $2 and ends_at > now()) as "muted_until?",
               (select ends_at from blocks
                where app = $1 and chatroom = chatrooms.id and username = $2 and ends_at > now()) as "blocked_until?"
        from (
            (select m.chatroom from members m join chatrooms c on c.app = m.app and c.id = m.chatroom and c.deleted_at is null
             where m.app = $1 and m.username = $2 and m.chatroom > $3 order by m.chatroom limit $4)
            union
            (select b.chatroom from blocks b join chatrooms c on c.app = b.app and c.id = b.chatroom and c.deleted_at is null
             where b.app = $1 and b.username = $2 and b.chatroom > $3 and b.ends_at > now() order by b.chatroom limit $4)
            union
            (select m.chatroom from mutes m join chatrooms c on c.app = m.app and c.id = m.chatroom and c.deleted_at is null
             where m.app = $1 and m.username = $2 and m.chatroom > $3 and m.ends_at > now() order by m.chatroom limit $4)
        ) known
        join chatrooms on chatrooms.app = $1 and chatrooms.id = known.chatroom
        order by known.chatroom limit $4
        "#,
        app,
        user.username,
        after,
        size,
    )
    .fetch_all(db.pool())
    .await?)
}

/// What a member is in a room.
pub struct MemberStanding {
    /// Where the member is in the order in which members came.
    pub seq: i64,
    /// The name.
    pub username: String,
    /// Since when the member is in.
    pub joined_at: OffsetDateTime,
    /// Owns the room.
    pub owner: bool,
    /// Is among its admins.
    pub admin: bool,
    /// Is on its whitelist.
    pub whitelisted: bool,
    /// The mute in the room that is in force.
    pub mute: Option<MuteInForce>,
    /// The mute in all rooms that is in force.
    pub global_mute: Option<MuteInForce>,
}

/// A mute, as it is now.
pub struct MuteInForce {
    /// Until when.
    pub ends_at: OffsetDateTime,
    /// Since when it is as it is now; the epoch if that is not known.
    pub since: OffsetDateTime,
    /// Who has set it so.
    pub actor: String,
    /// Why, in the words of the actor.
    pub reason: Option<String>,
}

/// Which members of a room are read.
pub enum MembersAsked<'p> {
    /// All, the latest first, from behind the number on.
    Latest(Option<i64>),
    /// Those whose names begin so, in the order of these, from behind the name on.
    Called(&'p Prefix, String),
}

/// Reads `size` members of a room and what they are there. However far down the list or large the room, the cost is the same.
pub async fn of_members(db: &Db, key: &RoomKey, asked: &MembersAsked<'_>, size: i64) -> Result<Vec<MemberStanding>, Error> {
    let (seq, prefix, name) = match asked {
        MembersAsked::Latest(after) => (after.unwrap_or(i64::MAX), None, ""),
        MembersAsked::Called(prefix, after) => (0, Some(*prefix), after.as_str()),
    };
    // Without members that are asked for, one row tells that the room exists.
    let rows = sqlx::query!(
        r#"
        select page.seq as "seq?", page.username as "username?", page.joined_at as "joined_at?",
               chatrooms.owner = page.username as "owner?",
               admin.found is not null as "admin!", white.found is not null as "whitelisted!",
               mute.ends_at as "mute_ends_at?", mute.since as "mute_since?", mute.actor as "mute_actor?",
               mute.reason as "mute_reason?",
               global.chatroom_ends_at as "global_ends_at?", global.since as "global_since?", global.actor as "global_actor?",
               global.reason as "global_reason?"
        from chatrooms
        left join lateral (
            (select seq, username, joined_at from members
             where $4::text is null and members.app = $1 and members.chatroom = $2 and seq < $3
             order by seq desc limit $7)
            union all
            (select seq, username, joined_at from members
             where members.app = $1 and members.chatroom = $2 and username >= $4 and username < $5 and username > $6
             order by username limit $7)
        ) page on true
        left join lateral (
            select true as found from admins
            where admins.app = $1 and admins.chatroom = $2 and admins.username = page.username limit 1
        ) admin on true
        left join lateral (
            select true as found from whitelist
            where whitelist.app = $1 and whitelist.chatroom = $2 and whitelist.username = page.username limit 1
        ) white on true
        left join lateral (
            select ends_at, since, actor, reason from mutes
            where mutes.app = $1 and mutes.chatroom = $2 and mutes.username = page.username and ends_at > now() limit 1
        ) mute on true
        left join lateral (
            select chatroom_ends_at, since, actor, reason from global_mutes
            where global_mutes.app = $1 and global_mutes.username = page.username and chatroom_ends_at > now() limit 1
        ) global on true
        where chatrooms.app = $1 and chatrooms.id = $2 and deleted_at is null
        order by case when $4::text is null then page.seq end desc, page.username
        "#,
        key.app,
        key.id(),
        seq,
        prefix.map(|prefix| prefix.from.as_str()),
        prefix.map(|prefix| prefix.to.as_str()),
        name,
        size,
    )
    .fetch_all(db.pool())
    .await?;
    if rows.is_empty() {
        return Err(key.not_found());
    }
    let in_force = |ends_at: Option<OffsetDateTime>, since: Option<OffsetDateTime>, actor: Option<String>, reason| {
        Some(MuteInForce { ends_at: ends_at?, since: since?, actor: actor?, reason })
    };
    let standing = rows.into_iter().filter_map(|row| {
        Some(MemberStanding {
            seq: row.seq?,
            username: row.username?,
            joined_at: row.joined_at?,
            owner: row.owner?,
            admin: row.admin,
            whitelisted: row.whitelisted,
            mute: in_force(row.mute_ends_at, row.mute_since, row.mute_actor, row.mute_reason),
            global_mute: in_force(row.global_ends_at, row.global_since, row.global_actor, row.global_reason),
        })
    });
    Ok(standing.collect())
}
