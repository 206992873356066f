//! The block list of a room: users who were removed and may not come back until they are unblocked, or the block ends.

use time::OffsetDateTime;

use super::members;
use super::operation::{Decision, Operation};
use super::restrictions::BLOCKS;
use super::state::{Facts, Needs, RoomView};
use crate::events::log::Kind;
use crate::names::Names;

/// Blocks members of a room, one by one, and tells until when. Each loses membership and every standing that hangs on
/// it; a mute stays.
pub struct Block {
    /// Who is to be out.
    pub names: Names,
    /// For how long, in milliseconds.
    pub duration_ms: i64,
    /// Whether registered users who are not in the room are blocked, too, so that they cannot come in.
    pub include_non_members: bool,
    /// Whether the end of a block in force is moved.
    pub move_end: bool,
    /// The most that the list may have; 0 = no limit.
    pub limit: u32,
}

/// What blocking a user came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// The user is out, and stays out.
    Out,
    /// The user was not in the room.
    NotMember,
    /// The user owns the room and stays.
    Owner,
}

impl Operation for Block {
    type Outcome = (Vec<Blocked>, OffsetDateTime);

    fn needs(&self, needs: &mut Needs) {
        needs.users(&self.names, Facts::LEAVING | Facts::BLOCK);
        if self.include_non_members {
            // Held, so that none of them is deleted before this is done: a deleted user is on no list.
            needs.users(&self.names, Facts::HELD);
        }
        needs.block_limit = needs.block_limit.max(self.limit);
    }

    fn targets(&self) -> Option<&Names> {
        Some(&self.names)
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<Self::Outcome> {
        let verdict = |name: &String| {
            let user = view.user(name, Facts::MEMBER | Facts::BLOCK);
            match (user.member.is_some(), user.block.is_some()) {
                (true, _) if *name == view.room.owner => Blocked::Owner,
                (true, _) => Blocked::Out,
                (false, true) if self.move_end => Blocked::Out,
                (false, _) if self.include_non_members && view.is_registered(name) => Blocked::Out,
                (false, _) => Blocked::NotMember,
            }
        };
        let blocked: Vec<Blocked> = self.names.given().iter().map(verdict).collect();
        let ends_at = view.ends_after(self.duration_ms);
        let out = self.names.select(|index| blocked[index] == Blocked::Out);
        let leavers: Vec<String> = out.iter().filter(|name| view.is_member(name)).cloned().collect();
        let mut changes = if leavers.is_empty() { Vec::new() } else { members::leave(view, &leavers, Kind::LeaveBlocked) };
        changes.extend(BLOCKS.begin(view, &out, ends_at, (self.limit, view.room.blocks_in_force()))?);
        Ok(((blocked, ends_at), changes))
    }
}

/// Takes users off the block list. Returns by index whether the user was on it. None of them becomes a member again.
pub struct Unblock {
    /// Who may come back.
    pub names: Names,
}

impl Operation for Unblock {
    type Outcome = Vec<bool>;

    fn needs(&self, needs: &mut Needs) {
        needs.users(&self.names, Facts::BLOCK);
    }

    fn targets(&self) -> Option<&Names> {
        Some(&self.names)
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<Vec<bool>> {
        let were_blocked = self.names.given().iter().map(|name| BLOCKS.has(view, name)).collect();
        Ok((were_blocked, BLOCKS.lift(view, self.names.given())))
    }
}
