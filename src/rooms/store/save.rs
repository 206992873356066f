//! Writes what is different in the end: one statement for each table, for any number of rooms and users.
//!
//! On a cluster it is one room at a time, whose statements in `node` each go to the one node that has it.

mod node;

use std::collections::BTreeMap;

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::db::Transaction;
use crate::error::Error;
use crate::events::log;
use crate::names::RoomKey;
use crate::rooms::state::{Attribute, Restriction, Room, State, Texts, UserInRoom};

/// Writes all that `after` has differently from `before`: always in one order, and such that no row refers to one that is
/// not there.
///
/// Leavers go before newcomers come, since a user may do both; what hangs on a membership comes after it.
pub async fn save(transaction: &mut Transaction, before: &State, after: &State) -> Result<(), Error> {
    let changed = Changed::between(before, after);
    if transaction.layout().is_distributed() {
        // It is one room: no more is loaded together.
        for (key, room) in &after.rooms {
            node::save(transaction, key, &changed, room.is_due).await?;
        }
    } else {
        write(transaction, &changed, after).await?;
    }
    let mut events = log::EventBatch::default();
    for (key, room) in &after.rooms {
        events.add(key, room.counters.last_xact, room.counters.last_event_at, &room.events);
    }
    if !events.is_empty() {
        events.write(transaction).await?;
    }
    Ok(())
}

/// Writes what has changed in rooms of one PostgreSQL.
async fn write(connection: &mut PgConnection, changed: &Changed<'_>, after: &State) -> Result<(), Error> {
    if changed.owners {
        // The former owner may leave, and the new one come, in the same batch.
        sqlx::query!("set constraints owner_is_member deferred").execute(&mut *connection).await?;
    }
    delete_admins(connection, &changed.admins.gone).await?;
    delete_whitelist(connection, &changed.whitelist.gone).await?;
    delete_members(connection, &changed.members.gone).await?;
    delete_blocks(connection, &changed.blocks.gone).await?;
    delete_mutes(connection, &changed.mutes.gone).await?;
    delete_attributes(connection, &changed.attributes_gone).await?;
    if changed.members.come.is_empty() {
        write_counters(connection, &changed.counters).await?;
    } else {
        let more = changed.member_counts.iter().filter(|(_, difference)| **difference > 0).collect::<Vec<_>>();
        seat(connection, &changed.members.come, &more, &changed.counters).await?;
    }
    count_leavers(connection, &changed.member_counts).await?;
    insert_admins(connection, &changed.admins.come).await?;
    insert_whitelist(connection, &changed.whitelist.come).await?;
    write_blocks(connection, &changed.blocks.come).await?;
    write_mutes(connection, &changed.mutes.come).await?;
    write_attributes(connection, &changed.attributes_come).await?;
    write_rooms(connection, &changed.rooms).await?;
    write_texts(connection, &changed.texts).await?;
    find_next_ends(connection, after).await?;
    if changed.owners {
        sqlx::query!("set constraints owner_is_member immediate").execute(connection).await?;
    }
    Ok(())
}

/// Whether there is nothing to write.
pub fn is_same(before: &State, after: &State) -> bool {
    before.rooms == after.rooms && !after.rooms.values().any(|room| room.is_due)
}

/// Rows of a list that go, and rows that come or are written anew.
struct Rows<'a, T> {
    gone: Vec<(&'a RoomKey, &'a str)>,
    come: Vec<(&'a RoomKey, &'a str, T)>,
}

impl<T> Default for Rows<'_, T> {
    fn default() -> Self {
        Self { gone: Vec::new(), come: Vec::new() }
    }
}

impl<'a, T: Copy + PartialEq> Rows<'a, T> {
    /// A row without anything to keep: another number is another row.
    fn note(&mut self, key: &'a RoomKey, name: &'a str, before: Option<T>, after: Option<T>) {
        if before == after {
            return;
        }
        self.gone.extend(before.map(|_| (key, name)));
        self.come.extend(after.map(|row| (key, name, row)));
    }
}

impl<'a> Rows<'a, &'a Restriction> {
    /// A row that may be written anew; with another number it is another row all the same.
    fn note_restriction(
        &mut self,
        key: &'a RoomKey,
        name: &'a str,
        before: Option<&'a Restriction>,
        after: Option<&'a Restriction>,
    ) {
        if before == after {
            return;
        }
        if before.is_some_and(|before| after.is_none_or(|after| after.seq != before.seq)) {
            self.gone.push((key, name));
        }
        self.come.extend(after.map(|after| (key, name, after)));
    }
}

/// What is different, table by table.
#[derive(Default)]
struct Changed<'a> {
    members: Rows<'a, i64>,
    admins: Rows<'a, i64>,
    whitelist: Rows<'a, i64>,
    blocks: Rows<'a, &'a Restriction>,
    mutes: Rows<'a, &'a Restriction>,
    attributes_gone: Vec<(&'a RoomKey, &'a str)>,
    attributes_come: Vec<(&'a RoomKey, &'a str, &'a Attribute)>,
    /// By room, level and bucket: how many more members there are.
    member_counts: BTreeMap<(&'a RoomKey, i16, i64), i32>,
    rooms: Vec<(&'a RoomKey, &'a Room)>,
    texts: Vec<(&'a RoomKey, &'a Texts)>,
    counters: Vec<(&'a RoomKey, &'a Room)>,
    owners: bool,
}

/// The levels of `member_counts`, and how many bits of seq each leaves out.
pub(crate) const LEVELS: [(i16, u32); 2] = [(0, 9), (1, 15)];

impl<'a> Changed<'a> {
    fn between(before: &'a State, after: &'a State) -> Self {
        let mut changed = Self::default();
        for (key, now) in &after.rooms {
            let Some(then) = before.rooms.get(key) else { continue };
            changed.note_people(key, then, now);
            changed.note_attributes(key, then, now);
            if (&then.owner, then.mute_all, then.mute_ends_at, &then.mute_reason, &then.deleted_by)
                != (&now.owner, now.mute_all, now.mute_ends_at, &now.mute_reason, &now.deleted_by)
            {
                changed.rooms.push((key, now));
                changed.owners |= then.owner != now.owner;
            }
            if then.texts != now.texts {
                changed.texts.extend(now.texts.as_ref().map(|texts| (key, texts)));
            }
            if then.counters != now.counters {
                changed.counters.push((key, now));
            }
        }
        changed.member_counts.retain(|_, difference| *difference != 0);
        changed
    }

    fn note_people(&mut self, key: &'a RoomKey, then: &'a Room, now: &'a Room) {
        let on_no_list = &*ON_NO_LIST;
        // In the order of names, so that rows of users are written in it.
        let people: BTreeMap<&String, &UserInRoom> = now.people.iter().collect();
        for (name, now) in people {
            let then = then.people.get(name).unwrap_or(on_no_list);
            self.members.note(key, name, then.member, now.member);
            self.admins.note(key, name, then.admin, now.admin);
            self.whitelist.note(key, name, then.whitelist, now.whitelist);
            // A user who comes anew has lost the former standing: that row goes with the former membership.
            self.blocks.note_restriction(key, name, then.block.as_ref(), now.block.as_ref());
            self.mutes.note_restriction(key, name, then.mute.as_ref(), now.mute.as_ref());
            if then.member != now.member {
                for (seq, difference) in [(then.member, -1), (now.member, 1)] {
                    let Some(seq) = seq else { continue };
                    for (level, shift) in LEVELS {
                        *self.member_counts.entry((key, level, seq >> shift)).or_default() += difference;
                    }
                }
            }
        }
    }

    fn note_attributes(&mut self, key: &'a RoomKey, then: &'a Room, now: &'a Room) {
        let (Some(then_attributes), Some(now_attributes)) = (&then.attributes, &now.attributes) else { return };
        self.attributes_gone
            .extend(then_attributes.keys().filter(|name| !now_attributes.contains_key(*name)).map(|name| (key, &**name)));
        for (name, attribute) in now_attributes {
            // One whose setter has left meanwhile went with the membership, and is written again.
            let setter_moved = || {
                let member = |room: &Room| attribute.setter.as_ref().and_then(|setter| Some(room.people.get(setter)?.member));
                attribute.leaves_with_setter && member(then) != member(now)
            };
            if then_attributes.get(name) != Some(attribute) || setter_moved() {
                self.attributes_come.push((key, name, attribute));
            }
        }
    }
}

static ON_NO_LIST: std::sync::LazyLock<UserInRoom> = std::sync::LazyLock::new(UserInRoom::default);

/// Columns of keys: app, chatroom, name.
fn keys<'a>(rows: impl Iterator<Item = (&'a RoomKey, &'a str)>) -> (Vec<i32>, Vec<&'a str>, Vec<&'a str>) {
    let (mut apps, mut chatrooms, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (key, name) in rows {
        apps.push(key.app);
        chatrooms.push(key.id());
        names.push(name);
    }
    (apps, chatrooms, names)
}

/// A function that deletes the named rows of a table, each found by its whole key.
macro_rules! delete {
    ($(#[$doc:meta])* $function:ident, $statement:literal) => {
        $(#[$doc])*
        async fn $function(connection: &mut PgConnection, gone: &[(&RoomKey, &str)]) -> Result<(), Error> {
            if gone.is_empty() {
                return Ok(());
            }
            let (apps, chatrooms, names) = keys(gone.iter().copied());
            sqlx::query!($statement, &apps, &chatrooms as &[&str], &names as &[&str]).execute(connection).await?;
            Ok(())
        }
    };
}

delete!(
    /// Takes standings as admin away.
    delete_admins,
    "delete from admins using unnest($1::integer[], $2::text[], $3::text[]) gone (app, chatroom, username)
     where admins.app = gone.app and admins.chatroom = gone.chatroom and admins.username = gone.username"
);
delete!(
    /// Takes users off whitelists.
    delete_whitelist,
    "delete from whitelist using unnest($1::integer[], $2::text[], $3::text[]) gone (app, chatroom, username)
     where whitelist.app = gone.app and whitelist.chatroom = gone.chatroom and whitelist.username = gone.username"
);
delete!(
    /// Takes members out; attributes that leave with them go along.
    delete_members,
    "delete from members using unnest($1::integer[], $2::text[], $3::text[]) gone (app, chatroom, username)
     where members.app = gone.app and members.chatroom = gone.chatroom and members.username = gone.username"
);
delete!(
    /// Takes users off block lists.
    delete_blocks,
    "delete from blocks using unnest($1::integer[], $2::text[], $3::text[]) gone (app, chatroom, username)
     where blocks.app = gone.app and blocks.chatroom = gone.chatroom and blocks.username = gone.username"
);
delete!(
    /// Takes users off mute lists.
    delete_mutes,
    "delete from mutes using unnest($1::integer[], $2::text[], $3::text[]) gone (app, chatroom, username)
     where mutes.app = gone.app and mutes.chatroom = gone.chatroom and mutes.username = gone.username"
);
delete!(
    /// Takes custom attributes away.
    delete_attributes,
    "delete from attributes using unnest($1::integer[], $2::text[], $3::text[]) gone (app, chatroom, key)
     where attributes.app = gone.app and attributes.chatroom = gone.chatroom and attributes.key = gone.key"
);

/// A function that puts rows on a list, each with its number.
macro_rules! insert {
    ($(#[$doc:meta])* $function:ident, $statement:literal) => {
        $(#[$doc])*
        async fn $function(connection: &mut PgConnection, come: &[(&RoomKey, &str, i64)]) -> Result<(), Error> {
            if come.is_empty() {
                return Ok(());
            }
            let (apps, chatrooms, names) = keys(come.iter().map(|(key, name, _)| (*key, *name)));
            let seqs: Vec<i64> = come.iter().map(|(.., seq)| *seq).collect();
            sqlx::query!($statement, &apps, &chatrooms as &[&str], &names as &[&str], &seqs).execute(connection).await?;
            Ok(())
        }
    };
}

insert!(
    /// Makes members admins.
    insert_admins,
    "insert into admins (app, chatroom, username, seq)
     select * from unnest($1::integer[], $2::text[], $3::text[], $4::bigint[])"
);
insert!(
    /// Puts members on whitelists.
    insert_whitelist,
    "insert into whitelist (app, chatroom, username, seq)
     select * from unnest($1::integer[], $2::text[], $3::text[], $4::bigint[])"
);

/// A room's stretch of numbers, and how many more members it has.
type More<'a> = (&'a (&'a RoomKey, i16, i64), &'a i32);

/// Columns of counts: app, chatroom, level, bucket, members.
#[expect(clippy::type_complexity, reason = "columns, as the statements take them")]
fn count_columns<'a>(rows: &[More<'a>]) -> (Vec<i32>, Vec<&'a str>, Vec<i16>, Vec<i64>, Vec<i32>) {
    (
        rows.iter().map(|((key, ..), _)| key.app).collect(),
        rows.iter().map(|((key, ..), _)| key.id()).collect(),
        rows.iter().map(|((_, level, _), _)| *level).collect(),
        rows.iter().map(|((.., bucket), _)| *bucket).collect(),
        rows.iter().map(|(_, difference)| difference.abs()).collect(),
    )
}

/// Lets members in, and counts them: the one statement of most changes, so that it is one round trip. Nothing in it hangs
/// on the order of its parts.
async fn seat(
    connection: &mut PgConnection,
    come: &[(&RoomKey, &str, i64)],
    more: &[More<'_>],
    rooms: &[(&RoomKey, &Room)],
) -> Result<(), Error> {
    let (member_apps, member_rooms, names) = keys(come.iter().map(|(key, name, _)| (*key, *name)));
    let seqs: Vec<i64> = come.iter().map(|(.., seq)| *seq).collect();
    let (count_apps, count_rooms, levels, buckets, members) = count_columns(more);
    let counters = CounterColumns::of(rooms);
    sqlx::query!(
        "with newcomers as (
             insert into members (app, chatroom, username, seq)
             select * from unnest($13::integer[], $14::text[], $15::text[], $16::bigint[])
         ),
         counts as (
             insert into member_counts (app, chatroom, level, bucket, members)
             select * from unnest($17::integer[], $18::text[], $19::smallint[], $20::bigint[], $21::integer[])
             on conflict (app, chatroom, level, bucket) do update set members = member_counts.members + excluded.members
         )
         update room_counters set maxusers = now.maxusers, member_count = now.members, admin_count = now.admins,
             mute_count = now.mutes, block_count = now.blocks, last_seq = now.seq, last_event = now.event,
             last_xact = now.xact, last_event_at = now.happened_at, next_end = now.next_end
         from unnest($1::integer[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::integer[],
                     $8::bigint[], $9::bigint[], $10::bigint[], $11::timestamptz[], $12::timestamptz[])
             now (app, chatroom, maxusers, members, admins, mutes, blocks, seq, event, xact, happened_at, next_end)
         where room_counters.app = now.app and room_counters.chatroom = now.chatroom",
        &counters.apps,
        &counters.chatrooms as &[&str],
        &counters.maxusers,
        &counters.members,
        &counters.admins,
        &counters.mutes,
        &counters.blocks,
        &counters.seqs,
        &counters.events,
        &counters.xacts,
        &counters.event_moments,
        &counters.next_ends,
        &member_apps,
        &member_rooms as &[&str],
        &names as &[&str],
        &seqs,
        &count_apps,
        &count_rooms as &[&str],
        &levels,
        &buckets,
        &members,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes how many fewer members each stretch of a room has. Removes the stretches that are left without any.
async fn count_leavers(connection: &mut PgConnection, differences: &BTreeMap<(&RoomKey, i16, i64), i32>) -> Result<(), Error> {
    let fewer: Vec<_> = differences.iter().filter(|(_, difference)| **difference < 0).collect();
    if fewer.is_empty() {
        return Ok(());
    }
    let (apps, chatrooms, levels, buckets, members) = count_columns(&fewer);
    sqlx::query!(
        "with fewer as (
             select * from unnest($1::integer[], $2::text[], $3::smallint[], $4::bigint[], $5::integer[])
                 fewer (app, chatroom, level, bucket, members)
         ),
         emptied as (
             delete from member_counts counts using fewer
             where counts.app = fewer.app and counts.chatroom = fewer.chatroom and counts.level = fewer.level
               and counts.bucket = fewer.bucket and counts.members = fewer.members
         )
         update member_counts counts set members = counts.members - fewer.members from fewer
         where counts.app = fewer.app and counts.chatroom = fewer.chatroom and counts.level = fewer.level
           and counts.bucket = fewer.bucket and counts.members <> fewer.members",
        &apps,
        &chatrooms as &[&str],
        &levels,
        &buckets,
        &members,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Restrictions but for whom they are on, column by column.
struct RestrictionColumns<'a> {
    seqs: Vec<i64>,
    ends: Vec<OffsetDateTime>,
    sinces: Vec<OffsetDateTime>,
    actors: Vec<&'a str>,
    reasons: Vec<Option<&'a str>>,
}

impl<'a> RestrictionColumns<'a> {
    fn of(come: &[(&'a RoomKey, &'a str, &'a Restriction)]) -> Self {
        Self {
            seqs: come.iter().map(|(.., row)| row.seq).collect(),
            ends: come.iter().map(|(.., row)| row.ends_at).collect(),
            sinces: come.iter().map(|(.., row)| row.since).collect(),
            actors: come.iter().map(|(.., row)| &*row.actor.name).collect(),
            reasons: come.iter().map(|(.., row)| row.actor.reason.as_deref()).collect(),
        }
    }
}

/// A function that begins restrictions, or writes them anew in their places.
macro_rules! restrict {
    ($(#[$doc:meta])* $function:ident, $statement:literal) => {
        $(#[$doc])*
        async fn $function(connection: &mut PgConnection, come: &[(&RoomKey, &str, &Restriction)]) -> Result<(), Error> {
            if come.is_empty() {
                return Ok(());
            }
            let (apps, chatrooms, names) = keys(come.iter().map(|(key, name, _)| (*key, *name)));
            let columns = RestrictionColumns::of(come);
            sqlx::query!(
                $statement,
                &apps,
                &chatrooms as &[&str],
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
    "insert into blocks (app, chatroom, username, seq, ends_at, since, actor, reason)
     select * from unnest($1::integer[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[], $6::timestamptz[],
                          $7::text[], $8::text[])
     on conflict (app, chatroom, username) do update
         set ends_at = excluded.ends_at, since = excluded.since, actor = excluded.actor, reason = excluded.reason"
);
restrict!(
    /// Mutes users.
    write_mutes,
    "insert into mutes (app, chatroom, username, seq, ends_at, since, actor, reason)
     select * from unnest($1::integer[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[], $6::timestamptz[],
                          $7::text[], $8::text[])
     on conflict (app, chatroom, username) do update
         set ends_at = excluded.ends_at, since = excluded.since, actor = excluded.actor, reason = excluded.reason"
);

/// Custom attributes but for their keys, column by column.
struct AttributeColumns<'a> {
    values: Vec<&'a str>,
    /// Empty where the setter was deleted: no user has the empty name.
    setters: Vec<&'a str>,
    leaves_with: Vec<Option<&'a str>>,
}

impl<'a> AttributeColumns<'a> {
    fn of(come: &[(&'a RoomKey, &'a str, &'a Attribute)]) -> Self {
        let setter = |attribute: &'a Attribute| attribute.setter.as_deref();
        Self {
            values: come.iter().map(|(.., attribute)| &*attribute.value).collect(),
            setters: come.iter().map(|(.., attribute)| setter(attribute).unwrap_or_default()).collect(),
            leaves_with: come.iter().map(|(.., attribute)| setter(attribute).filter(|_| attribute.leaves_with_setter)).collect(),
        }
    }
}

/// Sets custom attributes.
async fn write_attributes(connection: &mut PgConnection, come: &[(&RoomKey, &str, &Attribute)]) -> Result<(), Error> {
    if come.is_empty() {
        return Ok(());
    }
    let (apps, chatrooms, names) = keys(come.iter().map(|(key, name, _)| (*key, *name)));
    let columns = AttributeColumns::of(come);
    sqlx::query!(
        "insert into attributes (app, chatroom, key, value, setter, leaves_with)
         select * from unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
         on conflict (app, chatroom, key) do update
             set value = excluded.value, setter = excluded.setter, leaves_with = excluded.leaves_with",
        &apps,
        &chatrooms as &[&str],
        &names as &[&str],
        &columns.values as &[&str],
        &columns.setters as &[&str],
        &columns.leaves_with as &[Option<&str>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes whose rooms are, whether they are muted, and which are deleted.
async fn write_rooms(connection: &mut PgConnection, rooms: &[(&RoomKey, &Room)]) -> Result<(), Error> {
    if rooms.is_empty() {
        return Ok(());
    }
    let (apps, chatrooms, owners) = keys(rooms.iter().map(|(key, room)| (*key, &*room.owner)));
    let mutes: Vec<bool> = rooms.iter().map(|(_, room)| room.mute_all).collect();
    let ends: Vec<OffsetDateTime> = rooms.iter().map(|(_, room)| room.mute_ends_at).collect();
    let reasons: Vec<Option<&str>> = rooms.iter().map(|(_, room)| room.mute_reason.as_deref()).collect();
    let deleted_by: Vec<Option<&str>> =
        rooms.iter().map(|(_, room)| room.deleted_by.as_ref().map(|actor| &*actor.name)).collect();
    let deleted_reason: Vec<Option<&str>> =
        rooms.iter().map(|(_, room)| room.deleted_by.as_ref().and_then(|actor| actor.reason.as_deref())).collect();
    sqlx::query!(
        "update chatrooms set owner = now.owner, mute_all = now.mute_all, mute_ends_at = now.mute_ends_at,
             mute_reason = now.mute_reason,
             deleted_at = case when now.deleted_by is not null then statement_timestamp() end,
             deleted_by = now.deleted_by, deleted_reason = now.deleted_reason
         from unnest($1::integer[], $2::text[], $3::text[], $4::boolean[], $5::timestamptz[], $6::text[], $7::text[], $8::text[])
             now (app, chatroom, owner, mute_all, mute_ends_at, mute_reason, deleted_by, deleted_reason)
         where chatrooms.app = now.app and chatrooms.id = now.chatroom",
        &apps,
        &chatrooms as &[&str],
        &owners as &[&str],
        &mutes,
        &ends,
        &reasons as &[Option<&str>],
        &deleted_by as &[Option<&str>],
        &deleted_reason as &[Option<&str>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes what rooms are called and say.
async fn write_texts(connection: &mut PgConnection, rooms: &[(&RoomKey, &Texts)]) -> Result<(), Error> {
    if rooms.is_empty() {
        return Ok(());
    }
    let (apps, chatrooms, names) = keys(rooms.iter().map(|(key, texts)| (*key, &*texts.name)));
    let descriptions: Vec<&str> = rooms.iter().map(|(_, texts)| &*texts.description).collect();
    let customs: Vec<&str> = rooms.iter().map(|(_, texts)| &*texts.custom).collect();
    let announcements: Vec<&str> = rooms.iter().map(|(_, texts)| &*texts.announcement).collect();
    sqlx::query!(
        "update chatrooms set name = now.name, description = now.description, custom = now.custom,
             announcement = now.announcement
         from unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
             now (app, chatroom, name, description, custom, announcement)
         where chatrooms.app = now.app and chatrooms.id = now.chatroom",
        &apps,
        &chatrooms as &[&str],
        &names as &[&str],
        &descriptions as &[&str],
        &customs as &[&str],
        &announcements as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What is counted and numbered, column by column.
struct CounterColumns<'a> {
    apps: Vec<i32>,
    chatrooms: Vec<&'a str>,
    maxusers: Vec<i32>,
    members: Vec<i32>,
    admins: Vec<i32>,
    mutes: Vec<i32>,
    blocks: Vec<i32>,
    seqs: Vec<i64>,
    events: Vec<i64>,
    xacts: Vec<i64>,
    event_moments: Vec<OffsetDateTime>,
    next_ends: Vec<OffsetDateTime>,
}

impl<'a> CounterColumns<'a> {
    fn of(rooms: &[(&'a RoomKey, &'a Room)]) -> Self {
        let integers = |of: fn(&Room) -> i32| -> Vec<i32> { rooms.iter().map(|(_, room)| of(room)).collect() };
        let numbers = |of: fn(&Room) -> i64| -> Vec<i64> { rooms.iter().map(|(_, room)| of(room)).collect() };
        let moments = |of: fn(&Room) -> OffsetDateTime| rooms.iter().map(|(_, room)| of(room)).collect();
        Self {
            apps: rooms.iter().map(|(key, _)| key.app).collect(),
            chatrooms: rooms.iter().map(|(key, _)| key.id()).collect(),
            maxusers: integers(|room| room.counters.maxusers),
            members: integers(|room| room.counters.members),
            admins: integers(|room| room.counters.admins),
            mutes: integers(|room| room.counters.mutes),
            blocks: integers(|room| room.counters.blocks),
            seqs: numbers(|room| room.counters.last_seq),
            events: numbers(|room| room.counters.last_event),
            xacts: numbers(|room| room.counters.last_xact),
            event_moments: moments(|room| room.counters.last_event_at),
            next_ends: moments(|room| room.counters.next_end),
        }
    }
}

/// Writes what is counted and numbered in rooms that no user has joined.
async fn write_counters(connection: &mut PgConnection, rooms: &[(&RoomKey, &Room)]) -> Result<(), Error> {
    if rooms.is_empty() {
        return Ok(());
    }
    let counters = CounterColumns::of(rooms);
    sqlx::query!(
        "update room_counters set maxusers = now.maxusers, member_count = now.members, admin_count = now.admins,
             mute_count = now.mutes, block_count = now.blocks, last_seq = now.seq, last_event = now.event,
             last_xact = now.xact, last_event_at = now.happened_at, next_end = now.next_end
         from unnest($1::integer[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::integer[],
                     $8::bigint[], $9::bigint[], $10::bigint[], $11::timestamptz[], $12::timestamptz[])
             now (app, chatroom, maxusers, members, admins, mutes, blocks, seq, event, xact, happened_at, next_end)
         where room_counters.app = now.app and room_counters.chatroom = now.chatroom",
        &counters.apps,
        &counters.chatrooms as &[&str],
        &counters.maxusers,
        &counters.members,
        &counters.admins,
        &counters.mutes,
        &counters.blocks,
        &counters.seqs,
        &counters.events,
        &counters.xacts,
        &counters.event_moments,
        &counters.next_ends,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Looks up the next end in rooms where something has ended: what was taken away, or was lifted before, counts no more.
async fn find_next_ends(connection: &mut PgConnection, after: &State) -> Result<(), Error> {
    let due: Vec<&RoomKey> = after.rooms.iter().filter(|(_, room)| room.is_due).map(|(key, _)| key).collect();
    if due.is_empty() {
        return Ok(());
    }
    let (apps, chatrooms): (Vec<i32>, Vec<&str>) = due.iter().map(|key| (key.app, key.id())).unzip();
    sqlx::query!(
        "update room_counters set next_end = least(
             timestamptz '2117-01-01 00:00:00+08',
             (select mute_ends_at from chatrooms where chatrooms.app = due.app and chatrooms.id = due.chatroom),
             (select ends_at from mutes where mutes.app = due.app and mutes.chatroom = due.chatroom order by ends_at limit 1),
             (select ends_at from blocks
              where blocks.app = due.app and blocks.chatroom = due.chatroom and ends_at < '2117-01-01 00:00:00+08'
              order by ends_at limit 1)
         )
         from unnest($1::integer[], $2::text[]) due (app, chatroom)
         where room_counters.app = due.app and room_counters.chatroom = due.chatroom",
        &apps,
        &chatrooms as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}
