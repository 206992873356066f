//! The one way in for every change of a room: lock the room's row, then check and act in the statements that follow,
//! then commit.
//!
//! What the room's own row says (counts, numbers, owner) is changed in memory and written back once, at the end,
//! together with the events that tell what was done.
//!
//! The order matters. In READ COMMITTED a statement that waited for a lock goes on with the snapshot it started with:
//! a statement that locks and acts at once can decide on what was true before the wait. The statements after the lock
//! see everything that earlier holders of the lock have committed, and nobody else changes the room meanwhile.

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::db::{Db, Transaction};
use crate::error::Error;
use crate::events::log::{self, Actor, Kind, Last, NewEvent};
use crate::names::{Names, PERMANENT_MS, RoomKey};

/// How often a change is made anew when PostgreSQL ends it in favour of another transaction.
const RETRIES: u32 = 5;

/// A change under way.
pub struct Change {
    transaction: Transaction,
    /// Which room it is.
    pub key: RoomKey,
    /// The room's row: as it was when it was locked, and as it is written back at the end.
    pub room: Room,
    /// On whose behalf the room is changed.
    pub actor: Actor,
    events: Vec<NewEvent>,
}

/// What the row of a room says that changes of its lists read and write.
#[derive(Clone, PartialEq, Eq)]
pub struct Room {
    /// The owner, one of the members.
    pub owner: String,
    /// How many members there may be, the owner counted.
    pub maxusers: i32,
    /// How many there are.
    pub member_count: i32,
    /// Whether the whole room is muted.
    pub mute_all: bool,
    /// Why, in the words of whoever has muted it.
    pub mute_reason: Option<String>,
    /// The last number given out to a row of the five lists; see [`Change::numbers`].
    pub last_seq: i64,
    /// The number of its last event.
    pub last_event: i64,
    /// The place of that event in the feed of the app.
    pub last_xact: i64,
    /// Gone for everybody, from the commit on.
    pub deleted: bool,
}

/// How a user stands to a room that is being changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Is a member (the owner and admins are, too).
    pub member: bool,
    /// Is blocked at this moment.
    pub blocked: bool,
    /// Is still on the block list though the block has ended.
    pub block_has_ended: bool,
}

/// Changes a room on behalf of `actor`: `act` runs with the room locked, and what it did is kept if it succeeds, else
/// undone.
///
/// A caller that goes away in the middle leaves nothing behind: the dropped transaction rolls back.
pub async fn change<T>(
    db: &Db,
    key: &RoomKey,
    actor: &Actor,
    act: impl AsyncFn(&mut Change) -> Result<T, Error>,
) -> Result<T, Error> {
    if key.id().is_empty() {
        return Err(key.not_found());
    }
    let _turn = db.turn(key).await?;
    let mut retries_left = RETRIES;
    loop {
        match attempt(db, key, actor, &act).await {
            Err(Error::Unavailable(cause)) if retries_left > 0 && lost_a_conflict(&*cause) => retries_left -= 1,
            done => return done,
        }
    }
}

/// The same for work that can wait: `None` if somebody else is changing the room, or has deleted it.
pub async fn change_if_free<T>(
    db: &Db,
    key: &RoomKey,
    actor: &Actor,
    act: impl AsyncFn(&mut Change) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let mut transaction = db.begin().await?;
    match lock_if_free(&mut transaction, key).await {
        Ok(Some(room)) => finish(db, transaction, key, room, actor, &act).await.map(Some),
        Ok(None) => transaction.end(Ok(None)).await,
        Err(error) => transaction.end(Err(error)).await,
    }
}

async fn attempt<T>(
    db: &Db,
    key: &RoomKey,
    actor: &Actor,
    act: impl AsyncFn(&mut Change) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut transaction = db.begin().await?;
    match lock(&mut transaction, key).await {
        Ok(room) => finish(db, transaction, key, room, actor, act).await,
        Err(error) => transaction.end(Err(error)).await,
    }
}

async fn finish<T>(
    db: &Db,
    transaction: Transaction,
    key: &RoomKey,
    locked: Room,
    actor: &Actor,
    act: impl AsyncFn(&mut Change) -> Result<T, Error>,
) -> Result<T, Error> {
    let events = Vec::new();
    let mut change = Change { transaction, key: key.clone(), room: locked.clone(), actor: actor.clone(), events };
    let mut done = act(&mut change).await;
    if done.is_ok() && !change.events.is_empty() {
        done = write_events(&mut change).await.and(done);
    }
    if done.is_ok() && change.room != locked {
        done = write_back(&mut change).await.and(done);
    }
    let done = change.transaction.end(done).await;
    if done.is_ok() && !change.events.is_empty() {
        db.tell_news();
    }
    done
}

async fn write_events(change: &mut Change) -> Result<(), Error> {
    let Change { transaction, key, room, events, .. } = change;
    let last = Last { n: room.last_event, xact: room.last_xact };
    let last = log::append(transaction, key, last, events).await?;
    (room.last_event, room.last_xact) = (last.n, last.xact);
    Ok(())
}

/// Locks the room's row. `no key update` and not `update`: rows that refer to the room may be written meanwhile.
async fn lock(transaction: &mut PgConnection, key: &RoomKey) -> Result<Room, Error> {
    sqlx::query_as!(
        Room,
        r#"select owner, maxusers, member_count, mute_all, mute_reason, last_seq, last_event, last_xact, false as "deleted!"
           from chatrooms where app = $1 and id = $2 and deleted_at is null
           for no key update"#,
        key.app,
        key.id(),
    )
    .fetch_optional(transaction)
    .await?
    .ok_or_else(|| key.not_found())
}

async fn lock_if_free(transaction: &mut PgConnection, key: &RoomKey) -> Result<Option<Room>, Error> {
    Ok(sqlx::query_as!(
        Room,
        r#"select owner, maxusers, member_count, mute_all, mute_reason, last_seq, last_event, last_xact, false as "deleted!"
           from chatrooms where app = $1 and id = $2 and deleted_at is null
           for no key update skip locked"#,
        key.app,
        key.id(),
    )
    .fetch_optional(transaction)
    .await?)
}

async fn write_back(change: &mut Change) -> Result<(), Error> {
    let Change { transaction, key, room, actor, .. } = change;
    sqlx::query!(
        "update chatrooms
         set owner = $3, maxusers = $4, member_count = $5, mute_all = $6, mute_reason = $7, last_seq = $8, last_event = $9,
             last_xact = $10, deleted_at = case when $11 then statement_timestamp() end, deleted_by = case when $11 then $12 end,
             deleted_reason = case when $11 then $13 end
         where app = $1 and id = $2",
        key.app,
        key.id(),
        room.owner,
        room.maxusers,
        room.member_count,
        room.mute_all,
        room.mute_reason,
        room.last_seq,
        room.last_event,
        room.last_xact,
        room.deleted,
        &*actor.name,
        actor.reason,
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Serialization failure or deadlock.
fn lost_a_conflict(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let code = match cause.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Database(error)) => error.code(),
        _ => None,
    };
    matches!(code.as_deref(), Some("40001" | "40P01"))
}

impl Change {
    /// The connection on which the room is locked.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Takes `count` numbers for new rows of a list, and returns the last one before them.
    ///
    /// They tell the order in which rows came. Only the holder of the room's lock takes some, so that they are in the
    /// order of commits: a reader who has seen one never misses a smaller one.
    pub fn numbers(&mut self, count: usize) -> i64 {
        let before = self.room.last_seq;
        self.room.last_seq += i64::try_from(count).unwrap_or(i64::MAX);
        before
    }

    /// Notes what was done: an event by whoever changes the room.
    pub fn record(&mut self, kind: Kind, about: impl FnOnce(NewEvent) -> NewEvent) {
        let event = NewEvent::new(kind, &self.actor).counting(self.room.member_count);
        self.events.push(about(event));
    }

    /// Notes what has ended by itself.
    pub fn record_end(&mut self, kind: Kind, about: impl FnOnce(NewEvent) -> NewEvent) {
        self.events.push(about(NewEvent::new(kind, &Actor::system())));
    }

    /// So long after now, by the database's clock, but not later than the end of a mute or a block without an end.
    pub async fn moment(&mut self, after_ms: i64) -> Result<OffsetDateTime, Error> {
        Ok(sqlx::query_scalar!(
            r#"select least(
                   date_trunc('milliseconds', statement_timestamp()) + $1::bigint * interval '1 ms',
                   timestamptz 'epoch' + $2::bigint * interval '1 ms'
               ) as "moment!""#,
            after_ms.min(PERMANENT_MS),
            PERMANENT_MS,
        )
        .fetch_one(self.connection())
        .await?)
    }

    /// How each of `names` stands to the room, place by place.
    ///
    /// Each name is looked up by itself (`limit 1` keeps the planner from reading the whole room instead).
    pub async fn standing(&mut self, names: &Names) -> Result<Vec<Standing>, Error> {
        let Self { transaction, key, .. } = self;
        let rows = sqlx::query!(
            r#"
            select member.found is not null as "member!",
                   coalesce(block.ends_at > statement_timestamp(), false) as "blocked!",
                   coalesce(block.ends_at <= statement_timestamp(), false) as "block_has_ended!"
            from unnest($3::text[]) with ordinality given (username, place)
            left join lateral (
                select true as found from members
                where app = $1 and chatroom = $2 and members.username = given.username limit 1
            ) member on true
            left join lateral (
                select ends_at from blocks
                where app = $1 and chatroom = $2 and blocks.username = given.username limit 1
            ) block on true
            order by place
            "#,
            key.app,
            key.id(),
            names.stored(),
        )
        .fetch_all(&mut **transaction)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Standing { member: row.member, blocked: row.blocked, block_has_ended: row.block_has_ended })
            .collect())
    }
}
