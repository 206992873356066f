//! How users leave an app.
//!
//! Deleting a user marks the row first: from then on no change can add the user anywhere. Then room by room forgets the
//! user, each under its own lock, and last the row goes and frees the name.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::forgetting::Forget;
use super::writer::Writer;
use crate::accounts::users::User;
use crate::accounts::{global_mutes, moderators, super_admins};
use crate::db::{Db, Transaction};
use crate::error::{Causes, Error};
use crate::events::log::Actor;
use crate::idempotency::Uncommitted;
use crate::names::{Names, RoomKey};

/// A user who was deleted but whom some rooms still know. Names are given away again, so the UUID belongs to it.
pub struct Gone {
    app: i32,
    username: String,
    uuid: Uuid,
    /// Who has deleted the user: the rooms' events say so.
    deleted_by: Option<String>,
    deleted_reason: Option<String>,
}

impl Gone {
    fn actor(&self) -> Actor {
        Actor::kept(self.deleted_by.clone(), self.deleted_reason.clone())
    }
}

/// How much is done at once about users who have left.
pub struct Effort {
    /// How many rooms may forget, in all.
    pub rooms: usize,
    /// When to stop, if ever, also while waiting for a room that another transaction holds.
    pub until: Option<Instant>,
}

/// What a deletion does before it is answered; the background task does the rest.
fn before_the_answer() -> Effort {
    Effort { rooms: 1000, until: Some(Instant::now() + Duration::from_secs(1)) }
}

/// Deletes users; comes to those who were there to delete. They are to be [forgotten](begin_forgetting) next.
pub async fn delete(db: &Db, app: i32, actor: &Actor, names: &Names) -> Result<Uncommitted<Vec<User>>, Error> {
    let mut transaction = db.begin().await?;
    let marked = mark(&mut transaction, app, actor, names).await;
    Uncommitted::new(db, transaction, marked).await
}

/// Begins to delete the rooms that deleted users own, and every standing that they have in others.
pub async fn begin_forgetting(writer: &Writer, app: i32, actor: &Actor, users: &[User]) {
    let mut effort = before_the_answer();
    for user in users {
        let gone = Gone {
            app,
            username: user.username.clone(),
            uuid: user.uuid,
            deleted_by: Some(actor.name.clone().into_owned()),
            deleted_reason: actor.reason.clone(),
        };
        match forget(writer, &gone, &effort).await {
            Ok(rooms) => effort.rooms -= rooms,
            Err(error) => {
                let error = Causes(&error);
                tracing::warn!(%error, "deleted users are still in some rooms; the background task goes on");
                break;
            }
        }
    }
}

/// Marks users as deleted. What they are app-wide goes in the next statement, which sees all that those have committed
/// for whom the first one waited.
async fn mark(transaction: &mut Transaction, app: i32, actor: &Actor, names: &Names) -> Result<Vec<User>, Error> {
    let last = super_admins::lock(transaction, app).await?;
    let mut users = if transaction.layout().is_distributed() {
        transaction.hold_users(app, names.usernames(), &[]).await?;
        mark_on_nodes(transaction, app, actor, names).await?
    } else {
        mark_rows(transaction, app, actor, names).await?
    };
    users.sort_by_key(|user| names.usernames().iter().position(|name| *name == user.username));
    let marked: Vec<String> = users.iter().map(|user| user.username.clone()).collect();
    let last = super_admins::delete(transaction, app, last, actor, &marked).await?;
    let last = moderators::delete(transaction, app, last, actor, &marked).await?;
    global_mutes::delete(transaction, app, last, actor, &marked).await?;
    Ok(users)
}

/// `for update` and not what an update takes by itself: it must wait for those who hold the user.
async fn mark_rows(transaction: &mut Transaction, app: i32, actor: &Actor, names: &Names) -> Result<Vec<User>, Error> {
    Ok(sqlx::query_as!(
        User,
        "with doomed as (
             select username from users
             where app = $1 and username = any($2::text[]) and deleted_at is null
             order by username for update
         )
         update users set deleted_at = now(), deleted_by = $3, deleted_reason = $4 from doomed
         where users.app = $1 and users.username = doomed.username
         returning uuid, users.username, nickname, activated, created_at, modified_at",
        app,
        names.usernames(),
        &*actor.name,
        actor.reason,
    )
    .fetch_all(&mut **transaction)
    .await?)
}

/// The same on a cluster, where users are held already.
async fn mark_on_nodes(transaction: &mut Transaction, app: i32, actor: &Actor, names: &Names) -> Result<Vec<User>, Error> {
    Ok(sqlx::query_as!(
        User,
        "update users set deleted_at = now(), deleted_by = $3, deleted_reason = $4
         where app = $1 and username = any($2::text[]) and deleted_at is null
         returning uuid, username, nickname, activated, created_at, modified_at",
        app,
        names.usernames(),
        &*actor.name,
        actor.reason,
    )
    .fetch_all(&mut **transaction)
    .await?)
}

/// How many deleted users whose traces are still there, up to 100,000.
pub async fn count(db: &Db) -> Result<i64, Error> {
    let counted = sqlx::query_scalar!(
        r#"select count(*) as "count!" from (select 1 from users where deleted_at is not null limit 100000) deleted"#
    );
    Ok(counted.fetch_one(db.pool()).await?)
}

/// Users who were deleted but whom some rooms still know, longest waiting first.
pub async fn deleted(db: &Db, limit: i64) -> Result<Vec<Gone>, Error> {
    Ok(sqlx::query_as!(
        Gone,
        "select app, username, uuid, deleted_by, deleted_reason from users where deleted_at is not null order by deleted_at limit $1",
        limit,
    )
    .fetch_all(db.pool())
    .await?)
}

/// Lets rooms forget a deleted user, and frees the name once no room is left. Returns the number of rooms.
///
/// Any number of callers may do this at once. A deleted user gains no new standing: adding holds the user first, and
/// everything else asks for membership.
pub async fn forget(writer: &Writer, user: &Gone, effort: &Effort) -> Result<usize, Error> {
    const ROOMS_AT_ONCE: i64 = 100;
    let (db, actor) = (writer.db(), user.actor());
    let mut after = String::new();
    let mut rooms_done = 0;
    loop {
        let rooms = rooms_of(db, user, &after, ROOMS_AT_ONCE).await?;
        let Some(last) = rooms.last() else { break };
        after.clone_from(last);
        let left = effort.rooms - rooms_done;
        // All of them at once: those of them that are free are one batch of the writer.
        let forgetting = rooms.into_iter().take(left).map(|room| {
            let key = RoomKey::from_row(user.app, room);
            let forget = Forget { name: Names::new([&user.username]), uuid: user.uuid };
            let actor = &actor;
            async move { writer.submit(&key, actor, forget).await }
        });
        let all = futures_util::future::join_all(forgetting);
        let done = match effort.until {
            None => all.await,
            // What is still waiting is not made any more.
            Some(until) => match timeout_at(until, all).await {
                Ok(done) => done,
                Err(_) => return Ok(rooms_done),
            },
        };
        for done in done {
            match done {
                // Deleted meanwhile: as good as forgotten.
                Ok(()) | Err(Error::RoomNotFound { .. }) => rooms_done += 1,
                Err(error) => return Err(error),
            }
        }
        if rooms_done == effort.rooms || effort.until.is_some_and(|until| Instant::now() >= until) {
            return Ok(rooms_done);
        }
    }
    free_name(db, user).await?;
    Ok(rooms_done)
}

/// Gives the name of a deleted user away, if no room but deleted ones knows the user any more.
async fn free_name(db: &Db, user: &Gone) -> Result<(), Error> {
    sqlx::query!(
        "delete from users where app = $1 and username = $2 and uuid = $3 and deleted_at is not null
         and not exists (
             select 1 from (
                 select chatroom from members where app = $1 and username = $2
                 union all select chatroom from blocks where app = $1 and username = $2
                 union all select chatroom from mutes where app = $1 and username = $2
                 union all select chatroom from attributes where app = $1 and setter = $2
             ) known
             join chatrooms on chatrooms.app = $1 and chatrooms.id = known.chatroom and chatrooms.deleted_at is null
         )",
        user.app,
        user.username,
        user.uuid,
    )
    .execute(db.pool())
    .await?;
    Ok(())
}

/// Rooms that know a user, by id: each list gives its next ones, and the first of all of them are taken.
async fn rooms_of(db: &Db, user: &Gone, after: &str, limit: i64) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!(
        r#"
        select chatroom as "chatroom!" from (
            (select chatroom from members where app = $1 and username = $2 and chatroom > $3 order by chatroom limit $4)
            union
            (select chatroom from blocks where app = $1 and username = $2 and chatroom > $3 order by chatroom limit $4)
            union
            (select chatroom from mutes where app = $1 and username = $2 and chatroom > $3 order by chatroom limit $4)
            union
            (select chatroom from attributes where app = $1 and setter = $2 and chatroom > $3 order by chatroom limit $4)
        ) known
        order by chatroom limit $4
        "#,
        user.app,
        user.username,
        after,
        limit,
    )
    .fetch_all(db.pool())
    .await?)
}
