//! The statements of an import: what is there of a room and of users, and the writing of what is new.

use std::collections::{BTreeMap, HashMap, HashSet};

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::format::{Restriction, Room, User};
use super::room::{Known, Plan};
use crate::accounts::users;
use crate::db::{Db, Transaction};
use crate::error::Error;
use crate::events::log::Last;
use crate::names::{PERMANENT_MS, RoomKey, from_unix_ms, unix_ms};
use crate::rooms::store::save::LEVELS;

/// How much is collected before it is sent to the database, in bytes.
const CHUNK: usize = 64 * 1024;

/// What numbers a room's rows and events go on with; its row is locked.
pub struct Numbers {
    pub last_seq: i64,
    pub last: Last,
}

/// Locks a room. `None`: there is none of that id.
pub async fn lock(connection: &mut PgConnection, key: &RoomKey) -> Result<Option<Numbers>, Error> {
    let row = sqlx::query!(
        "select last_seq, last_event, last_xact from room_counters where app = $1 and chatroom = $2 for no key update",
        key.app,
        key.id(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Numbers { last_seq: row.last_seq, last: Last { n: row.last_event, xact: row.last_xact } }))
}

/// How many members a room has; `None`: there is no such room.
pub async fn member_count(db: &Db, key: &RoomKey) -> Result<Option<i64>, Error> {
    let count = sqlx::query_scalar!(
        "select member_count from room_counters
         join chatrooms on chatrooms.app = room_counters.app and chatrooms.id = room_counters.chatroom
         where room_counters.app = $1 and chatroom = $2 and deleted_at is null",
        key.app,
        key.id(),
    )
    .fetch_optional(db.pool())
    .await?;
    Ok(count.map(i64::from))
}

/// What is there of a room, as far as it concerns those users. `None`: it is being removed.
pub async fn known(connection: &mut PgConnection, key: &RoomKey, names: &[String]) -> Result<Option<Known>, Error> {
    let row = sqlx::query!(
        r#"select name, description, custom, announcement, owner, maxusers, member_count,
                  case when mute_all and mute_ends_at > now() then mute_ends_at end as "muted_until?", mute_reason,
                  deleted_at is not null as "is_deleted!", statement_timestamp() as "now!"
           from chatrooms
           join room_counters on room_counters.app = chatrooms.app and room_counters.chatroom = chatrooms.id
           where chatrooms.app = $1 and id = $2"#,
        key.app,
        key.id(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        return Ok(Some(Known { now: now(connection).await?, ..Known::default() }));
    };
    if row.is_deleted {
        return Ok(None);
    }
    let room = Room {
        id: key.id().into(),
        name: row.name,
        description: row.description,
        custom: row.custom,
        announcement: row.announcement,
        owner: row.owner,
        owner_joined: None,
        maxusers: row.maxusers.into(),
        created: None,
        muted_until: row.muted_until.map(unix_ms),
        mute_reason: row.mute_reason,
    };
    Ok(Some(Known {
        room: Some(room),
        member_count: row.member_count.into(),
        now: unix_ms(row.now),
        members: members(&mut *connection, key, names).await?,
        admins: admins(&mut *connection, key).await?,
        whitelist: whitelist(&mut *connection, key, names).await?,
        blocks: blocks(&mut *connection, key, names).await?,
        mutes: mutes(&mut *connection, key, names).await?,
        attributes: attributes(&mut *connection, key).await?,
        registered: HashSet::new(),
    }))
}

/// The database's clock, in Unix milliseconds.
pub async fn now(connection: &mut PgConnection) -> Result<i64, Error> {
    let now = sqlx::query_scalar!(r#"select statement_timestamp() as "now!""#).fetch_one(connection).await?;
    Ok(unix_ms(now))
}

/// Those of `names` who are registered. `hold`: and who stay so until the transaction is over; they are locked in the order of
/// their names, as everywhere.
pub async fn registered(transaction: &mut Transaction, app: i32, names: &[String], hold: bool) -> Result<HashSet<String>, Error> {
    let names = if transaction.layout().is_distributed() {
        if hold {
            transaction.hold_users(app, &[], names).await?;
        }
        users::registered(transaction, app, names).await?
    } else if hold {
        let locked = sqlx::query_scalar!(
            r#"select held.username as "username!"
               from (select username from unnest($2::text[]) given (username) order by username collate "C") given
               cross join lateral (
                   select username from users
                   where app = $1 and users.username = given.username and deleted_at is null for key share
               ) held"#,
            app,
            names,
        );
        locked.fetch_all(&mut **transaction).await?
    } else {
        let there = sqlx::query_scalar!(
            r#"select there.username as "username!" from unnest($2::text[]) given (username)
               cross join lateral (
                   select username from users
                   where app = $1 and users.username = given.username and deleted_at is null limit 1
               ) there"#,
            app,
            names,
        );
        there.fetch_all(&mut **transaction).await?
    };
    Ok(names.into_iter().collect())
}

async fn members(connection: &mut PgConnection, key: &RoomKey, names: &[String]) -> Result<HashSet<String>, Error> {
    let members = sqlx::query_scalar!(
        r#"select there.username as "username!" from unnest($3::text[]) given (username)
           cross join lateral (
               select username from members where app = $1 and chatroom = $2 and members.username = given.username limit 1
           ) there"#,
        key.app,
        key.id(),
        names,
    );
    Ok(members.fetch_all(connection).await?.into_iter().collect())
}

async fn admins(connection: &mut PgConnection, key: &RoomKey) -> Result<HashSet<String>, Error> {
    let admins = sqlx::query_scalar!("select username from admins where app = $1 and chatroom = $2", key.app, key.id());
    Ok(admins.fetch_all(connection).await?.into_iter().collect())
}

async fn whitelist(connection: &mut PgConnection, key: &RoomKey, names: &[String]) -> Result<HashSet<String>, Error> {
    let listed = sqlx::query_scalar!(
        r#"select there.username as "username!" from unnest($3::text[]) given (username)
           cross join lateral (
               select username from whitelist where app = $1 and chatroom = $2 and whitelist.username = given.username limit 1
           ) there"#,
        key.app,
        key.id(),
        names,
    );
    Ok(listed.fetch_all(connection).await?.into_iter().collect())
}

async fn blocks(connection: &mut PgConnection, key: &RoomKey, names: &[String]) -> Result<HashMap<String, Restriction>, Error> {
    let rows = sqlx::query!(
        r#"select there.username as "username!", ends_at as "ends_at!", reason from unnest($3::text[]) given (username)
           cross join lateral (
               select username, ends_at, reason from blocks
               where app = $1 and chatroom = $2 and blocks.username = given.username limit 1
           ) there"#,
        key.app,
        key.id(),
        names,
    )
    .fetch_all(connection)
    .await?;
    let entry = |user: String, ends_at, reason| (user.clone(), Restriction { user, until: unix_ms(ends_at), reason });
    Ok(rows.into_iter().map(|row| entry(row.username, row.ends_at, row.reason)).collect())
}

async fn mutes(connection: &mut PgConnection, key: &RoomKey, names: &[String]) -> Result<HashMap<String, Restriction>, Error> {
    let rows = sqlx::query!(
        r#"select there.username as "username!", ends_at as "ends_at!", reason from unnest($3::text[]) given (username)
           cross join lateral (
               select username, ends_at, reason from mutes
               where app = $1 and chatroom = $2 and mutes.username = given.username limit 1
           ) there"#,
        key.app,
        key.id(),
        names,
    )
    .fetch_all(connection)
    .await?;
    let entry = |user: String, ends_at, reason| (user.clone(), Restriction { user, until: unix_ms(ends_at), reason });
    Ok(rows.into_iter().map(|row| entry(row.username, row.ends_at, row.reason)).collect())
}

async fn attributes(connection: &mut PgConnection, key: &RoomKey) -> Result<HashMap<String, String>, Error> {
    let rows = sqlx::query!("select key, value from attributes where app = $1 and chatroom = $2", key.app, key.id());
    Ok(rows.fetch_all(connection).await?.into_iter().map(|row| (row.key, row.value)).collect())
}

/// Writes a room with its owner, and what is counted in it. Room and owner refer to each other, so they come in one statement.
/// `false`: the id was taken meanwhile.
pub async fn create(connection: &mut PgConnection, key: &RoomKey, room: &Room, now: i64) -> Result<bool, Error> {
    let (levels, shifts): (Vec<i16>, Vec<i32>) = LEVELS.iter().map(|(level, shift)| (*level, shift.cast_signed())).unzip();
    let muted_until = room.muted_until.filter(|until| *until > now);
    let made = sqlx::query_scalar!(
        "with room as (
             insert into chatrooms
                 (app, id, name, description, custom, announcement, owner, mute_all, mute_ends_at, mute_reason, created_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             on conflict (app, id) do nothing
             returning app, id, owner, mute_ends_at
         ),
         counters as (
             insert into room_counters (app, chatroom, maxusers, member_count, last_seq, next_end)
             select app, id, $12, 1, 1, mute_ends_at from room
         ),
         people as (
             insert into members (app, chatroom, username, seq, joined_at) select app, id, owner, 1, $13 from room
         ),
         counts as (
             insert into member_counts (app, chatroom, level, bucket, members)
             select app, id, level, 1::bigint >> shift, 1
             from room, unnest($14::smallint[], $15::integer[]) level (level, shift)
         )
         select id from room",
        key.app,
        key.id(),
        room.name,
        room.description,
        room.custom,
        room.announcement,
        room.owner,
        muted_until.is_some(),
        moment(muted_until.unwrap_or(PERMANENT_MS)),
        room.mute_reason.as_deref().filter(|_| muted_until.is_some()),
        moment(room.created.unwrap_or(now)),
        i32::try_from(room.maxusers).unwrap_or(i32::MAX),
        moment(room.owner_joined.unwrap_or(now)),
        &levels,
        &shifts,
    )
    .fetch_optional(connection)
    .await?;
    Ok(made.is_some())
}

/// Writes the rows of a plan, numbered from `last_seq` on, and what is counted in the room.
pub async fn write(connection: &mut PgConnection, key: &RoomKey, plan: &Plan, last_seq: i64, now: i64) -> Result<(), Error> {
    let mut seq = last_seq;
    let mut next = || {
        seq += 1;
        seq
    };
    let mut counts: BTreeMap<(i16, i64), i32> = BTreeMap::new();
    let mut rows = Rows::of(key);
    for member in &plan.members {
        let seq = next();
        for (level, shift) in LEVELS {
            *counts.entry((level, seq >> shift)).or_default() += 1;
        }
        rows.add(&[&member.user, &seq.to_string(), &timestamp(member.joined.unwrap_or(now))]);
    }
    rows.copy(connection, "members (app, chatroom, username, seq, joined_at)").await?;
    for admin in &plan.admins {
        rows.add(&[admin, &next().to_string()]);
    }
    rows.copy(connection, "admins (app, chatroom, username, seq)").await?;
    for listed in &plan.whitelist {
        rows.add(&[listed, &next().to_string()]);
    }
    rows.copy(connection, "whitelist (app, chatroom, username, seq)").await?;
    for (table, entries) in [("blocks", &plan.blocks), ("mutes", &plan.mutes)] {
        for entry in entries {
            rows.add_with(&[&entry.user, &next().to_string(), &timestamp(entry.until)], entry.reason.as_deref());
        }
        rows.copy(connection, &format!("{table} (app, chatroom, username, seq, ends_at, reason)")).await?;
    }
    for attribute in &plan.attributes {
        let setter = attribute.setter.as_deref().unwrap_or_default();
        rows.add_with(&[&attribute.key, &attribute.value, setter], Some(setter).filter(|_| attribute.leaves_with_setter));
    }
    rows.copy(connection, "attributes (app, chatroom, key, value, setter, leaves_with)").await?;
    count(connection, key, plan, seq, &counts).await
}

/// Counts what was written.
async fn count(
    connection: &mut PgConnection,
    key: &RoomKey,
    plan: &Plan,
    last_seq: i64,
    counts: &BTreeMap<(i16, i64), i32>,
) -> Result<(), Error> {
    let number = |rows: usize| i32::try_from(rows).unwrap_or(i32::MAX);
    let next_end = plan.blocks.iter().chain(&plan.mutes).map(|entry| entry.until).min().unwrap_or(PERMANENT_MS);
    sqlx::query!(
        "update room_counters set member_count = member_count + $3, admin_count = admin_count + $4,
             mute_count = mute_count + $5, block_count = block_count + $6, last_seq = $7, next_end = least(next_end, $8)
         where app = $1 and chatroom = $2",
        key.app,
        key.id(),
        number(plan.members.len()),
        number(plan.admins.len()),
        number(plan.mutes.len()),
        number(plan.blocks.len()),
        last_seq,
        moment(next_end),
    )
    .execute(&mut *connection)
    .await?;
    let levels: Vec<i16> = counts.keys().map(|(level, _)| *level).collect();
    let buckets: Vec<i64> = counts.keys().map(|(_, bucket)| *bucket).collect();
    let members: Vec<i32> = counts.values().copied().collect();
    sqlx::query!(
        "insert into member_counts (app, chatroom, level, bucket, members)
         select $1, $2, level, bucket, members
         from unnest($3::smallint[], $4::bigint[], $5::integer[]) given (level, bucket, members)
         on conflict (app, chatroom, level, bucket) do update set members = member_counts.members + excluded.members",
        key.app,
        key.id(),
        &levels,
        &buckets,
        &members,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Registers users whose names are free, in this order, and returns those. Two that run at once write in the order of names,
/// and cannot wait for each other. Not by COPY: a name may be taken by a call at the same moment, and COPY would fail as a
/// whole.
pub async fn register(connection: &mut PgConnection, app: i32, given: &[User], now: i64) -> Result<HashSet<String>, Error> {
    let names: Vec<&str> = given.iter().map(|user| &*user.name).collect();
    let hashes: Vec<Option<&str>> = given.iter().map(|user| user.password_hash.as_deref()).collect();
    let nicknames: Vec<Option<&str>> = given.iter().map(|user| user.nickname.as_deref()).collect();
    let activated: Vec<bool> = given.iter().map(|user| user.activated).collect();
    let created: Vec<OffsetDateTime> = given.iter().map(|user| moment(user.created.unwrap_or(now))).collect();
    let registered = sqlx::query_scalar!(
        "insert into users (app, username, password_hash, nickname, activated, created_at, modified_at, registered)
         select $1, username, password_hash, nickname, activated, created_at, created_at, registered
         from (
             select *, nextval('user_numbers') as registered
             from unnest($2::text[], $3::text[], $4::text[], $5::boolean[], $6::timestamptz[])
                 given (username, password_hash, nickname, activated, created_at)
         ) given
         order by username
         on conflict (app, username) do nothing
         returning username",
        app,
        &names as &[&str],
        &hashes as &[Option<&str>],
        &nicknames as &[Option<&str>],
        &activated,
        &created,
    );
    Ok(registered.fetch_all(connection).await?.into_iter().collect())
}

/// A user who is there.
pub struct Registered {
    pub username: String,
    pub nickname: Option<String>,
    pub activated: bool,
    pub is_deleted: bool,
}

/// Those of `names` who are there, deleted ones that hold their names among them.
pub async fn users_there(transaction: &mut Transaction, app: i32, names: &[String]) -> Result<Vec<Registered>, Error> {
    if transaction.layout().is_distributed() {
        return Ok(sqlx::query_as!(
            Registered,
            r#"select username, nickname, activated, deleted_at is not null as "is_deleted!"
               from users where app = $1 and username = any($2::text[])"#,
            app,
            names,
        )
        .fetch_all(&mut **transaction)
        .await?);
    }
    Ok(sqlx::query_as!(
        Registered,
        r#"select there.username as "username!", nickname, activated as "activated!", is_deleted as "is_deleted!"
           from unnest($2::text[]) given (username)
           cross join lateral (
               select username, nickname, activated, deleted_at is not null as is_deleted from users
               where app = $1 and users.username = given.username limit 1
           ) there"#,
        app,
        names,
    )
    .fetch_all(&mut **transaction)
    .await?)
}

/// Writes super admins, and returns those who were none.
pub async fn promote(
    connection: &mut PgConnection,
    app: i32,
    names: &[String],
    since: &[OffsetDateTime],
) -> Result<HashSet<String>, Error> {
    let promoted = sqlx::query_scalar!(
        "insert into super_admins (app, username, promoted_at)
         select $1, username, since from unnest($2::text[], $3::timestamptz[]) given (username, since)
         on conflict (app, username) do nothing returning username",
        app,
        names,
        since,
    );
    Ok(promoted.fetch_all(connection).await?.into_iter().collect())
}

/// Those of `names` who are super admins.
pub async fn super_admins(connection: &mut PgConnection, app: i32, names: &[String]) -> Result<HashSet<String>, Error> {
    let listed =
        sqlx::query_scalar!("select username from super_admins where app = $1 and username = any($2::text[])", app, names);
    Ok(listed.fetch_all(connection).await?.into_iter().collect())
}

/// Looks at how the rows of tables are, for the planner: of the users, or of the tables of rooms.
pub async fn analyze(db: &Db, users: bool) -> Result<(), Error> {
    let tables =
        if users { "analyze users" } else { "analyze members, member_counts, admins, whitelist, blocks, mutes, attributes" };
    let mut connection = db.begin().await?;
    let done = sqlx::raw_sql(tables).execute(&mut *connection).await.map(drop);
    connection.end(done.map_err(Error::from)).await
}

/// A moment of a file, which is bounded.
pub fn moment(ms: i64) -> OffsetDateTime {
    from_unix_ms(ms).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Rows of a room on their way into a table.
struct Rows {
    /// What each begins with: the app and the room.
    head: String,
    text: String,
}

impl Rows {
    fn of(key: &RoomKey) -> Self {
        Self { head: format!("{}\t{}", key.app, key.id()), text: String::new() }
    }

    fn add(&mut self, columns: &[&str]) {
        self.text.push_str(&self.head);
        for column in columns {
            self.text.push('\t');
            escape(&mut self.text, column);
        }
        self.text.push('\n');
    }

    /// The same with a last column that may be null.
    fn add_with(&mut self, columns: &[&str], last: Option<&str>) {
        self.add(columns);
        self.text.pop();
        self.text.push('\t');
        match last {
            Some(last) => escape(&mut self.text, last),
            None => self.text.push_str("\\N"),
        }
        self.text.push('\n');
    }

    /// Writes them into the table and columns of `target`, and forgets them.
    async fn copy(&mut self, connection: &mut PgConnection, target: &str) -> Result<(), Error> {
        if self.text.is_empty() {
            return Ok(());
        }
        let mut copy = connection.copy_in_raw(&format!("copy {target} from stdin")).await?;
        for chunk in self.text.as_bytes().chunks(CHUNK) {
            copy.send(chunk).await?;
        }
        copy.finish().await?;
        self.text.clear();
        Ok(())
    }
}

/// A text as COPY reads it.
fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            other => out.push(other),
        }
    }
}

/// A moment as COPY reads it.
fn timestamp(ms: i64) -> String {
    let at = moment(ms);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:03}+00", at.hour(), at.minute(), at.second(), at.millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_reads_back_what_was_written() {
        let mut rows = Rows::of(&RoomKey::parse(7, "r1").expect("an id"));
        rows.add_with(&["ann", "a\tb\\c\nd\re"], None);
        rows.add_with(&["bob"], Some("\\N"));
        assert_eq!(rows.text, "7\tr1\tann\ta\\tb\\\\c\\nd\\re\t\\N\n7\tr1\tbob\t\\\\N\n");
        assert_eq!(timestamp(0), "1970-01-01 00:00:00.000+00");
        assert_eq!(timestamp(PERMANENT_MS), "2116-12-31 16:00:00.000+00");
        assert_eq!(timestamp(1_700_000_000_007), "2023-11-14 22:13:20.007+00");
    }
}
