//! How users leave an app.
//!
//! Deleting a user marks the row first: from then on nobody can add the user anywhere. Then room by room forgets the
//! user, each under its own lock, and last the row goes and with it the claim on the name.

use uuid::Uuid;

use super::change::change;
use super::users::User;
use super::{Db, Names, RoomKey, blocks, members, mutes};
use crate::error::Error;

/// How many rooms forget deleted users before a deletion is answered; the others follow in the background.
const ROOMS_AT_ONCE: usize = 1000;

/// Deletes users, each with the rooms that the user owns and every standing in others. Returns who was there to delete.
pub async fn delete(db: &Db, app: i32, names: &Names) -> Result<Vec<User>, Error> {
    // `for update` and not what an update takes by itself: it must wait for those who hold the user.
    let mut users = sqlx::query_as!(
        User,
        "with doomed as (
             select username from users
             where app = $1 and username = any($2::text[]) and deleted_at is null
             order by username for update
         ), demoted as (
             delete from super_admins using doomed
             where super_admins.app = $1 and super_admins.username = doomed.username
         )
         update users set deleted_at = now() from doomed
         where users.app = $1 and users.username = doomed.username
         returning uuid, users.username, nickname, activated, created_at, modified_at",
        app,
        names.stored(),
    )
    .fetch_all(db.pool())
    .await?;
    users.sort_by_key(|user| names.stored().iter().position(|name| *name == user.username));
    let mut rooms_left = ROOMS_AT_ONCE;
    for user in &users {
        let gone = Gone { app, username: user.username.clone(), uuid: user.uuid };
        match forget(db, &gone, rooms_left).await {
            Ok(rooms) => rooms_left -= rooms,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "deleted users are still in some rooms; the background task goes on");
                break;
            }
        }
    }
    Ok(users)
}

/// A user who was deleted but whom some rooms still know. Names are given away again, so the UUID belongs to it.
pub struct Gone {
    app: i32,
    username: String,
    uuid: Uuid,
}

/// Users who were deleted but whom some rooms still know, longest waiting first.
pub async fn deleted(db: &Db, limit: i64) -> Result<Vec<Gone>, Error> {
    Ok(sqlx::query_as!(
        Gone,
        "select app, username, uuid from users where deleted_at is not null order by deleted_at limit $1",
        limit,
    )
    .fetch_all(db.pool())
    .await?)
}

/// Lets up to `limit` rooms forget a deleted user, and frees the name once no room is left. Returns how many it were.
///
/// Any number of callers may do this at once. A deleted user gains no new standing: adding holds the user first, and
/// everything else asks for membership.
pub async fn forget(db: &Db, user: &Gone, limit: usize) -> Result<usize, Error> {
    let mut after = String::new();
    let mut rooms_done = 0;
    loop {
        let rooms = rooms_of(db, user.app, &user.username, &after, limit.min(100)).await?;
        let Some(last) = rooms.last() else { break };
        after.clone_from(last);
        for room in rooms {
            if rooms_done == limit {
                return Ok(rooms_done);
            }
            match forget_in_room(db, &RoomKey::new(user.app, room), user).await {
                // Deleted meanwhile: as good as forgotten.
                Ok(()) | Err(Error::RoomNotFound { .. }) => rooms_done += 1,
                Err(error) => return Err(error),
            }
        }
    }
    sqlx::query!(
        "delete from users where app = $1 and username = $2 and uuid = $3 and deleted_at is not null",
        user.app,
        user.username,
        user.uuid,
    )
    .execute(db.pool())
    .await?;
    Ok(rooms_done)
}

/// Rooms in which a user is a member, muted or blocked, by id.
async fn rooms_of(db: &Db, app: i32, username: &str, after: &str, limit: usize) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!(
        r#"
        select distinct known.chatroom as "chatroom!" from (
            select chatroom from members where app = $1 and username = $2 and chatroom > $3
            union all
            select chatroom from blocks where app = $1 and username = $2 and chatroom > $3
            union all
            select chatroom from mutes where app = $1 and username = $2 and chatroom > $3
        ) known
        join chatrooms on chatrooms.app = $1 and chatrooms.id = known.chatroom and chatrooms.deleted_at is null
        order by 1 limit $4
        "#,
        app,
        username,
        after,
        i64::try_from(limit).unwrap_or(i64::MAX),
    )
    .fetch_all(db.pool())
    .await?)
}

async fn forget_in_room(db: &Db, key: &RoomKey, user: &Gone) -> Result<(), Error> {
    change(db, key, async |change| {
        // Another caller may have finished meanwhile, and somebody else may have the name by now.
        let still_gone = sqlx::query!(
            "select username from users
             where app = $1 and username = $2 and uuid = $3 and deleted_at is not null
             for key share",
            user.app,
            user.username,
            user.uuid,
        )
        .fetch_optional(change.connection())
        .await?;
        if still_gone.is_none() {
            return Ok(());
        }
        if change.room.owner == user.username {
            change.room.deleted = true;
            return Ok(());
        }
        let name = std::slice::from_ref(&user.username);
        if change.standing(&Names::new(name)).await?[0].member {
            members::delete(change, name).await?;
        }
        blocks::delete(change, name).await?;
        mutes::delete(change, name).await?;
        Ok(())
    })
    .await
}
