//! How a room forgets a user who was deleted.

use uuid::Uuid;

use super::changes::Change;
use super::members;
use super::operation::{Decision, Operation};
use super::restrictions::{BLOCKS, MUTES};
use super::state::{Attribute, Facts, Needs, RoomView};
use crate::events::log::Kind;
use crate::names::Names;

/// Takes a deleted user off every list of the room; a room that the user owns is deleted.
pub struct Forget {
    /// The one user.
    pub name: Names,
    /// Names are given away again, so this tells whether it is still the same user.
    pub uuid: Uuid,
}

impl Operation for Forget {
    type Outcome = ();

    fn needs(&self, needs: &mut Needs) {
        needs.users(&self.name, Facts::HELD | Facts::LEAVING | Facts::BLOCK | Facts::MUTE);
        needs.attributes = true;
    }

    fn targets(&self) -> Option<&Names> {
        None
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<()> {
        let names = self.name.given();
        let Some(user) = names.first() else { return Ok(((), Vec::new())) };
        // Another caller may have finished meanwhile, and another user may have the name by now.
        if !view.account(user).is_some_and(|account| account.uuid == self.uuid && account.is_deleted) {
            return Ok(((), Vec::new()));
        }
        if view.room.owner == *user {
            return Ok(((), vec![Change::Delete(view.actor.clone())]));
        }
        let mut changes = if view.is_member(user) { members::leave(view, names, Kind::Kick) } else { Vec::new() };
        changes.extend(BLOCKS.lift(view, names));
        changes.extend(MUTES.lift(view, names));
        // What was to outlive its setter stays, and belongs to no user any more.
        let attributes = view.room.attributes.iter().flatten();
        let orphans =
            attributes.filter(|(_, attribute)| attribute.setter.as_ref() == Some(user) && !attribute.leaves_with_setter);
        changes.extend(
            orphans.map(|(name, attribute)| Change::SetAttribute(name.clone(), Attribute { setter: None, ..attribute.clone() })),
        );
        Ok(((), changes))
    }
}
