//! The same for one room on the node of a cluster that has it. Every table is asked for that room by name, and so each
//! statement goes there as it is; users are on nodes of their own, and are asked for by themselves.

use super::{AttributeRow, Fact, Held, Lock, Locked, ended};
use crate::db::Transaction;
use crate::error::Error;
use crate::events::log::{self, EventClock};
use crate::names::RoomKey;
use crate::rooms::state::{Facts, Needs, Texts};

/// Locks the room if it exists, and reads what is counted in it.
pub(super) async fn lock(transaction: &mut Transaction, key: &RoomKey, held: Held) -> Result<Option<Locked>, Error> {
    macro_rules! lock {
        ($skip:literal) => {
            sqlx::query_as!(
                Locked,
                r#"select app, chatroom, maxusers, member_count, admin_count, mute_count, block_count, last_seq, last_event,
                          last_xact, last_event_at, next_end, next_end <= statement_timestamp() as "is_due!"
                   from room_counters where app = $1 and chatroom = $2 for no key update"#
                    + $skip,
                key.app,
                key.id(),
            )
            .fetch_optional(&mut **transaction)
            .await?
        };
    }
    Ok(match held {
        Held::Skip => lock!(" skip locked"),
        Held::Wait => lock!(""),
    })
}

/// Looks everything up: the room, the users in it, what has ended. Users are held first, and the clock is looked at
/// when all is held.
pub(super) async fn facts(
    transaction: &mut Transaction,
    key: &RoomKey,
    needs: &Needs,
    lock: Option<&Lock>,
) -> Result<Vec<Fact>, Error> {
    let wanted = |bits: Facts| -> Vec<String> {
        let wanted = needs.users.iter().filter(|(_, facts)| lock.is_some() && (facts.0 & bits.0) != 0);
        wanted.map(|(name, _)| name.clone()).collect()
    };
    transaction.hold_users(key.app, &wanted(Facts::ROOMS), &wanted(Facts::HELD)).await?;
    let clock = log::read_clock(transaction).await?;
    let mut rows = of_room(transaction, key, needs, lock, &clock).await?;
    let names = wanted(Facts(Facts::REGISTERED.0 | Facts::HELD.0 | Facts::ROOMS.0));
    if names.is_empty() {
        return Ok(rows);
    }
    let accounts = sqlx::query!(
        r#"select username, uuid, deleted_at is not null as "is_deleted!" from users where app = $1 and username = any($2::text[])"#,
        key.app,
        &names,
    )
    .fetch_all(&mut **transaction)
    .await?;
    for row in &mut rows {
        if let Some(account) = accounts.iter().find(|account| Some(&account.username) == row.username.as_ref()) {
            (row.uuid, row.is_deleted) = (Some(account.uuid), Some(account.is_deleted));
        }
    }
    Ok(rows)
}

/// Each list is asked by itself, one name at a time, and only if its bit of `facts` is set.
async fn of_room(
    transaction: &mut Transaction,
    key: &RoomKey,
    needs: &Needs,
    lock: Option<&Lock>,
    clock: &EventClock,
) -> Result<Vec<Fact>, Error> {
    let asked = needs.users.iter().filter(|_| lock.is_some());
    let (names, bits): (Vec<String>, Vec<i16>) = asked.map(|(name, facts)| (name.clone(), facts.0)).unzip();
    Ok(sqlx::query_as!(
        Fact,
        r#"
        select 0 as "index!", null::text as username, null::bigint as member, null::bigint as admin,
               null::bigint as whitelist, null::bigint as block, null::timestamptz as blocked_until,
               null::timestamptz as blocked_since, null::text as block_actor, null::text as block_reason,
               null::bigint as mute, null::timestamptz as muted_until, null::timestamptz as muted_since,
               null::text as mute_actor, mute_reason, null::uuid as uuid, null::boolean as is_deleted,
               owner as owner, mute_all as mute_all, mute_ends_at as mute_ends_at, $6::timestamptz as "now!", $7::bigint as "xact!"
        from chatrooms where app = $1 and id = $2 and deleted_at is null
        union all
        (select 0, username, null, null, null, null, null, null, null, null, seq, ends_at, since, actor, reason,
                null, null, null, null, null, $6, $7
         from mutes where app = $1 and chatroom = $2 and ends_at <= $6 order by ends_at limit $3)
        union all
        (select 0, username, null, null, null, seq, ends_at, since, actor, reason, null, null, null, null, null,
                null, null, null, null, null, $6, $7
         from blocks where app = $1 and chatroom = $2 and ends_at <= $6 and ends_at < '2117-01-01 00:00:00+08'
         order by ends_at limit $3)
        union all
        select 0, given.username, member.seq, admin.seq, white.seq,
               block.seq, block.ends_at, block.since, block.actor, block.reason,
               mute.seq, mute.ends_at, mute.since, mute.actor, mute.reason, null, null, null, null, null, $6, $7
        from unnest($4::text[], $5::smallint[]) given (username, facts)
        left join lateral (
            select seq from members
            where given.facts & 4 <> 0 and app = $1 and chatroom = $2 and members.username = given.username limit 1
        ) member on true
        left join lateral (
            select seq from admins
            where given.facts & 8 <> 0 and app = $1 and chatroom = $2 and admins.username = given.username limit 1
        ) admin on true
        left join lateral (
            select seq from whitelist
            where given.facts & 16 <> 0 and app = $1 and chatroom = $2 and whitelist.username = given.username limit 1
        ) white on true
        left join lateral (
            select seq, ends_at, since, actor, reason from blocks
            where given.facts & 32 <> 0 and app = $1 and chatroom = $2 and blocks.username = given.username limit 1
        ) block on true
        left join lateral (
            select seq, ends_at, since, actor, reason from mutes
            where given.facts & 64 <> 0 and app = $1 and chatroom = $2 and mutes.username = given.username limit 1
        ) mute on true
        "#,
        key.app,
        key.id(),
        i64::from(ended(needs, lock)),
        &names,
        &bits,
        clock.now,
        clock.xact,
    )
    .fetch_all(&mut **transaction)
    .await?)
}

/// What the room is called and says.
pub(super) async fn texts(transaction: &mut Transaction, key: &RoomKey) -> Result<Texts, Error> {
    Ok(sqlx::query_as!(
        Texts,
        "select name, description, custom, announcement from chatrooms where app = $1 and id = $2",
        key.app,
        key.id(),
    )
    .fetch_one(&mut **transaction)
    .await?)
}

/// The custom attributes of the room.
pub(super) async fn attributes(transaction: &mut Transaction, key: &RoomKey) -> Result<Vec<AttributeRow>, Error> {
    Ok(sqlx::query_as!(
        AttributeRow,
        r#"select app, chatroom, key, value, setter, leaves_with is not null as "leaves_with_setter!"
           from attributes where app = $1 and chatroom = $2"#,
        key.app,
        key.id(),
    )
    .fetch_all(&mut **transaction)
    .await?)
}

/// In how many rooms users are, on all nodes; those who are in none are left out.
pub(super) async fn rooms_of_users(
    transaction: &mut Transaction,
    apps: &[i32],
    names: &[String],
) -> Result<Vec<(i32, String, u32)>, Error> {
    let rows = sqlx::query!(
        r#"select members.app, members.username, count(*)::integer as "rooms!" from members
           join chatrooms on chatrooms.app = members.app and chatrooms.id = members.chatroom
           where members.app = any($1::integer[]) and members.username = any($2::text[]) and chatrooms.deleted_at is null
           group by members.app, members.username"#,
        apps,
        names,
    )
    .fetch_all(&mut **transaction)
    .await?;
    Ok(rows.into_iter().map(|row| (row.app, row.username, row.rooms.unsigned_abs())).collect())
}
