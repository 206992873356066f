//! How rooms go.
//!
//! A deleted room is gone at once: its row is marked, and every statement looks at the mark. Its members go afterwards,
//! batch by batch, so that a room of a million does not hold up anything; its last events tell of them.

use super::store::purge;
use crate::db::Db;
use crate::error::Causes;
use crate::names::RoomKey;

/// How many rows of each list of a deleted room go before its deletion is answered.
const PURGE_ON_DELETE: i64 = 1000;

/// Begins to remove the rows of a room that was just deleted. What is left of a large one goes in the background, and with
/// it come its last events.
pub async fn begin_purge(db: &Db, key: &RoomKey) {
    if let Err(error) = purge::purge(db, key, PURGE_ON_DELETE).await {
        tracing::warn!(error = %Causes(&error), "a deleted room is still there; the background task goes on");
    }
}
