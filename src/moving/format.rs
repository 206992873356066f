//! The file of a move: NDJSON, an object a line, described in `docs/moving.md`.
//!
//! Each line is an object with one field, whose name says what the line is about. The first says that this is such a file, and
//! the last that it is whole. Between them come the users, then the rooms, each with its rows behind it, then the super admins,
//! the moderators and the global mutes. Moments are Unix milliseconds; one that is not there is that of the import.

use serde::{Deserialize, Serialize};

use crate::names::PERMANENT_MS;

/// The version of the format that is written. A reader refuses any other.
pub const VERSION: u32 = 1;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// The first.
    Roomward(Header),
    /// A registered user.
    User(User),
    /// A room. The lines behind it, up to the next room, are its rows.
    Room(Room),
    /// A member besides the owner, in the order in which they came.
    Member(Member),
    /// An admin.
    Admin(Listed),
    /// A member on the whitelist.
    Whitelist(Listed),
    /// A blocked user.
    Block(Restriction),
    /// A muted user.
    Mute(Restriction),
    /// A custom attribute.
    Attribute(Attribute),
    /// A user who may make rooms.
    SuperAdmin(SuperAdmin),
    /// A user who reads or moderates rooms.
    Moderator(Moderator),
    /// A user who is muted in the whole app.
    GlobalMute(GlobalMute),
    /// The last: the number of lines before it.
    End {
        /// The first counted.
        lines: u64,
    },
}

/// What the file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// See [`VERSION`].
    pub version: u32,
    /// The app that went out, as ORG/APP.
    pub app: String,
    /// The moment of which the file tells.
    pub exported: i64,
}

/// A registered user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The username.
    pub name: String,
    /// The display name in pushes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// When the user was registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
    /// Whether the user may sign in.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub activated: bool,
    /// Argon2id, in the PHC form. Without one, no password opens the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
}

/// A room, with its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What it is about.
    #[serde(default)]
    pub description: String,
    /// A text that its creator keeps with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub custom: String,
    /// What its people are told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub announcement: String,
    /// The owner, who is a member without a line of it.
    pub owner: String,
    /// When the owner came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_joined: Option<i64>,
    /// How many members there may be, the owner counted.
    pub maxusers: i64,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
    /// If the whole room is muted: until when; [`PERMANENT_MS`] is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<i64>,
    /// Why it is muted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mute_reason: Option<String>,
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The username.
    pub user: String,
    /// When the member came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<i64>,
}

/// A member with a standing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// The username.
    pub user: String,
}

/// A block or a mute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restriction {
    /// The username.
    pub user: String,
    /// When it ends; [`PERMANENT_MS`], as without the field, is never.
    #[serde(default = "for_ever")]
    pub until: i64,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A custom attribute of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    /// Its name.
    pub key: String,
    /// Its text.
    pub value: String,
    /// Who has set it; without: the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setter: Option<String>,
    /// Whether it goes when the setter leaves.
    #[serde(default, skip_serializing_if = "is_no")]
    pub leaves_with_setter: bool,
}

/// A super admin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuperAdmin {
    /// The username.
    pub user: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
}

/// A moderator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moderator {
    /// The username.
    pub user: String,
    /// `viewer` or `moderator`.
    pub role: String,
    /// In which rooms; without: in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<String>>,
}

/// A user who is muted in the whole app: in each part until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalMute {
    /// The username.
    pub user: String,
    /// In single chats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<i64>,
    /// In groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groupchat: Option<i64>,
    /// In rooms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chatroom: Option<i64>,
    /// Why the user is muted in rooms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A room with rows of its lists: all of them, or a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomPart {
    /// The room.
    pub room: std::sync::Arc<Room>,
    /// Whether an earlier part has brought the room itself.
    pub continues: bool,
    /// Whether no other part follows.
    pub is_last: bool,
    /// The members besides the owner.
    pub members: Vec<Member>,
    /// The admins.
    pub admins: Vec<Listed>,
    /// The whitelist.
    pub whitelist: Vec<Listed>,
    /// The blocks.
    pub blocks: Vec<Restriction>,
    /// The mutes.
    pub mutes: Vec<Restriction>,
    /// The custom attributes.
    pub attributes: Vec<Attribute>,
}

impl RoomPart {
    /// The room without any rows.
    pub fn new(room: Room) -> Self {
        Self::of(std::sync::Arc::new(room), false)
    }

    fn of(room: std::sync::Arc<Room>, continues: bool) -> Self {
        Self {
            room,
            continues,
            is_last: true,
            members: Vec::new(),
            admins: Vec::new(),
            whitelist: Vec::new(),
            blocks: Vec::new(),
            mutes: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// What comes behind this part.
    pub fn rest(&self) -> Self {
        Self::of(self.room.clone(), true)
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        let listed = self.admins.len() + self.whitelist.len();
        self.members.len() + listed + self.blocks.len() + self.mutes.len() + self.attributes.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a line that is one of its rows; gives back any other.
    pub fn take(&mut self, line: Line) -> Option<Line> {
        match line {
            Line::Member(row) => self.members.push(row),
            Line::Admin(row) => self.admins.push(row),
            Line::Whitelist(row) => self.whitelist.push(row),
            Line::Block(row) => self.blocks.push(row),
            Line::Mute(row) => self.mutes.push(row),
            Line::Attribute(row) => self.attributes.push(row),
            other => return Some(other),
        }
        None
    }

    /// Cuts a whole room into parts of at most `size` members, in order. What is on the other lists comes with the last of
    /// them, so that a room of no more members comes in one piece.
    pub fn cut(mut self, size: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        while self.members.len() > size {
            let members = self.members.drain(..size).collect();
            parts.push(Self { members, is_last: false, continues: self.continues, ..self.rest() });
            self.continues = true;
        }
        parts.push(self);
        parts
    }
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_yes(flag: &bool) -> bool {
    *flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_no(flag: &bool) -> bool {
    !*flag
}

const fn for_ever() -> i64 {
    PERMANENT_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_it_is_about_and_leaves_out_what_is_not_there() {
        let member = Line::Member(Member { user: "bob".into(), joined: Some(1) });
        let text = r#"{"member":{"user":"bob","joined":1}}"#;
        assert_eq!(serde_json::to_string(&member).expect("JSON"), text);
        assert_eq!(serde_json::from_str::<Line>(text).expect("a line"), member);
        let user = serde_json::from_str(r#"{"user":{"name":"ann"}}"#).expect("a line");
        let Line::User(user) = user else { panic!("{user:?}") };
        assert!(user.activated && user.nickname.is_none() && user.created.is_none());
        assert_eq!(serde_json::to_string(&Line::User(user)).expect("JSON"), r#"{"user":{"name":"ann"}}"#);
        for wrong in [r#"{"member":{"user":"bob","joind":1}}"#, r#"{"membr":{}}"#, r#"{"room":{"id":"1"}}"#, "[]"] {
            assert!(serde_json::from_str::<Line>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_room_is_cut_into_parts_that_together_are_the_room() {
        let room = Room {
            id: "1".into(),
            name: "n".into(),
            description: String::new(),
            custom: String::new(),
            announcement: String::new(),
            owner: "ann".into(),
            owner_joined: None,
            maxusers: 10,
            created: None,
            muted_until: None,
            mute_reason: None,
        };
        let mut whole = RoomPart::new(room);
        whole.members = (0..5).map(|n| Member { user: format!("user{n}"), joined: None }).collect();
        whole.admins = vec![Listed { user: "user1".into() }];
        let parts = whole.clone().cut(2);
        assert_eq!(parts.iter().map(RoomPart::len).collect::<Vec<_>>(), [2, 2, 2]);
        let flags: Vec<_> = parts.iter().map(|part| (part.continues, part.is_last)).collect();
        assert_eq!(flags, [(false, false), (true, false), (true, true)]);
        assert_eq!(parts.iter().flat_map(|part| part.members.clone()).collect::<Vec<_>>(), whole.members);
        assert_eq!(whole.clone().cut(100), [whole]);
    }
}
