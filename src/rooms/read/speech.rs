//! Who may speak in a room, and which rule decides it.

use std::collections::HashMap;

use time::OffsetDateTime;

use super::details;
use crate::accounts::users;
use crate::db::Db;
use crate::error::Error;
use crate::names::{Names, PERMANENT_MS, RoomKey, unix_ms};

/// The rule that decides whether a user may speak: the first one that applies, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// On the block list.
    Blocked,
    /// Not in the room, or not even registered.
    NotMember,
    /// Owns the room: always speaks.
    Owner,
    /// Muted in all rooms of the app, until a moment.
    GlobalMuted,
    /// Muted, until a moment.
    Muted,
    /// An admin.
    Admin,
    /// On the whitelist.
    Whitelist,
    /// The whole room is muted.
    RoomMuted,
    /// Nothing speaks against it.
    Member,
}

/// What the rules ask about a user in a room.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a list of its own")]
pub struct SpeechFacts {
    /// On the block list.
    pub blocked: bool,
    /// In the room.
    pub member: bool,
    /// Owns it.
    pub owner: bool,
    /// Muted in all rooms of the app at this moment.
    pub global_muted: bool,
    /// Muted in this one.
    pub muted: bool,
    /// Among its admins.
    pub admin: bool,
    /// On its whitelist.
    pub whitelisted: bool,
    /// The whole room is muted.
    pub room_muted: bool,
}

/// The rule that decides.
pub fn layer(facts: SpeechFacts) -> Layer {
    let rules = [
        (facts.blocked, Layer::Blocked),
        (!facts.member, Layer::NotMember),
        (facts.owner, Layer::Owner),
        (facts.global_muted, Layer::GlobalMuted),
        (facts.muted, Layer::Muted),
        (facts.admin, Layer::Admin),
        (facts.whitelisted, Layer::Whitelist),
        (facts.room_muted, Layer::RoomMuted),
    ];
    rules.into_iter().find(|(applies, _)| *applies).map_or(Layer::Member, |(_, layer)| layer)
}

impl Layer {
    /// What it comes to.
    pub fn allows(self) -> bool {
        matches!(self, Self::Owner | Self::Admin | Self::Whitelist | Self::Member)
    }
}

/// Whether one user may speak.
pub struct Verdict {
    /// The user.
    pub username: String,
    /// The rule that decides.
    pub layer: Layer,
    /// When the mute or the block ends, if it is that which decides; of the whole room's, if it has an end.
    pub until: Option<OffsetDateTime>,
    /// Why the user was muted or blocked, or the whole room muted, if that decides and its actor has said why.
    pub reason: Option<String>,
}

/// What is found out about a user in a room.
#[expect(clippy::struct_excessive_bools, reason = "each is a list of its own")]
struct FoundFacts {
    username: String,
    owner: bool,
    mute_all: bool,
    room_muted_until: OffsetDateTime,
    room_reason: Option<String>,
    member: bool,
    admin: bool,
    whitelisted: bool,
    blocked_until: Option<OffsetDateTime>,
    block_reason: Option<String>,
    muted_until: Option<OffsetDateTime>,
    mute_reason: Option<String>,
    global_muted_until: Option<OffsetDateTime>,
    global_mute_reason: Option<String>,
}

/// Whether each of `names` may speak in the room, in their order. Each name is looked up by itself.
pub async fn check(db: &Db, key: &RoomKey, names: &Names) -> Result<Vec<Verdict>, Error> {
    if names.usernames().is_empty() {
        details::require(db, key).await?;
    }
    macro_rules! look {
        ($is_there:literal $(, $deleted:expr)?) => {
            sqlx::query_as!(
                FoundFacts,
                r#"
                select given.username as "username!", owner = given.username as "owner!",
                       mute_all and mute_ends_at > now() as "mute_all!", mute_ends_at as room_muted_until, mute_reason as room_reason,
                       member.found is not null as "member!", admin.found is not null as "admin!",
                       white.found is not null as "whitelisted!", block.ends_at as "blocked_until?", block.reason as "block_reason?",
                       mute.ends_at as "muted_until?", mute.reason as "mute_reason?",
                       global_mute.ends_at as "global_muted_until?", global_mute.reason as "global_mute_reason?"
                from chatrooms
                cross join unnest($3::text[]) with ordinality given (username, index)
                left join lateral (
                    -- A deleted user is no member, though the room may not have forgotten the user yet.
                    select true as found from members
                    where app = $1 and chatroom = $2 and members.username = given.username"#
                    + $is_there
                    + r#"
                    limit 1
                ) member on true
                left join lateral (
                    select true as found from admins
                    where app = $1 and chatroom = $2 and admins.username = given.username limit 1
                ) admin on true
                left join lateral (
                    select true as found from whitelist
                    where app = $1 and chatroom = $2 and whitelist.username = given.username limit 1
                ) white on true
                left join lateral (
                    select ends_at, reason from blocks
                    where app = $1 and chatroom = $2 and blocks.username = given.username and ends_at > now() limit 1
                ) block on true
                left join lateral (
                    select ends_at, reason from mutes
                    where app = $1 and chatroom = $2 and mutes.username = given.username and ends_at > now() limit 1
                ) mute on true
                left join lateral (
                    select chatroom_ends_at as ends_at, reason from global_mutes
                    where app = $1 and global_mutes.username = given.username and chatroom_ends_at > now() limit 1
                ) global_mute on true
                where chatrooms.app = $1 and chatrooms.id = $2 and deleted_at is null
                order by index
                "#,
                key.app,
                key.id(),
                names.usernames(),
                $($deleted)?
            )
            .fetch_all(db.pool())
            .await?
        };
    }
    let rows = if db.layout().await?.is_distributed() {
        let deleted = users::deleted(db, key.app, names.usernames()).await?;
        look!(" and given.username <> all($4::text[])", &deleted)
    } else {
        look!(
            " and not exists (
                 select from users where users.app = $1 and users.username = given.username and users.deleted_at is not null
             )"
        )
    };
    if rows.is_empty() && !names.usernames().is_empty() {
        return Err(key.not_found());
    }
    let mut verdicts: HashMap<String, Verdict> = rows
        .into_iter()
        .map(|row| {
            let layer = layer(SpeechFacts {
                blocked: row.blocked_until.is_some(),
                member: row.member,
                owner: row.owner,
                global_muted: row.global_muted_until.is_some(),
                muted: row.muted_until.is_some(),
                admin: row.admin,
                whitelisted: row.whitelisted,
                room_muted: row.mute_all,
            });
            let (until, reason) = match layer {
                Layer::Blocked => (row.blocked_until, row.block_reason),
                Layer::GlobalMuted => (row.global_muted_until, row.global_mute_reason),
                Layer::Muted => (row.muted_until, row.mute_reason),
                Layer::RoomMuted => (Some(row.room_muted_until).filter(|until| unix_ms(*until) < PERMANENT_MS), row.room_reason),
                _ => (None, None),
            };
            (row.username.clone(), Verdict { username: row.username, layer, until, reason })
        })
        .collect();
    let outsider = |name: &String| Verdict { username: name.clone(), layer: Layer::NotMember, until: None, reason: None };
    Ok(names.given().iter().map(|name| verdicts.remove(name).unwrap_or_else(|| outsider(name))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_applies_decides() {
        let none = SpeechFacts::default();
        let member = SpeechFacts { member: true, ..none };
        let all = SpeechFacts {
            blocked: false,
            member: true,
            owner: true,
            global_muted: true,
            muted: true,
            admin: true,
            whitelisted: true,
            room_muted: true,
        };
        let table = [
            (none, Layer::NotMember, false),
            (SpeechFacts { blocked: true, ..none }, Layer::Blocked, false),
            (SpeechFacts { muted: true, ..none }, Layer::NotMember, false),
            (member, Layer::Member, true),
            (SpeechFacts { room_muted: true, ..member }, Layer::RoomMuted, false),
            (SpeechFacts { room_muted: true, whitelisted: true, ..member }, Layer::Whitelist, true),
            (SpeechFacts { room_muted: true, admin: true, ..member }, Layer::Admin, true),
            (SpeechFacts { room_muted: true, owner: true, ..member }, Layer::Owner, true),
            (SpeechFacts { muted: true, ..member }, Layer::Muted, false),
            (SpeechFacts { muted: true, whitelisted: true, ..member }, Layer::Muted, false),
            (SpeechFacts { muted: true, admin: true, ..member }, Layer::Muted, false),
            (SpeechFacts { muted: true, room_muted: true, ..member }, Layer::Muted, false),
            (SpeechFacts { global_muted: true, ..none }, Layer::NotMember, false),
            (SpeechFacts { global_muted: true, ..member }, Layer::GlobalMuted, false),
            (SpeechFacts { global_muted: true, blocked: true, ..member }, Layer::Blocked, false),
            (SpeechFacts { global_muted: true, owner: true, ..member }, Layer::Owner, true),
            (SpeechFacts { global_muted: true, admin: true, ..member }, Layer::GlobalMuted, false),
            (all, Layer::Owner, true),
            (SpeechFacts { owner: false, ..all }, Layer::GlobalMuted, false),
            (SpeechFacts { owner: false, global_muted: false, ..all }, Layer::Muted, false),
            (SpeechFacts { owner: false, global_muted: false, muted: false, ..all }, Layer::Admin, true),
        ];
        for (facts, expected, allowed) in table {
            assert_eq!((layer(facts), layer(facts).allows()), (expected, allowed), "{facts:?}");
        }
    }
}
