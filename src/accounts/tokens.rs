//! Which tokens are still good, and what their users are in the app.

use sqlx::types::Uuid;
use time::OffsetDateTime;

use super::moderators::ModeratorRole;
use crate::auth::Claims;
use crate::db::Db;
use crate::error::Error;
use crate::names::Names;

/// A user as a token of the user's is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Never reused, while the name may be.
    pub uuid: Uuid,
    /// Whether the user may sign in.
    pub activated: bool,
    /// Tokens of earlier generations are revoked.
    pub token_generation: i32,
    /// Whether this very token is revoked.
    pub is_revoked: bool,
    /// Whether the user may make rooms.
    pub is_super_admin: bool,
    /// What the user moderates, if anything: how, and in which rooms (`None`: in all).
    pub moderates: Option<(ModeratorRole, Option<Vec<String>>)>,
}

impl Holder {
    /// Whether a token that says `claims` is a good one of this user's.
    pub fn may_show(&self, claims: &Claims) -> bool {
        self.activated && !self.is_revoked && Some(self.uuid) == claims.uid && Some(self.token_generation) == claims.generation
    }
}

/// The user of that name, who shows the token `jti`. `None` if there is no such user.
pub async fn holder(db: &Db, app: i32, name: &Names, jti: Uuid) -> Result<Option<Holder>, Error> {
    let row = sqlx::query!(
        r#"select users.uuid, users.activated, users.token_generation,
                  exists (select from revoked_tokens where app = $1 and revoked_tokens.jti = $3) as "is_revoked!",
                  exists (select from super_admins where app = $1 and super_admins.username = users.username)
                      as "is_super_admin!",
                  moderators.role as "role?", moderators.rooms as "rooms?"
           from users
           left join moderators on moderators.app = $1 and moderators.username = users.username
           where users.app = $1 and users.username = any($2::text[]) and users.deleted_at is null"#,
        app,
        name.usernames(),
        jti,
    )
    .fetch_optional(db.pool())
    .await?;
    Ok(row.map(|row| Holder {
        uuid: row.uuid,
        activated: row.activated,
        token_generation: row.token_generation,
        is_revoked: row.is_revoked,
        is_super_admin: row.is_super_admin,
        moderates: row.role.as_deref().and_then(ModeratorRole::parse).map(|role| (role, row.rooms)),
    }))
}

/// Whether that one token is revoked.
pub async fn is_revoked(db: &Db, app: i32, jti: Uuid) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from revoked_tokens where app = $1 and jti = $2) as "is_revoked!""#,
        app,
        jti,
    )
    .fetch_one(db.pool())
    .await?)
}

/// Revokes one token, which would have ended at `ends_at`; `None`: that is not known, and the revocation is kept for ever.
pub async fn revoke(db: &Db, app: i32, jti: Uuid, ends_at: Option<OffsetDateTime>) -> Result<(), Error> {
    sqlx::query!(
        "insert into revoked_tokens (app, jti, ends_at) values ($1, $2, coalesce($3::timestamptz, 'infinity'))
         on conflict (app, jti) do nothing",
        app,
        jti,
        ends_at,
    )
    .execute(db.pool())
    .await?;
    Ok(())
}

/// Revokes all tokens of an app and of its users that were issued until now.
pub async fn revoke_all(db: &Db, app: i32) -> Result<(), Error> {
    sqlx::query!("update apps set token_generation = token_generation + 1 where id = $1", app).execute(db.pool()).await?;
    Ok(())
}

/// Forgets up to `limit` revocations of tokens that have ended by themselves meanwhile. Returns the number.
pub async fn forget_ended(db: &Db, limit: i64) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        "delete from revoked_tokens where (app, jti) in (
             select app, jti from revoked_tokens where ends_at < now() - interval '1 hour' order by ends_at limit $1
         )",
        limit,
    )
    .execute(db.pool())
    .await?;
    Ok(forgotten.rows_affected())
}
