//! A room itself: what it is called, how large it is, whose it is, whether it is muted, and its end.

use serde_json::Value;
use time::OffsetDateTime;

use super::changes::Change;
use super::operation::{Decision, Operation};
use super::state::{Facts, Needs, RoomView};
use super::{admins, whitelist};
use crate::error::Error;
use crate::events::log::Kind;
use crate::names::{Names, PERMANENT_MS, unix_ms};

/// The longest name, description, custom text and announcement of a room, in characters.
pub const MAX_NAME: usize = 128;
/// See [`MAX_NAME`].
pub const MAX_DESCRIPTION: usize = 512;
/// See [`MAX_NAME`].
pub const MAX_CUSTOM: usize = 8192;
/// See [`MAX_NAME`].
pub const MAX_ANNOUNCEMENT: usize = 512;

/// Changes a room, in all that is asked for or in nothing. What is absent stays.
#[derive(Default)]
pub struct Update {
    /// What it is called.
    pub name: Option<String>,
    /// What it is about.
    pub description: Option<String>,
    /// A text that its creator keeps with it.
    pub custom: Option<String>,
    /// How many members there may be, the owner counted.
    pub maxusers: Option<i32>,
    /// The member who is to own it.
    pub new_owner: Option<Names>,
}

impl Operation for Update {
    type Outcome = ();

    fn needs(&self, needs: &mut Needs) {
        needs.texts = true;
        if let Some(new_owner) = &self.new_owner {
            needs.users(new_owner, Facts::REGISTERED | Facts::LEAVING);
        }
    }

    fn targets(&self) -> Option<&Names> {
        None
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<()> {
        if self.maxusers.is_some_and(|maxusers| maxusers < view.room.counters.members) {
            return Err(Error::SeatsTaken);
        }
        let mut changes = match &self.new_owner {
            Some(new_owner) => transfer(view, new_owner)?,
            None => Vec::new(),
        };
        changes.extend(self.fields(view));
        Ok(((), changes))
    }
}

impl Update {
    /// The event names what is another now.
    fn fields(&self, view: &RoomView<'_>) -> Vec<Change> {
        let texts = view.room.texts.as_ref();
        let text = |of: fn(&super::state::Texts) -> &String| texts.map(of).cloned().unwrap_or_default();
        let named = |field, former: String, now: &Option<String>, change: fn(String) -> Change| {
            let now = now.clone()?;
            Some((field, Value::from(former), Value::from(now.clone()), change(now)))
        };
        let maxusers = self
            .maxusers
            .map(|now| ("maxusers", Value::from(view.room.counters.maxusers), Value::from(now), Change::SetMaxusers(now)));
        let fields = [
            named("name", text(|texts| &texts.name), &self.name, Change::SetName),
            named("description", text(|texts| &texts.description), &self.description, Change::SetDescription),
            named("custom", text(|texts| &texts.custom), &self.custom, Change::SetCustom),
            maxusers,
        ];
        let (mut before, mut after, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        for (field, former, now, change) in fields.into_iter().flatten().filter(|(_, former, now, _)| former != now) {
            before.push((field, former));
            after.push((field, now));
            changes.push(change);
        }
        if !changes.is_empty() {
            changes.push(Change::Record(view.event(Kind::UpdateInfo).before(before).after(after)));
        }
        changes
    }
}

/// Makes another member the owner. The former owner stays as a plain member; the new one needs no standing as admin or
/// on the whitelist any more.
fn transfer(view: &RoomView<'_>, new_owner: &Names) -> Result<Vec<Change>, Error> {
    let name = view.require(new_owner)?;
    let former = &view.room.owner;
    if name == former {
        return Err(Error::OwnerAlready);
    }
    if !view.is_member(name) {
        return Err(Error::NewOwnerNotInRoom { user: name.into(), room: view.key.id().into() });
    }
    let mut changes = admins::demote(view, name);
    changes.extend(whitelist::remove(view, &[name.to_owned()]));
    changes.push(Change::SetOwner(name.into()));
    let event = view.event(Kind::UpdateOwner).users([former, name]);
    changes.push(Change::Record(event.before([("owner", former.as_str())]).after([("owner", name)])));
    Ok(changes)
}

/// Mutes the whole room, from now on or until another moment; or unmutes it. The mute list has no part in it.
pub struct SetMuteAll {
    /// Whether it is to be muted.
    pub mute_all: bool,
    /// For how long, in milliseconds; after that the room speaks again by itself.
    pub duration_ms: i64,
}

impl Operation for SetMuteAll {
    /// Until when, if it is muted.
    type Outcome = OffsetDateTime;

    fn needs(&self, _: &mut Needs) {}

    fn targets(&self) -> Option<&Names> {
        None
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<OffsetDateTime> {
        let duration_ms = if self.mute_all { self.duration_ms } else { PERMANENT_MS };
        let ends_at = view.ends_after(duration_ms);
        let reason = view.actor.reason.clone().filter(|_| self.mute_all);
        let room = view.room;
        if (room.mute_all, room.mute_ends_at, &room.mute_reason) == (self.mute_all, ends_at, &reason) {
            return Ok((ends_at, Vec::new()));
        }
        let event = view
            .event(Kind::UpdateMute)
            .before(mute_all(room.mute_all, room.mute_ends_at))
            .after(mute_all(self.mute_all, ends_at));
        Ok((ends_at, vec![Change::SetMuteAll(self.mute_all, ends_at, reason), Change::Record(event)]))
    }
}

/// What an event tells of the mute of a whole room: its end only if it has one.
pub(super) fn mute_all(is_muted: bool, ends_at: OffsetDateTime) -> Vec<(&'static str, Value)> {
    let until = Some(unix_ms(ends_at)).filter(|until| is_muted && *until < PERMANENT_MS);
    std::iter::once(("mute", Value::from(is_muted))).chain(until.map(|until| ("until", Value::from(until)))).collect()
}

/// Replaces the announcement, which users read when they come in.
pub struct SetAnnouncement {
    /// The text; empty: there is none.
    pub text: String,
}

impl Operation for SetAnnouncement {
    type Outcome = ();

    fn needs(&self, needs: &mut Needs) {
        needs.texts = true;
    }

    fn targets(&self) -> Option<&Names> {
        None
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<()> {
        let former = view.room.texts.as_ref().map(|texts| texts.announcement.as_str()).unwrap_or_default();
        if former == self.text {
            return Ok(((), Vec::new()));
        }
        let event =
            view.event(Kind::UpdateAnnouncement).before([("announcement", former)]).after([("announcement", self.text.as_str())]);
        Ok(((), vec![Change::SetAnnouncement(self.text.clone()), Change::Record(event)]))
    }
}

/// Deletes the room: it is gone from the commit on. Its last events come when its rows go.
pub struct Delete;

impl Operation for Delete {
    type Outcome = ();

    fn needs(&self, _: &mut Needs) {}

    fn targets(&self) -> Option<&Names> {
        None
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<()> {
        Ok(((), vec![Change::Delete(view.actor.clone())]))
    }
}
