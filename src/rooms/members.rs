//! The members of a room: the owner, the admins, and all others in it.

use super::changes::Change;
use super::operation::{Decision, Operation};
use super::state::{Facts, Needs, RoomView};
use crate::error::Error;
use crate::events::log::{Kind, NewEvent};
use crate::names::Names;

/// Adds all of the users to a room, or none of them: then it fails with the first reason in the order of the names.
///
/// A user who is in already needs no seat.
pub struct Add {
    /// Who comes in.
    pub names: Names,
    /// The most rooms that a user may be in; 0 = no limit.
    pub rooms_per_user: u32,
}

/// What adding a user came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// The user has come in.
    New,
    /// The user was in already; nothing changed.
    Already,
}

impl Operation for Add {
    type Outcome = Vec<Added>;

    fn needs(&self, needs: &mut Needs) {
        needs.users(&self.names, Facts::HELD | Facts::MEMBER | Facts::BLOCK);
        if self.rooms_per_user > 0 {
            needs.users(&self.names, Facts::ROOMS);
        }
    }

    fn targets(&self) -> Option<&Names> {
        Some(&self.names)
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<Vec<Added>> {
        let counters = &view.room.counters;
        let mut seats_left = counters.maxusers - counters.members;
        let mut newcomers = Vec::new();
        let mut added = Vec::with_capacity(self.names.len());
        for name in self.names.given() {
            let (user, room) = (|| name.clone(), || view.key.id().to_owned());
            if !view.is_registered(name) {
                return Err(Error::UserNotFound { user: user() });
            }
            let known = view.user(name, Facts::MEMBER | Facts::BLOCK);
            if known.block.is_some() {
                return Err(Error::Blocked { user: user(), room: room() });
            }
            if known.member.is_some() {
                added.push(Added::Already);
                continue;
            }
            if seats_left <= 0 {
                return Err(Error::RoomFull);
            }
            if self.rooms_per_user > 0 && view.rooms_of(name) >= self.rooms_per_user {
                return Err(Error::TooManyRooms { user: user() });
            }
            seats_left -= 1;
            newcomers.push(name.clone());
            added.push(Added::New);
        }
        let mut changes: Vec<Change> = newcomers.iter().cloned().map(Change::Join).collect();
        if !newcomers.is_empty() {
            let members = counters.maxusers - seats_left;
            changes.push(Change::Record(view.event(Kind::Join).users(newcomers).counting(members)));
        }
        Ok((added, changes))
    }
}

/// Removes users from a room, one by one; fails as a whole if one of them is not registered.
///
/// A user who leaves loses the standing as admin and on the whitelist, and keeps a mute.
pub struct Remove {
    /// Who is to leave.
    pub names: Names,
}

/// What removing a user came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// The user is out.
    Out,
    /// The user was not in the room.
    NotMember,
    /// The user owns the room and stays.
    Owner,
}

impl Operation for Remove {
    type Outcome = Vec<Removed>;

    fn needs(&self, needs: &mut Needs) {
        needs.users(&self.names, Facts::REGISTERED | Facts::LEAVING);
    }

    fn targets(&self) -> Option<&Names> {
        Some(&self.names)
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<Vec<Removed>> {
        if let Some(name) = self.names.given().iter().find(|name| !view.is_registered(name)) {
            return Err(Error::UserNotFound { user: name.clone() });
        }
        let removed: Vec<Removed> = self
            .names
            .given()
            .iter()
            .map(|name| match view.is_member(name) {
                true if *name == view.room.owner => Removed::Owner,
                true => Removed::Out,
                false => Removed::NotMember,
            })
            .collect();
        let leavers = self.names.select(|index| removed[index] == Removed::Out);
        let changes = if leavers.is_empty() { Vec::new() } else { leave(view, &leavers, Kind::Kick) };
        Ok((removed, changes))
    }
}

/// Takes `leavers` out, who are in the room and do not own it; `kind` tells why they leave.
pub(super) fn leave(view: &RoomView<'_>, leavers: &[String], kind: Kind) -> Vec<Change> {
    let members = view.room.counters.members - i32::try_from(leavers.len()).unwrap_or(i32::MAX);
    let lost = |name: &String| {
        let user = view.user(name, Facts::LEAVING);
        Leaver { username: name.clone(), admin: user.admin.is_some(), whitelisted: user.whitelist.is_some() }
    };
    let event = leaving(view.event(kind), leavers.iter().map(lost).collect()).counting(members);
    leavers.iter().cloned().map(Change::Leave).chain([Change::Record(event)]).collect()
}

/// A user who was in the room, and what else is lost by leaving.
pub(super) struct Leaver {
    pub username: String,
    pub admin: bool,
    pub whitelisted: bool,
}

/// Adds to an event the users who have left, and the lists that each was on and has lost.
pub(super) fn leaving(event: NewEvent, leavers: Vec<Leaver>) -> NewEvent {
    let lost = |leaver: &Leaver| {
        let lists = [("admin", leaver.admin), ("whitelist", leaver.whitelisted)];
        let lists: Vec<&str> = lists.into_iter().filter(|(_, was_on)| *was_on).map(|(list, _)| list).collect();
        (!lists.is_empty()).then(|| (leaver.username.clone(), lists))
    };
    let lost: Vec<_> = leavers.iter().filter_map(lost).collect();
    let event = event.users(leavers.into_iter().map(|leaver| leaver.username));
    if lost.is_empty() { event } else { event.before(lost) }
}
