//! The same for one room on the node of a cluster that has it. Every statement names that room, and so goes there as it is;
//! rows that come are taken from the room that is there, for the same reason.

use sqlx::PgConnection;

use super::{AttributeColumns, Changed, Restriction, RestrictionColumns, Room, Texts};
use crate::error::Error;
use crate::names::RoomKey;
use crate::rooms::state::Attribute;

/// Writes what has changed in the room. The key of the owner is deferred there from the start.
pub(super) async fn save(connection: &mut PgConnection, key: &RoomKey, changed: &Changed<'_>, is_due: bool) -> Result<(), Error> {
    delete_admins(connection, key, &changed.admins.gone).await?;
    delete_whitelist(connection, key, &changed.whitelist.gone).await?;
    delete_members(connection, key, &changed.members.gone).await?;
    delete_blocks(connection, key, &changed.blocks.gone).await?;
    delete_mutes(connection, key, &changed.mutes.gone).await?;
    delete_attributes(connection, key, &changed.attributes_gone).await?;
    insert_members(connection, key, &changed.members.come).await?;
    count_members(connection, key, changed).await?;
    for (_, room) in &changed.counters {
        write_counters(connection, key, room).await?;
    }
    insert_admins(connection, key, &changed.admins.come).await?;
    insert_whitelist(connection, key, &changed.whitelist.come).await?;
    write_blocks(connection, key, &changed.blocks.come).await?;
    write_mutes(connection, key, &changed.mutes.come).await?;
    write_attributes(connection, key, &changed.attributes_come).await?;
    for (_, room) in &changed.rooms {
        write_room(connection, key, room).await?;
    }
    for (_, texts) in &changed.texts {
        write_texts(connection, key, texts).await?;
    }
    if is_due {
        find_next_end(connection, key).await?;
    }
    Ok(())
}

/// A function that deletes the named rows of a table.
macro_rules! delete {
    ($(#[$doc:meta])* $function:ident, $named:literal) => {
        $(#[$doc])*
        async fn $function(connection: &mut PgConnection, key: &RoomKey, gone: &[(&RoomKey, &str)]) -> Result<(), Error> {
            if gone.is_empty() {
                return Ok(());
            }
            let names: Vec<&str> = gone.iter().map(|(_, name)| *name).collect();
            sqlx::query!(
                "delete from " + $named + " = any($3::text[]) and app = $1 and chatroom = $2",
                key.app,
                key.id(),
                &names as &[&str],
            )
            .execute(connection)
            .await?;
            Ok(())
        }
    };
}

delete!(
    /// Takes standings as admin away.
    delete_admins,
    "admins where username"
);
delete!(
    /// Takes users off the whitelist.
    delete_whitelist,
    "whitelist where username"
);
delete!(
    /// Takes members out; attributes that leave with them go along.
    delete_members,
    "members where username"
);
delete!(
    /// Takes users off the block list.
    delete_blocks,
    "blocks where username"
);
delete!(
    /// Takes users off the mute list.
    delete_mutes,
    "mutes where username"
);
delete!(
    /// Takes custom attributes away.
    delete_attributes,
    "attributes where key"
);

/// A function that puts rows on a list, each with its number.
macro_rules! insert {
    ($(#[$doc:meta])* $function:ident, $table:literal) => {
        $(#[$doc])*
        async fn $function(connection: &mut PgConnection, key: &RoomKey, come: &[(&RoomKey, &str, i64)]) -> Result<(), Error> {
            if come.is_empty() {
                return Ok(());
            }
            let (names, seqs): (Vec<&str>, Vec<i64>) = come.iter().map(|(_, name, seq)| (*name, *seq)).unzip();
            sqlx::query!(
                "insert into " + $table + " (app, chatroom, username, seq)
                 select room.app, room.chatroom, given.* from room_counters room, unnest($3::text[], $4::bigint[]) given
                 where room.app = $1 and room.chatroom = $2",
                key.app,
                key.id(),
                &names as &[&str],
                &seqs,
            )
            .execute(connection)
            .await?;
            Ok(())
        }
    };
}

insert!(
    /// Lets members in.
    insert_members,
    "members"
);
insert!(
    /// Makes members admins.
    insert_admins,
    "admins"
);
insert!(
    /// Puts members on the whitelist.
    insert_whitelist,
    "whitelist"
);

/// Writes how many more or fewer members each stretch of the room has. Removes the stretches that are left without any.
async fn count_members(connection: &mut PgConnection, key: &RoomKey, changed: &Changed<'_>) -> Result<(), Error> {
    let (mut levels, mut buckets, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    for ((_, level, bucket), difference) in &changed.member_counts {
        levels.push(*level);
        buckets.push(*bucket);
        differences.push(*difference);
    }
    if differences.iter().any(|difference| *difference < 0) {
        sqlx::query!(
            "delete from member_counts counts using unnest($3::smallint[], $4::bigint[], $5::integer[]) now (level, bucket, more)
             where counts.app = $1 and counts.chatroom = $2 and counts.level = now.level and counts.bucket = now.bucket
               and counts.members + now.more = 0",
            key.app,
            key.id(),
            &levels,
            &buckets,
            &differences,
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!(
            "update member_counts counts set members = counts.members + now.more
             from unnest($3::smallint[], $4::bigint[], $5::integer[]) now (level, bucket, more)
             where counts.app = $1 and counts.chatroom = $2 and counts.level = now.level and counts.bucket = now.bucket
               and now.more < 0",
            key.app,
            key.id(),
            &levels,
            &buckets,
            &differences,
        )
        .execute(&mut *connection)
        .await?;
    }
    if differences.iter().any(|difference| *difference > 0) {
        sqlx::query!(
            "insert into member_counts (app, chatroom, level, bucket, members)
             select room.app, room.chatroom, now.*
             from room_counters room, unnest($3::smallint[], $4::bigint[], $5::integer[]) now (level, bucket, more)
             where room.app = $1 and room.chatroom = $2 and now.more > 0
             on conflict (app, chatroom, level, bucket) do update set members = member_counts.members + excluded.members",
            key.app,
            key.id(),
            &levels,
            &buckets,
            &differences,
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Writes what is counted and numbered in the room.
async fn write_counters(connection: &mut PgConnection, key: &RoomKey, room: &Room) -> Result<(), Error> {
    let counters = &room.counters;
    sqlx::query!(
        "update room_counters set maxusers = $3, member_count = $4, admin_count = $5, mute_count = $6, block_count = $7,
             last_seq = $8, last_event = $9, last_xact = $10, last_event_at = $11, next_end = $12
         where app = $1 and chatroom = $2",
        key.app,
        key.id(),
        counters.maxusers,
        counters.members,
        counters.admins,
        counters.mutes,
        counters.blocks,
        counters.last_seq,
        counters.last_event,
        counters.last_xact,
        counters.last_event_at,
        counters.next_end,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A function that begins restrictions, or writes them anew in their places.
macro_rules! restrict {
    ($(#[$doc:meta])* $function:ident, $table:literal) => {
        $(#[$doc])*
        async fn $function(
            connection: &mut PgConnection,
            key: &RoomKey,
            come: &[(&RoomKey, &str, &Restriction)],
        ) -> Result<(), Error> {
            if come.is_empty() {
                return Ok(());
            }
            let names: Vec<&str> = come.iter().map(|(_, name, _)| *name).collect();
            let columns = RestrictionColumns::of(come);
            sqlx::query!(
                "insert into " + $table + " (app, chatroom, username, seq, ends_at, since, actor, reason)
                 select room.app, room.chatroom, given.*
                 from room_counters room,
                      unnest($3::text[], $4::bigint[], $5::timestamptz[], $6::timestamptz[], $7::text[], $8::text[]) given
                 where room.app = $1 and room.chatroom = $2
                 on conflict (app, chatroom, username) do update
                     set ends_at = excluded.ends_at, since = excluded.since, actor = excluded.actor, reason = excluded.reason",
                key.app,
                key.id(),
                &names as &[&str],
                &columns.seqs,
                &columns.ends,
                &columns.sinces,
                &columns.actors as &[&str],
                &columns.reasons as &[Option<&str>],
            )
            .execute(connection)
            .await?;
            Ok(())
        }
    };
}

restrict!(
    /// Blocks users.
    write_blocks,
    "blocks"
);
restrict!(
    /// Mutes users.
    write_mutes,
    "mutes"
);

/// Sets custom attributes.
async fn write_attributes(
    connection: &mut PgConnection,
    key: &RoomKey,
    come: &[(&RoomKey, &str, &Attribute)],
) -> Result<(), Error> {
    if come.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = come.iter().map(|(_, name, _)| *name).collect();
    let columns = AttributeColumns::of(come);
    sqlx::query!(
        "insert into attributes (app, chatroom, key, value, setter, leaves_with)
         select room.app, room.chatroom, given.*
         from room_counters room, unnest($3::text[], $4::text[], $5::text[], $6::text[]) given
         where room.app = $1 and room.chatroom = $2
         on conflict (app, chatroom, key) do update
             set value = excluded.value, setter = excluded.setter, leaves_with = excluded.leaves_with",
        key.app,
        key.id(),
        &names as &[&str],
        &columns.values as &[&str],
        &columns.setters as &[&str],
        &columns.leaves_with as &[Option<&str>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes whose the room is, whether it is muted, and whether it is deleted.
async fn write_room(connection: &mut PgConnection, key: &RoomKey, room: &Room) -> Result<(), Error> {
    let deleted_by = room.deleted_by.as_ref();
    sqlx::query!(
        "update chatrooms set owner = $3, mute_all = $4, mute_ends_at = $5, mute_reason = $6, deleted_at = $7, deleted_by = $8,
             deleted_reason = $9
         where app = $1 and id = $2",
        key.app,
        key.id(),
        room.owner,
        room.mute_all,
        room.mute_ends_at,
        room.mute_reason.as_deref(),
        deleted_by.map(|_| room.now),
        deleted_by.map(|actor| &*actor.name),
        deleted_by.and_then(|actor| actor.reason.as_deref()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes what the room is called and says.
async fn write_texts(connection: &mut PgConnection, key: &RoomKey, texts: &Texts) -> Result<(), Error> {
    sqlx::query!(
        "update chatrooms set name = $3, description = $4, custom = $5, announcement = $6 where app = $1 and id = $2",
        key.app,
        key.id(),
        &*texts.name,
        &*texts.description,
        &*texts.custom,
        &*texts.announcement,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Looks up the next end where something has ended: what was taken away, or was lifted before, counts no more.
async fn find_next_end(connection: &mut PgConnection, key: &RoomKey) -> Result<(), Error> {
    sqlx::query!(
        "update room_counters set next_end = least(
             timestamptz '2117-01-01 00:00:00+08',
             (select mute_ends_at from chatrooms where app = $1 and id = $2),
             (select ends_at from mutes where app = $1 and chatroom = $2 order by ends_at limit 1),
             (select ends_at from blocks
              where app = $1 and chatroom = $2 and ends_at < '2117-01-01 00:00:00+08' order by ends_at limit 1)
         )
         where app = $1 and chatroom = $2",
        key.app,
        key.id(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
