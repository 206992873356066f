//! Up to where the feeds of apps can be read on a cluster.
//!
//! An event says which transaction of the coordinator wrote it. Once the coordinator has no older one under way, none is
//! begun any more; but its part on another node may still be on its way there (a COMMIT whose answer was lost, or the second
//! half of a commit in two phases). So the nodes are asked next, and what is under way on any of them at that moment must
//! have ended: then whatever is older can be seen on every node by all statements to come.
//!
//! Who reads waits a moment for that. Where something takes longer, the reader gets what was certain before: late, but never
//! with a gap.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::{Executor as _, Row as _};
use tokio::time::{Instant, sleep};

use super::lane::Lanes;
use crate::error::Error;

/// How long a reader waits for what is under way, and how often it looks.
const PATIENCE: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(5);

/// The greatest number up to which this process knows that nothing is under way.
#[derive(Default)]
pub(super) struct Horizon(Mutex<i64>);

impl Horizon {
    /// The number below which no event is written any more, and all can be seen.
    pub(super) async fn look(&self, lanes: &Lanes) -> Result<i64, Error> {
        let oldest = sqlx::query_scalar!(
            r#"select pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xact_offset as "oldest!" from event_clock"#
        )
        .fetch_one(lanes)
        .await?;
        let has_settled = settle(lanes, PATIENCE).await?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if has_settled {
            *known = oldest.max(*known);
        }
        Ok(*known)
    }
}

/// Waits until all transactions have ended that are under way by now on any node and write. Whether they have, in time.
pub(super) async fn settle(lanes: &Lanes, patience: Duration) -> Result<bool, Error> {
    let deadline = Instant::now() + patience;
    let mut now = snapshots(lanes).await?;
    let begun: BTreeMap<i32, i64> = now.iter().map(|(node, snapshot)| (*node, snapshot.next)).collect();
    // A node that comes later has nothing of what was under way before.
    let has_ended = |now: &BTreeMap<i32, Snapshot>| {
        begun.iter().all(|(node, next)| now.get(node).is_some_and(|snapshot| snapshot.oldest >= *next))
    };
    while !has_ended(&now) {
        if Instant::now() > deadline {
            return Ok(false);
        }
        sleep(PAUSE).await;
        now = snapshots(lanes).await?;
    }
    Ok(true)
}

/// Of a node: its oldest transaction that is under way, and the number of the next one.
struct Snapshot {
    oldest: i64,
    next: i64,
}

/// Asks all nodes. No macro can check what only Citus has.
async fn snapshots(lanes: &Lanes) -> Result<BTreeMap<i32, Snapshot>, Error> {
    const ALL: &str = "
        select nodeid, success, split_part(result, ':', 1), split_part(result, ':', 2)
        from run_command_on_all_nodes('select pg_current_snapshot()')";
    let mut snapshots = BTreeMap::new();
    for row in lanes.fetch_all(ALL).await? {
        let number = |column| row.try_get::<String, _>(column).ok()?.parse().ok();
        let (true, Some(oldest), Some(next)) = (row.try_get(1)?, number(2), number(3)) else {
            return Err(Error::Unavailable("a node of the cluster does not answer".into()));
        };
        snapshots.insert(row.try_get(0)?, Snapshot { oldest, next });
    }
    Ok(snapshots)
}
