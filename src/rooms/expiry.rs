//! What ends by itself: mutes and blocks.
//!
//! Such an end is an event, told exactly once: by whoever takes the row away under the room's lock, be it the background
//! task or a change that meets the row first.

use std::time::Duration;

use time::OffsetDateTime;

use crate::db::Db;
use crate::error::Error;
use crate::events::log::{Actor, Kind, NewEvent};
use crate::names::{RoomKey, unix_ms};
use crate::rooms::change::{Change, change, change_if_free};
use crate::rooms::{blocks, mutes};

/// A mute or a block that was taken away.
#[derive(Debug, Clone)]
pub(crate) struct Term {
    pub username: String,
    pub ends_at: OffsetDateTime,
    /// Had not ended by itself.
    pub in_force: bool,
}

/// Tells what became of those who were on a list: what had ended has ended by itself, what was in force was `lifted`.
/// Returns whose was lifted.
pub(crate) fn record(change: &mut Change, terms: Vec<Term>, lifted: Kind, ended: Kind) -> Vec<String> {
    let (in_force, over): (Vec<Term>, Vec<Term>) = terms.into_iter().partition(|term| term.in_force);
    for over in over.chunks(NewEvent::MOST_USERS) {
        change.record_end(ended, |event| about(event, over));
    }
    if !in_force.is_empty() {
        change.record(lifted, |event| about(event, &in_force));
    }
    in_force.into_iter().map(|term| term.username).collect()
}

/// A mute or a block that has begun, or ends at another moment than before.
pub(crate) struct Begun {
    pub username: String,
    /// When it was to end, if it is not new.
    pub former: Option<OffsetDateTime>,
}

/// Tells whose mutes or blocks have begun, or were moved, and when they end now.
pub(crate) fn record_begin(change: &mut Change, kind: Kind, begun: &[Begun], ends_at: OffsetDateTime) {
    if begun.is_empty() {
        return;
    }
    let users = || begun.iter().map(|begun| begun.username.clone());
    change.record(kind, |event| {
        event
            .users(users())
            .before(begun.iter().filter_map(|begun| Some((begun.username.clone(), unix_ms(begun.former?)))))
            .after(users().map(|username| (username, unix_ms(ends_at))))
    });
}

/// Tells of an event whose terms it is about, and when those would have ended, or have.
pub(crate) fn about(event: NewEvent, terms: &[Term]) -> NewEvent {
    event
        .users(terms.iter().map(|term| term.username.clone()))
        .before(terms.iter().map(|term| (term.username.clone(), unix_ms(term.ends_at))))
}

/// Rooms in which something has ended, and since when the oldest of it waits.
pub struct Due {
    /// The rooms, the longest waiting first. Deleted ones may be among them.
    pub rooms: Vec<RoomKey>,
    /// How long ago the first of it ended.
    pub lag: Duration,
}

/// Finds rooms with ended mutes or blocks, among the `batch` of each that ended first. Locks nothing.
pub async fn due(db: &Db, batch: i64) -> Result<Due, Error> {
    // The limits come before anything else is asked, so that ten million ended mutes cost no more than `batch`.
    let rows = sqlx::query!(
        r#"
        select app as "app!", chatroom as "chatroom!",
               extract(epoch from statement_timestamp() - min(ends_at))::double precision as "waiting!"
        from (
            (select app, chatroom, ends_at from mutes where ends_at <= statement_timestamp() order by ends_at limit $1)
            union all
            (select app, chatroom, ends_at from blocks
             where ends_at <= statement_timestamp() and ends_at < '2117-01-01 00:00:00+08' order by ends_at limit $1)
        ) ended
        group by app, chatroom order by min(ends_at)
        "#,
        batch,
    )
    .fetch_all(db.pool())
    .await?;
    let lag = rows.first().map_or(0.0, |row| row.waiting.max(0.0));
    Ok(Due {
        rooms: rows.into_iter().map(|row| RoomKey::new(row.app, row.chatroom)).collect(),
        lag: Duration::from_secs_f64(lag),
    })
}

/// How many mutes and blocks were taken away because they had ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Ended {
    pub mutes: usize,
    pub blocks: usize,
}

/// Takes up to `batch` ended mutes and blocks of a room away, those that ended first. `None`: somebody is changing the
/// room at the moment, and `wait` was not asked for.
pub async fn sweep(db: &Db, key: &RoomKey, batch: i64, wait: bool) -> Result<Option<Ended>, Error> {
    let act = async |change: &mut Change| {
        let (mutes, blocks) = (mutes::end_some(change, batch).await?, blocks::end_some(change, batch).await?);
        Ok(Ended { mutes, blocks })
    };
    let system = Actor::system();
    if wait { change(db, key, &system, act).await.map(Some) } else { change_if_free(db, key, &system, act).await }
}
