//! Apps: the tenants. They are made by the operator and never deleted.

use sqlx::types::Json;
use uuid::Uuid;

use crate::auth::Audience;
use crate::config::Overrides;
use crate::db::Db;

use crate::error::Error;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its key in the database.
    pub id: i32,
    /// Its name to the outside: `application` on the wire.
    pub uuid: Uuid,
    /// The first half of the app key.
    pub org: String,
    /// The second half of the app key.
    pub name: String,
    /// Tokens of earlier generations are revoked.
    pub token_generation: i32,
    /// What it has differently from the service.
    pub overrides: Json<Overrides>,
}

impl App {
    /// The app key: `{org}#{name}`.
    pub fn key(&self) -> String {
        format!("{}#{}", self.org, self.name)
    }

    /// What tokens that are issued now open.
    pub const fn audience(&self) -> Audience {
        Audience { app: self.uuid, generation: self.token_generation }
    }
}

/// What a client must know to be given a token.
pub struct Credentials {
    /// Public.
    pub client_id: String,
    /// See [`crate::auth::hash_client_secret`].
    pub client_secret_hash: Vec<u8>,
}

/// Makes an app; `None` if there is one of that name. The caller chooses the UUID, since it salts the secret's hash.
pub async fn create(db: &Db, uuid: Uuid, org: &str, name: &str, credentials: &Credentials) -> Result<Option<App>, Error> {
    let id = sqlx::query_scalar!(
        "insert into apps (uuid, org, name, client_id, client_secret_hash) values ($1, $2, $3, $4, $5)
         on conflict (org, name) do nothing returning id",
        uuid,
        org,
        name,
        credentials.client_id,
        credentials.client_secret_hash,
    )
    .fetch_optional(db.pool())
    .await?;
    Ok(id.map(|id| App { id, uuid, org: org.into(), name: name.into(), token_generation: 0, overrides: Json::default() }))
}

/// The app of that name, which must be [a legal one](is_app_name).
pub async fn find(db: &Db, org: &str, name: &str) -> Result<Option<App>, Error> {
    Ok(sqlx::query_as!(
        App,
        r#"select id, uuid, org, name, token_generation, settings as "overrides: _" from apps where org = $1 and name = $2"#,
        org,
        name,
    )
    .fetch_optional(db.pool())
    .await?)
}

/// All apps, by name, each with its client id.
pub async fn list(db: &Db) -> Result<Vec<(App, String)>, Error> {
    let rows = sqlx::query!(
        r#"select id, uuid, org, name, token_generation, settings as "overrides: Json<Overrides>", client_id from apps order by org, name"#
    )
    .fetch_all(db.pool())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            (
                App {
                    id: row.id,
                    uuid: row.uuid,
                    org: row.org,
                    name: row.name,
                    token_generation: row.token_generation,
                    overrides: row.overrides,
                },
                row.client_id,
            )
        })
        .collect())
}

/// Replaces the app's own settings.
pub async fn set_overrides(db: &Db, app: i32, overrides: Overrides) -> Result<(), Error> {
    sqlx::query!("update apps set settings = $2 where id = $1", app, Json(overrides) as _).execute(db.pool()).await?;
    Ok(())
}

/// The credentials of an app.
pub async fn credentials(db: &Db, app: i32) -> Result<Credentials, Error> {
    Ok(sqlx::query_as!(Credentials, "select client_id, client_secret_hash from apps where id = $1", app)
        .fetch_one(db.pool())
        .await?)
}

/// Replaces the app's client secret. Tokens that were issued before stay good.
pub async fn set_client_secret(db: &Db, app: i32, hash: &[u8]) -> Result<(), Error> {
    sqlx::query!("update apps set client_secret_hash = $2 where id = $1", app, hash).execute(db.pool()).await?;
    Ok(())
}

/// Whether an org or an app may be called so.
pub fn is_app_name(name: &str) -> bool {
    (1..=crate::names::MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}
