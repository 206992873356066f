//! The admins of a room: members who were promoted. The owner is not among them.

use super::changes::Change;
use super::operation::{Decision, Operation};
use super::state::{Facts, Needs, RoomView};
use crate::error::Error;
use crate::events::log::Kind;
use crate::names::Names;

/// The most admins that a room has.
pub const MAX_ADMINS: i32 = 99;

/// Makes a member an admin. For the owner and for an admin there is nothing to do.
pub struct Promote {
    /// The one member.
    pub name: Names,
}

impl Operation for Promote {
    type Outcome = ();

    fn needs(&self, needs: &mut Needs) {
        needs.users(&self.name, Facts::REGISTERED | Facts::MEMBER | Facts::ADMIN);
    }

    fn targets(&self) -> Option<&Names> {
        Some(&self.name)
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<()> {
        let user = view.require(&self.name)?;
        let known = view.user(user, Facts::MEMBER | Facts::ADMIN);
        if known.member.is_none() {
            return Err(Error::NotInRoom { user: user.into(), room: view.key.id().into() });
        }
        if user == view.room.owner || known.admin.is_some() {
            return Ok(((), Vec::new()));
        }
        if view.room.counters.admins >= MAX_ADMINS {
            return Err(Error::ExceedLimit(format!("admin count exceeds the limit {MAX_ADMINS}!")));
        }
        Ok(((), vec![Change::Promote(user.into()), Change::Record(view.event(Kind::AdminAdd).users([user]))]))
    }
}

/// Makes an admin a plain member again.
pub struct Demote {
    /// The one admin.
    pub name: Names,
}

impl Operation for Demote {
    type Outcome = ();

    fn needs(&self, needs: &mut Needs) {
        needs.users(&self.name, Facts::REGISTERED | Facts::ADMIN);
    }

    fn targets(&self) -> Option<&Names> {
        Some(&self.name)
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<()> {
        let user = view.require(&self.name)?;
        let changes = demote(view, user);
        if changes.is_empty() {
            return Err(Error::NotAdmin { user: user.into(), room: view.key.id().into() });
        }
        Ok(((), changes))
    }
}

/// Ends the standing of an admin; nothing if the user has none.
pub(super) fn demote(view: &RoomView<'_>, user: &str) -> Vec<Change> {
    match view.user(user, Facts::ADMIN).admin {
        None => Vec::new(),
        Some(_) => vec![Change::Demote(user.into()), Change::Record(view.event(Kind::AdminRemove).users([user]))],
    }
}
