//! What a user is in rooms.

use crate::db::Db;
use crate::error::Error;
use crate::names::{Names, RoomKey};
use crate::rooms::permissions::Role;

/// What the user of that name is in each of `rooms`, place by place. `None`: there is no such room.
pub async fn of_user(db: &Db, app: i32, rooms: &[RoomKey], name: &Names) -> Result<Vec<Option<Vec<Role>>>, Error> {
    let (ids, user) = (rooms.iter().map(RoomKey::id).collect::<Vec<_>>(), name.usernames().first());
    if db.layout().await?.is_distributed() {
        return of_user_on_nodes(db, app, &ids, user).await;
    }
    let rows = sqlx::query!(
        r#"select known.owner as "owner?", member.found is not null as "is_member!", admin.found is not null as "is_admin!"
           from unnest($2::text[]) with ordinality given (chatroom, index)
           left join lateral (
               select owner from chatrooms where app = $1 and id = given.chatroom and deleted_at is null limit 1
           ) known on true
           left join lateral (
               select true as found from members where app = $1 and chatroom = given.chatroom and username = $3 limit 1
           ) member on true
           left join lateral (
               select true as found from admins where app = $1 and chatroom = given.chatroom and username = $3 limit 1
           ) admin on true
           order by index"#,
        app,
        &ids as &[&str],
        user,
    )
    .fetch_all(db.pool())
    .await?;
    let is_owner = |owner: &String| Some(owner) == user;
    Ok(rows.iter().map(|row| row.owner.as_ref().map(|owner| roles(is_owner(owner), row.is_member, row.is_admin))).collect())
}

/// The same on a cluster: each node looks at the rooms that it has.
async fn of_user_on_nodes(db: &Db, app: i32, ids: &[&str], user: Option<&String>) -> Result<Vec<Option<Vec<Role>>>, Error> {
    let rows = sqlx::query!(
        r#"select id, owner,
                  exists (select from members where members.app = $1 and members.chatroom = id and username = $3) as "is_member!",
                  exists (select from admins where admins.app = $1 and admins.chatroom = id and username = $3) as "is_admin!"
           from chatrooms where app = $1 and id = any($2::text[]) and deleted_at is null"#,
        app,
        ids as &[&str],
        user,
    )
    .fetch_all(db.pool())
    .await?;
    let of_room = |id: &&str| {
        let row = rows.iter().find(|row| row.id == **id)?;
        Some(roles(Some(&row.owner) == user, row.is_member, row.is_admin))
    };
    Ok(ids.iter().map(of_room).collect())
}

fn roles(is_owner: bool, is_member: bool, is_admin: bool) -> Vec<Role> {
    let held = [(is_member, Role::Member), (is_admin, Role::Admin), (is_owner, Role::Owner)];
    held.into_iter().filter(|(holds, _)| *holds).map(|(_, role)| role).collect()
}
