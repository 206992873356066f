//! Undoing one event of a room: what it has changed becomes again what it was before, as long as nothing that followed has
//! changed that, too. All of it or nothing.

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::admins::MAX_ADMINS;
use super::changes::Change;
use super::details::mute_all;
use super::operation::{Decision, Operation};
use super::permissions::Action;
use super::restrictions::{BLOCKS, List, MUTES};
use super::state::{Facts, Needs, RoomView};
use crate::error::Error;
use crate::events::log::{Kind, NewEvent};
use crate::names::{Names, PERMANENT_MS, from_unix_ms, unix_ms};

/// Undoes an event.
pub struct Undo {
    /// The number of the event.
    pub n: i64,
    /// What has happened.
    pub kind: Kind,
    /// To whom.
    pub users: Names,
    /// What was so before, as the event tells it.
    pub before: Map<String, Value>,
    /// What was so after.
    pub after: Map<String, Value>,
    /// The most that the mute list and the block list may have; 0 = no limit.
    pub limits: (u32, u32),
    /// The most rooms that a user may be in; 0 = no limit.
    pub rooms_per_user: u32,
}

impl Undo {
    /// What it is to undo such an event, as far as it matters who may. `None`: it cannot be undone.
    pub fn action(&self) -> Option<Action> {
        Some(match self.kind {
            Kind::MuteAdd | Kind::MuteRemove => Action::Mute,
            Kind::BlockAdd | Kind::BlockRemove => Action::Block,
            Kind::WhiteAdd | Kind::WhiteRemove => Action::Whitelist,
            Kind::AdminAdd | Kind::AdminRemove => Action::ManageAdmins,
            // An admin who was removed is an admin again.
            Kind::Kick | Kind::LeaveBlocked if self.before.values().any(|lists| was_on(lists, "admin")) => Action::ManageAdmins,
            Kind::Kick | Kind::LeaveBlocked => Action::Remove,
            Kind::UpdateMute => Action::MuteAll,
            _ => return None,
        })
    }

    fn refuse<T>(&self, why: impl std::fmt::Display) -> Result<T, Error> {
        Err(Error::CannotBeUndone(format!("event {} cannot be undone: {why}", self.n)))
    }

    fn event(&self, view: &RoomView<'_>, kind: Kind) -> NewEvent {
        view.event(kind).undoing(self.n)
    }

    /// The end that the event tells of a user, before or after it.
    fn end(told: &Map<String, Value>, user: &str) -> Option<OffsetDateTime> {
        told.get(user).and_then(Value::as_i64).and_then(from_unix_ms)
    }

    /// A mute or a block that was laid on, or whose end was moved: it goes, or ends again when it would have.
    fn lift(&self, view: &RoomView<'_>, list: &List) -> Result<Vec<Change>, Error> {
        let (mut lifted, mut put_back) = (Vec::new(), Vec::new());
        for user in self.users.given() {
            let entry = list.entry(view, user).map(|entry| entry.ends_at);
            if entry.is_none() || entry != Self::end(&self.after, user) {
                return self.refuse(format_args!("the {} of {user} is another now", list.name));
            }
            match Self::end(&self.before, user).filter(|end| *end > view.room.now) {
                Some(end) => put_back.push((user.clone(), end)),
                None => lifted.extend(entry.map(|end| (user.clone(), end))),
            }
        }
        let mut changes: Vec<Change> = lifted.iter().map(|(user, _)| (list.end)(user.clone())).collect();
        if !lifted.is_empty() {
            let event = self.event(view, list.removed).users(lifted.iter().map(|(user, _)| user));
            changes.push(Change::Record(event.before(ends(&lifted))));
        }
        changes.extend(self.lay_on(view, list, &put_back));
        Ok(changes)
    }

    /// A mute or a block that was lifted: it is in force again until it would have ended.
    fn restore(&self, view: &RoomView<'_>, list: &List, (limit, in_force): (u32, i32)) -> Result<Vec<Change>, Error> {
        let mut restored = Vec::new();
        for user in self.users.given() {
            if list.entry(view, user).is_some() {
                return self.refuse(format_args!("{user} has another {} now", list.name));
            }
            match Self::end(&self.before, user).filter(|end| *end > view.room.now) {
                Some(end) => restored.push((user.clone(), end)),
                None => return self.refuse(format_args!("the {} of {user} would have ended by now", list.name)),
            }
        }
        let number = i64::from(in_force) + i64::try_from(restored.len()).unwrap_or(i64::MAX);
        if limit > 0 && number > i64::from(limit) {
            return Err(Error::ExceedLimit(format!("{} list exceeds the limit {limit}!", list.name)));
        }
        Ok(self.lay_on(view, list, &restored))
    }

    fn lay_on(&self, view: &RoomView<'_>, list: &List, until: &[(String, OffsetDateTime)]) -> Vec<Change> {
        if until.is_empty() {
            return Vec::new();
        }
        let former: Vec<_> = until.iter().filter_map(|(user, _)| Some((user.clone(), list.entry(view, user)?.ends_at))).collect();
        let event =
            self.event(view, list.added).users(until.iter().map(|(user, _)| user)).before(ends(&former)).after(ends(until));
        let begin = |(user, end): &(String, OffsetDateTime)| (list.begin)(user.clone(), *end, view.actor.clone());
        until.iter().map(begin).chain([Change::Record(event)]).collect()
    }

    /// Members who were removed: they are in the room again, on the lists on which they were.
    fn bring_back(&self, view: &RoomView<'_>) -> Result<Vec<Change>, Error> {
        let counters = &view.room.counters;
        let users = self.users.given();
        for user in users {
            let known = view.user(user, Facts::MEMBER | Facts::BLOCK);
            if !view.is_registered(user) {
                return self.refuse(format_args!("{user} is no user any more"));
            } else if known.member.is_some() {
                return self.refuse(format_args!("{user} is in the room already"));
            } else if known.block.is_some() {
                return self.refuse(format_args!("{user} is blocked"));
            } else if self.rooms_per_user > 0 && view.rooms_of(user) >= self.rooms_per_user {
                return Err(Error::TooManyRooms { user: user.clone() });
            }
        }
        let members = counters.members + i32::try_from(users.len()).unwrap_or(i32::MAX);
        if members > counters.maxusers {
            return Err(Error::RoomFull);
        }
        let back_on = |list: &str| -> Vec<String> {
            users.iter().filter(|user| self.before.get(*user).is_some_and(|lists| was_on(lists, list))).cloned().collect()
        };
        let (admins, whitelisted) = (back_on("admin"), back_on("whitelist"));
        if counters.admins + i32::try_from(admins.len()).unwrap_or(i32::MAX) > MAX_ADMINS {
            return Err(Error::ExceedLimit(format!("admin count exceeds the limit {MAX_ADMINS}!")));
        }
        let mut changes: Vec<Change> = users.iter().cloned().map(Change::Join).collect();
        changes.push(Change::Record(self.event(view, Kind::Join).users(users).counting(members)));
        for user in &admins {
            changes.push(Change::Promote(user.clone()));
            changes.push(Change::Record(self.event(view, Kind::AdminAdd).users([user])));
        }
        if !whitelisted.is_empty() {
            changes.extend(whitelisted.iter().cloned().map(Change::AddToWhitelist));
            changes.push(Change::Record(self.event(view, Kind::WhiteAdd).users(whitelisted)));
        }
        Ok(changes)
    }

    /// Fails unless all are on a list, or none is, as the event has left them; and are members.
    fn require(&self, view: &RoomView<'_>, is_so: impl Fn(&str) -> bool, what: &str) -> Result<(), Error> {
        for user in self.users.given() {
            if !view.is_member(user) {
                return self.refuse(format_args!("{user} is not in the room any more"));
            } else if !is_so(user) {
                return self.refuse(format_args!("{user} {what}"));
            }
        }
        Ok(())
    }

    fn each(&self, view: &RoomView<'_>, kind: Kind, change: fn(String) -> Change) -> Vec<Change> {
        let users = self.users.given();
        let changes = users.iter().cloned().map(change);
        changes.chain([Change::Record(self.event(view, kind).users(users))]).collect()
    }

    fn mute_all(&self, view: &RoomView<'_>) -> Result<Vec<Change>, Error> {
        let told = |told: &Map<String, Value>| {
            let end = told.get("until").and_then(Value::as_i64).and_then(from_unix_ms);
            (told.get("mute") == Some(&Value::Bool(true)), end.unwrap_or_else(|| view.ends_after(PERMANENT_MS)))
        };
        let now = (view.room.mute_all, view.room.mute_ends_at);
        let (is_muted, ends_at) = told(&self.before);
        if now != told(&self.after) {
            return self.refuse("the mute of the room is another now");
        } else if is_muted && ends_at <= view.room.now {
            return self.refuse("the mute of the room would have ended by now");
        }
        let reason = view.actor.reason.clone().filter(|_| is_muted);
        let event = self.event(view, Kind::UpdateMute).before(mute_all(now.0, now.1)).after(mute_all(is_muted, ends_at));
        Ok(vec![Change::SetMuteAll(is_muted, ends_at, reason), Change::Record(event)])
    }
}

impl Operation for Undo {
    /// The number of the first event that says so.
    type Outcome = i64;

    fn needs(&self, needs: &mut Needs) {
        let facts = match self.kind {
            Kind::Kick | Kind::LeaveBlocked if self.rooms_per_user > 0 => {
                Facts::HELD | Facts::LEAVING | Facts::BLOCK | Facts::ROOMS
            }
            Kind::Kick | Kind::LeaveBlocked => Facts::HELD | Facts::LEAVING | Facts::BLOCK,
            Kind::BlockAdd | Kind::BlockRemove => Facts::HELD | Facts::MEMBER | Facts::BLOCK,
            _ => Facts::HELD | Facts::LEAVING | Facts::MUTE,
        };
        needs.users(&self.users, facts);
        needs.mute_limit = needs.mute_limit.max(self.limits.0);
        needs.block_limit = needs.block_limit.max(self.limits.1);
    }

    fn targets(&self) -> Option<&Names> {
        Some(&self.users)
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<i64> {
        let is_admin = |user: &str| view.user(user, Facts::ADMIN).admin.is_some();
        let is_listed = |user: &str| view.user(user, Facts::WHITELIST).whitelist.is_some();
        let changes = match self.kind {
            Kind::MuteAdd => self.lift(view, &MUTES)?,
            Kind::BlockAdd => self.lift(view, &BLOCKS)?,
            Kind::MuteRemove => {
                self.require_registered(view)?;
                self.restore(view, &MUTES, (self.limits.0, view.room.mutes_in_force()))?
            }
            Kind::BlockRemove => {
                self.require_registered(view)?;
                if let Some(user) = self.users.given().iter().find(|user| view.is_member(user)) {
                    return self.refuse(format_args!("{user} is in the room"));
                }
                self.restore(view, &BLOCKS, (self.limits.1, view.room.blocks_in_force()))?
            }
            Kind::WhiteAdd => {
                self.require(view, is_listed, "is not on the whitelist any more")?;
                self.each(view, Kind::WhiteRemove, Change::RemoveFromWhitelist)
            }
            Kind::WhiteRemove => {
                self.require(view, |user| !is_listed(user), "is on the whitelist again")?;
                self.each(view, Kind::WhiteAdd, Change::AddToWhitelist)
            }
            Kind::AdminAdd => {
                self.require(view, is_admin, "is no admin any more")?;
                self.each(view, Kind::AdminRemove, Change::Demote)
            }
            Kind::AdminRemove => {
                self.require(view, |user| !is_admin(user) && user != view.room.owner, "is an admin or the owner now")?;
                if view.room.counters.admins >= MAX_ADMINS {
                    return Err(Error::ExceedLimit(format!("admin count exceeds the limit {MAX_ADMINS}!")));
                }
                self.each(view, Kind::AdminAdd, Change::Promote)
            }
            Kind::Kick | Kind::LeaveBlocked => self.bring_back(view)?,
            Kind::UpdateMute => self.mute_all(view)?,
            kind => return self.refuse(format_args!("{} is for ever", kind.text())),
        };
        Ok((view.room.counters.last_event + 1, changes))
    }
}

impl Undo {
    fn require_registered(&self, view: &RoomView<'_>) -> Result<(), Error> {
        match self.users.given().iter().find(|user| !view.is_registered(user)) {
            Some(user) => self.refuse(format_args!("{user} is no user any more")),
            None => Ok(()),
        }
    }
}

/// Whether one who has left was on that list, as the event tells it.
fn was_on(lists: &Value, list: &str) -> bool {
    lists.as_array().is_some_and(|lists| lists.iter().any(|known| known == list))
}

fn ends(until: &[(String, OffsetDateTime)]) -> Vec<(String, i64)> {
    until.iter().map(|(user, end)| (user.clone(), unix_ms(*end))).collect()
}
