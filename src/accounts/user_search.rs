//! Searches users by the beginning of a username or a nickname.

use time::OffsetDateTime;
use uuid::Uuid;

use super::users::User;
use crate::db::Db;
use crate::error::Error;
use crate::names::{Seen, WindowPage};
use crate::search::{Prefix, SearchCursor, SearchStart, WINDOW};

/// Reads up to `limit` users whose names or nicknames begin so, behind a position. However many are called so, and however
/// many of them are deleted, it looks at a window of usernames and one of nicknames.
pub async fn search(
    db: &Db,
    app: i32,
    prefix: &Prefix,
    after: Option<SearchCursor>,
    limit: i64,
) -> Result<WindowPage<User, SearchCursor>, Error> {
    let start = SearchCursor::start(after, prefix);
    let rows = if db.layout().await?.is_distributed() {
        on_nodes(db, app, prefix, &start, limit).await?
    } else {
        on_one(db, app, prefix, &start, limit).await?
    };
    let seen = rows.into_iter().map(|row| Seen {
        cursor: SearchCursor { name: row.folded, id: row.username.clone() },
        entry: row.is_meant.then_some(User {
            uuid: row.uuid,
            username: row.username,
            nickname: row.nickname,
            activated: row.activated,
            created_at: row.created_at,
            modified_at: row.modified_at,
        }),
        ends_window: row.ends_window,
    });
    Ok(WindowPage::new(seen.collect(), limit))
}

/// A user who was looked at.
struct Found {
    folded: Option<String>,
    username: String,
    is_meant: bool,
    ends_window: bool,
    uuid: Uuid,
    nickname: Option<String>,
    activated: bool,
    created_at: OffsetDateTime,
    modified_at: OffsetDateTime,
}

/// Looks at entries of the indexes, and at the rows of those that are asked for.
async fn on_one(db: &Db, app: i32, prefix: &Prefix, start: &SearchStart, limit: i64) -> Result<Vec<Found>, Error> {
    Ok(sqlx::query_as!(
        Found,
        r#"
        select found.folded, found.username as "username!", is_meant as "is_meant!", ends_window as "ends_window!",
               account.uuid, account.nickname, account.activated, account.created_at, account.modified_at
        from (
            (select null as folded, username, is_meant, ends_window
             from (
                 select username, deleted_at is null as is_meant,
                        row_number() over (order by username) = $7::bigint as ends_window
                 from users where app = $1 and username >= $2 and username < $3 and username > $4
                 order by username limit $7::bigint
             ) entry
             where is_meant or ends_window order by username limit $8)
            union all
            (select folded, username, is_meant, ends_window
             from (
                 select lower(nickname collate "C") as folded, username, not (username >= $2 and username < $3) as is_meant,
                        row_number() over (order by lower(nickname collate "C"), username) = $7::bigint as ends_window
                 from users
                 where app = $1 and nickname is not null and deleted_at is null and lower(nickname collate "C") < $3
                   and (lower(nickname collate "C"), username) > ($5, $6)
                 order by lower(nickname collate "C"), username limit $7::bigint
             ) entry
             where is_meant or ends_window order by folded, username limit $8)
        ) found
        cross join lateral (
            select uuid, nickname, activated, created_at, modified_at from users
            where app = $1 and users.username = found.username limit 1
        ) account
        order by found.folded nulls first, found.username limit $8
        "#,
        app,
        prefix.from,
        prefix.to,
        start.id,
        start.name.0,
        start.name.1,
        WINDOW,
        limit + 1,
    )
    .fetch_all(db.pool())
    .await?)
}

/// The same on a cluster: each node gives its windows of rows.
async fn on_nodes(db: &Db, app: i32, prefix: &Prefix, start: &SearchStart, limit: i64) -> Result<Vec<Found>, Error> {
    Ok(sqlx::query_as!(
        Found,
        r#"
        select folded, username as "username!", is_meant as "is_meant!", ends_window as "ends_window!", uuid as "uuid!", nickname,
               activated as "activated!", created_at as "created_at!", modified_at as "modified_at!"
        from (
            (select null as folded, username, is_meant, nth = $7::bigint as ends_window, uuid, nickname, activated, created_at,
                    modified_at
             from (
                 select *, row_number() over (order by username) as nth
                 from (
                     select username, deleted_at is null as is_meant, uuid, nickname, activated, created_at, modified_at
                     from users where app = $1 and username >= $2 and username < $3 and username > $4
                     order by username limit $7::bigint
                 ) entry
             ) numbered
             where is_meant or nth = $7::bigint order by username limit $8)
            union all
            (select folded, username, is_meant, nth = $7::bigint as ends_window, uuid, nickname, activated, created_at, modified_at
             from (
                 select *, row_number() over (order by folded, username) as nth
                 from (
                     select lower(nickname collate "C") as folded, username, not (username >= $2 and username < $3) as is_meant,
                            uuid, nickname, activated, created_at, modified_at
                     from users
                     where app = $1 and nickname is not null and deleted_at is null and lower(nickname collate "C") < $3
                       and (lower(nickname collate "C"), username) > ($5, $6)
                     order by lower(nickname collate "C"), username limit $7::bigint
                 ) entry
             ) numbered
             where is_meant or nth = $7::bigint order by folded, username limit $8)
        ) found
        order by folded nulls first, username limit $8
        "#,
        app,
        prefix.from,
        prefix.to,
        start.id,
        start.name.0,
        start.name.1,
        WINDOW,
        limit + 1,
    )
    .fetch_all(db.pool())
    .await?)
}
