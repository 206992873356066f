//! Locks rooms, and loads what decisions about them need.
//!
//! On a cluster it is one room at a time, whose statements in `node` each go to the one node that has it.

mod node;

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::db::Transaction;
use crate::error::Error;
use crate::events::log::Actor;
use crate::names::RoomKey;
use crate::rooms::state::{Account, Attribute, Counters, Ended, Facts, Needs, Restriction, Room, State, Texts, UserInRoom};

/// What to do about rooms that another transaction holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Leave them out.
    Skip,
    /// Wait for them, up to `lock_timeout`.
    Wait,
}

/// Locks those of `keys` that exist, in the order given, which must be theirs, and reads what is counted in each.
///
/// `no key update` and not `update`: rows that refer to the room may be written meanwhile. A transaction that waits here
/// reads this row as it is after the wait, but no other: all that is in other rows is for the next statement.
pub async fn lock(transaction: &mut Transaction, keys: &[RoomKey], held: Held) -> Result<Locks, Error> {
    if transaction.layout().is_distributed() {
        let locked = node::lock(transaction, one(keys)?, held).await?;
        return Ok(locked.into_iter().map(|row| (row.key(), row.lock())).collect());
    }
    let (apps, chatrooms) = columns(keys);
    macro_rules! lock {
        ($statement:literal) => {
            sqlx::query_as!(Locked, $statement, &apps, &chatrooms as &[&str]).fetch_all(&mut **transaction).await?
        };
    }
    // Row by row, in the order given: a plan that joins the tables as a whole would lock in an order of its own.
    let locked = match held {
        Held::Skip => lock!(
            r#"select locked.*, next_end <= statement_timestamp() as "is_due!"
               from unnest($1::integer[], $2::text[]) given (app, chatroom)
               cross join lateral (
                   select app, chatroom, maxusers, member_count, admin_count, mute_count, block_count, last_seq, last_event,
                          last_xact, last_event_at, next_end
                   from room_counters
                   where room_counters.app = given.app and room_counters.chatroom = given.chatroom
                   for no key update skip locked
               ) locked"#
        ),
        Held::Wait => lock!(
            r#"select locked.*, next_end <= statement_timestamp() as "is_due!"
               from unnest($1::integer[], $2::text[]) given (app, chatroom)
               cross join lateral (
                   select app, chatroom, maxusers, member_count, admin_count, mute_count, block_count, last_seq, last_event,
                          last_xact, last_event_at, next_end
                   from room_counters
                   where room_counters.app = given.app and room_counters.chatroom = given.chatroom
                   for no key update
               ) locked"#
        ),
    };
    Ok(locked.into_iter().map(|row| (row.key(), row.lock())).collect())
}

/// The rooms that are locked.
pub type Locks = HashMap<RoomKey, Lock>;

/// What the locked row of a room says.
pub struct Lock {
    counters: Counters,
    /// Whether something in the room has ended, or may have.
    is_due: bool,
}

/// A room's row of counters.
struct Locked {
    app: i32,
    chatroom: String,
    maxusers: i32,
    member_count: i32,
    admin_count: i32,
    mute_count: i32,
    block_count: i32,
    last_seq: i64,
    last_event: i64,
    last_xact: i64,
    last_event_at: OffsetDateTime,
    next_end: OffsetDateTime,
    is_due: bool,
}

impl Locked {
    fn key(&self) -> RoomKey {
        RoomKey::from_row(self.app, self.chatroom.clone())
    }

    fn lock(&self) -> Lock {
        let counters = Counters {
            maxusers: self.maxusers,
            members: self.member_count,
            admins: self.admin_count,
            mutes: self.mute_count,
            blocks: self.block_count,
            last_seq: self.last_seq,
            last_event: self.last_event,
            last_xact: self.last_xact,
            last_event_at: self.last_event_at,
            next_end: self.next_end,
        };
        Lock { counters, is_due: self.is_due }
    }
}

/// The only room of a batch on a cluster. There could be more only if the layout had been found out after they were taken.
fn one<K>(keys: &[K]) -> Result<&K, Error> {
    match keys {
        [key] => Ok(key),
        _ => Err(Error::Unavailable("the database is a cluster, which was not known until now".into())),
    }
}

fn columns(keys: &[RoomKey]) -> (Vec<i32>, Vec<&str>) {
    (keys.iter().map(|key| key.app).collect(), keys.iter().map(RoomKey::id).collect())
}

/// What was loaded, and which of the rooms exist but are held by another transaction.
pub struct Loaded {
    /// The rooms that are ours.
    pub state: State,
    /// The others that exist.
    pub held: Vec<RoomKey>,
}

/// Loads what was asked for of rooms, of which those in `locked` are ours. The rest is looked up only to tell whether they
/// exist.
pub async fn load(transaction: &mut Transaction, needs: &BTreeMap<RoomKey, Needs>, locked: &Locks) -> Result<Loaded, Error> {
    let keys: Vec<&RoomKey> = needs.keys().collect();
    let rows = if transaction.layout().is_distributed() {
        let key = one(&keys)?;
        node::facts(transaction, key, &needs[*key], locked.get(*key)).await?
    } else {
        facts(transaction, &keys, needs, locked).await?
    };
    let mut loaded = assemble(&keys, needs, locked, rows);
    let ours: Vec<(&RoomKey, &Needs)> = needs.iter().filter(|(key, _)| loaded.state.rooms.contains_key(*key)).collect();
    if ours.iter().any(|(_, needs)| needs.texts) {
        texts(transaction, &ours, &mut loaded.state).await?;
    }
    if ours.iter().any(|(_, needs)| needs.attributes) {
        attributes(transaction, &ours, &mut loaded.state).await?;
    }
    for (key, needs) in &ours {
        count_if_near_a_limit(transaction, key, needs, &mut loaded.state).await?;
    }
    if loaded.state.users.values().any(|user| user.rooms.is_some()) {
        rooms_of_users(transaction, &mut loaded.state).await?;
    }
    Ok(loaded)
}

/// One row of the great look-up: about a room, or about a user in it.
struct Fact {
    index: i32,
    username: Option<String>,
    member: Option<i64>,
    admin: Option<i64>,
    whitelist: Option<i64>,
    block: Option<i64>,
    blocked_until: Option<OffsetDateTime>,
    blocked_since: Option<OffsetDateTime>,
    block_actor: Option<String>,
    block_reason: Option<String>,
    mute: Option<i64>,
    muted_until: Option<OffsetDateTime>,
    muted_since: Option<OffsetDateTime>,
    mute_actor: Option<String>,
    mute_reason: Option<String>,
    uuid: Option<uuid::Uuid>,
    is_deleted: Option<bool>,
    owner: Option<String>,
    mute_all: Option<bool>,
    mute_ends_at: Option<OffsetDateTime>,
    now: OffsetDateTime,
    xact: i64,
}

/// Looks everything up in one statement: the rooms, the users in them, what has ended.
///
/// Each look-up is a `limit 1` of its own: PostgreSQL plans the statement once, perhaps when there are few rooms, and would
/// read all of them for each batch.
///
/// Users come in the order of their names, and are locked in it. Each list is asked by itself, one name at a time (`limit 1`
/// keeps the planner from reading a whole room instead), and only if its bit of `facts` is set.
#[expect(clippy::too_many_lines, reason = "one statement")]
async fn facts(
    connection: &mut PgConnection,
    keys: &[&RoomKey],
    needs: &BTreeMap<RoomKey, Needs>,
    locked: &Locks,
) -> Result<Vec<Fact>, Error> {
    let apps: Vec<i32> = keys.iter().map(|key| key.app).collect();
    let chatrooms: Vec<&str> = keys.iter().map(|key| key.id()).collect();
    let ended: Vec<i32> = needs.iter().map(|(key, needs)| ended(needs, locked.get(key))).collect();
    let mut wanted: Vec<(i32, &str, i32, &str, i16)> = Vec::new();
    for (index, (key, needs)) in (0_i32..).zip(needs) {
        if locked.contains_key(key) {
            wanted.extend(needs.users.iter().map(|(name, facts)| (key.app, name.as_str(), index, key.id(), facts.0)));
        }
    }
    wanted.sort_unstable();
    let indexes: Vec<i32> = wanted.iter().map(|row| row.2).collect();
    let user_apps: Vec<i32> = wanted.iter().map(|row| row.0).collect();
    let user_rooms: Vec<&str> = wanted.iter().map(|row| row.3).collect();
    let names: Vec<&str> = wanted.iter().map(|row| row.1).collect();
    let bits: Vec<i16> = wanted.iter().map(|row| row.4).collect();
    Ok(sqlx::query_as!(
        Fact,
        r#"
        with clock as (
            select date_trunc('milliseconds', statement_timestamp()) as now,
                   pg_current_xact_id()::text::bigint + xact_offset as xact
            from event_clock
        ),
        room as (
            select index, app, chatroom, ended from unnest($1::integer[], $2::text[], $3::integer[])
                with ordinality given (app, chatroom, ended, index)
        )
        select index::integer - 1 as "index!", null::text as username, null::bigint as member, null::bigint as admin,
               null::bigint as whitelist, null::bigint as block, null::timestamptz as blocked_until,
               null::timestamptz as blocked_since, null::text as block_actor, null::text as block_reason,
               null::bigint as mute, null::timestamptz as muted_until, null::timestamptz as muted_since,
               null::text as mute_actor, known.mute_reason, null::uuid as uuid, null::boolean as is_deleted,
               known.owner as owner, known.mute_all as mute_all, known.mute_ends_at as mute_ends_at,
               clock.now as "now!", clock.xact as "xact!"
        from clock, room
        cross join lateral (
            select owner, mute_all, mute_ends_at, mute_reason from chatrooms
            where chatrooms.app = room.app and chatrooms.id = room.chatroom and deleted_at is null limit 1
        ) known
        union all
        select index::integer - 1, over.username, null, null, null, null, null, null, null, null,
               over.seq, over.ends_at, over.since, over.actor, over.reason,
               null, null, null, null, null, clock.now, clock.xact
        from clock, room
        cross join lateral (
            select username, seq, ends_at, since, actor, reason from mutes
            where mutes.app = room.app and mutes.chatroom = room.chatroom and ends_at <= statement_timestamp()
            order by ends_at limit room.ended
        ) over
        union all
        select index::integer - 1, over.username, null, null, null,
               over.seq, over.ends_at, over.since, over.actor, over.reason, null, null, null, null, null,
               null, null, null, null, null, clock.now, clock.xact
        from clock, room
        cross join lateral (
            select username, seq, ends_at, since, actor, reason from blocks
            where blocks.app = room.app and blocks.chatroom = room.chatroom
              and ends_at <= statement_timestamp() and ends_at < '2117-01-01 00:00:00+08'
            order by ends_at limit room.ended
        ) over
        union all
        select index, given.username, member.seq, admin.seq, white.seq,
               block.seq, block.ends_at, block.since, block.actor, block.reason,
               mute.seq, mute.ends_at, mute.since, mute.actor, mute.reason,
               coalesce(counted.uuid, held.uuid, known.uuid),
               coalesce(counted.is_deleted, held.is_deleted, known.is_deleted), null, null, null, clock.now, clock.xact
        from clock,
             unnest($4::integer[], $5::integer[], $6::text[], $7::text[], $8::smallint[])
                 given (index, app, chatroom, username, facts)
        left join lateral (
            select uuid, deleted_at is not null as is_deleted from users
            where given.facts & 128 <> 0 and users.app = given.app and users.username = given.username
            for no key update
        ) counted on true
        left join lateral (
            select uuid, deleted_at is not null as is_deleted from users
            where given.facts & 130 = 2 and users.app = given.app and users.username = given.username
            for key share
        ) held on true
        left join lateral (
            select uuid, deleted_at is not null as is_deleted from users
            where given.facts & 131 = 1 and users.app = given.app and users.username = given.username limit 1
        ) known on true
        left join lateral (
            select seq from members
            where given.facts & 4 <> 0 and members.app = given.app and members.chatroom = given.chatroom
              and members.username = given.username limit 1
        ) member on true
        left join lateral (
            select seq from admins
            where given.facts & 8 <> 0 and admins.app = given.app and admins.chatroom = given.chatroom
              and admins.username = given.username limit 1
        ) admin on true
        left join lateral (
            select seq from whitelist
            where given.facts & 16 <> 0 and whitelist.app = given.app and whitelist.chatroom = given.chatroom
              and whitelist.username = given.username limit 1
        ) white on true
        left join lateral (
            select seq, ends_at, since, actor, reason from blocks
            where given.facts & 32 <> 0 and blocks.app = given.app and blocks.chatroom = given.chatroom
              and blocks.username = given.username limit 1
        ) block on true
        left join lateral (
            select seq, ends_at, since, actor, reason from mutes
            where given.facts & 64 <> 0 and mutes.app = given.app and mutes.chatroom = given.chatroom
              and mutes.username = given.username limit 1
        ) mute on true
        "#,
        &apps,
        &chatrooms as &[&str],
        &ended,
        &indexes,
        &user_apps,
        &user_rooms as &[&str],
        &names as &[&str],
        &bits,
    )
    .fetch_all(connection)
    .await?)
}

/// How many ended rows of a room are asked for.
fn ended(needs: &Needs, lock: Option<&Lock>) -> i32 {
    match lock {
        Some(Lock { is_due: true, .. }) => i32::try_from(needs.ended).unwrap_or(i32::MAX),
        _ => 0,
    }
}

fn assemble(keys: &[&RoomKey], needs: &BTreeMap<RoomKey, Needs>, locked: &Locks, rows: Vec<Fact>) -> Loaded {
    let mut loaded = Loaded { state: State::default(), held: Vec::new() };
    // Rooms come first.
    for row in rows {
        let Some(&key) = usize::try_from(row.index).ok().and_then(|index| keys.get(index)) else { continue };
        match (row.username.clone(), locked.get(key)) {
            (None, None) => loaded.held.push(key.clone()),
            (None, Some(lock)) => {
                loaded.state.rooms.insert(key.clone(), row.room(lock));
            }
            (Some(name), _) => {
                let Some(room) = loaded.state.rooms.get_mut(key) else { continue };
                let facts = needs[key].users.get(&name).copied().unwrap_or_default();
                if (facts.0 & (Facts::REGISTERED | Facts::HELD | Facts::ROOMS).0) != 0 {
                    let user = loaded.state.users.entry((key.app, name.clone())).or_default();
                    user.is_loaded = true;
                    user.account = user.account.or_else(|| row.account());
                    user.rooms = user.rooms.or_else(|| facts.contains(Facts::ROOMS).then_some(0));
                }
                row.add_to(room.people.entry(name).or_default(), facts);
            }
        }
    }
    loaded
}

impl Fact {
    fn room(self, lock: &Lock) -> Room {
        Room {
            now: self.now,
            xact: self.xact,
            owner: self.owner.unwrap_or_default(),
            mute_all: self.mute_all.unwrap_or_default(),
            mute_ends_at: self.mute_ends_at.unwrap_or(self.now),
            mute_reason: self.mute_reason,
            deleted_by: None,
            counters: lock.counters,
            is_due: lock.is_due,
            mutes_in_force: None,
            blocks_in_force: None,
            people: HashMap::new(),
            texts: None,
            attributes: None,
            events: Vec::new(),
            ended: Ended::default(),
        }
    }

    fn account(&self) -> Option<Account> {
        Some(Account { uuid: self.uuid?, is_deleted: self.is_deleted? })
    }

    /// A user may come twice: as one who was asked about, and as one whose mute has ended.
    fn add_to(self, user: &mut UserInRoom, facts: Facts) {
        let block = || {
            let actor = Actor::kept(self.block_actor, self.block_reason);
            Some(Restriction { seq: self.block?, ends_at: self.blocked_until?, since: self.blocked_since?, actor })
        };
        let mute = || {
            let actor = Actor::kept(self.mute_actor, self.mute_reason);
            Some(Restriction { seq: self.mute?, ends_at: self.muted_until?, since: self.muted_since?, actor })
        };
        user.loaded |= facts;
        user.member = user.member.or(self.member);
        user.admin = user.admin.or(self.admin);
        user.whitelist = user.whitelist.or(self.whitelist);
        user.block = user.block.take().or_else(block);
        user.mute = user.mute.take().or_else(mute);
    }
}

/// Loads what rooms are called and say.
async fn texts(transaction: &mut Transaction, ours: &[(&RoomKey, &Needs)], state: &mut State) -> Result<(), Error> {
    let keys: Vec<RoomKey> = ours.iter().filter(|(_, needs)| needs.texts).map(|(key, _)| (*key).clone()).collect();
    if transaction.layout().is_distributed() {
        let key = one(&keys)?;
        let texts = node::texts(transaction, key).await?;
        state.rooms.get_mut(key).into_iter().for_each(|room| room.texts = Some(texts.clone()));
        return Ok(());
    }
    let (apps, chatrooms) = columns(&keys);
    let rows = sqlx::query!(
        "select texts.* from unnest($1::integer[], $2::text[]) given (app, chatroom)
         cross join lateral (
             select chatrooms.app, id, name, description, custom, announcement from chatrooms
             where chatrooms.app = given.app and chatrooms.id = given.chatroom limit 1
         ) texts",
        &apps,
        &chatrooms as &[&str],
    )
    .fetch_all(&mut **transaction)
    .await?;
    for row in rows {
        let texts = Texts { name: row.name, description: row.description, custom: row.custom, announcement: row.announcement };
        if let Some(room) = state.rooms.get_mut(&RoomKey::from_row(row.app, row.id)) {
            room.texts = Some(texts);
        }
    }
    Ok(())
}

/// A custom attribute as its table has it.
struct AttributeRow {
    app: i32,
    chatroom: String,
    key: String,
    value: String,
    setter: String,
    leaves_with_setter: bool,
}

/// Loads custom attributes, at most a hundred of each room.
async fn attributes(transaction: &mut Transaction, ours: &[(&RoomKey, &Needs)], state: &mut State) -> Result<(), Error> {
    let keys: Vec<RoomKey> = ours.iter().filter(|(_, needs)| needs.attributes).map(|(key, _)| (*key).clone()).collect();
    let rows = if transaction.layout().is_distributed() {
        node::attributes(transaction, one(&keys)?).await?
    } else {
        let (apps, chatrooms) = columns(&keys);
        sqlx::query_as!(
            AttributeRow,
            r#"select app as "app!", chatroom as "chatroom!", key, value, setter, leaves_with is not null as "leaves_with_setter!"
               from unnest($1::integer[], $2::text[]) given (app, chatroom) join attributes using (app, chatroom)"#,
            &apps,
            &chatrooms as &[&str],
        )
        .fetch_all(&mut **transaction)
        .await?
    };
    for key in &keys {
        state.rooms.get_mut(key).into_iter().for_each(|room| room.attributes = Some(BTreeMap::new()));
    }
    for row in rows {
        let setter = Some(row.setter).filter(|setter| !setter.is_empty());
        let attribute = Attribute { value: row.value, setter, leaves_with_setter: row.leaves_with_setter };
        let room = state.rooms.get_mut(&RoomKey::from_row(row.app, row.chatroom));
        room.and_then(|room| room.attributes.as_mut()).into_iter().for_each(|attributes| {
            attributes.insert(row.key.clone(), attribute.clone());
        });
    }
    Ok(())
}

/// Rows that have ended count against a limit as long as they are there. Where that could decide, those in force are
/// counted: only in rooms whose list is nearly full.
async fn count_if_near_a_limit(
    connection: &mut PgConnection,
    key: &RoomKey,
    needs: &Needs,
    state: &mut State,
) -> Result<(), Error> {
    let Some(room) = state.rooms.get_mut(key) else { return Ok(()) };
    let newcomers = i64::try_from(needs.users.len()).unwrap_or(i64::MAX);
    let is_near = |rows: i32, limit: u32| limit > 0 && i64::from(rows) + newcomers > i64::from(limit);
    if is_near(room.counters.mutes, needs.mute_limit) {
        let count = sqlx::query_scalar!(
            r#"select count(*)::integer as "count!" from mutes where app = $1 and chatroom = $2 and ends_at > $3"#,
            key.app,
            key.id(),
            room.now,
        );
        room.mutes_in_force = Some(count.fetch_one(&mut *connection).await?);
    }
    if is_near(room.counters.blocks, needs.block_limit) {
        let count = sqlx::query_scalar!(
            r#"select count(*)::integer as "count!" from blocks where app = $1 and chatroom = $2 and ends_at > $3"#,
            key.app,
            key.id(),
            room.now,
        );
        room.blocks_in_force = Some(count.fetch_one(connection).await?);
    }
    Ok(())
}

/// Counts the rooms of users who are held by now, in a statement that sees what those have committed for whom it waited.
async fn rooms_of_users(transaction: &mut Transaction, state: &mut State) -> Result<(), Error> {
    let counted = state.users.iter().filter(|(_, user)| user.rooms.is_some());
    let (apps, names): (Vec<i32>, Vec<String>) = counted.map(|((app, name), _)| (*app, name.clone())).unzip();
    if transaction.layout().is_distributed() {
        for (app, name, rooms) in node::rooms_of_users(transaction, &apps, &names).await? {
            state.users.get_mut(&(app, name)).into_iter().for_each(|user| user.rooms = Some(rooms));
        }
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"
        select given.app as "app!", given.username as "username!", counted.rooms as "rooms!"
        from unnest($1::integer[], $2::text[]) given (app, username)
        cross join lateral (
            select count(*)::integer as rooms from members
            join chatrooms on chatrooms.app = members.app and chatrooms.id = members.chatroom
            where members.app = given.app and members.username = given.username and chatrooms.deleted_at is null
        ) counted
        "#,
        &apps,
        &names,
    )
    .fetch_all(&mut **transaction)
    .await?;
    for row in rows {
        if let Some(user) = state.users.get_mut(&(row.app, row.username)) {
            user.rooms = Some(row.rooms.unsigned_abs());
        }
    }
    Ok(())
}
