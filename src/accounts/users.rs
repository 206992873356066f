//! The users of an app. How they leave it is in `rooms::user_deletion`, since rooms have to forget them.

use std::collections::HashSet;

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::{Db, Transaction};
use crate::error::Error;
use crate::idempotency::Uncommitted;
use crate::names::Names;

/// A registered user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Never reused, while the name may be.
    pub uuid: Uuid,
    /// Folded to lower case.
    pub username: String,
    /// The display name in pushes.
    pub nickname: Option<String>,
    /// Whether the user may sign in.
    pub activated: bool,
    /// When the user was registered.
    pub created_at: OffsetDateTime,
    /// When the row last changed.
    pub modified_at: OffsetDateTime,
}

/// A user to be registered.
pub struct Registration {
    /// Legal, and folded to lower case.
    pub username: String,
    /// See [`crate::auth::Passwords::hash`]; without one, no password opens the account.
    pub password_hash: Option<String>,
    /// The display name in pushes.
    pub nickname: Option<String>,
}

/// Registers users whose names are free. Those whose names are taken are missing from the outcome.
pub async fn register(db: &Db, app: i32, registrations: &[Registration]) -> Result<Uncommitted<Vec<User>>, Error> {
    let mut transaction = db.begin().await?;
    let registered = insert(&mut transaction, app, registrations).await;
    Uncommitted::new(db, transaction, registered).await
}

async fn insert(connection: &mut PgConnection, app: i32, registrations: &[Registration]) -> Result<Vec<User>, Error> {
    let usernames: Vec<String> = registrations.iter().map(|user| user.username.clone()).collect();
    let hashes: Vec<Option<String>> = registrations.iter().map(|user| user.password_hash.clone()).collect();
    let nicknames: Vec<Option<String>> = registrations.iter().map(|user| user.nickname.clone()).collect();
    // Numbered in the order of the call, and written in that of their names, so that two calls with the same names cannot
    // wait for each other.
    let mut users = sqlx::query_as!(
        User,
        "insert into users (app, username, password_hash, nickname, registered)
         select $1, username, password_hash, nickname, registered
         from (
             select *, nextval('user_numbers') as registered
             from unnest($2::text[], $3::text[], $4::text[]) given (username, password_hash, nickname)
         ) given
         order by username
         on conflict (app, username) do nothing
         returning uuid, username, nickname, activated, created_at, modified_at",
        app,
        &usernames,
        &hashes as &[Option<String>],
        &nicknames as &[Option<String>],
    )
    .fetch_all(connection)
    .await?;
    users.sort_by_key(|user| usernames.iter().position(|name| *name == user.username));
    Ok(users)
}

/// The user of that name.
pub async fn find(db: &Db, app: i32, name: &Names) -> Result<Option<User>, Error> {
    Ok(sqlx::query_as!(
        User,
        "select uuid, username, nickname, activated, created_at, modified_at
         from users where app = $1 and username = any($2::text[]) and deleted_at is null",
        app,
        name.usernames(),
    )
    .fetch_optional(db.pool())
    .await?)
}

/// Those of `names` who are deleted, but whom some rooms may know still.
pub(crate) async fn deleted(db: &Db, app: i32, names: &[String]) -> Result<Vec<String>, Error> {
    let deleted = sqlx::query_scalar!(
        "select username from users where app = $1 and username = any($2::text[]) and deleted_at is not null",
        app,
        names,
    );
    Ok(deleted.fetch_all(db.pool()).await?)
}

/// What a user's tokens and password are checked against.
pub struct Account {
    /// The user.
    pub user: User,
    /// See [`crate::auth::Passwords`]; `None` if no password opens the account.
    pub password_hash: Option<String>,
    /// Tokens of earlier generations are revoked.
    pub token_generation: i32,
}

/// The account of the user of that name.
pub async fn account(db: &Db, app: i32, name: &Names) -> Result<Option<Account>, Error> {
    let row = sqlx::query!(
        "select uuid, username, nickname, activated, created_at, modified_at, password_hash, token_generation
         from users where app = $1 and username = any($2::text[]) and deleted_at is null",
        app,
        name.usernames(),
    )
    .fetch_optional(db.pool())
    .await?;
    Ok(row.map(|row| Account {
        user: User {
            uuid: row.uuid,
            username: row.username,
            nickname: row.nickname,
            activated: row.activated,
            created_at: row.created_at,
            modified_at: row.modified_at,
        },
        password_hash: row.password_hash,
        token_generation: row.token_generation,
    }))
}

/// Replaces a user's password, and revokes the user's tokens. `false` if there is no such user.
pub async fn set_password(db: &Db, app: i32, name: &Names, password_hash: &str) -> Result<bool, Error> {
    let changed = sqlx::query!(
        "update users set password_hash = $3, token_generation = token_generation + 1,
             modified_at = date_trunc('milliseconds', now())
         where app = $1 and username = any($2::text[]) and deleted_at is null",
        app,
        name.usernames(),
        password_hash,
    )
    .execute(db.pool())
    .await?;
    Ok(changed.rows_affected() > 0)
}

/// Gives a user another display name. `None` if there is no such user.
pub async fn set_nickname(db: &Db, app: i32, name: &Names, nickname: &str) -> Result<Option<User>, Error> {
    Ok(sqlx::query_as!(
        User,
        "update users set nickname = $3, modified_at = date_trunc('milliseconds', now())
         where app = $1 and username = any($2::text[]) and deleted_at is null
         returning uuid, username, nickname, activated, created_at, modified_at",
        app,
        name.usernames(),
        nickname,
    )
    .fetch_optional(db.pool())
    .await?)
}

/// Lets a user sign in, or not any more: then the user's tokens are revoked, too. `None` if there is no such user.
pub async fn set_activated(db: &Db, app: i32, name: &Names, activated: bool) -> Result<Option<User>, Error> {
    Ok(sqlx::query_as!(
        User,
        "update users set activated = $3, token_generation = token_generation + case when $3 then 0 else 1 end,
             modified_at = date_trunc('milliseconds', now())
         where app = $1 and username = any($2::text[]) and deleted_at is null
         returning uuid, username, nickname, activated, created_at, modified_at",
        app,
        name.usernames(),
        activated,
    )
    .fetch_optional(db.pool())
    .await?)
}

/// Revokes a user's tokens. `false` if there is no such user.
pub async fn revoke_tokens(db: &Db, app: i32, name: &Names) -> Result<bool, Error> {
    let changed = sqlx::query!(
        "update users set token_generation = token_generation + 1
         where app = $1 and username = any($2::text[]) and deleted_at is null",
        app,
        name.usernames(),
    )
    .execute(db.pool())
    .await?;
    Ok(changed.rows_affected() > 0)
}

/// Holds those of `names` who are registered, and returns them: no other transaction can delete them until this one is
/// over.
///
/// `alone`: no other can hold them either. That is needed, and paid for, only where something about them is counted.
pub(crate) async fn hold(
    transaction: &mut Transaction,
    app: i32,
    names: &[String],
    alone: bool,
) -> Result<HashSet<String>, Error> {
    let (held_alone, shared): (&[String], &[String]) = if alone { (names, &[]) } else { (&[], names) };
    transaction.hold_users(app, held_alone, shared).await?;
    let held = if transaction.layout().is_distributed() {
        registered(transaction, app, names).await?
    } else if alone {
        sqlx::query_scalar!(
            "select username from users where app = $1 and username = any($2::text[]) and deleted_at is null
             order by username for no key update",
            app,
            names,
        )
        .fetch_all(&mut **transaction)
        .await?
    } else {
        sqlx::query_scalar!(
            "select username from users where app = $1 and username = any($2::text[]) and deleted_at is null
             order by username for key share",
            app,
            names,
        )
        .fetch_all(&mut **transaction)
        .await?
    };
    Ok(held.into_iter().collect())
}

/// Those of `names` who are registered.
pub(crate) async fn registered(connection: &mut PgConnection, app: i32, names: &[String]) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!(
        "select username from users where app = $1 and username = any($2::text[]) and deleted_at is null",
        app,
        names,
    )
    .fetch_all(connection)
    .await?)
}

/// Those of `names` who are in `limit` rooms or more; 0 = no limit. Call it with the users held alone.
pub(crate) async fn in_too_many_rooms(
    transaction: &mut Transaction,
    app: i32,
    names: &[String],
    limit: u32,
) -> Result<HashSet<String>, Error> {
    if limit == 0 {
        return Ok(HashSet::new());
    }
    if transaction.layout().is_distributed() {
        return in_too_many_rooms_on_nodes(transaction, app, names, limit).await;
    }
    let rows = sqlx::query_scalar!(
        r#"
        select given.username as "username!"
        from unnest($2::text[]) given (username)
        cross join lateral (
            select count(*) as number from (
                select from members
                join chatrooms on chatrooms.app = members.app and chatrooms.id = members.chatroom
                where members.app = $1 and members.username = given.username and chatrooms.deleted_at is null
                limit $3
            ) counted
        ) joined
        where joined.number >= $3
        "#,
        app,
        names,
        i64::from(limit),
    )
    .fetch_all(&mut **transaction)
    .await?;
    Ok(rows.into_iter().collect())
}

/// The same on a cluster: each node counts the rooms that it has.
async fn in_too_many_rooms_on_nodes(
    transaction: &mut Transaction,
    app: i32,
    names: &[String],
    limit: u32,
) -> Result<HashSet<String>, Error> {
    let rows = sqlx::query_scalar!(
        "select username from members
         join chatrooms on chatrooms.app = members.app and chatrooms.id = members.chatroom
         where members.app = $1 and username = any($2::text[]) and chatrooms.deleted_at is null
         group by username having count(*) >= $3",
        app,
        names,
        i64::from(limit),
    )
    .fetch_all(&mut **transaction)
    .await?;
    Ok(rows.into_iter().collect())
}

/// A room that a user is in.
pub struct JoinedRoom {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
}

/// The rooms that a user is in, the latest joined first, the first `skip` left out. Every page costs a look at all of
/// the user's rooms, in an index alone, and at the rooms that are being removed.
pub async fn joined(db: &Db, app: i32, name: &Names, skip: i64, size: i64) -> Result<Vec<JoinedRoom>, Error> {
    let user = find(db, app, name).await?.ok_or_else(|| Error::UserNotFound { user: name.given().join(",") })?;
    Ok(sqlx::query_as!(
        JoinedRoom,
        "select chatrooms.id, chatrooms.name
         from (
             select chatroom, joined_at from members
             where app = $1 and username = $2 and not exists (
                 select from chatrooms gone where gone.app = $1 and gone.id = chatroom and gone.deleted_at is not null
             )
             order by joined_at desc, chatroom desc offset $3 limit $4
         ) page
         join chatrooms on chatrooms.app = $1 and chatrooms.id = page.chatroom
         order by page.joined_at desc, page.chatroom desc",
        app,
        user.username,
        skip,
        size,
    )
    .fetch_all(db.pool())
    .await?)
}
