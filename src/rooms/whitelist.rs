//! The whitelist of a room: members who may speak while the whole room is muted.

use super::changes::Change;
use super::operation::{Decision, Operation};
use super::state::{Facts, Needs, RoomView};
use crate::events::log::Kind;
use crate::names::Names;

/// Puts members on the list. Returns by index whether the user is a member, and so on the list now.
pub struct Add {
    /// Who is to be on it.
    pub names: Names,
}

impl Operation for Add {
    type Outcome = Vec<bool>;

    fn needs(&self, needs: &mut Needs) {
        needs.users(&self.names, Facts::MEMBER | Facts::WHITELIST);
    }

    fn targets(&self) -> Option<&Names> {
        Some(&self.names)
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<Vec<bool>> {
        let are_members = are_members(view, &self.names);
        let listed = self
            .names
            .select(|index| are_members[index] && view.user(&self.names.given()[index], Facts::WHITELIST).whitelist.is_none());
        let mut changes: Vec<Change> = listed.iter().cloned().map(Change::AddToWhitelist).collect();
        if !listed.is_empty() {
            changes.push(Change::Record(view.event(Kind::WhiteAdd).users(listed)));
        }
        Ok((are_members, changes))
    }
}

/// Takes members off the list. Returns by index whether the user is a member, and so off the list now.
pub struct Remove {
    /// Who is to be off it.
    pub names: Names,
}

impl Operation for Remove {
    type Outcome = Vec<bool>;

    fn needs(&self, needs: &mut Needs) {
        needs.users(&self.names, Facts::MEMBER | Facts::WHITELIST);
    }

    fn targets(&self) -> Option<&Names> {
        Some(&self.names)
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<Vec<bool>> {
        let changes = remove(view, self.names.given());
        Ok((are_members(view, &self.names), changes))
    }
}

/// Takes those of `users` off the list who are on it.
pub(super) fn remove(view: &RoomView<'_>, users: &[String]) -> Vec<Change> {
    let is_listed = |name: &&String| view.user(name, Facts::WHITELIST).whitelist.is_some();
    let gone: Vec<String> = users.iter().filter(is_listed).cloned().collect();
    let mut changes: Vec<Change> = gone.iter().cloned().map(Change::RemoveFromWhitelist).collect();
    if !gone.is_empty() {
        changes.push(Change::Record(view.event(Kind::WhiteRemove).users(gone)));
    }
    changes
}

fn are_members(view: &RoomView<'_>, names: &Names) -> Vec<bool> {
    names.given().iter().map(|name| view.is_member(name)).collect()
}
