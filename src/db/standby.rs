//! A standby that answers reads which may be a little old: never older than it is told, and never in place of the primary when
//! that is not certain.
//!
//! How old its answers are follows from positions in the log. Where the primary's log ended at a moment, the standby has come
//! past, or it has not: if it has, all that was acknowledged before that moment is in what it answers. So the bound needs no
//! writes on the primary, no clock but this process's, and holds on an idle server, too.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use sqlx::PgExecutor;
use tokio_util::sync::CancellationToken;

use super::{Lane, Lanes};
use crate::background::Task;
use crate::error::Error;

/// How long a statement may take there before the primary is asked instead.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// How many ends of the primary's log are remembered: twice as long as a read may be old.
const MARKS: usize = 16;

/// A standby, and how old its answers are.
pub struct Standby {
    pub(super) lanes: Lanes,
    max_age: Duration,
    /// All that was acknowledged before this moment has come there. `None`: that is not known.
    caught_up: Mutex<Option<Instant>>,
}

impl Standby {
    /// A standby that answers as long as what it has is not older than `max_age`.
    pub fn new(lane: Lane, max_age: Duration) -> Self {
        Self { lanes: Lanes::new(lane), max_age, caught_up: Mutex::default() }
    }

    /// How old its answers are at most.
    fn age(&self) -> Option<Duration> {
        self.caught_up.lock().unwrap_or_else(PoisonError::into_inner).map(|moment| moment.elapsed())
    }

    /// Whether it may answer now.
    pub(super) fn is_recent(&self) -> bool {
        self.age().is_some_and(|age| age <= self.max_age)
    }

    /// Notes whether a read was answered here. If not, the primary is asked until it is known again how things are.
    pub(super) fn note(&self, answered: bool) {
        counter!("roomward_standby_reads_total", "outcome" => if answered { "answered" } else { "failed" }).increment(1);
        if !answered {
            self.set(None);
        }
    }

    fn set(&self, moment: Option<Instant>) {
        *self.caught_up.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }

    /// Looks how far it has come, again and again until told to stop.
    pub async fn watch(&self, primary: &Lanes, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(self.max_age / 8);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut marks = Marks::default();
        let mut task = Task::new("standby");
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let looked = tokio::time::timeout(self.max_age.max(PATIENCE), marks.look(primary, &self.lanes));
            let looked =
                looked.await.unwrap_or_else(|_| Err(Error::Unavailable("the standby or its primary does not answer".into())));
            match task.note(looked) {
                Some(Some(moment)) => self.set(Some(moment)),
                // What is known grows older by itself.
                Some(None) => {}
                None => self.set(None),
            }
            gauge!("roomward_standby_lag_seconds").set(self.age().map_or(f64::NAN, |age| age.as_secs_f64()));
        }
    }
}

/// Where the primary's log ended, and when.
#[derive(Default)]
struct Marks(VecDeque<(Instant, i64)>);

impl Marks {
    /// The latest moment before which all that was acknowledged has come to the standby, if there is news of it. Fails if that
    /// is none of this primary.
    async fn look(&mut self, primary: &Lanes, standby: &Lanes) -> Result<Option<Instant>, Error> {
        let now = Instant::now();
        let source = position(primary).await?;
        // If there are too many, it is far behind: the first of them will tell when it has come so far.
        if self.0.len() < MARKS {
            self.0.push_back((now, source.end));
        }
        let copy = position(standby).await?;
        copy.follows(&source).map_err(|why| Error::Unavailable(why.into()))?;
        let passed = self.0.iter().take_while(|(_, end)| *end <= copy.end).count();
        Ok(self.0.drain(..passed).next_back().map(|(moment, _)| moment))
    }
}

/// A server, and how far its log reaches: as it is written, or on a standby as it is replayed.
pub struct Position {
    database: String,
    cluster: i64,
    timeline: i32,
    is_standby: bool,
    end: i64,
}

impl Position {
    /// Fails with a sentence unless this is a standby of the other server.
    pub fn follows(&self, primary: &Self) -> Result<(), &'static str> {
        if !self.is_standby {
            return Err("the server at database.read_url is no standby");
        }
        if (&self.database, self.cluster, self.timeline) != (&primary.database, primary.cluster, primary.timeline) {
            return Err("the server at database.read_url does not follow the one at database.url");
        }
        Ok(())
    }

    /// Whether all that was in the other one's log is here.
    pub fn is_past(&self, primary: &Self) -> bool {
        self.end >= primary.end
    }
}

/// Asks a server where it is. A standby that has not yet noted a new timeline says the old one, and is not asked till then.
pub async fn position(server: impl PgExecutor<'_>) -> Result<Position, Error> {
    Ok(sqlx::query_as!(
        Position,
        r#"select current_database()::text as "database!",
                  (select system_identifier from pg_control_system()) as "cluster!",
                  case when pg_is_in_recovery()
                      then greatest((select timeline_id from pg_control_checkpoint()),
                                    (select min_recovery_end_timeline from pg_control_recovery()))
                      else ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::integer
                  end as "timeline!",
                  pg_is_in_recovery() as "is_standby!",
                  (case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end
                       - '0/0'::pg_lsn)::bigint as "end!""#,
    )
    .fetch_one(server)
    .await?)
}
