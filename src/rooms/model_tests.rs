//! The rules by the million: random changes of a few rooms with a few users, in memory.
//!
//! A [`World`] stands for the database. As the store does, it loads for each batch what the operations ask for and nothing
//! else, and keeps what is different afterwards; so an operation that looks at less than it needs is found, too. After each
//! batch all invariants must hold, and a reader of only the events must come to the same lists, in the same order.

use std::collections::{BTreeMap, HashMap};

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::changes::Change;
use super::expiry::{EndExpired, TAKEN_ALONG, end_what_has_ended};
use super::operation::{Operation, make};
use super::state::{Account, Counters, Ended, Facts, Needs, Restriction, Room, State, Texts, User, UserInRoom};
use super::{admins, attributes, blocks, details, members, mutes, whitelist};
use crate::error::Error;
use crate::events::log::{Actor, Kind, NewEvent};
use crate::names::{Names, PERMANENT_MS, RoomKey, ends_after};

const APP: i32 = 1;
const ROOMS: [&str; 3] = ["1", "2", "3"];
/// All registered but the last two: one was deleted, one never was.
const USERS: [&str; 9] = ["u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"];
const NO_USER: &str = "no user";
const KEYS: [&str; 3] = ["color", "size", "mood"];

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).expect("31 bits") % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }

    fn one(&mut self) -> Names {
        let name = if self.roll(40) == 0 { NO_USER } else { self.pick(&USERS) };
        Names::new([name])
    }

    fn some(&mut self) -> Names {
        let count = 1 + self.roll(3);
        Names::new((0..count).map(|_| if self.roll(60) == 0 { NO_USER } else { self.pick(&USERS) }).collect::<Vec<_>>())
    }

    fn text(&mut self) -> String {
        self.pick(&["", "a", "b"]).to_owned()
    }

    fn actor(&mut self) -> Actor {
        match self.roll(4) {
            0 => Actor { name: "moderator".into(), reason: Some(self.text()) },
            _ => Actor::client(),
        }
    }
}

/// A change of any kind.
trait Step {
    fn needs(&self, needs: &mut Needs);
    /// Makes it; the outcome in words, if they are wanted.
    fn make(&self, state: &mut State, key: &RoomKey, actor: &Actor, in_words: bool) -> Result<String, Error>;
}

impl<O: Operation<Outcome: std::fmt::Debug>> Step for O {
    fn needs(&self, needs: &mut Needs) {
        Operation::needs(self, needs);
    }

    fn make(&self, state: &mut State, key: &RoomKey, actor: &Actor, in_words: bool) -> Result<String, Error> {
        make(state, key, actor, self).map(|outcome| if in_words { format!("{outcome:?}") } else { String::new() })
    }
}

/// A change, of which room, and in whose name.
type Call = (RoomKey, Actor, Box<dyn Step>);

fn call(dice: &mut Dice, rooms_per_user: u32) -> Call {
    let limit = 3;
    let step: Box<dyn Step> = match dice.roll(34) {
        0..6 => Box::new(members::Add { names: dice.some(), rooms_per_user }),
        6..9 => Box::new(members::Remove { names: dice.some() }),
        9..12 => Box::new(admins::Promote { name: dice.one() }),
        12 => Box::new(admins::Demote { name: dice.one() }),
        13..16 => Box::new(blocks::Block {
            names: dice.some(),
            duration_ms: dice.pick(&[300, 3000, PERMANENT_MS]),
            include_non_members: dice.roll(2) == 0,
            move_end: dice.roll(2) == 0,
            limit,
        }),
        16..18 => Box::new(blocks::Unblock { names: dice.some() }),
        18..20 => Box::new(whitelist::Add { names: dice.some() }),
        20 => Box::new(whitelist::Remove { names: dice.some() }),
        21..24 => Box::new(mutes::Mute { names: dice.some(), duration_ms: dice.pick(&[0, 300, 3000, PERMANENT_MS]), limit }),
        24 => Box::new(mutes::Unmute { names: dice.some() }),
        25 => Box::new(details::SetMuteAll { mute_all: dice.roll(2) == 0, duration_ms: dice.pick(&[300, 3000, PERMANENT_MS]) }),
        26..29 => Box::new(details::Update {
            name: (dice.roll(2) == 0).then(|| dice.text()),
            maxusers: (dice.roll(2) == 0).then(|| dice.pick(&[3, 4, 5, 6])),
            new_owner: (dice.roll(2) == 0).then(|| dice.one()),
            ..details::Update::default()
        }),
        29 => Box::new(details::SetAnnouncement { text: dice.text() }),
        30..32 => Box::new(attributes::Set {
            operator: attributes::Operator { name: dice.one(), forced: dice.roll(3) == 0 },
            attributes: vec![(dice.pick(&KEYS).to_owned(), dice.text())],
            leaves_with_setter: dice.roll(2) == 0,
        }),
        32 => Box::new(attributes::Delete {
            operator: attributes::Operator { name: dice.one(), forced: dice.roll(3) == 0 },
            keys: vec![dice.pick(&KEYS).to_owned()],
        }),
        _ => Box::new(EndExpired { batch: 100 }),
    };
    (key(dice.pick(&ROOMS)), dice.actor(), step)
}

/// The lists of a room, as its events tell of them.
#[derive(Debug, Clone, Default, PartialEq)]
struct Told {
    last: i64,
    events: Vec<NewEvent>,
    members: Vec<String>,
    admins: Vec<String>,
    whitelist: Vec<String>,
    blocks: Vec<String>,
    mutes: Vec<String>,
    /// Who has last set the block or the mute of a user, and when.
    set: BTreeMap<(&'static str, String), (OffsetDateTime, Actor)>,
}

impl Told {
    fn hear(&mut self, event: &NewEvent, moment: OffsetDateTime) {
        let (n, kind, users, actor, member_count) = event.told();
        assert_eq!(n, self.last + 1, "event numbers have no gaps");
        self.last = n;
        self.events.push(event.clone());
        let come = |list: &mut Vec<String>| {
            let new: Vec<String> = users.iter().filter(|name| !list.contains(name)).cloned().collect();
            list.extend(new);
        };
        let go = |list: &mut Vec<String>| list.retain(|name| !users.contains(name));
        match kind {
            Kind::Join => come(&mut self.members),
            Kind::Kick | Kind::LeaveBlocked => {
                [&mut self.members, &mut self.admins, &mut self.whitelist].into_iter().for_each(go);
            }
            Kind::AdminAdd => come(&mut self.admins),
            Kind::AdminRemove => go(&mut self.admins),
            Kind::WhiteAdd => come(&mut self.whitelist),
            Kind::WhiteRemove => go(&mut self.whitelist),
            Kind::BlockAdd | Kind::MuteAdd => {
                come(if kind == Kind::BlockAdd { &mut self.blocks } else { &mut self.mutes });
                self.set.extend(users.iter().map(|name| ((kind.text(), name.clone()), (moment, actor.clone()))));
            }
            Kind::BlockRemove | Kind::BlockExpire => go(&mut self.blocks),
            Kind::MuteRemove | Kind::MuteExpire => go(&mut self.mutes),
            _ => {}
        }
        if let Some(count) = member_count {
            assert_eq!(usize::try_from(count), Ok(self.members.len()), "{kind:?} counts the members after it");
        }
    }
}

/// All rooms and users, where everything is known.
#[derive(Debug, Clone, PartialEq)]
struct World {
    now: OffsetDateTime,
    rooms: BTreeMap<RoomKey, Room>,
    told: BTreeMap<RoomKey, Told>,
}

impl World {
    fn new() -> Self {
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).expect("a moment");
        let mut world = Self { now, rooms: BTreeMap::new(), told: BTreeMap::new() };
        for (id, owner) in ROOMS.iter().zip(USERS) {
            let people = USERS.map(|name| (name.to_owned(), UserInRoom::default()));
            let text = String::new;
            let mut room = Room {
                now,
                xact: 1,
                owner: owner.to_owned(),
                mute_all: false,
                mute_ends_at: permanent(now),
                mute_reason: None,
                deleted_by: None,
                counters: Counters {
                    maxusers: 5,
                    members: 1,
                    admins: 0,
                    mutes: 0,
                    blocks: 0,
                    last_seq: 1,
                    last_event: 0,
                    last_xact: 0,
                    last_event_at: now,
                    next_end: permanent(now),
                },
                is_due: false,
                mutes_in_force: None,
                blocks_in_force: None,
                people: people.into(),
                texts: Some(Texts { name: text(), description: text(), custom: text(), announcement: text() }),
                attributes: Some(BTreeMap::new()),
                events: Vec::new(),
                ended: Ended::default(),
            };
            room.people.get_mut(owner).expect("known").member = Some(1);
            let key = key(id);
            world.told.insert(key.clone(), Told { members: vec![owner.to_owned()], ..Told::default() });
            world.rooms.insert(key, room);
        }
        world
    }

    /// Loads what is asked for and nothing else.
    fn load(&self, needs: &BTreeMap<RoomKey, Needs>) -> State {
        let mut state = State::default();
        for (key, needs) in needs {
            let all = &self.rooms[key];
            let is_due = all.counters.next_end <= self.now;
            let mut people: HashMap<String, UserInRoom> = HashMap::new();
            if is_due {
                for (name, mute) in self.over(key, |user| user.mute.as_ref()).into_iter().take(needs.ended as usize) {
                    people.entry(name.clone()).or_default().mute = Some(mute.clone());
                }
                for (name, block) in self.over(key, |user| user.block.as_ref()).into_iter().take(needs.ended as usize) {
                    people.entry(name.clone()).or_default().block = Some(block.clone());
                }
            }
            for (name, facts) in &needs.users {
                let (has, on_no_list) = (|fact| facts.contains(fact), UserInRoom::default());
                let known = all.people.get(name).unwrap_or(&on_no_list);
                let user = people.entry(name.clone()).or_default();
                user.loaded = *facts;
                user.member = known.member.filter(|_| has(Facts::MEMBER));
                user.admin = known.admin.filter(|_| has(Facts::ADMIN));
                user.whitelist = known.whitelist.filter(|_| has(Facts::WHITELIST));
                user.block = user.block.take().or_else(|| known.block.clone().filter(|_| has(Facts::BLOCK)));
                user.mute = user.mute.take().or_else(|| known.mute.clone().filter(|_| has(Facts::MUTE)));
                if facts.0 & (Facts::REGISTERED | Facts::HELD | Facts::ROOMS).0 != 0 {
                    let user = state.users.entry((APP, name.clone())).or_insert_with(|| account(name));
                    user.rooms = user.rooms.or_else(|| has(Facts::ROOMS).then(|| self.rooms_of(name)));
                }
            }
            let is_near = |rows: i32, limit: u32| limit > 0 && rows.unsigned_abs() as usize + needs.users.len() > limit as usize;
            let in_force = |of: fn(&UserInRoom) -> Option<&Restriction>| {
                let rows = all.people.values().filter(|user| of(user).is_some_and(|row| row.ends_at > self.now));
                i32::try_from(rows.count()).expect("few")
            };
            let room = Room {
                now: self.now,
                xact: all.xact,
                owner: all.owner.clone(),
                mute_all: all.mute_all,
                mute_ends_at: all.mute_ends_at,
                mute_reason: all.mute_reason.clone(),
                deleted_by: None,
                counters: all.counters,
                is_due,
                mutes_in_force: is_near(all.counters.mutes, needs.mute_limit).then(|| in_force(|user| user.mute.as_ref())),
                blocks_in_force: is_near(all.counters.blocks, needs.block_limit).then(|| in_force(|user| user.block.as_ref())),
                people,
                texts: all.texts.clone().filter(|_| needs.texts),
                attributes: all.attributes.clone().filter(|_| needs.attributes),
                events: Vec::new(),
                ended: Ended::default(),
            };
            state.rooms.insert(key.clone(), room);
        }
        state
    }

    /// The next end is looked up now or then, and only ever too early.
    fn without_next_ends(&self) -> Self {
        let mut world = self.clone();
        world.rooms.values_mut().for_each(|room| room.counters.next_end = room.now);
        world
    }

    fn over(&self, key: &RoomKey, of: fn(&UserInRoom) -> Option<&Restriction>) -> Vec<(&String, &Restriction)> {
        let rows = self.rooms[key].people.iter().filter_map(|(name, user)| Some((name, of(user)?)));
        let mut over: Vec<_> = rows.filter(|(_, row)| row.ends_at <= self.now).collect();
        over.sort_by_key(|(_, row)| row.ends_at);
        over
    }

    fn rooms_of(&self, name: &str) -> u32 {
        let is_in = |room: &&Room| room.people.get(name).is_some_and(|user| user.member.is_some());
        u32::try_from(self.rooms.values().filter(is_in).count()).expect("few")
    }

    /// Keeps what is different.
    fn save(&mut self, before: &State, after: State) {
        for (key, now) in after.rooms {
            let then = &before.rooms[&key];
            let all = self.rooms.get_mut(&key).expect("known");
            for (name, user) in now.people {
                let on_no_list = UserInRoom::default();
                let former = then.people.get(&name).unwrap_or(&on_no_list);
                let Some(row) = all.people.get_mut(&name) else {
                    assert_eq!(former, &user, "{name} is not in the database");
                    continue;
                };
                if former.member != user.member {
                    // What hangs on the membership goes with it.
                    *row = UserInRoom { block: row.block.take(), mute: row.mute.take(), ..UserInRoom::default() };
                    row.member = user.member;
                    let goes = |of: &super::state::Attribute| of.leaves_with_setter && of.setter.as_ref() == Some(&name);
                    all.attributes.iter_mut().for_each(|attributes| attributes.retain(|_, of| !goes(of)));
                }
                if former.member != user.member || former.admin != user.admin {
                    row.admin = user.admin;
                }
                if former.member != user.member || former.whitelist != user.whitelist {
                    row.whitelist = user.whitelist;
                }
                if former.block != user.block {
                    row.block = user.block;
                }
                if former.mute != user.mute {
                    row.mute = user.mute;
                }
            }
            all.now = now.now;
            (all.owner, all.mute_all, all.mute_ends_at) = (now.owner, now.mute_all, now.mute_ends_at);
            all.mute_reason = now.mute_reason;
            all.counters = now.counters;
            all.texts = now.texts.or_else(|| all.texts.take());
            all.attributes = now.attributes.or_else(|| all.attributes.take());
            if now.is_due {
                let ends = all.people.values().flat_map(|user| [&user.mute, &user.block]).flatten().map(|row| row.ends_at);
                all.counters.next_end = ends.chain([permanent(self.now)]).min().expect("one at least");
            }
            let told = self.told.get_mut(&key).expect("known");
            now.events.iter().for_each(|event| told.hear(event, now.counters.last_event_at));
        }
    }

    /// Makes calls together, as the writer does: room by room, and what has ended first.
    fn make(&mut self, calls: &[Call], in_words: bool) -> Vec<String> {
        let mut needs: BTreeMap<RoomKey, Needs> = BTreeMap::new();
        for (key, _, step) in calls {
            step.needs(needs.entry(key.clone()).or_insert(Needs { ended: TAKEN_ALONG, ..Needs::default() }));
        }
        let before = self.load(&needs);
        let mut after = before.clone();
        for key in needs.keys() {
            let changes: Vec<Change> = after.rooms.get_mut(key).map(end_what_has_ended).unwrap_or_default();
            after.apply(key, changes);
        }
        let mut outcomes = Vec::with_capacity(calls.len());
        for (key, actor, step) in calls {
            let untouched = after.clone();
            let outcome = step.make(&mut after, key, actor, in_words);
            assert!(outcome.is_ok() || after == untouched, "a refusal leaves no trace");
            outcomes.push(if in_words { format!("{outcome:?}") } else { String::new() });
        }
        self.save(&before, after);
        outcomes
    }

    /// Fails unless all that must always be true is true of the rooms.
    fn check<'k>(&self, rooms: impl IntoIterator<Item = &'k RoomKey>, rooms_per_user: u32) {
        for key in rooms {
            let room = &self.rooms[key];
            let list = |of: fn(&UserInRoom) -> Option<i64>| {
                let mut rows: Vec<(i64, &str)> =
                    room.people.iter().filter_map(|(name, user)| Some((of(user)?, name.as_str()))).collect();
                rows.sort_unstable();
                rows
            };
            let lists = [
                list(|user| user.member),
                list(|user| user.admin),
                list(|user| user.whitelist),
                list(|user| user.block.as_ref().map(|row| row.seq)),
                list(|user| user.mute.as_ref().map(|row| row.seq)),
            ];
            let told = &self.told[key];
            for (list, told) in lists.iter().zip([&told.members, &told.admins, &told.whitelist, &told.blocks, &told.mutes]) {
                assert!(list.iter().map(|(_, name)| *name).eq(told.iter().map(String::as_str)), "{list:?} was told as {told:?}");
            }
            let counters = &room.counters;
            let rows = lists.each_ref().map(|list| i32::try_from(list.len()).expect("few"));
            assert_eq!((counters.members, counters.admins), (rows[0], rows[1]));
            assert_eq!((counters.blocks, counters.mutes), (rows[3], rows[4]));
            assert!(counters.members <= counters.maxusers && counters.admins <= admins::MAX_ADMINS);
            assert_eq!(counters.last_event, told.last);
            let mut seqs: Vec<i64> = lists.iter().flatten().map(|(seq, _)| *seq).collect();
            seqs.sort_unstable();
            assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "no number is given out twice: {seqs:?}");
            assert!(seqs.last().is_none_or(|last| *last <= counters.last_seq));
            let owner = &room.people[&room.owner];
            assert!(owner.member.is_some() && owner.admin.is_none(), "the owner is a member and no admin");
            for (name, user) in &room.people {
                let is_member = user.member.is_some();
                assert!(is_member || (user.admin.is_none() && user.whitelist.is_none()), "{name} has a standing outside");
                assert!(!is_member || user.block.is_none(), "{name} is a blocked member");
                for (kind, row) in [(Kind::BlockAdd, &user.block), (Kind::MuteAdd, &user.mute)] {
                    let Some(row) = row else { continue };
                    assert_eq!(told.set[&(kind.text(), name.clone())], (row.since, row.actor.clone()), "{name} is {kind:?}");
                    assert!(counters.next_end <= row.ends_at, "the end of {name} would not be seen");
                    assert!(row.ends_at > room.now, "{name} has ended, and was not taken along");
                }
            }
            for of in room.attributes.iter().flatten().map(|(_, of)| of).filter(|of| of.leaves_with_setter) {
                let setter = of.setter.as_ref().expect("one that is not deleted");
                assert!(room.people[setter].member.is_some(), "an attribute has outlived its setter");
            }
        }
        if rooms_per_user > 0 {
            for name in USERS {
                assert!(self.rooms_of(name) <= rooms_per_user, "{name} is in too many rooms");
            }
        }
    }
}

fn key(id: &str) -> RoomKey {
    RoomKey::parse(APP, id).expect("an id")
}

fn account(name: &str) -> User {
    let index = USERS.iter().position(|user| *user == name).filter(|index| *index < 8);
    let account = index.map(|index| Account { uuid: Uuid::from_u128(index as u128), is_deleted: index == 7 });
    User { is_loaded: true, account, rooms: None }
}

fn permanent(now: OffsetDateTime) -> OffsetDateTime {
    ends_after(now, PERMANENT_MS)
}

/// Makes so many changes in sequences of a hundred, in batches of up to `batch`. Returns how many of them were made.
fn run(steps: usize, batch: usize) -> usize {
    let (mut dice, mut made) = (Dice(0x9e37_79b9_7f4a_7c15), 0);
    while made < steps {
        let (mut world, rooms_per_user) = (World::new(), dice.pick(&[0, 1, 2]));
        for _ in 0..100 / batch {
            world.now += Duration::milliseconds(i64::try_from(dice.roll(400)).expect("few"));
            let mut calls: Vec<Call> = (0..=dice.roll(batch)).map(|_| call(&mut dice, rooms_per_user)).collect();
            calls.sort_by(|(one, ..), (other, ..)| one.cmp(other));
            world.make(&calls, false);
            made += calls.len();
            world.check(calls.iter().map(|(key, ..)| key), rooms_per_user);
        }
    }
    made
}

/// How many changes a test makes in about two seconds.
const STEPS: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

#[test]
fn no_sequence_of_changes_breaks_an_invariant() {
    run(STEPS, 1);
}

#[test]
fn no_sequence_of_batches_breaks_an_invariant() {
    run(STEPS, 12);
}

#[test]
fn a_batch_answers_and_leaves_what_its_changes_do_one_by_one() {
    let (mut dice, mut made) = (Dice(0x2545_f491_4f6c_dd1d), 0);
    while made < STEPS / 4 {
        let (mut together, rooms_per_user) = (World::new(), dice.pick(&[0, 1, 2]));
        let mut alone = together.clone();
        for _ in 0..20 {
            let later = Duration::milliseconds(i64::try_from(dice.roll(400)).expect("few"));
            (together.now, alone.now) = (together.now + later, alone.now + later);
            let mut calls: Vec<Call> = (0..=dice.roll(12)).map(|_| call(&mut dice, rooms_per_user)).collect();
            calls.sort_by(|(one, ..), (other, ..)| one.cmp(other));
            let in_batch = together.make(&calls, true);
            let one_by_one: Vec<String> = calls.iter().flat_map(|call| alone.make(std::slice::from_ref(call), true)).collect();
            // How many have ended is told to the task alone, and for the whole batch.
            let matters = |(one, other): &(&String, &String)| !(one.contains("Ended {") && other.contains("Ended {"));
            in_batch.iter().zip(&one_by_one).filter(matters).for_each(|(one, other)| assert_eq!(one, other));
            assert_eq!(together.told, alone.told);
            assert!(together.without_next_ends() == alone.without_next_ends(), "{together:?} is not {alone:?}");
            made += calls.len();
        }
    }
}

#[test]
#[ignore = "takes a while without optimisation"]
fn a_million_changes_break_no_invariant() {
    let began = std::time::Instant::now();
    let made = run(1_000_000, 1);
    eprintln!("{made} changes in {:?}", began.elapsed());
}
