//! What decisions are made on: rooms and the users in question, as they were loaded under the rooms' locks, and as the
//! decisions of the same batch have left them.

use std::collections::{BTreeMap, HashMap};
use std::ops::{BitOr, BitOrAssign};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::Error;
use crate::events::log::{Actor, Kind, NewEvent};
use crate::names::{Names, PERMANENT_MS, RoomKey, ends_after, is_username};

/// What an operation looks at of a user. Asking for what was not loaded panics in tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts(pub i16);

impl Facts {
    /// Whether the user is registered.
    pub const REGISTERED: Self = Self(1);
    /// The same, and no other transaction can delete the user before the change is committed.
    pub const HELD: Self = Self(2);
    /// Whether the user is in the room.
    pub const MEMBER: Self = Self(4);
    /// Whether the user is an admin.
    pub const ADMIN: Self = Self(8);
    /// Whether the user is on the whitelist.
    pub const WHITELIST: Self = Self(16);
    /// Until when the user is blocked.
    pub const BLOCK: Self = Self(32);
    /// Until when the user is muted.
    pub const MUTE: Self = Self(64);
    /// In how many rooms the user is. It holds the user as well, against other changes that count.
    pub const ROOMS: Self = Self(128);
    /// All that a user loses by leaving.
    pub const LEAVING: Self = Self(Self::MEMBER.0 | Self::ADMIN.0 | Self::WHITELIST.0);

    /// Whether all of `others` are among these.
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

impl BitOr for Facts {
    type Output = Self;

    fn bitor(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

impl BitOrAssign for Facts {
    fn bitor_assign(&mut self, others: Self) {
        self.0 |= others.0;
    }
}

/// What is to be loaded of one room.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Users, and what is asked about each.
    pub users: BTreeMap<String, Facts>,
    /// The room's name, description, custom text and announcement.
    pub texts: bool,
    /// The custom attributes.
    pub attributes: bool,
    /// A limit of the mute list that the decision depends on; 0 = none.
    pub mute_limit: u32,
    /// The same for the block list.
    pub block_limit: u32,
    /// How many ended mutes, and ended blocks, are taken along at most.
    pub ended: u32,
}

impl Needs {
    /// Asks about each of `names` that can be a user's.
    pub fn users(&mut self, names: &Names, facts: Facts) {
        for name in names.usernames() {
            *self.users.entry(name.clone()).or_default() |= facts;
        }
    }
}

/// Rooms and users, under the rooms' locks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// The rooms that are locked and exist.
    pub rooms: HashMap<RoomKey, Room>,
    /// Users by app and name, where something was asked about them that does not belong to a room.
    pub users: HashMap<(i32, String), User>,
}

/// A name that was asked about, across rooms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Whether it was looked at.
    pub is_loaded: bool,
    /// The account of that name, deleted or not.
    pub account: Option<Account>,
    /// In how many rooms the user is, if it was counted.
    pub rooms: Option<u32>,
}

/// An account, as far as rooms care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Never reused, while the name may be.
    pub uuid: Uuid,
    /// Deleted, but some rooms may still know the user.
    pub is_deleted: bool,
}

/// A room.
#[derive(Debug, Clone, PartialEq)]
pub struct Room {
    /// This moment, by the database's clock, in whole milliseconds.
    pub now: OffsetDateTime,
    /// The transaction that changes the room, in the feed of the app.
    pub xact: i64,
    /// The owner, one of the members.
    pub owner: String,
    /// Whether the whole room is muted.
    pub mute_all: bool,
    /// Until when, if so.
    pub mute_ends_at: OffsetDateTime,
    /// Why, in the words of the actor.
    pub mute_reason: Option<String>,
    /// Who deletes the room, if so.
    pub deleted_by: Option<Actor>,
    /// What is counted.
    pub counters: Counters,
    /// Whether something may have ended, so that the next end is to be looked up.
    pub is_due: bool,
    /// Mutes in force, where the number of rows is too near to a limit to tell.
    pub mutes_in_force: Option<i32>,
    /// The same for blocks.
    pub blocks_in_force: Option<i32>,
    /// Users who were asked about, or whose mutes or blocks have ended.
    pub people: HashMap<String, UserInRoom>,
    /// What the room is called and says, if it was asked for.
    pub texts: Option<Texts>,
    /// The custom attributes, if they were asked for.
    pub attributes: Option<BTreeMap<String, Attribute>>,
    /// What has happened in this batch.
    pub events: Vec<NewEvent>,
    /// How many mutes and blocks have ended in this batch.
    pub ended: Ended,
}

/// How many mutes and blocks were taken away because they had ended, and whether the mute of the whole room was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Ended {
    pub mutes: usize,
    pub blocks: usize,
    pub mute_all: bool,
}

/// What is counted and numbered in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// How many members there may be, the owner counted.
    pub maxusers: i32,
    /// How many there are.
    pub members: i32,
    /// How many of them are admins.
    pub admins: i32,
    /// Rows of mutes, ended ones among them.
    pub mutes: i32,
    /// The same for blocks.
    pub blocks: i32,
    /// The last number given out to a row of the five lists.
    pub last_seq: i64,
    /// The number of the last event.
    pub last_event: i64,
    /// The position of that event in the feed of the app.
    pub last_xact: i64,
    /// The moment of that event.
    pub last_event_at: OffsetDateTime,
    /// No mute or block ends before.
    pub next_end: OffsetDateTime,
}

/// A user in a room. The numbers tell the order in which users came on the lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UserInRoom {
    /// What was looked at.
    pub loaded: Facts,
    /// Is a member.
    pub member: Option<i64>,
    /// Is an admin.
    pub admin: Option<i64>,
    /// Is on the whitelist.
    pub whitelist: Option<i64>,
    /// Is blocked.
    pub block: Option<Restriction>,
    /// Is muted.
    pub mute: Option<Restriction>,
}

/// A mute or a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    /// Its number on the list.
    pub seq: i64,
    /// When it ends.
    pub ends_at: OffsetDateTime,
    /// Since when it is as it is now.
    pub since: OffsetDateTime,
    /// Who has set it so, and why.
    pub actor: Actor,
}

/// What a room is called and says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Texts {
    pub name: String,
    pub description: String,
    pub custom: String,
    pub announcement: String,
}

/// A custom attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its text.
    pub value: String,
    /// The user who has set it; `None` once the user is deleted.
    pub setter: Option<String>,
    /// Goes when the setter leaves.
    pub leaves_with_setter: bool,
}

/// A room as one operation sees it.
pub struct RoomView<'a> {
    /// Which room it is.
    pub key: &'a RoomKey,
    /// The room.
    pub room: &'a Room,
    /// On whose behalf it is changed.
    pub actor: &'a Actor,
    /// Users across rooms.
    pub users: &'a HashMap<(i32, String), User>,
}

static ON_NO_LIST: UserInRoom =
    UserInRoom { loaded: Facts(i16::MAX), member: None, admin: None, whitelist: None, block: None, mute: None };

impl RoomView<'_> {
    /// How a user stands to the room, as far as `facts` were asked for. A name that no user can have is on no list.
    pub fn user(&self, name: &str, facts: Facts) -> &UserInRoom {
        let user = self.room.people.get(name);
        let is_loaded = user.is_some_and(|user| user.loaded.contains(facts));
        debug_assert!(is_loaded || !is_username(name), "{facts:?} of {name} was not asked for");
        user.unwrap_or(&ON_NO_LIST)
    }

    /// The account of that name, deleted or not.
    pub fn account(&self, name: &str) -> Option<Account> {
        let user = self.users.get(&(self.key.app, name.to_owned()));
        let is_loaded = user.is_some_and(|user| user.is_loaded);
        debug_assert!(is_loaded || !is_username(name), "whether {name} is registered was not asked for");
        user?.account
    }

    /// Whether the name is a registered user's.
    pub fn is_registered(&self, name: &str) -> bool {
        self.account(name).is_some_and(|account| !account.is_deleted)
    }

    /// In how many rooms the user is.
    pub fn rooms_of(&self, name: &str) -> u32 {
        let rooms = self.users.get(&(self.key.app, name.to_owned())).and_then(|user| user.rooms);
        debug_assert!(rooms.is_some(), "the rooms of {name} were not asked for");
        rooms.unwrap_or(0)
    }

    /// The one user of `name`, who must be registered.
    pub fn require<'n>(&self, name: &'n Names) -> Result<&'n str, Error> {
        match name.given().first() {
            Some(user) if self.is_registered(user) => Ok(user),
            _ => Err(Error::UserNotFound { user: name.given().join(",") }),
        }
    }

    /// Whether the user is in the room.
    pub fn is_member(&self, name: &str) -> bool {
        self.user(name, Facts::MEMBER).member.is_some()
    }

    /// So long after now, but not later than the end of a mute or a block without an end.
    pub fn ends_after(&self, duration_ms: i64) -> OffsetDateTime {
        ends_after(self.room.now, duration_ms.min(PERMANENT_MS))
    }

    /// An event of the actor's.
    pub fn event(&self, kind: Kind) -> NewEvent {
        NewEvent::new(kind, self.actor)
    }
}

impl Room {
    /// The moment of what happens now. Moments ascend with the numbers of events, though the clock may have been put back.
    pub fn moment(&self) -> OffsetDateTime {
        self.counters.last_event_at.max(self.now)
    }

    /// The mutes in force; where no limit is near, all rows count.
    pub fn mutes_in_force(&self) -> i32 {
        self.mutes_in_force.unwrap_or(self.counters.mutes)
    }

    /// The same for blocks.
    pub fn blocks_in_force(&self) -> i32 {
        self.blocks_in_force.unwrap_or(self.counters.blocks)
    }
}
