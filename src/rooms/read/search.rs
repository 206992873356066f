//! Searches rooms by the beginning of an id or a name.

use time::OffsetDateTime;

use super::details::Summary;
use crate::db::Db;
use crate::error::Error;
use crate::names::{Seen, WindowPage};
use crate::search::{Prefix, SearchCursor, SearchStart, WINDOW};

/// Reads up to `limit` rooms of an app behind a position. However many rooms are called so, and however many of them are
/// deleted, it looks at a window of ids and one of names.
pub async fn rooms(
    db: &Db,
    app: i32,
    prefix: &Prefix,
    after: Option<SearchCursor>,
    limit: i64,
) -> Result<WindowPage<Summary, SearchCursor>, Error> {
    let start = SearchCursor::start(after, prefix);
    let rows = if db.layout().await?.is_distributed() {
        on_nodes(db, app, prefix, &start, limit).await?
    } else {
        on_one(db, app, prefix, &start, limit).await?
    };
    let seen = rows.into_iter().map(|row| Seen {
        cursor: SearchCursor { name: row.folded, id: row.id.clone() },
        entry: row.is_meant.then_some(Summary {
            id: row.id,
            name: row.name,
            owner: row.owner,
            member_count: row.member_count,
            created_at: row.created_at,
        }),
        ends_window: row.ends_window,
    });
    Ok(WindowPage::new(seen.collect(), limit))
}

/// A room that was looked at.
struct Found {
    folded: Option<String>,
    id: String,
    is_meant: bool,
    ends_window: bool,
    name: String,
    owner: String,
    created_at: OffsetDateTime,
    member_count: i32,
}

/// Looks at entries of the indexes, and at the rows of those that are asked for.
async fn on_one(db: &Db, app: i32, prefix: &Prefix, start: &SearchStart, limit: i64) -> Result<Vec<Found>, Error> {
    Ok(sqlx::query_as!(
        Found,
        r#"
        select found.folded, found.id as "id!", is_meant as "is_meant!", ends_window as "ends_window!",
               room.name, room.owner, room.created_at, counters.member_count
        from (
            (select null as folded, id, is_meant, ends_window
             from (
                 select id, deleted_at is null as is_meant, row_number() over (order by id) = $7::bigint as ends_window
                 from chatrooms where app = $1 and id >= $2 and id < $3 and id > $4 order by id limit $7::bigint
             ) entry
             where is_meant or ends_window order by id limit $8)
            union all
            (select folded, id, is_meant, ends_window
             from (
                 select lower(name collate "C") as folded, id, not (id >= $2 and id < $3) as is_meant,
                        row_number() over (order by lower(name collate "C"), id) = $7::bigint as ends_window
                 from chatrooms
                 where app = $1 and deleted_at is null and lower(name collate "C") < $3
                   and (lower(name collate "C"), id) > ($5, $6)
                 order by lower(name collate "C"), id limit $7::bigint
             ) entry
             where is_meant or ends_window order by folded, id limit $8)
        ) found
        cross join lateral (
            select name, owner, created_at from chatrooms where app = $1 and chatrooms.id = found.id limit 1
        ) room
        cross join lateral (
            select member_count from room_counters where app = $1 and chatroom = found.id limit 1
        ) counters
        order by found.folded nulls first, found.id limit $8
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

/// The same on a cluster: each node gives its windows of rows, with what is counted in them.
async fn on_nodes(db: &Db, app: i32, prefix: &Prefix, start: &SearchStart, limit: i64) -> Result<Vec<Found>, Error> {
    Ok(sqlx::query_as!(
        Found,
        r#"
        select folded, id as "id!", is_meant as "is_meant!", ends_window as "ends_window!", name as "name!", owner as "owner!",
               created_at as "created_at!", member_count as "member_count!"
        from (
            (select null as folded, id, is_meant, nth = $7::bigint as ends_window, name, owner, created_at, member_count
             from (
                 select *, row_number() over (order by id) as nth
                 from (
                     select id, deleted_at is null as is_meant, name, owner, created_at, member_count
                     from chatrooms join room_counters on room_counters.app = chatrooms.app and chatroom = id
                     where chatrooms.app = $1 and id >= $2 and id < $3 and id > $4 order by id limit $7::bigint
                 ) entry
             ) numbered
             where is_meant or nth = $7::bigint order by id limit $8)
            union all
            (select folded, id, is_meant, nth = $7::bigint as ends_window, name, owner, created_at, member_count
             from (
                 select *, row_number() over (order by folded, id) as nth
                 from (
                     select lower(name collate "C") as folded, id, not (id >= $2 and id < $3) as is_meant, name, owner, created_at,
                            member_count
                     from chatrooms join room_counters on room_counters.app = chatrooms.app and chatroom = id
                     where chatrooms.app = $1 and deleted_at is null and lower(name collate "C") < $3
                       and (lower(name collate "C"), id) > ($5, $6)
                     order by lower(name collate "C"), id limit $7::bigint
                 ) entry
             ) numbered
             where is_meant or nth = $7::bigint order by folded, id limit $8)
        ) found
        order by folded nulls first, id limit $8
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
