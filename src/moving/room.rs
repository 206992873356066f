//! What of a room is brought in: decided row by row, on what is there already.

use std::collections::{HashMap, HashSet};

use super::format::{Attribute, Member, Restriction, Room, RoomPart};
use super::report::{Count, Kind, Refusal};
use crate::names::{PERMANENT_MS, is_room_id, is_username};
use crate::rooms::admins;
use crate::rooms::attributes::{self, MAX_ATTRIBUTES};
use crate::rooms::details::{MAX_ANNOUNCEMENT, MAX_CUSTOM, MAX_DESCRIPTION, MAX_NAME};

/// The most admins of a room.
const MAX_ADMINS: usize = admins::MAX_ADMINS.unsigned_abs() as usize;

/// The longest reason, in characters.
const MAX_REASON: usize = 512;

/// What is known of a room, and of the users whom a part of it names.
#[derive(Debug, Default)]
pub struct Known {
    /// The room as it is there; `None`: it is new.
    pub room: Option<Room>,
    /// Those of the users who are registered.
    pub registered: HashSet<String>,
    /// Those who are members.
    pub members: HashSet<String>,
    /// All admins.
    pub admins: HashSet<String>,
    /// Those on the whitelist.
    pub whitelist: HashSet<String>,
    /// Those with a block, and what it is.
    pub blocks: HashMap<String, Restriction>,
    /// Those with a mute.
    pub mutes: HashMap<String, Restriction>,
    /// All attributes.
    pub attributes: HashMap<String, String>,
    /// Members, the owner counted.
    pub member_count: i64,
    /// The database's clock, in Unix milliseconds.
    pub now: i64,
}

/// The rows that are to be written, and what is to be told of the others.
#[derive(Debug, Default)]
pub struct Plan {
    pub members: Vec<Member>,
    pub admins: Vec<String>,
    pub whitelist: Vec<String>,
    pub blocks: Vec<Restriction>,
    pub mutes: Vec<Restriction>,
    pub attributes: Vec<Attribute>,
    pub counts: Vec<(Kind, Count)>,
    pub refusals: Vec<Refusal>,
}

impl Plan {
    /// Whether there is no row to be written.
    pub fn is_empty(&self) -> bool {
        let listed = self.members.is_empty() && self.admins.is_empty() && self.whitelist.is_empty();
        listed && self.blocks.is_empty() && self.mutes.is_empty() && self.attributes.is_empty()
    }

    /// The number of rows of each list that gets any, as an event tells it.
    pub fn sizes(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let sizes = [
            ("members", self.members.len()),
            ("admins", self.admins.len()),
            ("whitelist", self.whitelist.len()),
            ("blocks", self.blocks.len()),
            ("mutes", self.mutes.len()),
            ("attributes", self.attributes.len()),
        ];
        sizes.into_iter().filter(|(_, rows)| *rows > 0)
    }

    /// Notes a refusal.
    fn refuse(&mut self, kind: Kind, room: &str, name: &str, why: impl Into<String>) {
        let room = Some(room.to_owned()).filter(|_| kind != Kind::Room);
        self.refusals.push(Refusal { kind, room, name: name.into(), why: why.into() });
    }
}

/// Folds the names of users and the ids of rooms, as every call of the API does, and cuts moments to what can be.
pub fn fold(part: &mut RoomPart) {
    let room = std::sync::Arc::make_mut(&mut part.room);
    room.owner.make_ascii_lowercase();
    for moment in [&mut room.owner_joined, &mut room.created, &mut room.muted_until] {
        *moment = moment.map(bounded);
    }
    for member in &mut part.members {
        member.user.make_ascii_lowercase();
        member.joined = member.joined.map(bounded);
    }
    for listed in part.admins.iter_mut().chain(&mut part.whitelist) {
        listed.user.make_ascii_lowercase();
    }
    for entry in part.blocks.iter_mut().chain(&mut part.mutes) {
        entry.user.make_ascii_lowercase();
        entry.until = bounded(entry.until);
    }
    for attribute in &mut part.attributes {
        attribute.setter.iter_mut().for_each(|setter| setter.make_ascii_lowercase());
    }
}

/// A moment from 1970 up to the end of what has none.
pub fn bounded(ms: i64) -> i64 {
    ms.clamp(0, PERMANENT_MS)
}

/// Why a room cannot be as it is described; `None`: it can.
pub fn flaw(room: &Room, members_per_room: u32) -> Option<String> {
    let long = [
        ("name", &room.name, MAX_NAME),
        ("description", &room.description, MAX_DESCRIPTION),
        ("custom text", &room.custom, MAX_CUSTOM),
        ("announcement", &room.announcement, MAX_ANNOUNCEMENT),
    ];
    if !is_room_id(&room.id) {
        return Some("no room may have this id: 1 to 64 of a-z 0-9".into());
    }
    if room.name.is_empty() {
        return Some("the room has no name".into());
    }
    if let Some((what, _, limit)) = long.iter().find(|(_, text, limit)| text.chars().count() > *limit) {
        return Some(format!("the {what} is longer than {limit} characters"));
    }
    if long.iter().any(|(_, text, _)| text.contains('\0')) || room.mute_reason.as_deref().is_some_and(|text| !is_reason(text)) {
        return Some("a text cannot be stored".into());
    }
    if room.maxusers < 1 || room.maxusers > i64::from(members_per_room) {
        return Some(format!("maxusers {} is not in 1 to limits.members_per_room = {members_per_room}", room.maxusers));
    }
    (!is_username(&room.owner)).then(|| "the owner has a name that no user may have".into())
}

/// A reason can be stored if it is not too long.
pub fn is_reason(text: &str) -> bool {
    !text.contains('\0') && text.chars().count() <= MAX_REASON
}

/// What differs between a room and the one that is there.
pub fn differences(theirs: &Room, ours: &Room) -> Vec<String> {
    let is_muted = |room: &Room| room.muted_until.is_some();
    let mut told = Vec::new();
    for (what, theirs, ours) in [
        ("name", &theirs.name, &ours.name),
        ("description", &theirs.description, &ours.description),
        ("custom text", &theirs.custom, &ours.custom),
        ("announcement", &theirs.announcement, &ours.announcement),
        ("owner", &theirs.owner, &ours.owner),
        ("maxusers", &theirs.maxusers.to_string(), &ours.maxusers.to_string()),
        ("mute of the whole room", &is_muted(theirs).to_string(), &is_muted(ours).to_string()),
    ] {
        if theirs != ours {
            told.push(format!("the {what} is another one here"));
        }
    }
    told
}

/// Decides what of a part is written. Its room is without flaw and its owner registered.
pub fn plan(part: &RoomPart, known: &Known) -> Plan {
    let mut plan = Plan::default();
    let room = &part.room;
    let owner = known.room.as_ref().map_or(&room.owner, |room| &room.owner);
    if !part.continues {
        let mut count = Count::default();
        match &known.room {
            None => count.new = 1,
            Some(ours) => {
                let differences = differences(room, ours);
                count.present = u64::from(differences.is_empty());
                for why in differences {
                    plan.refuse(Kind::Room, &room.id, &room.id, why);
                }
            }
        }
        plan.counts.push((Kind::Room, count));
    }
    plan_members(&mut plan, part, known, owner);
    let joined: HashSet<String> = plan.members.iter().map(|member| member.user.clone()).collect();
    let is_member = |name: &str| name == owner || known.members.contains(name) || joined.contains(name);
    plan_admins(&mut plan, part, known, owner, &is_member);
    plan_whitelist(&mut plan, part, known, &is_member);
    let (blocks, count) = plan_restrictions(&mut plan, Kind::Block, room, &part.blocks, &known.blocks, known, &is_member);
    plan.blocks = blocks;
    plan.counts.push((Kind::Block, count));
    let (mutes, count) = plan_restrictions(&mut plan, Kind::Mute, room, &part.mutes, &known.mutes, known, &|_| false);
    plan.mutes = mutes;
    plan.counts.push((Kind::Mute, count));
    plan_attributes(&mut plan, part, known, owner, &is_member);
    plan
}

fn plan_members(plan: &mut Plan, part: &RoomPart, known: &Known, owner: &str) {
    let (room, mut count) = (&part.room, Count::default());
    let mut seats = known.room.as_ref().map_or(room.maxusers, |room| room.maxusers) - known.member_count.max(1);
    let mut seen = HashSet::new();
    for member in &part.members {
        let name = &*member.user;
        if name == owner || known.members.contains(name) || !seen.insert(name) {
            count.present += 1;
        } else if let Some(why) = unfit(name, known) {
            plan.refuse(Kind::Member, &room.id, name, why);
        } else if known.blocks.contains_key(name) {
            plan.refuse(Kind::Member, &room.id, name, "the user is blocked in the room");
        } else if seats == 0 {
            plan.refuse(Kind::Member, &room.id, name, "the room is full");
        } else {
            seats -= 1;
            count.new += 1;
            plan.members.push(member.clone());
        }
    }
    plan.counts.push((Kind::Member, count));
}

fn plan_admins(plan: &mut Plan, part: &RoomPart, known: &Known, owner: &str, is_member: &dyn Fn(&str) -> bool) {
    let (room, mut count) = (&part.room, Count::default());
    for listed in &part.admins {
        let name = &*listed.user;
        if known.admins.contains(name) || plan.admins.iter().any(|known| known == name) {
            count.present += 1;
        } else if name == owner {
            plan.refuse(Kind::Admin, &room.id, name, "the user is the owner");
        } else if !is_member(name) {
            plan.refuse(Kind::Admin, &room.id, name, "the user is no member of the room");
        } else if known.admins.len() + plan.admins.len() >= MAX_ADMINS {
            plan.refuse(Kind::Admin, &room.id, name, format!("the room has {MAX_ADMINS} admins"));
        } else {
            count.new += 1;
            plan.admins.push(name.to_owned());
        }
    }
    plan.counts.push((Kind::Admin, count));
}

fn plan_whitelist(plan: &mut Plan, part: &RoomPart, known: &Known, is_member: &dyn Fn(&str) -> bool) {
    let (room, mut count, mut seen) = (&part.room, Count::default(), HashSet::new());
    for listed in &part.whitelist {
        let name = &*listed.user;
        if known.whitelist.contains(name) || !seen.insert(name) {
            count.present += 1;
        } else if !is_member(name) {
            plan.refuse(Kind::Whitelist, &room.id, name, "the user is no member of the room");
        } else {
            count.new += 1;
            plan.whitelist.push(name.to_owned());
        }
    }
    plan.counts.push((Kind::Whitelist, count));
}

/// Blocks, or mutes: those that are to be written, and how many of the others there are. `excludes` are those who cannot have
/// one.
fn plan_restrictions(
    plan: &mut Plan,
    kind: Kind,
    room: &Room,
    given: &[Restriction],
    there: &HashMap<String, Restriction>,
    known: &Known,
    excludes: &dyn Fn(&str) -> bool,
) -> (Vec<Restriction>, Count) {
    let (mut new, mut count, mut seen) = (Vec::new(), Count::default(), HashSet::new());
    for entry in given {
        let name = &*entry.user;
        if entry.until <= known.now {
            count.ended += 1;
        } else if let Some(ours) = there.get(name) {
            match ours {
                ours if ours == entry => count.present += 1,
                ours if ours.until <= known.now => {
                    plan.refuse(kind, &room.id, name, "an earlier one has ended here and is about to go: import again");
                }
                _ => plan.refuse(kind, &room.id, name, "one with another end or reason is here"),
            }
        } else if !seen.insert(name) {
            count.present += 1;
        } else if let Some(why) = unfit(name, known) {
            plan.refuse(kind, &room.id, name, why);
        } else if excludes(name) {
            plan.refuse(kind, &room.id, name, "the user is a member of the room");
        } else if !entry.reason.as_deref().is_none_or(is_reason) {
            plan.refuse(kind, &room.id, name, format!("the reason is longer than {MAX_REASON} characters"));
        } else {
            count.new += 1;
            new.push(entry.clone());
        }
    }
    (new, count)
}

fn plan_attributes(plan: &mut Plan, part: &RoomPart, known: &Known, owner: &str, is_member: &dyn Fn(&str) -> bool) {
    let (room, mut count) = (&part.room, Count::default());
    for attribute in &part.attributes {
        let key = &*attribute.key;
        let setter = attribute.setter.as_deref().unwrap_or(owner);
        if let Some(ours) = known.attributes.get(key) {
            if *ours == attribute.value {
                count.present += 1;
            } else {
                plan.refuse(Kind::Attribute, &room.id, key, "it has another text here");
            }
        } else if plan.attributes.iter().any(|known| known.key == key) {
            count.present += 1;
        } else if let Err(why) = attributes::legal_value(key, Some(&attribute.value)) {
            plan.refuse(Kind::Attribute, &room.id, key, why);
        } else if !is_username(setter) || attribute.leaves_with_setter && !is_member(setter) {
            plan.refuse(Kind::Attribute, &room.id, key, "its setter is no member of the room");
        } else if known.attributes.len() + plan.attributes.len() >= MAX_ATTRIBUTES {
            plan.refuse(Kind::Attribute, &room.id, key, format!("the room has {MAX_ATTRIBUTES} attributes"));
        } else {
            count.new += 1;
            plan.attributes.push(Attribute { setter: Some(setter.to_owned()), ..attribute.clone() });
        }
    }
    plan.counts.push((Kind::Attribute, count));
}

/// Why a user can be on no list.
fn unfit(name: &str, known: &Known) -> Option<&'static str> {
    match name {
        name if !is_username(name) => Some("no user may be called so"),
        name if !known.registered.contains(name) => Some("the user is not registered"),
        _ => None,
    }
}
