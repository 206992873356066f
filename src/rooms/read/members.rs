//! Reads the members of a room: page by page, or by cursor.

use crate::db::Db;
use crate::error::Error;
use crate::names::{CursorPage, NameList, Order, RoomKey};

/// A page of the member list: the owner first, then everyone else in the order in which they came.
pub struct MemberPage {
    /// The owner, if this page shows the owner.
    pub owner: Option<String>,
    /// The others on this page.
    pub members: NameList,
}

/// Reads `size` members, the first `skip` left out. However many those are, the cost is the same.
pub async fn page(db: &Db, key: &RoomKey, skip: i64, size: i64) -> Result<MemberPage, Error> {
    let page = if skip == 0 { first_page(db, key, size).await? } else { later_page(db, key, skip - 1, size).await? };
    page.ok_or_else(|| Error::RoomNotFoundOnRead { room: key.id().into() })
}

/// The page that begins with the owner.
async fn first_page(db: &Db, key: &RoomKey, size: i64) -> Result<Option<MemberPage>, Error> {
    let row = sqlx::query!(
        r#"
        select owner, array(
            select username from members
            where members.app = $1 and members.chatroom = $2 and username <> owner
            order by seq limit $3
        ) as "members!: NameList"
        from chatrooms where app = $1 and id = $2 and deleted_at is null
        "#,
        key.app,
        key.id(),
        (size - 1).max(0),
    )
    .fetch_optional(db.pool())
    .await?;
    Ok(row.map(|row| MemberPage { owner: Some(row.owner).filter(|_| size > 0), members: row.members }))
}

/// A page without the owner: `skip` others come before it. The counts tell in which stretch of seq it begins, the wide
/// ones first and then the narrow ones in that one, so that fewer than 512 rows are passed over.
async fn later_page(db: &Db, key: &RoomKey, skip: i64, size: i64) -> Result<Option<MemberPage>, Error> {
    let members = sqlx::query_scalar!(
        r#"
        select array(
            select username from members
            where members.app = $1 and members.chatroom = $2 and seq <> owners.seq
              and seq >= narrow.bucket << 9
            order by seq offset narrow.skip limit $4
        ) as "members!: NameList"
        from chatrooms
        cross join lateral (
            select seq from members where members.app = $1 and members.chatroom = $2 and username = owner limit 1
        ) owners
        cross join lateral (
            select max(bucket) as bucket, $3 - max(before) as skip
            from (
                select bucket, sum(others) over (order by bucket rows unbounded preceding) - others as before
                from (
                    select bucket, members - (bucket = owners.seq >> 15)::integer as others from member_counts
                    where member_counts.app = $1 and member_counts.chatroom = $2 and level = 1
                ) counted
            ) running
            where before <= $3
        ) wide
        cross join lateral (
            select max(bucket) as bucket, wide.skip - max(before) as skip
            from (
                select bucket, sum(others) over (order by bucket rows unbounded preceding) - others as before
                from (
                    select bucket, members - (bucket = owners.seq >> 9)::integer as others from member_counts
                    where member_counts.app = $1 and member_counts.chatroom = $2 and level = 0
                      and bucket >= wide.bucket << 6 and bucket < (wide.bucket + 1) << 6
                ) counted
            ) running
            where before <= wide.skip
        ) narrow
        where app = $1 and id = $2 and deleted_at is null
        "#,
        key.app,
        key.id(),
        skip,
        size,
    )
    .fetch_optional(db.pool())
    .await?;
    Ok(members.map(|members| MemberPage { owner: None, members }))
}

/// Reads `size` members besides the owner, behind the number `after`. However far that is, the cost is the same.
pub async fn list_after(
    db: &Db,
    key: &RoomKey,
    order: Order,
    after: Option<i64>,
    size: i64,
) -> Result<CursorPage<String>, Error> {
    let rows: Vec<(Option<i64>, Option<String>)> = match order {
        Order::OldestFirst => sqlx::query!(
            r#"
            select page.seq as "seq?", page.username as "username?"
            from chatrooms left join lateral (
                select seq, username from members
                where members.app = $1 and members.chatroom = $2 and username <> owner and seq > $3
                order by seq limit $4
            ) page on true
            where app = $1 and id = $2 and deleted_at is null
            order by page.seq
            "#,
            key.app,
            key.id(),
            after.unwrap_or(0),
            size + 1,
        )
        .fetch_all(db.pool())
        .await?
        .into_iter()
        .map(|row| (row.seq, row.username))
        .collect(),
        Order::NewestFirst => sqlx::query!(
            r#"
            select page.seq as "seq?", page.username as "username?"
            from chatrooms left join lateral (
                select seq, username from members
                where members.app = $1 and members.chatroom = $2 and username <> owner and seq < $3
                order by seq desc limit $4
            ) page on true
            where app = $1 and id = $2 and deleted_at is null
            order by page.seq desc
            "#,
            key.app,
            key.id(),
            after.unwrap_or(i64::MAX),
            size + 1,
        )
        .fetch_all(db.pool())
        .await?
        .into_iter()
        .map(|row| (row.seq, row.username))
        .collect(),
    };
    CursorPage::new(rows, size).ok_or_else(|| Error::RoomNotFoundOnRead { room: key.id().into() })
}
