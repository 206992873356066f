//! What mutes and blocks have in common: they begin, are moved, are lifted, and end by themselves.

use time::OffsetDateTime;

use super::changes::Change;
use super::state::{Facts, Restriction, RoomView, UserInRoom};
use crate::error::Error;
use crate::events::log::{Actor, Kind, NewEvent};
use crate::names::unix_ms;

/// One of the two lists.
pub(super) struct List {
    /// What it is called in refusals.
    pub name: &'static str,
    /// What must have been asked for.
    pub facts: Facts,
    /// A user's entry.
    pub of: fn(&UserInRoom) -> &Option<Restriction>,
    /// How an entry begins or is moved.
    pub begin: fn(String, OffsetDateTime, Actor) -> Change,
    /// How it goes.
    pub end: fn(String) -> Change,
    /// The event of its beginning.
    pub added: Kind,
    /// The event of its being lifted.
    pub removed: Kind,
    /// The event of its end.
    pub expired: Kind,
}

/// The mute list.
pub(super) const MUTES: List = List {
    name: "mute",
    facts: Facts::MUTE,
    of: |user| &user.mute,
    begin: Change::Mute,
    end: Change::Unmute,
    added: Kind::MuteAdd,
    removed: Kind::MuteRemove,
    expired: Kind::MuteExpire,
};

/// The block list.
pub(super) const BLOCKS: List = List {
    name: "block",
    facts: Facts::BLOCK,
    of: |user| &user.block,
    begin: Change::Block,
    end: Change::Unblock,
    added: Kind::BlockAdd,
    removed: Kind::BlockRemove,
    expired: Kind::BlockExpire,
};

impl List {
    /// A user's entry, if there is one.
    pub(super) fn entry<'a>(&self, view: &'a RoomView<'_>, user: &str) -> Option<&'a Restriction> {
        (self.of)(view.user(user, self.facts)).as_ref()
    }

    /// Puts `users` on the list until `ends_at`, or moves the ends of their entries. Where the end or the reason is another,
    /// the entry is the actor's from now on. `limit` is the most that the list may have, of which `in_force` are there; 0 =
    /// no limit.
    pub(super) fn begin(
        &self,
        view: &RoomView<'_>,
        users: &[String],
        ends_at: OffsetDateTime,
        (limit, in_force): (u32, i32),
    ) -> Result<Vec<Change>, Error> {
        let reason = &view.actor.reason;
        let is_other = |name: &&String| {
            self.entry(view, name).is_none_or(|former| (former.ends_at, &former.actor.reason) != (ends_at, reason))
        };
        let changed: Vec<&String> = users.iter().filter(is_other).collect();
        let newcomers = changed.iter().filter(|name| self.entry(view, name).is_none()).count();
        let number = i64::from(in_force) + i64::try_from(newcomers).unwrap_or(i64::MAX);
        if limit > 0 && newcomers > 0 && number > i64::from(limit) {
            return Err(Error::ExceedLimit(format!("{} list exceeds the limit {limit}!", self.name)));
        }
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let former = |name: &&String| Some(((*name).clone(), unix_ms(self.entry(view, name)?.ends_at)));
        let event = view
            .event(self.added)
            .users(&changed)
            .before(changed.iter().filter_map(former))
            .after(changed.iter().map(|name| ((*name).clone(), unix_ms(ends_at))));
        let begun = changed.into_iter().map(|name| (self.begin)(name.clone(), ends_at, view.actor.clone()));
        Ok(begun.chain([Change::Record(event)]).collect())
    }

    /// Takes those of `users` off the list who are on it, in the name of the actor.
    pub(super) fn lift(&self, view: &RoomView<'_>, users: &[String]) -> Vec<Change> {
        let lifted: Vec<(String, OffsetDateTime)> =
            users.iter().filter_map(|name| Some((name.clone(), self.entry(view, name)?.ends_at))).collect();
        if lifted.is_empty() {
            return Vec::new();
        }
        let event = about(view.event(self.removed), &lifted);
        lifted.into_iter().map(|(name, _)| (self.end)(name)).chain([Change::Record(event)]).collect()
    }

    /// Who of `users` is on the list.
    pub(super) fn has(&self, view: &RoomView<'_>, user: &str) -> bool {
        self.entry(view, user).is_some()
    }
}

/// Tells of an event whose restrictions it is about, and when those would have ended, or have.
pub(super) fn about(event: NewEvent, entries: &[(String, OffsetDateTime)]) -> NewEvent {
    event
        .users(entries.iter().map(|(name, _)| name))
        .before(entries.iter().map(|(name, ends_at)| (name.clone(), unix_ms(*ends_at))))
}
