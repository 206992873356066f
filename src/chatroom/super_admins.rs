//! Super admins: users who may make rooms from their clients, in the whole app.

use super::{Db, Names, users};
use crate::error::Error;

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
pub async fn promote(db: &Db, app: i32, name: &Names) -> Result<(), Error> {
    db.transact(async |connection| {
        let held = users::hold(&mut *connection, app, name.stored(), false).await?;
        let Some(user) = held.into_iter().next() else {
            return Err(Error::UserNotFound { user: name.given().join(",") });
        };
        sqlx::query!(
            "insert into super_admins (app, username) values ($1, $2) on conflict (app, username) do nothing",
            app,
            user,
        )
        .execute(connection)
        .await?;
        Ok(())
    })
    .await
}

/// Makes a super admin a plain user again. For one who is, there is nothing to do.
pub async fn demote(db: &Db, app: i32, name: &Names) -> Result<(), Error> {
    users::find(db, app, name).await?.ok_or_else(|| Error::UserNotFound { user: name.given().join(",") })?;
    sqlx::query!("delete from super_admins where app = $1 and username = any($2::text[])", app, name.stored())
        .execute(db.pool())
        .await?;
    Ok(())
}
