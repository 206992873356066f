//! Writes an app out: one consistent picture of it, row by row, in little memory however large it is.

use std::io::Write;

use futures_util::TryStreamExt as _;
use sqlx::PgConnection;

use super::format::{
    Attribute, GlobalMute, Header, Line, Listed, Member, Moderator, Restriction, Room, RoomPart, SuperAdmin, User, VERSION,
};
use super::store;
use crate::accounts::apps::App;
use crate::db::Db;
use crate::error::Error;
use crate::names::{RoomKey, unix_ms};

/// How many rooms are looked up at a time.
const ROOMS_AT_ONCE: i64 = 1000;

/// Writes all of an app as NDJSON, and returns the number of lines. With `with_password_hashes`, users can sign in with their
/// passwords wherever the file goes, and whoever has the file can try to guess them.
pub async fn export(db: &Db, app: &App, with_password_hashes: bool, out: &mut impl Write) -> Result<u64, Error> {
    let mut transaction = db.begin().await?;
    let done = async {
        // All statements see the same moment. Nothing is written, so that no feed of events waits for this.
        sqlx::raw_sql("set transaction isolation level repeatable read, read only").execute(&mut *transaction).await?;
        let mut lines = 0;
        let mut write = |line: Line| {
            lines += 1;
            write_line(out, &line)
        };
        let exported = store::now(&mut transaction).await?;
        let name = format!("{}/{}", app.org, app.name);
        write(Line::Roomward(Header { version: VERSION, app: name, exported }))?;
        users(&mut transaction, app.id, with_password_hashes, &mut write).await?;
        rooms(&mut transaction, app.id, &mut write).await?;
        above_rooms(&mut transaction, app.id, &mut write).await?;
        write_line(out, &Line::End { lines })?;
        out.flush().map_err(|error| Error::Internal(error.into()))?;
        Ok(lines + 1)
    }
    .await;
    transaction.end(done).await
}

fn write_line(out: &mut impl Write, line: &Line) -> Result<(), Error> {
    serde_json::to_writer(&mut *out, line).map_err(|error| Error::Internal(error.into()))?;
    out.write_all(b"\n").map_err(|error| Error::Internal(error.into()))
}

/// The users in the order in which they came.
async fn users(
    connection: &mut PgConnection,
    app: i32,
    with_password_hashes: bool,
    write: &mut impl FnMut(Line) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut rows = sqlx::query!(
        r#"select username, nickname, activated, created_at, case when $2 then password_hash end as password_hash
           from users where app = $1 and deleted_at is null
           order by seq = 0, seq, registered, created_at, username"#,
        app,
        with_password_hashes,
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        write(Line::User(User {
            name: row.username,
            nickname: row.nickname,
            created: Some(unix_ms(row.created_at)),
            activated: row.activated,
            password_hash: row.password_hash,
        }))?;
    }
    Ok(())
}

/// The rooms with their rows, the oldest first.
async fn rooms(connection: &mut PgConnection, app: i32, write: &mut impl FnMut(Line) -> Result<(), Error>) -> Result<(), Error> {
    let mut after = (time::OffsetDateTime::UNIX_EPOCH - time::Duration::days(1), String::new());
    loop {
        let page = sqlx::query!(
            "select id, created_at from chatrooms
             where app = $1 and deleted_at is null and (created_at, id) > ($2, $3)
             order by created_at, id limit $4",
            app,
            after.0,
            after.1,
            ROOMS_AT_ONCE,
        )
        .fetch_all(&mut *connection)
        .await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = (last.created_at, last.id.clone());
        for row in page {
            let key = RoomKey::from_row(app, row.id);
            if let Some(room) = room(connection, &key).await? {
                write(Line::Room(room))?;
                rows(connection, &key, write).await?;
            }
        }
    }
}

/// A room itself; `None`: there is none.
async fn room(connection: &mut PgConnection, key: &RoomKey) -> Result<Option<Room>, Error> {
    let row = sqlx::query!(
        r#"select name, description, custom, announcement, owner, maxusers, created_at, joined_at,
                  case when mute_all and mute_ends_at > now() then mute_ends_at end as "muted_until?", mute_reason
           from chatrooms
           join room_counters on room_counters.app = chatrooms.app and room_counters.chatroom = chatrooms.id
           join members on members.app = chatrooms.app and members.chatroom = chatrooms.id and members.username = owner
           where chatrooms.app = $1 and id = $2 and deleted_at is null"#,
        key.app,
        key.id(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Room {
        id: key.id().into(),
        name: row.name,
        description: row.description,
        custom: row.custom,
        announcement: row.announcement,
        owner: row.owner,
        owner_joined: Some(unix_ms(row.joined_at)),
        maxusers: row.maxusers.into(),
        created: Some(unix_ms(row.created_at)),
        mute_reason: row.mute_reason.filter(|_| row.muted_until.is_some()),
        muted_until: row.muted_until.map(unix_ms),
    }))
}

/// The rows of a room; of blocks and mutes those in force.
async fn rows(
    connection: &mut PgConnection,
    key: &RoomKey,
    write: &mut impl FnMut(Line) -> Result<(), Error>,
) -> Result<(), Error> {
    let members = sqlx::query!(
        "select username, joined_at from members
         where app = $1 and chatroom = $2 and username <> (select owner from chatrooms where app = $1 and id = $2)
         order by seq",
        key.app,
        key.id(),
    );
    let mut members = members.fetch(&mut *connection);
    while let Some(row) = members.try_next().await? {
        write(Line::Member(Member { user: row.username, joined: Some(unix_ms(row.joined_at)) }))?;
    }
    drop(members);
    let admins =
        sqlx::query_scalar!("select username from admins where app = $1 and chatroom = $2 order by seq", key.app, key.id());
    for user in admins.fetch_all(&mut *connection).await? {
        write(Line::Admin(Listed { user }))?;
    }
    let whitelist =
        sqlx::query_scalar!("select username from whitelist where app = $1 and chatroom = $2 order by seq", key.app, key.id());
    let mut whitelist = whitelist.fetch(&mut *connection);
    while let Some(user) = whitelist.try_next().await? {
        write(Line::Whitelist(Listed { user }))?;
    }
    drop(whitelist);
    let blocks = sqlx::query!(
        "select username, ends_at, reason from blocks where app = $1 and chatroom = $2 and ends_at > now() order by seq",
        key.app,
        key.id(),
    );
    let mut blocks = blocks.fetch(&mut *connection);
    while let Some(row) = blocks.try_next().await? {
        write(Line::Block(Restriction { user: row.username, until: unix_ms(row.ends_at), reason: row.reason }))?;
    }
    drop(blocks);
    let mutes = sqlx::query!(
        "select username, ends_at, reason from mutes where app = $1 and chatroom = $2 and ends_at > now() order by seq",
        key.app,
        key.id(),
    );
    let mut mutes = mutes.fetch(&mut *connection);
    while let Some(row) = mutes.try_next().await? {
        write(Line::Mute(Restriction { user: row.username, until: unix_ms(row.ends_at), reason: row.reason }))?;
    }
    drop(mutes);
    let attributes = sqlx::query!(
        r#"select key, value, setter, leaves_with is not null as "leaves!" from attributes
           where app = $1 and chatroom = $2 order by key"#,
        key.app,
        key.id(),
    );
    for row in attributes.fetch_all(&mut *connection).await? {
        let (setter, leaves_with_setter) = (Some(row.setter), row.leaves);
        write(Line::Attribute(Attribute { key: row.key, value: row.value, setter, leaves_with_setter }))?;
    }
    Ok(())
}

/// Super admins, moderators and global mutes.
async fn above_rooms(
    connection: &mut PgConnection,
    app: i32,
    write: &mut impl FnMut(Line) -> Result<(), Error>,
) -> Result<(), Error> {
    let admins =
        sqlx::query!("select username, promoted_at from super_admins where app = $1 order by promoted_at, username", app,);
    for row in admins.fetch_all(&mut *connection).await? {
        write(Line::SuperAdmin(SuperAdmin { user: row.username, since: Some(unix_ms(row.promoted_at)) }))?;
    }
    let moderators =
        sqlx::query!("select username, role, rooms from moderators where app = $1 order by created_at, username", app);
    for row in moderators.fetch_all(&mut *connection).await? {
        write(Line::Moderator(Moderator { user: row.username, role: row.role, rooms: row.rooms }))?;
    }
    let mut mutes = sqlx::query!(
        r#"select username, case when chat_ends_at > now() then chat_ends_at end as chat,
                  case when groupchat_ends_at > now() then groupchat_ends_at end as groupchat,
                  case when chatroom_ends_at > now() then chatroom_ends_at end as chatroom, reason
           from global_mutes
           where app = $1 and greatest(chat_ends_at, groupchat_ends_at, chatroom_ends_at) > now() order by username"#,
        app,
    )
    .fetch(connection);
    while let Some(row) = mutes.try_next().await? {
        write(Line::GlobalMute(GlobalMute {
            user: row.username,
            chat: row.chat.map(unix_ms),
            groupchat: row.groupchat.map(unix_ms),
            reason: row.reason.filter(|_| row.chatroom.is_some()),
            chatroom: row.chatroom.map(unix_ms),
        }))?;
    }
    Ok(())
}

/// A room with all its rows; `None`: there is none.
pub(super) async fn read_room(db: &Db, key: &RoomKey) -> Result<Option<RoomPart>, Error> {
    let mut transaction = db.begin().await?;
    let done = async {
        sqlx::raw_sql("set transaction isolation level repeatable read, read only").execute(&mut *transaction).await?;
        let Some(room) = room(&mut transaction, key).await? else { return Ok(None) };
        let mut whole = RoomPart::new(room);
        rows(&mut transaction, key, &mut |line| {
            whole.take(line);
            Ok(())
        })
        .await?;
        Ok(Some(whole))
    }
    .await;
    transaction.end(done).await
}

/// The lines of what stands above the rooms of an app.
pub(super) async fn read_above_rooms(db: &Db, app: i32) -> Result<Vec<Line>, Error> {
    let mut transaction = db.begin().await?;
    let mut lines = Vec::new();
    let done = above_rooms(&mut transaction, app, &mut |line| {
        lines.push(line);
        Ok(())
    })
    .await;
    transaction.end(done).await?;
    Ok(lines)
}
