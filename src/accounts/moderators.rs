//! Moderators of an app: users who read its rooms, or moderate them, all or those that are named.
//!
//! What happens to them is told as the events of the app. Their number is bounded under the lock of the app's row.

use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::super_admins;
use crate::accounts::users;
use crate::db::{Db, Transaction};
use crate::error::Error;
use crate::events::log::{Actor, Kind, Last, NewEvent};
use crate::idempotency::Uncommitted;
use crate::names::Names;

/// The most moderators that an app has.
pub const MAX_MODERATORS: i64 = 1000;

/// The most rooms that are named for one.
pub const MAX_ROOMS: usize = 1000;

/// How far a moderator goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModeratorRole {
    /// Reads.
    Viewer,
    /// Reads and acts.
    Moderator,
}

impl ModeratorRole {
    /// As it is written everywhere.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Moderator => "moderator",
        }
    }

    /// The role that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Viewer, Self::Moderator].into_iter().find(|role| role.text() == text)
    }
}

/// A moderator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moderator {
    /// The user.
    pub username: String,
    /// How far the user goes.
    pub role: ModeratorRole,
    /// In which rooms; `None`: in all, and in what belongs to none.
    pub rooms: Option<Vec<String>>,
    /// Who has made the user a moderator, or changed that last.
    pub added_by: String,
    /// Since when the user is one.
    pub created_at: OffsetDateTime,
}

/// All moderators of an app, the longest standing first.
pub async fn list(db: &Db, app: i32) -> Result<Vec<Moderator>, Error> {
    let rows = sqlx::query!(
        "select username, role, rooms, added_by, created_at from moderators where app = $1 order by created_at, username",
        app,
    )
    .fetch_all(db.pool())
    .await?;
    let moderator = |username, role: &str, rooms, added_by, created_at| {
        Some(Moderator { username, role: ModeratorRole::parse(role)?, rooms, added_by, created_at })
    };
    Ok(rows.into_iter().filter_map(|row| moderator(row.username, &row.role, row.rooms, row.added_by, row.created_at)).collect())
}

/// Makes a user a moderator, or changes what the user is as one. `rooms` are in the order in which they are shown.
pub async fn add(
    db: &Db,
    app: i32,
    actor: &Actor,
    name: &Names,
    role: ModeratorRole,
    rooms: Option<&[String]>,
) -> Result<Uncommitted<Moderator>, Error> {
    let mut transaction = db.begin().await?;
    let done = async {
        let last = super_admins::lock(&mut transaction, app).await?;
        let held = users::hold(&mut transaction, app, name.usernames(), false).await?;
        let user = held.into_iter().next().ok_or_else(|| Error::UserNotFound { user: name.given().join(",") })?;
        let former = find(&mut transaction, app, &user).await?;
        if let Some(former) = &former
            && (former.role, former.rooms.as_deref()) == (role, rooms)
        {
            return Ok(former.clone());
        }
        if former.is_none() && count(&mut transaction, app).await? >= MAX_MODERATORS {
            return Err(Error::ExceedLimit(format!("moderator count exceeds the limit {MAX_MODERATORS}!")));
        }
        let created_at = sqlx::query_scalar!(
            "insert into moderators (app, username, role, rooms, added_by) values ($1, $2, $3, $4, $5)
             on conflict (app, username) do update set role = excluded.role, rooms = excluded.rooms, added_by = excluded.added_by
             returning created_at",
            app,
            user,
            role.text(),
            rooms,
            &*actor.name,
        )
        .fetch_one(&mut *transaction)
        .await?;
        let mut event = NewEvent::new(Kind::ModeratorAdd, actor).users([&user]).after(fields(role, rooms));
        if let Some(former) = former {
            event = event.before(fields(former.role, former.rooms.as_deref()));
        }
        super_admins::record(&mut transaction, app, last, event).await?;
        let rooms = rooms.map(<[String]>::to_vec);
        Ok(Moderator { username: user, role, rooms, added_by: actor.name.clone().into_owned(), created_at })
    }
    .await;
    Uncommitted::new(db, transaction, done).await
}

/// Makes a moderator a plain user again; comes to `false` if the user is none.
pub async fn remove(db: &Db, app: i32, actor: &Actor, name: &Names) -> Result<Uncommitted<bool>, Error> {
    let mut transaction = db.begin().await?;
    let done = async {
        let last = super_admins::lock(&mut transaction, app).await?;
        let mut removed = false;
        if let [user] = name.usernames() {
            removed = delete(&mut transaction, app, last, actor, std::slice::from_ref(user)).await? != last;
        }
        Ok(removed)
    }
    .await;
    Uncommitted::new(db, transaction, done).await
}

/// Ends the standing of those of `users` who are moderators. The row of the app is locked. Returns its last event.
pub(crate) async fn delete(
    transaction: &mut Transaction,
    app: i32,
    mut last: Last,
    actor: &Actor,
    users: &[String],
) -> Result<Last, Error> {
    let gone = sqlx::query!(
        "delete from moderators where app = $1 and username = any($2::text[]) returning username, role, rooms",
        app,
        users,
    )
    .fetch_all(&mut **transaction)
    .await?;
    for row in gone {
        let mut event = NewEvent::new(Kind::ModeratorRemove, actor).users([&row.username]);
        if let Some(role) = ModeratorRole::parse(&row.role) {
            event = event.before(fields(role, row.rooms.as_deref()));
        }
        last = super_admins::record(transaction, app, last, event).await?;
    }
    Ok(last)
}

async fn find(connection: &mut PgConnection, app: i32, user: &str) -> Result<Option<Moderator>, Error> {
    let row =
        sqlx::query!("select role, rooms, added_by, created_at from moderators where app = $1 and username = $2", app, user)
            .fetch_optional(connection)
            .await?;
    Ok(row.and_then(|row| {
        let role = ModeratorRole::parse(&row.role)?;
        Some(Moderator { username: user.into(), role, rooms: row.rooms, added_by: row.added_by, created_at: row.created_at })
    }))
}

async fn count(connection: &mut PgConnection, app: i32) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(r#"select count(*) as "number!" from moderators where app = $1"#, app).fetch_one(connection).await?)
}

fn fields(role: ModeratorRole, rooms: Option<&[String]>) -> Vec<(&'static str, Value)> {
    let rooms = rooms.map(|rooms| ("rooms", Value::from(rooms)));
    std::iter::once(("role", Value::from(role.text()))).chain(rooms).collect()
}
