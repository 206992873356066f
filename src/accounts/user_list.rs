//! The users of an app in the order in which they came, page by page.
//!
//! A client that follows the list by cursor must miss no user: who registers later comes later. Registrations run side by
//! side, and none waits for another; so a number that is given at registration may be committed behind one that a client has
//! seen already. A counter on a locked row would make registrations wait for each other, and a list that ends before the
//! oldest open transaction would hide users who are registered. So a place is given to a user who is listed for the first
//! time: under the lock of the app's row, behind all places that were given before. Users who have no place yet are
//! in the order in which they registered. A user is listed at once, costs the list one write ever, and registering none.

use sqlx::PgConnection;

use super::super_admins;
use super::users::User;
use crate::db::Db;
use crate::error::Error;

/// A user, and the user's place in the list.
pub struct ListedUser {
    /// The place: ascending, with gaps, above 0.
    pub seq: i64,
    /// The user.
    pub user: User,
}

/// Reads `size` users behind the place `after`, the earliest first.
pub async fn list(db: &Db, app: i32, after: i64, size: i64) -> Result<Vec<ListedUser>, Error> {
    loop {
        let (listed, has_new) = read(db, app, after, size).await?;
        if !has_new {
            return Ok(listed);
        }
        // One of these may be deleted meanwhile, or another may register; either way the next reading has come further.
        let missing = size.saturating_sub(i64::try_from(listed.len()).unwrap_or(i64::MAX));
        let mut transaction = db.begin().await?;
        let placed = give_places(&mut transaction, app, missing).await;
        transaction.end(placed).await?;
    }
}

/// The users on a page who have a place, and whether there are others who would be on it behind them. It is one statement,
/// so that it finds each user with a place or without.
async fn read(db: &Db, app: i32, after: i64, size: i64) -> Result<(Vec<ListedUser>, bool), Error> {
    let rows = sqlx::query!(
        r#"
        with listed as materialized (
            select seq, uuid, username, nickname, activated, created_at, modified_at from users
            where app = $1 and seq > $2 and deleted_at is null
            order by seq limit $3
        )
        select seq as "seq!", uuid as "uuid!", username as "username!", nickname, activated as "activated!",
               created_at as "created_at!", modified_at as "modified_at!"
        from (
            select * from listed
            union all
            (select seq, uuid, username, nickname, activated, created_at, modified_at from users
             where app = $1 and seq = 0 and deleted_at is null
             order by registered, created_at, username
             limit case when (select count(*) from listed) < $3 then 1 else 0 end)
        ) page
        order by seq
        "#,
        app,
        after,
        size,
    )
    .fetch_all(db.pool())
    .await?;
    let has_new = rows.first().is_some_and(|row| row.seq == 0);
    let listed = rows.into_iter().filter(|row| row.seq > 0).map(|row| ListedUser {
        seq: row.seq,
        user: User {
            uuid: row.uuid,
            username: row.username,
            nickname: row.nickname,
            activated: row.activated,
            created_at: row.created_at,
            modified_at: row.modified_at,
        },
    });
    Ok((listed.collect(), has_new))
}

/// Gives places to the first `size` users who have none. The row of the app is locked first: places are committed in the
/// order in which they are given. Users are locked in the order of their names, as everywhere.
async fn give_places(connection: &mut PgConnection, app: i32, size: i64) -> Result<(), Error> {
    super_admins::lock(&mut *connection, app).await?;
    let first = sqlx::query_scalar!(
        "select username from users where app = $1 and seq = 0 and deleted_at is null
         order by registered, created_at, username limit $2",
        app,
        size,
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!(
        r#"with held as materialized (
             select first.username, place
             from (
                 select username, place from unnest($2::text[]) with ordinality given (username, place)
                 order by username collate "C"
             ) first
             cross join lateral (
                 select from users
                 where app = $1 and username = first.username and seq = 0 and deleted_at is null
                 for no key update
             ) locked
         ),
         numbered as materialized (
             select username, nextval('user_numbers') as seq from (select username from held order by place) held
         )
         update users set seq = numbered.seq from numbered where users.app = $1 and users.username = numbered.username"#,
        app,
        &first,
    )
    .execute(connection)
    .await?;
    Ok(())
}
