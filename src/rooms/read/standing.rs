//! Where a user stands: every room that knows the user, as a member, muted or blocked.

use time::OffsetDateTime;

use crate::accounts::users;
use crate::db::Db;
use crate::error::Error;
use crate::names::Names;

/// What a user is in a room.
#[expect(clippy::struct_excessive_bools, reason = "each is a list of its own")]
pub struct Standing {
    /// The room's id.
    pub room: String,
    /// Owns it.
    pub owner: bool,
    /// Is among its admins.
    pub admin: bool,
    /// Is in it at all.
    pub member: bool,
    /// Is on its whitelist.
    pub whitelisted: bool,
    /// Until when the user is muted there, if so.
    pub muted_until: Option<OffsetDateTime>,
    /// Until when the user is blocked there, if so.
    pub blocked_until: Option<OffsetDateTime>,
}

/// Reads `size` rooms behind the id `after`, by id. However far that is, the cost is the same.
pub async fn list(db: &Db, app: i32, name: &Names, after: &str, size: i64) -> Result<Vec<Standing>, Error> {
    let user = users::find(db, app, name).await?.ok_or_else(|| Error::UserNotFound { user: name.given().join(",") })?;
    // Each list gives its next rooms, and the first of all of them are looked at closely.
    Ok(sqlx::query_as!(
        Standing,
        r#"
        select known.chatroom as "room!", chatrooms.owner = $2 as "owner!",
               exists (select from admins where app = $1 and chatroom = known.chatroom and username = $2) as "admin!",
               exists (select from members where app = $1 and chatroom = known.chatroom and username = $2) as "member!",
               exists (select from whitelist where app = $1 and chatroom = known.chatroom and username = $2) as "whitelisted!",
               (select ends_at from mutes
                where app = $1 and chatroom = known.chatroom and username = $2 and ends_at > now()) as "muted_until?",
               (select ends_at from blocks
                where app = $1 and chatroom = known.chatroom and username = $2 and ends_at > now()) as "blocked_until?"
        from (
            (select m.chatroom from members m join chatrooms c on c.app = m.app and c.id = m.chatroom and c.deleted_at is null
             where m.app = $1 and m.username = $2 and m.chatroom > $3 order by m.chatroom limit $4)
            union
            (select b.chatroom from blocks b join chatrooms c on c.app = b.app and c.id = b.chatroom and c.deleted_at is null
             where b.app = $1 and b.username = $2 and b.chatroom > $3 and b.ends_at > now() order by b.chatroom limit $4)
            union
            (select m.chatroom from mutes m join chatrooms c on c.app = m.app and c.id = m.chatroom and c.deleted_at is null
             where m.app = $1 and m.username = $2 and m.chatroom > $3 and m.ends_at > now() order by m.chatroom limit $4)
        ) known
        join chatrooms on chatrooms.app = $1 and chatrooms.id = known.chatroom
        order by known.chatroom limit $4
        "#,
        app,
        user.username,
        after,
        size,
    )
    .fetch_all(db.pool())
    .await?)
}
