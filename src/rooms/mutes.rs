//! The mutes of a room: members who may not speak until a moment. A mute belongs to the user, not to the membership:
//! it outlives leaving and coming back.

use time::OffsetDateTime;

use super::operation::{Decision, Operation};
use super::restrictions::MUTES;
use super::state::{Facts, Needs, RoomView};
use crate::names::Names;

/// Mutes members from now on, or moves the end of the mutes they have.
///
/// All or nothing: one user who is not in the room leaves the list as it was.
pub struct Mute {
    /// Who is to be silent.
    pub names: Names,
    /// For how long, in milliseconds; 0 lifts their mutes.
    pub duration_ms: i64,
    /// The most that the list may have; 0 = no limit.
    pub limit: u32,
}

/// Those who were to be muted but are not in the room.
#[derive(Debug, PartialEq, Eq)]
pub struct NotMembers(pub Vec<String>);

impl Operation for Mute {
    /// Until when, for all of them.
    type Outcome = Result<OffsetDateTime, NotMembers>;

    fn needs(&self, needs: &mut Needs) {
        needs.users(&self.names, Facts::MEMBER | Facts::MUTE);
        needs.mute_limit = needs.mute_limit.max(self.limit);
    }

    fn targets(&self) -> Option<&Names> {
        Some(&self.names)
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<Self::Outcome> {
        let not_members = self.names.select(|index| !view.is_member(&self.names.given()[index]));
        if !not_members.is_empty() {
            return Ok((Err(NotMembers(not_members)), Vec::new()));
        }
        let ends_at = view.ends_after(self.duration_ms);
        let changes = if self.duration_ms == 0 {
            MUTES.lift(view, self.names.given())
        } else {
            MUTES.begin(view, self.names.given(), ends_at, (self.limit, view.room.mutes_in_force()))?
        };
        Ok((Ok(ends_at), changes))
    }
}

/// Lifts mutes. Returns by index whether the user is unmuted now: `true` for each user who is registered or was muted.
pub struct Unmute {
    /// Who may speak again.
    pub names: Names,
}

impl Operation for Unmute {
    type Outcome = Vec<bool>;

    fn needs(&self, needs: &mut Needs) {
        needs.users(&self.names, Facts::REGISTERED | Facts::MUTE);
    }

    fn targets(&self) -> Option<&Names> {
        Some(&self.names)
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<Vec<bool>> {
        let may_speak = |name: &String| MUTES.has(view, name) || view.is_registered(name);
        let may_speak = self.names.given().iter().map(may_speak).collect();
        Ok((may_speak, MUTES.lift(view, self.names.given())))
    }
}
