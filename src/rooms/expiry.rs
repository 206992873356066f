//! What ends by itself: mutes and blocks, and the mute of a whole room.
//!
//! Such an end is an event, told exactly once: by the change that takes the row away under the room's lock. Every change of
//! a room takes some ended rows along, so that no room is too busy for its ends.

use time::OffsetDateTime;

use super::changes::Change;
use super::details;
use super::operation::{Decision, Operation};
use super::restrictions::{BLOCKS, List, MUTES, about};
use super::state::{Ended, Needs, Room, RoomView};
use crate::events::log::{Actor, Kind, NewEvent};
use crate::names::{Names, PERMANENT_MS, ends_after};

/// How many ended mutes, and ended blocks, a change takes along that is about something else.
pub const TAKEN_ALONG: u32 = 20;

/// Ends everything that has ended among what was loaded. Those that ended first come first.
pub fn end_what_has_ended(room: &mut Room) -> Vec<Change> {
    let (mutes, blocks) = (over(room, &MUTES), over(room, &BLOCKS));
    let mute_all = room.mute_all && room.mute_ends_at <= room.now;
    room.ended = Ended { mutes: mutes.len(), blocks: blocks.len(), mute_all };
    room.is_due |= room.ended != Ended::default();
    let mut changes = Vec::new();
    for (list, over) in [(MUTES, mutes), (BLOCKS, blocks)] {
        for over in over.chunks(NewEvent::MOST_USERS) {
            changes.extend(over.iter().map(|(name, _)| (list.end)(name.clone())));
            changes.push(Change::Record(about(NewEvent::new(list.expired, &Actor::system()), over)));
        }
    }
    if mute_all {
        let event = NewEvent::new(Kind::UpdateMute, &Actor::system())
            .before(details::mute_all(true, room.mute_ends_at))
            .after([("mute", false)]);
        changes.push(Change::SetMuteAll(false, ends_after(room.now, PERMANENT_MS), None));
        changes.push(Change::Record(event));
    }
    changes
}

fn over(room: &Room, list: &List) -> Vec<(String, OffsetDateTime)> {
    let ended = room.people.iter().filter_map(|(name, user)| {
        let entry = (list.of)(user).as_ref()?;
        (entry.ends_at <= room.now).then(|| (name.clone(), entry.ends_at))
    });
    let mut over: Vec<(String, OffsetDateTime)> = ended.collect();
    over.sort_unstable_by(|(one, ends), (other, end)| (ends, one).cmp(&(end, other)));
    over
}

/// Takes ended mutes and blocks of a room away, those that ended first, and tells how many.
pub struct EndExpired {
    /// How many of each at most.
    pub batch: u32,
}

impl Operation for EndExpired {
    type Outcome = Ended;

    fn needs(&self, needs: &mut Needs) {
        needs.ended = needs.ended.max(self.batch);
    }

    fn targets(&self) -> Option<&Names> {
        None
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<Ended> {
        // They were ended before anything else was decided.
        Ok((view.room.ended, Vec::new()))
    }
}
