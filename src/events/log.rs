//! What has happened in the rooms of an app: an event for each change, written in the same transaction as the change,
//! and read as a feed.
//!
//! The events of a room are numbered without gaps, in the order of their commits, by the holder of the room's lock. The
//! feed of an app is in the order of the transactions, and is read only up to the oldest one that is still running:
//! what comes later is behind the place that a reader has reached. Within a room that is the order of the numbers, too.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::PgConnection;
use std::borrow::Cow;
use time::OffsetDateTime;

use crate::error::Error;
use crate::names::{RoomKey, unix_ms};

/// Who a change is ascribed to, and why it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The name that the caller gives, or [`CLIENT`], or [`SYSTEM`].
    pub name: Cow<'static, str>,
    /// In the caller's words.
    pub reason: Option<String>,
}

/// A client of the app that says nothing about whom it acts for; so does the hosted service call it.
pub const CLIENT: &str = "@ppAdmin";

/// The service itself: what ends by itself.
pub const SYSTEM: &str = "@system";

impl Actor {
    /// A client that says nothing about whom it acts for, nor why.
    pub const fn client() -> Self {
        Self { name: Cow::Borrowed(CLIENT), reason: None }
    }

    /// As it was kept with what is still to be told. Without a name it was kept before there were any.
    pub(crate) fn kept(name: Option<String>, reason: Option<String>) -> Self {
        Self { name: name.map_or(Cow::Borrowed(CLIENT), Cow::Owned), reason }
    }

    /// The service itself.
    pub const fn system() -> Self {
        Self { name: Cow::Borrowed(SYSTEM), reason: None }
    }
}

/// What kinds of events there are, with their names on the wire: an operation, most with a type.
macro_rules! kinds {
    ($($(#[$meta:meta])* $kind:ident = $text:literal),+ $(,)?) => {
        /// What has happened. The names are those of the hosted service's callbacks, and our own for what ends by itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($(#[$meta])* $kind),+ }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// `OPERATION` or `OPERATION/TYPE`.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$kind => $text),+ }
            }
        }
    };
}

kinds! {
    /// A room was made; `users` are the owner and the first members.
    Create = "CREATE",
    /// A room is gone; its people have left it before.
    Delete = "DELETE",
    /// Its name, description, custom text or size is another.
    UpdateInfo = "UPDATE/INFO",
    /// It belongs to another member.
    UpdateOwner = "UPDATE/OWNER",
    /// Its announcement is another.
    UpdateAnnouncement = "UPDATE/ANNOUNCEMENT",
    /// The whole room was muted, or may speak again.
    UpdateMute = "UPDATE/MUTE",
    /// Users are members now.
    Join = "JOIN/DIRECT",
    /// Members were removed.
    Kick = "LEAVE/KICK",
    /// Members are out because they were blocked.
    LeaveBlocked = "LEAVE/BLOCK",
    /// Members are out because the room is gone.
    LeaveDeleted = "LEAVE/DELETE",
    /// A member is an admin now.
    AdminAdd = "ADMIN/ADD",
    /// An admin is a plain member again.
    AdminRemove = "ADMIN/REMOVE",
    /// Members are on the whitelist now.
    WhiteAdd = "WHITE/ADD",
    /// Members are off the whitelist.
    WhiteRemove = "WHITE/REMOVE",
    /// Users are blocked, or their blocks end at another moment.
    BlockAdd = "BLOCK/ADD",
    /// Users were taken off the block list.
    BlockRemove = "BLOCK/REMOVE",
    /// Blocks have ended by themselves.
    BlockExpire = "BLOCK/EXPIRE",
    /// Members are muted, or their mutes end at another moment.
    MuteAdd = "MUTE/ADD",
    /// Mutes were lifted.
    MuteRemove = "MUTE/REMOVE",
    /// Mutes have ended by themselves.
    MuteExpire = "MUTE/EXPIRE",
    /// A user is a super admin of the app now.
    SuperAdminAdd = "ROOM_SUPER_ADMIN/ADD",
    /// A super admin is a plain user again.
    SuperAdminRemove = "ROOM_SUPER_ADMIN/REMOVE",
}

impl Kind {
    /// The kinds that `pattern` means: one of them, or all of an operation. Empty: there is none.
    pub fn named(pattern: &str) -> Vec<Self> {
        let is_meant = |kind: &&Self| {
            kind.text() == pattern || kind.text().split_once('/').is_some_and(|(operation, _)| operation == pattern)
        };
        Self::ALL.iter().filter(is_meant).copied().collect()
    }

    /// Whether the event tells how many members there are after it.
    pub(crate) const fn counts_members(self) -> bool {
        matches!(self, Self::Join | Self::Kick | Self::LeaveBlocked)
    }
}

/// Names and values, in the order in which they were put in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields(Vec<(String, Value)>);

impl Fields {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(fields: I) -> Self {
        Self(fields.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// An event that a change is about to write.
#[derive(Debug, Clone, Serialize)]
pub struct NewEvent {
    #[serde(serialize_with = "as_text")]
    pub(crate) kind: Kind,
    pub(crate) users: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Fields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Fields>,
    #[serde(flatten, serialize_with = "as_columns")]
    pub(crate) actor: Actor,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) member_count: Option<i32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_text<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.text())
}

fn as_columns<S: Serializer>(actor: &Actor, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("actor", &actor.name)?;
    map.serialize_entry("reason", &actor.reason)?;
    map.end()
}

impl NewEvent {
    /// The most users that an event of the service itself is about; an event of a call is about no more than it may name.
    pub(crate) const MOST_USERS: usize = 1000;

    /// An event of that kind, about nobody yet.
    pub(crate) fn new(kind: Kind, actor: &Actor) -> Self {
        Self { kind, users: Vec::new(), before: None, after: None, actor: actor.clone(), member_count: None }
    }

    /// Whom it is about, in the order of the request.
    pub fn users(mut self, users: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.users = users.into_iter().map(|name| name.as_ref().to_owned()).collect();
        self
    }

    /// What was so before, as far as it matters.
    pub fn before<K: Into<String>, V: Into<Value>>(mut self, fields: impl IntoIterator<Item = (K, V)>) -> Self {
        self.before = Some(fields.into_iter().collect());
        self
    }

    /// What is so now, as far as it matters.
    pub fn after<K: Into<String>, V: Into<Value>>(mut self, fields: impl IntoIterator<Item = (K, V)>) -> Self {
        self.after = Some(fields.into_iter().collect());
        self
    }

    /// How many members there are now, where the kind tells it.
    pub(crate) fn counting(mut self, members: i32) -> Self {
        self.member_count = Some(members).filter(|_| self.kind.counts_members());
        self
    }
}

/// An event, in the same form wherever it is shown. The empty chatroom is the app as a whole.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// The room's id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub chatroom: String,
    /// Its number within the room.
    pub n: i64,
    /// What has happened; see [`Kind::text`].
    pub kind: String,
    /// Whom it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// What was so before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<RawValue>>,
    /// What is so since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Box<RawValue>>,
    /// Who has done it.
    pub actor: String,
    /// Why, in the actor's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When, in Unix milliseconds.
    pub timestamp: i64,
}

/// The last event of a room: where its next ones go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Last {
    /// Its number.
    pub n: i64,
    /// The transaction in the feed of the app: later events of the room do not come before it.
    pub xact: i64,
}

/// Writes events of a room whose lock is held, and what callback rules ask for because of them. Returns which is the
/// last one now.
pub(crate) async fn append(connection: &mut PgConnection, key: &RoomKey, last: Last, events: &[NewEvent]) -> Result<Last, Error> {
    let given = serde_json::to_string(events).map_err(|error| Error::Internal(error.into()))?;
    // A line that is there already is locked all the same: whoever is about to take it away as empty must see this.
    let xact = sqlx::query_scalar!(
        r#"
        with given as (
            select * from rows from (json_to_recordset($4::text::json) as (
                kind text, users text[], before json, after json, actor text, reason text, member_count integer
            )) with ordinality as given (kind, users, before, after, actor, reason, member_count, place)
        ),
        written as (
            insert into events
                (app, chatroom, n, kind, users, before, after, actor, reason, member_count, happened_at, xact)
            select $1, $2, $3 + place, kind, users, before, after, actor, reason, member_count,
                   date_trunc('milliseconds', statement_timestamp()),
                   greatest($5, pg_current_xact_id()::text::bigint + (select xact_offset from event_clock))
            from given
            returning n, kind, users, happened_at, xact
        ),
        named as (
            insert into event_users (app, username, happened_at, chatroom, n)
            select distinct $1::integer, username, happened_at, $2::text, n from written, unnest(users) username
        ),
        asked as (
            insert into deliveries (rule, app, chatroom, n)
            select rules.id, $1, $2, written.n from written
            join callback_rules rules on rules.app = $1 and rules.deleted_at is null
                and rules.kinds && array['*', kind, split_part(kind, '/', 1)]
            order by written.n
            returning rule
        ),
        lines as (
            insert into callback_lines (rule, app, chatroom)
            select distinct rule, $1::integer, $2::text from asked order by rule
            on conflict (rule, chatroom) do update set next_at = callback_lines.next_at
        )
        select max(xact) from written
        "#,
        key.app,
        key.id(),
        last.n,
        given,
        last.xact,
    )
    .fetch_one(connection)
    .await?;
    Ok(Last { n: last.n + i64::try_from(events.len()).unwrap_or(i64::MAX), xact: xact.unwrap_or(last.xact) })
}

/// An event as a statement gives it.
#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    pub chatroom: String,
    pub n: i64,
    pub kind: String,
    pub users: Vec<String>,
    pub before: Option<String>,
    pub after: Option<String>,
    pub actor: String,
    pub reason: Option<String>,
    pub happened_at: OffsetDateTime,
}

impl From<Row> for Event {
    fn from(row: Row) -> Self {
        // What the database keeps as JSON is JSON.
        let json = |text: Option<String>| text.and_then(|text| RawValue::from_string(text).ok());
        Self {
            chatroom: row.chatroom,
            n: row.n,
            kind: row.kind,
            users: row.users,
            before: json(row.before),
            after: json(row.after),
            actor: row.actor,
            reason: row.reason,
            timestamp: unix_ms(row.happened_at),
        }
    }
}
