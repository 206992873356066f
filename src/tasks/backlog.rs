//! The background task that counts what waits in the database, for the figures.
//!
//! Every instance counts for itself: it takes milliseconds, and none has to be asked about another.

use std::time::Duration;

use metrics::gauge;
use tokio_util::sync::CancellationToken;

use crate::background::Task;
use crate::callbacks::deliveries;
use crate::db::Db;
use crate::error::Error;
use crate::rooms::store::purge;
use crate::rooms::user_deletion;

/// How often it counts.
const EVERY: Duration = Duration::from_secs(15);

/// Counts again and again until told to stop.
pub async fn run(db: Db, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut task = Task::new("backlog");
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let counted = task.note(count(&db).await);
        // What cannot be seen is not a number: the last one would look like news.
        let Backlog { pending, dead, rooms, users } = counted.unwrap_or(Backlog::UNKNOWN);
        gauge!("roomward_deliveries", "state" => "pending").set(pending);
        gauge!("roomward_deliveries", "state" => "dead").set(dead);
        gauge!("roomward_purge_backlog", "kind" => "rooms").set(rooms);
        gauge!("roomward_purge_backlog", "kind" => "users").set(users);
    }
}

struct Backlog {
    pending: f64,
    dead: f64,
    rooms: f64,
    users: f64,
}

impl Backlog {
    const UNKNOWN: Self = Self { pending: f64::NAN, dead: f64::NAN, rooms: f64::NAN, users: f64::NAN };
}

async fn count(db: &Db) -> Result<Backlog, Error> {
    let number = |count: i64| u32::try_from(count).map_or(f64::INFINITY, f64::from);
    let (pending, dead) = deliveries::count(db).await?;
    let (rooms, users) = (purge::count(db).await?, user_deletion::count(db).await?);
    Ok(Backlog { pending: number(pending), dead: number(dead), rooms: number(rooms), users: number(users) })
}
