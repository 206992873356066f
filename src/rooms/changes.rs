//! What decisions change, and what that does to the state.

use std::collections::HashMap;

use time::OffsetDateTime;

use super::state::{Attribute, Facts, Restriction, Room, State, User, UserInRoom};
use crate::events::log::{Actor, NewEvent};
use crate::names::RoomKey;

/// One thing that becomes another in a room. What is on a list at most once stays so.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The user is a member now.
    Join(String),
    /// The member is out, and off the lists of members.
    Leave(String),
    /// The member is an admin now.
    Promote(String),
    /// The admin is a plain member now.
    Demote(String),
    /// The member is on the whitelist now.
    AddToWhitelist(String),
    /// The member is off the whitelist.
    RemoveFromWhitelist(String),
    /// The actor has blocked the user until a moment, or has moved the end of the block.
    Block(String, OffsetDateTime, Actor),
    /// The block was lifted, or has ended.
    Unblock(String),
    /// The actor has muted the user until a moment, or has moved the end of the mute.
    Mute(String, OffsetDateTime, Actor),
    /// The mute was lifted, or has ended.
    Unmute(String),
    /// The room belongs to another member.
    SetOwner(String),
    /// The whole room is muted until a moment, and why; or it may speak.
    SetMuteAll(bool, OffsetDateTime, Option<String>),
    /// There may be so many members.
    SetMaxusers(i32),
    /// The room is called so.
    SetName(String),
    /// The room is about this.
    SetDescription(String),
    /// The room keeps this for its creator.
    SetCustom(String),
    /// The room says this to each user who comes in.
    SetAnnouncement(String),
    /// An attribute has this text now.
    SetAttribute(String, Attribute),
    /// An attribute is gone.
    RemoveAttribute(String),
    /// The room is deleted.
    Delete(Actor),
    /// This has happened.
    Record(NewEvent),
}

impl State {
    /// Makes changes that were decided for a room.
    pub fn apply(&mut self, key: &RoomKey, changes: Vec<Change>) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        for change in changes {
            room.apply(key.app, &mut self.users, change);
        }
    }
}

impl Room {
    fn apply(&mut self, app: i32, users: &mut HashMap<(i32, String), User>, change: Change) {
        match change {
            Change::Join(name) => {
                let seq = self.next_seq();
                self.user(&name).member = Some(seq);
                self.counters.members += 1;
                count_room(users, app, name, |rooms| rooms + 1);
            }
            Change::Leave(name) => {
                self.leave(&name);
                count_room(users, app, name, |rooms| rooms.saturating_sub(1));
            }
            Change::Promote(name) => {
                let seq = self.next_seq();
                if self.user(&name).admin.replace(seq).is_none() {
                    self.counters.admins += 1;
                }
            }
            Change::Demote(name) => {
                if self.user(&name).admin.take().is_some() {
                    self.counters.admins -= 1;
                }
            }
            Change::AddToWhitelist(name) => {
                let seq = self.next_seq();
                self.user(&name).whitelist.get_or_insert(seq);
            }
            Change::RemoveFromWhitelist(name) => self.user(&name).whitelist = None,
            Change::Block(name, ends_at, actor) => {
                let new = Restriction { seq: self.next_seq(), ends_at, since: self.moment(), actor };
                let is_new = restrict(&mut self.user(&name).block, new);
                self.counters.next_end = self.counters.next_end.min(ends_at);
                count(is_new, &mut self.counters.blocks, &mut self.blocks_in_force);
            }
            Change::Unblock(name) => {
                let gone = self.user(&name).block.take();
                discount(gone, self.now, &mut self.counters.blocks, &mut self.blocks_in_force);
            }
            Change::Mute(name, ends_at, actor) => {
                let new = Restriction { seq: self.next_seq(), ends_at, since: self.moment(), actor };
                let is_new = restrict(&mut self.user(&name).mute, new);
                self.counters.next_end = self.counters.next_end.min(ends_at);
                count(is_new, &mut self.counters.mutes, &mut self.mutes_in_force);
            }
            Change::Unmute(name) => {
                let gone = self.user(&name).mute.take();
                discount(gone, self.now, &mut self.counters.mutes, &mut self.mutes_in_force);
            }
            Change::SetOwner(name) => self.owner = name,
            Change::SetMuteAll(mute_all, ends_at, reason) => {
                (self.mute_all, self.mute_ends_at, self.mute_reason) = (mute_all, ends_at, reason);
                self.counters.next_end = self.counters.next_end.min(ends_at);
            }
            Change::SetMaxusers(maxusers) => self.counters.maxusers = maxusers,
            Change::SetName(text) => self.texts.iter_mut().for_each(|texts| texts.name.clone_from(&text)),
            Change::SetDescription(text) => self.texts.iter_mut().for_each(|texts| texts.description.clone_from(&text)),
            Change::SetCustom(text) => self.texts.iter_mut().for_each(|texts| texts.custom.clone_from(&text)),
            Change::SetAnnouncement(text) => self.texts.iter_mut().for_each(|texts| texts.announcement.clone_from(&text)),
            Change::SetAttribute(name, attribute) => {
                self.attributes.iter_mut().for_each(|attributes| drop(attributes.insert(name.clone(), attribute.clone())));
            }
            Change::RemoveAttribute(name) => self.attributes.iter_mut().for_each(|attributes| drop(attributes.remove(&name))),
            Change::Delete(actor) => self.deleted_by = Some(actor),
            Change::Record(event) => {
                self.counters.last_event += 1;
                self.counters.last_xact = self.counters.last_xact.max(self.xact);
                self.counters.last_event_at = self.moment();
                self.events.push(event.numbered(self.counters.last_event));
            }
        }
    }

    /// Membership goes, and with it what hangs on it.
    fn leave(&mut self, name: &str) {
        let user = self.user(name);
        let (was_member, was_admin) = (user.member.take().is_some(), user.admin.take().is_some());
        user.whitelist = None;
        self.counters.members -= i32::from(was_member);
        self.counters.admins -= i32::from(was_admin);
        if let Some(attributes) = &mut self.attributes {
            attributes.retain(|_, attribute| !(attribute.leaves_with_setter && attribute.setter.as_deref() == Some(name)));
        }
    }

    fn user(&mut self, name: &str) -> &mut UserInRoom {
        if !self.people.contains_key(name) {
            debug_assert!(false, "{name} is changed but was not asked for");
            self.people.insert(name.to_owned(), UserInRoom { loaded: Facts::default(), ..UserInRoom::default() });
        }
        self.people.get_mut(name).expect("just seen")
    }

    /// A number for a new row of a list. Only the holder of the room's lock gives some out, so that they are in the order
    /// of commits: a reader who has seen one never misses a smaller one.
    fn next_seq(&mut self) -> i64 {
        self.counters.last_seq += 1;
        self.counters.last_seq
    }
}

/// Begins a restriction, or sets one anew: it keeps its place on the list. Whether it is new there.
fn restrict(slot: &mut Option<Restriction>, new: Restriction) -> bool {
    let former = slot.as_ref().map(|former| former.seq);
    *slot = Some(Restriction { seq: former.unwrap_or(new.seq), ..new });
    former.is_none()
}

fn count(is_new: bool, rows: &mut i32, in_force: &mut Option<i32>) {
    *rows += i32::from(is_new);
    *in_force = in_force.map(|number| number + i32::from(is_new));
}

fn discount(gone: Option<Restriction>, now: OffsetDateTime, rows: &mut i32, in_force: &mut Option<i32>) {
    let Some(gone) = gone else { return };
    *rows -= 1;
    *in_force = in_force.map(|number| number - i32::from(gone.ends_at > now));
}

/// The rooms of a user, where they were counted.
fn count_room(users: &mut HashMap<(i32, String), User>, app: i32, name: String, counted: impl Fn(u32) -> u32) {
    if let Some(user) = users.get_mut(&(app, name)) {
        user.rooms = user.rooms.map(counted);
    }
}
