//! Super admins: users who may make rooms from their clients, in the whole app.
//!
//! What happens to them is told as the events of a room without a name. Their number is on the row of the app, whose lock
//! comes first.

use crate::accounts::users;
use crate::db::{Db, Transaction};
use crate::error::Error;
use crate::events::log::{self, Actor, Kind, Last, NewEvent};
use crate::idempotency::Uncommitted;
use crate::names::{Names, Scope};

/// Reads `size` super admins, the longest standing first, the first `skip` left out.
pub async fn list(db: &Db, app: i32, skip: i64, size: i64) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!(
        "select username from super_admins where app = $1 order by promoted_at, username offset $2 limit $3",
        app,
        skip,
        size,
    )
    .fetch_all(db.pool())
    .await?)
}

/// Makes a user a super admin. For one who is, there is nothing to do.
pub async fn promote(db: &Db, app: i32, actor: &Actor, name: &Names) -> Result<Uncommitted<()>, Error> {
    let mut transaction = db.begin().await?;
    let done = async {
        let last = lock(&mut transaction, app).await?;
        let held = users::hold(&mut transaction, app, name.usernames(), false).await?;
        let Some(user) = held.into_iter().next() else {
            return Err(Error::UserNotFound { user: name.given().join(",") });
        };
        let promoted = sqlx::query!(
            "insert into super_admins (app, username) values ($1, $2) on conflict (app, username) do nothing",
            app,
            user,
        )
        .execute(&mut *transaction)
        .await?;
        if promoted.rows_affected() > 0 {
            record(&mut transaction, app, last, NewEvent::new(Kind::SuperAdminAdd, actor).users([user])).await?;
        }
        Ok(())
    }
    .await;
    Uncommitted::new(db, transaction, done).await
}

/// Makes a super admin a plain user again. For one who is, there is nothing to do.
pub async fn demote(db: &Db, app: i32, actor: &Actor, name: &Names) -> Result<Uncommitted<()>, Error> {
    users::find(db, app, name).await?.ok_or_else(|| Error::UserNotFound { user: name.given().join(",") })?;
    let mut transaction = db.begin().await?;
    let done = async {
        let last = lock(&mut transaction, app).await?;
        delete(&mut transaction, app, last, actor, name.usernames()).await.map(drop)
    }
    .await;
    Uncommitted::new(db, transaction, done).await
}

/// Locks the row of the app, and returns the last event of the app as a whole.
pub(crate) async fn lock(transaction: &mut Transaction, app: i32) -> Result<Last, Error> {
    transaction.hold_app(app).await?;
    let app = sqlx::query!("select last_event, last_xact from apps where id = $1 for no key update", app);
    let row = app.fetch_one(&mut **transaction).await?;
    Ok(Last { n: row.last_event, xact: row.last_xact })
}

/// The same without waiting; `None`: another transaction holds the row.
pub(crate) async fn try_lock(transaction: &mut Transaction, app: i32) -> Result<Option<Last>, Error> {
    if !transaction.try_hold_app(app).await? {
        return Ok(None);
    }
    let app = sqlx::query!("select last_event, last_xact from apps where id = $1 for no key update skip locked", app);
    let row = app.fetch_optional(&mut **transaction).await?;
    Ok(row.map(|row| Last { n: row.last_event, xact: row.last_xact }))
}

/// Ends the standing of those of `users` who are super admins. The row of the app is locked. Returns its last event.
pub(crate) async fn delete(
    transaction: &mut Transaction,
    app: i32,
    last: Last,
    actor: &Actor,
    users: &[String],
) -> Result<Last, Error> {
    let gone = sqlx::query_scalar!(
        "delete from super_admins where app = $1 and username = any($2::text[]) returning username",
        app,
        users,
    )
    .fetch_all(&mut **transaction)
    .await?;
    if gone.is_empty() {
        return Ok(last);
    }
    let gone = users.iter().filter(|name| gone.contains(name));
    record(transaction, app, last, NewEvent::new(Kind::SuperAdminRemove, actor).users(gone)).await
}

/// Writes an event of the app as a whole, whose row is locked. Returns its last event.
pub(crate) async fn record(transaction: &mut Transaction, app: i32, last: Last, event: NewEvent) -> Result<Last, Error> {
    let last = log::append(transaction, &Scope::App(app), last, vec![event]).await?;
    sqlx::query!("update apps set last_event = $2, last_xact = $3 where id = $1", app, last.n, last.xact)
        .execute(&mut **transaction)
        .await?;
    Ok(last)
}
