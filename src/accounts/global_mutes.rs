//! Global mutes: users who may not speak in any room of the app.
//!
//! A mute has three parts, each with its own end: for single chats, for groups, and for rooms. Only the part for rooms
//! decides anything here, and only of it events tell; the others are kept for those who ask for them.
//!
//! All changes hold the row of the app, where the events of the app as a whole are numbered. What has ended is over in every
//! read, told or not; the end of the part for rooms is told exactly once, by the change that takes it away.

pub mod expiry;

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::accounts::{super_admins, users};
use crate::db::{Db, Transaction};
use crate::error::Error;
use crate::events::log::{Actor, Kind, Last, NewEvent};
use crate::idempotency::Uncommitted;
use crate::names::{Names, ends_after, unix_ms};

/// Something for each part of a mute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the parts are named as on the wire")]
pub struct Parts<T> {
    pub chat: T,
    pub groupchat: T,
    pub chatroom: T,
}

impl<T> Parts<T> {
    /// The same of each part.
    pub fn map<U>(self, of: impl Fn(T) -> U) -> Parts<U> {
        Parts { chat: of(self.chat), groupchat: of(self.groupchat), chatroom: of(self.chatroom) }
    }
}

/// When each part ends, or has ended; `None`: not muted there.
pub type Ends = Parts<Option<OffsetDateTime>>;

/// A user, and how the user is muted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalMute {
    /// The user.
    pub username: String,
    /// When the parts end.
    pub ends: Ends,
}

/// The mute of a user, if there is any, and the database's clock.
pub async fn find(db: &Db, app: i32, name: &Names) -> Result<(GlobalMute, OffsetDateTime), Error> {
    let row = sqlx::query!(
        r#"
        select users.username, chat_ends_at as "chat_ends_at?", groupchat_ends_at as "groupchat_ends_at?",
               chatroom_ends_at as "chatroom_ends_at?", date_trunc('milliseconds', statement_timestamp()) as "now!"
        from users
        left join lateral (
            select chat_ends_at, groupchat_ends_at, chatroom_ends_at from global_mutes
            where global_mutes.app = $1 and global_mutes.username = users.username limit 1
        ) mute on true
        where users.app = $1 and users.username = any($2::text[]) and deleted_at is null
        "#,
        app,
        name.usernames(),
    )
    .fetch_optional(db.pool())
    .await?;
    let row = row.ok_or_else(|| not_found(name))?;
    let ends = Parts { chat: row.chat_ends_at, groupchat: row.groupchat_ends_at, chatroom: row.chatroom_ends_at };
    Ok((GlobalMute { username: row.username, ends }, row.now))
}

/// Reads `size` muted users, by name, the first `skip` left out, and the database's clock.
pub async fn list(db: &Db, app: i32, skip: i64, size: i64) -> Result<(Vec<GlobalMute>, OffsetDateTime), Error> {
    let rows = sqlx::query!(
        r#"
        select clock.now as "now!", username as "username?", chat_ends_at as "chat_ends_at?",
               groupchat_ends_at as "groupchat_ends_at?", chatroom_ends_at as "chatroom_ends_at?"
        from (select date_trunc('milliseconds', statement_timestamp()) as now) clock
        left join lateral (
            select username, chat_ends_at, groupchat_ends_at, chatroom_ends_at from global_mutes
            where app = $1 and greatest(chat_ends_at, groupchat_ends_at, chatroom_ends_at) > clock.now
            order by username offset $2 limit $3
        ) page on true
        order by username
        "#,
        app,
        skip,
        size,
    )
    .fetch_all(db.pool())
    .await?;
    let now = rows.first().ok_or(sqlx::Error::RowNotFound)?.now;
    let mute = rows.into_iter().filter_map(|row| {
        let ends = Parts { chat: row.chat_ends_at, groupchat: row.groupchat_ends_at, chatroom: row.chatroom_ends_at };
        Some(GlobalMute { username: row.username?, ends })
    });
    Ok((mute.collect(), now))
}

/// Mutes a user from now on, or moves the ends of the mute: each part for so many milliseconds; 0 lifts it, and `None` leaves
/// it as it is.
pub async fn set(
    db: &Db,
    app: i32,
    actor: &Actor,
    name: &Names,
    durations_ms: Parts<Option<i64>>,
) -> Result<Uncommitted<()>, Error> {
    let mut transaction = db.begin().await?;
    let done = async {
        let last = super_admins::lock(&mut transaction, app).await?;
        let held = users::hold(&mut transaction, app, name.usernames(), false).await?;
        let user = held.into_iter().next().ok_or_else(|| not_found(name))?;
        if durations_ms == Parts::default() {
            return Ok(());
        }
        let (former, now) = load(&mut transaction, app, &user).await?;
        let events = former.events(&user, now, actor, durations_ms.chatroom);
        save(&mut transaction, app, &user, &former.changed(now, actor, durations_ms)).await?;
        note_next_end(&mut transaction, app).await?;
        record(&mut transaction, app, last, events).await.map(drop)
    }
    .await;
    Uncommitted::new(db, transaction, done).await
}

/// What came of a mute that was made elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BroughtIn {
    /// It is kept.
    New,
    /// The same one is here.
    Present,
    /// It has ended meanwhile.
    Ended,
    /// One with other ends is here, and stays.
    Different,
}

/// Takes over a mute that was made elsewhere, with its ends, unless the user has one here. `is_trial`: says only what would
/// come of it, also for a user who is not here yet.
pub async fn bring_in(db: &Db, app: i32, actor: &Actor, name: &Names, ends: Ends, is_trial: bool) -> Result<BroughtIn, Error> {
    let mut transaction = db.begin().await?;
    let done = async {
        let last = super_admins::lock(&mut transaction, app).await?;
        let held = users::hold(&mut transaction, app, name.usernames(), false).await?;
        let Some(user) = held.into_iter().next().or_else(|| name.usernames().first().filter(|_| is_trial).cloned()) else {
            return Err(not_found(name));
        };
        let (former, now) = load(&mut transaction, app, &user).await?;
        let in_force = |ends: &Ends| ends.map(|ends_at| ends_at.filter(|ends_at| *ends_at > now));
        let (ends, here) = (in_force(&ends), in_force(&former.ends));
        if ends == Ends::default() {
            return Ok(BroughtIn::Ended);
        }
        if here != Ends::default() {
            return Ok(if are_close(&here, &ends) { BroughtIn::Present } else { BroughtIn::Different });
        }
        let durations_ms = ends.map(|ends_at| ends_at.map(|ends_at| unix_ms(ends_at) - unix_ms(now)));
        if !is_trial {
            let events = former.events(&user, now, actor, durations_ms.chatroom);
            save(&mut transaction, app, &user, &former.changed(now, actor, durations_ms)).await?;
            note_next_end(&mut transaction, app).await?;
            record(&mut transaction, app, last, events).await?;
        }
        Ok(BroughtIn::New)
    }
    .await;
    let brought_in = transaction.end(done).await?;
    db.events_committed();
    Ok(brought_in)
}

/// Whether two mutes are the same as far as the API tells: in seconds, rounded up.
fn are_close(left: &Ends, right: &Ends) -> bool {
    let close = |left: Option<OffsetDateTime>, right: Option<OffsetDateTime>| match (left, right) {
        (Some(left), Some(right)) => (left - right).abs() < time::Duration::seconds(2),
        (left, right) => left == right,
    };
    close(left.chat, right.chat) && close(left.groupchat, right.groupchat) && close(left.chatroom, right.chatroom)
}

fn not_found(name: &Names) -> Error {
    Error::UserNotFound { user: name.given().join(",") }
}

/// A mute as it is kept. `by` is who has set the part for rooms, with the reason, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kept {
    ends: Ends,
    by: Option<(Actor, OffsetDateTime)>,
}

impl Kept {
    /// When the part for rooms ends, if it has not.
    fn in_rooms_until(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.ends.chatroom.filter(|ends_at| *ends_at > now)
    }

    /// Whether the part for rooms is what this call would make of it, with the same reason.
    fn is_so_already(&self, now: OffsetDateTime, actor: &Actor, ends_at: OffsetDateTime) -> bool {
        let reason = self.by.as_ref().map(|(actor, _)| &actor.reason);
        self.in_rooms_until(now) == Some(ends_at) && reason == Some(&actor.reason)
    }

    /// What comes of it. What has ended is left out.
    fn changed(&self, now: OffsetDateTime, actor: &Actor, durations_ms: Parts<Option<i64>>) -> Self {
        let end = |former: Option<OffsetDateTime>, wanted_ms: Option<i64>| match wanted_ms {
            None => former.filter(|ends_at| *ends_at > now),
            Some(0) => None,
            Some(ms) => Some(ends_after(now, ms)),
        };
        let ends = Parts {
            chat: end(self.ends.chat, durations_ms.chat),
            groupchat: end(self.ends.groupchat, durations_ms.groupchat),
            chatroom: end(self.ends.chatroom, durations_ms.chatroom),
        };
        let by = ends.chatroom.and_then(|ends_at| match durations_ms.chatroom {
            Some(_) if !self.is_so_already(now, actor, ends_at) => Some((actor.clone(), now)),
            _ => self.by.clone(),
        });
        Self { ends, by }
    }

    /// What is to be told of a change of the part for rooms, and of its end if that has come before.
    fn events(&self, user: &str, now: OffsetDateTime, actor: &Actor, duration_ms: Option<i64>) -> Vec<NewEvent> {
        let side = |ends_at: Option<OffsetDateTime>| ends_at.map(|ends_at| (user.to_owned(), unix_ms(ends_at)));
        let of = |kind, actor: &Actor| NewEvent::new(kind, actor).users([user]);
        let former = self.in_rooms_until(now);
        let over = self.ends.chatroom.filter(|ends_at| *ends_at <= now);
        let expired = over.map(|ends_at| of(Kind::GlobalMuteExpire, &Actor::system()).before(side(Some(ends_at))));
        let changed = match duration_ms {
            Some(0) => former.map(|_| of(Kind::GlobalMuteRemove, actor).before(side(former))),
            Some(duration_ms) => Some(ends_after(now, duration_ms))
                .filter(|ends_at| !self.is_so_already(now, actor, *ends_at))
                .map(|ends_at| of(Kind::GlobalMuteAdd, actor).before(side(former)).after(side(Some(ends_at)))),
            None => None,
        };
        expired.into_iter().chain(changed).collect()
    }
}

/// The mute of a user, ended or not, and the database's clock, of one statement after the lock.
async fn load(connection: &mut PgConnection, app: i32, user: &str) -> Result<(Kept, OffsetDateTime), Error> {
    let row = sqlx::query!(
        r#"
        select clock.now as "now!", chat_ends_at as "chat_ends_at?", groupchat_ends_at as "groupchat_ends_at?",
               chatroom_ends_at as "chatroom_ends_at?", actor as "actor?", reason as "reason?", since as "since?"
        from (select date_trunc('milliseconds', statement_timestamp()) as now) clock
        left join lateral (
            select chat_ends_at, groupchat_ends_at, chatroom_ends_at, actor, reason, since from global_mutes
            where app = $1 and username = $2 limit 1
        ) mute on true
        "#,
        app,
        user,
    )
    .fetch_one(connection)
    .await?;
    let ends = Parts { chat: row.chat_ends_at, groupchat: row.groupchat_ends_at, chatroom: row.chatroom_ends_at };
    let by = row.since.map(|since| (Actor::kept(row.actor, row.reason), since));
    Ok((Kept { ends, by }, row.now))
}

/// Writes the mute of a user as it is now, or takes the row away if nothing is left of it.
async fn save(connection: &mut PgConnection, app: i32, user: &str, mute: &Kept) -> Result<(), Error> {
    if mute.ends == Ends::default() {
        sqlx::query!("delete from global_mutes where app = $1 and username = $2", app, user).execute(connection).await?;
        return Ok(());
    }
    let (actor, since) = mute.by.as_ref().map(|(actor, since)| (actor, *since)).unzip();
    sqlx::query!(
        "insert into global_mutes (app, username, chat_ends_at, groupchat_ends_at, chatroom_ends_at, actor, reason, since)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (app, username) do update set
             chat_ends_at = excluded.chat_ends_at, groupchat_ends_at = excluded.groupchat_ends_at,
             chatroom_ends_at = excluded.chatroom_ends_at, actor = excluded.actor, reason = excluded.reason,
             since = excluded.since",
        app,
        user,
        mute.ends.chat,
        mute.ends.groupchat,
        mute.ends.chatroom,
        actor.map(|actor| &*actor.name),
        actor.and_then(|actor| actor.reason.as_deref()),
        since,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Lifts the mutes of those of `users` who have one: they leave the app. The row of the app is locked. Returns its last
/// event.
pub(crate) async fn delete(
    transaction: &mut Transaction,
    app: i32,
    last: Last,
    actor: &Actor,
    users: &[String],
) -> Result<Last, Error> {
    let gone = sqlx::query!(
        r#"select username, chatroom_ends_at, chatroom_ends_at <= statement_timestamp() as "is_over?"
           from global_mutes where app = $1 and username = any($2::text[])"#,
        app,
        users,
    )
    .fetch_all(&mut **transaction)
    .await?;
    if gone.is_empty() {
        return Ok(last);
    }
    sqlx::query!("delete from global_mutes where app = $1 and username = any($2::text[])", app, users)
        .execute(&mut **transaction)
        .await?;
    note_next_end(transaction, app).await?;
    let (mut over, mut lifted) = (Vec::new(), Vec::new());
    for name in users {
        let row = gone.iter().find(|row| row.username == *name);
        if let Some((row, ends_at)) = row.and_then(|row| Some((row, row.chatroom_ends_at?))) {
            let ends = if row.is_over == Some(true) { &mut over } else { &mut lifted };
            ends.push((name.clone(), ends_at));
        }
    }
    let mut events = Vec::from_iter(about(Kind::GlobalMuteExpire, &Actor::system(), &over));
    events.extend(about(Kind::GlobalMuteRemove, actor, &lifted));
    record(transaction, app, last, events).await
}

/// Says in the row of the app, which is locked, when the next global mute ends.
async fn note_next_end(connection: &mut PgConnection, app: i32) -> Result<(), Error> {
    sqlx::query!(
        "update apps set next_end = next.ends_at
         from (
             select coalesce(min(next_end), '2117-01-01 00:00:00+08') as ends_at from global_mutes
             where app = $1 and next_end < '2117-01-01 00:00:00+08'
         ) next
         where id = $1 and apps.next_end <> next.ends_at",
        app,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An event about mutes that would have ended then, or have; `None`: about none.
fn about(kind: Kind, actor: &Actor, mutes: &[(String, OffsetDateTime)]) -> Option<NewEvent> {
    let event = NewEvent::new(kind, actor)
        .users(mutes.iter().map(|(name, _)| name))
        .before(mutes.iter().map(|(name, ends_at)| (name.clone(), unix_ms(*ends_at))));
    (!mutes.is_empty()).then_some(event)
}

async fn record(transaction: &mut Transaction, app: i32, mut last: Last, events: Vec<NewEvent>) -> Result<Last, Error> {
    for event in events {
        last = super_admins::record(transaction, app, last, event).await?;
    }
    Ok(last)
}
