//! The users of an app in the order in which they came, page by page.
//!
//! A client that follows the list by cursor must miss no user: who registers later comes later. Registrations run side by
//! side, and none waits for another; so a number that is given at registration may be committed behind one that a client has
//! seen already. A counter on a locked row would make registrations wait for each other, and a list that ends before the
//! oldest open transaction would hide users who are registered. So a place is given to a user who is listed for the first
//! time: under the lock of the app's row, behind all places that were given before. Users who have no place yet are
//! in the order in which they registered. A user is listed at once, costs the list one write ever, and registering none.

use time::OffsetDateTime;
use uuid::Uuid;

use super::super_admins;
use super::users::User;
use crate::db::{Db, Transaction};
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
    let is_distributed = db.layout().await?.is_distributed();
    loop {
        let (listed, has_new) = if is_distributed {
            let mut transaction = db.begin().await?;
            let done = read_on_nodes(&mut transaction, app, after, size).await;
            transaction.end(done).await?
        } else {
            read(db, app, after, size).await?
        };
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
    let rows = sqlx::query_as!(
        Row,
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
    Ok((rows.into_iter().filter(|row| row.seq > 0).map(Row::user).collect(), has_new))
}

/// The same on a cluster. Places are given on several nodes, one after the other: meanwhile nobody reads.
async fn read_on_nodes(transaction: &mut Transaction, app: i32, after: i64, size: i64) -> Result<(Vec<ListedUser>, bool), Error> {
    transaction.share_app(app).await?;
    let rows = sqlx::query_as!(
        Row,
        "select seq, uuid, username, nickname, activated, created_at, modified_at from users
         where app = $1 and seq > $2 and deleted_at is null order by seq limit $3",
        app,
        after,
        size,
    )
    .fetch_all(&mut **transaction)
    .await?;
    let has_room = i64::try_from(rows.len()).is_ok_and(|number| number < size);
    let new = sqlx::query_scalar!("select 1 from users where app = $1 and seq = 0 and deleted_at is null limit 1", app);
    let has_new = has_room && new.fetch_optional(&mut **transaction).await?.is_some();
    Ok((rows.into_iter().map(Row::user).collect(), has_new))
}

/// A user on the list as the table has it.
struct Row {
    seq: i64,
    uuid: Uuid,
    username: String,
    nickname: Option<String>,
    activated: bool,
    created_at: OffsetDateTime,
    modified_at: OffsetDateTime,
}

impl Row {
    fn user(self) -> ListedUser {
        let Self { seq, uuid, username, nickname, activated, created_at, modified_at } = self;
        ListedUser { seq, user: User { uuid, username, nickname, activated, created_at, modified_at } }
    }
}

/// Gives places to the first `size` users who have none. The row of the app is locked first: places are committed in the
/// order in which they are given. Users are locked in the order of their names, as everywhere.
async fn give_places(transaction: &mut Transaction, app: i32, size: i64) -> Result<(), Error> {
    super_admins::lock(transaction, app).await?;
    let first = sqlx::query_scalar!(
        "select username from users where app = $1 and seq = 0 and deleted_at is null
         order by registered, created_at, username limit $2",
        app,
        size,
    )
    .fetch_all(&mut **transaction)
    .await?;
    if transaction.layout().is_distributed() {
        return write_places(transaction, app, &first).await;
    }
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
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Writes places on a cluster: who is deleted meanwhile, or has one, gets none.
async fn write_places(transaction: &mut Transaction, app: i32, first: &[String]) -> Result<(), Error> {
    let number = i64::try_from(first.len()).unwrap_or(i64::MAX);
    let places = sqlx::query_scalar!(r#"select nextval('user_numbers') as "place!" from generate_series(1, $1::bigint)"#, number)
        .fetch_all(&mut **transaction)
        .await?;
    sqlx::query!(
        "update users set seq = given.place from unnest($2::text[], $3::bigint[]) given (username, place)
         where users.app = $1 and users.username = given.username and seq = 0 and deleted_at is null",
        app,
        first,
        &places,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
