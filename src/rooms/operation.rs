//! A change of one room, as a pure rule: what it needs to know, and what it decides on that.

use super::changes::Change;
use super::state::{Needs, RoomView, State};
use crate::error::Error;
use crate::events::log::Actor;
use crate::names::{Names, RoomKey};

/// A change of one room.
///
/// It sees the room as it is under the room's lock, and names what is to be another. No SQL, no clock, no waiting: so the
/// same rule decides for one call and for many at once.
pub trait Operation: Send + Sync + 'static {
    /// What the caller is told.
    type Outcome: Send + 'static;

    /// Names what [`decide`](Self::decide) will look at. Nothing else is loaded.
    fn needs(&self, needs: &mut Needs);

    /// Those to whom it is done, as far as it depends on them who may do it.
    fn targets(&self) -> Option<&Names>;

    /// Decides. A refusal leaves no trace, since nothing can be changed in here.
    fn decide(&self, room: &RoomView<'_>) -> Decision<Self::Outcome>;
}

/// What the caller is told, and what is to be another; or why nothing is.
pub type Decision<T> = Result<(T, Vec<Change>), Error>;

/// Decides an operation, and applies what was decided: the next one sees it.
pub fn make<O: Operation>(state: &mut State, key: &RoomKey, actor: &Actor, operation: &O) -> Result<O::Outcome, Error> {
    let room = state.rooms.get(key).filter(|room| room.deleted_by.is_none()).ok_or_else(|| key.not_found())?;
    let (outcome, changes) = operation.decide(&RoomView { key, room, actor, users: &state.users })?;
    state.apply(key, changes);
    Ok(outcome)
}
