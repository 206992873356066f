//! The admins of a room: members whom the owner has made so. The owner is none of them.

use crate::accounts::users;
use crate::db::Db;
use crate::error::Error;
use crate::events::log::{Actor, Kind};
use crate::names::{Names, RoomKey};
use crate::rooms::change::{Change, change};

/// The most admins that a room has.
pub const MAX_ADMINS: usize = 99;

/// Makes a member an admin. For the owner and for an admin there is nothing to do.
pub async fn promote(db: &Db, key: &RoomKey, actor: &Actor, name: &Names) -> Result<(), Error> {
    change(db, key, actor, async |change| {
        let user = users::require(change.connection(), key.app, name).await?;
        if !change.standing(name).await?[0].member {
            return Err(Error::NotInRoom { user, room: key.given().into() });
        }
        let admins = current(change).await?;
        if user == change.room.owner || admins.contains(&user) {
            return Ok(());
        }
        if admins.len() >= MAX_ADMINS {
            return Err(Error::ExceedLimit(format!("admin count exceeds the limit {MAX_ADMINS}!")));
        }
        let before = change.numbers(1);
        sqlx::query!(
            "insert into admins (app, chatroom, username, seq) values ($1, $2, $3, $4)",
            key.app,
            key.id(),
            user,
            before + 1,
        )
        .execute(change.connection())
        .await?;
        change.record(Kind::AdminAdd, |event| event.users([user]));
        Ok(())
    })
    .await
}

/// Makes an admin a plain member again.
pub async fn demote(db: &Db, key: &RoomKey, actor: &Actor, name: &Names) -> Result<(), Error> {
    change(db, key, actor, async |change| {
        let user = users::require(change.connection(), key.app, name).await?;
        if delete(change, &user).await? {
            return Ok(());
        }
        Err(Error::NotAdmin { user, room: key.given().into() })
    })
    .await
}

/// Ends the standing of an admin; `false` if the user had none.
pub(crate) async fn delete(change: &mut Change, user: &str) -> Result<bool, Error> {
    let key = change.key.clone();
    let gone = sqlx::query!("delete from admins where app = $1 and chatroom = $2 and username = $3", key.app, key.id(), user,)
        .execute(change.connection())
        .await?;
    let was_admin = gone.rows_affected() > 0;
    if was_admin {
        change.record(Kind::AdminRemove, |event| event.users([user]));
    }
    Ok(was_admin)
}

async fn current(change: &mut Change) -> Result<Vec<String>, Error> {
    let key = change.key.clone();
    Ok(sqlx::query_scalar!("select username from admins where app = $1 and chatroom = $2", key.app, key.id())
        .fetch_all(change.connection())
        .await?)
}
