//! What has happened in the rooms of an app: an event for each change, written in the same transaction as the change,
//! and read as a feed.
//!
//! The events of a room are numbered without gaps, in the order of their commits, by the holder of the room's lock. The
//! feed of an app is in the order of the transactions, and is read only up to the oldest one that is still running:
//! what comes later is behind the position that a reader has reached. Within a room that is the order of the numbers, too.

mod node;

use schemars::JsonSchema;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::PgConnection;
use std::borrow::Cow;
use time::OffsetDateTime;

use crate::db::Transaction;
use crate::error::Error;
use crate::names::{RoomKey, Scope, unix_ms};

/// Who a change is ascribed to, and why it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The name that the caller gives, or [`CLIENT`], or [`SYSTEM`].
    pub name: Cow<'static, str>,
    /// In the caller's words.
    pub reason: Option<String>,
}

/// A client of the app that says nothing about whom it acts for, in the word of the hosted service.
pub const CLIENT: &str = "@ppAdmin";

/// The operator of the service, at its command line.
pub const OPERATOR: &str = "@operator";

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

    /// The operator of the service, at its command line.
    pub const fn operator() -> Self {
        Self { name: Cow::Borrowed(OPERATOR), reason: None }
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
    /// A room was brought in with rows of its lists: `after` tells how many, and `users` is the owner. No other event tells of
    /// those rows, so that a reader reads the lists.
    CreateImport = "CREATE/IMPORT",
    /// More rows were brought in for a room that is there: `after` tells how many of each list.
    UpdateImport = "UPDATE/IMPORT",
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
    /// A user is a moderator of the app now, or one with another role or other rooms.
    ModeratorAdd = "MODERATOR/ADD",
    /// A moderator is a plain user again.
    ModeratorRemove = "MODERATOR/REMOVE",
    /// A user is muted in all rooms of the app, or that mute ends at another moment.
    GlobalMuteAdd = "GLOBAL_MUTE/ADD",
    /// A user may speak in rooms again, as far as the app is concerned.
    GlobalMuteRemove = "GLOBAL_MUTE/REMOVE",
    /// Mutes in all rooms of the app have ended by themselves.
    GlobalMuteExpire = "GLOBAL_MUTE/EXPIRE",
}

impl Kind {
    /// The kinds that `pattern` means: one of them, or all of an operation. Empty: there is none.
    pub fn named(pattern: &str) -> Vec<Self> {
        let is_meant = |kind: &&Self| {
            kind.text() == pattern || kind.text().split_once('/').is_some_and(|(operation, _)| operation == pattern)
        };
        Self::ALL.iter().filter(is_meant).copied().collect()
    }

    /// All that [`Self::named`] understands: each operation, and behind it the kinds that it has.
    pub fn names() -> Vec<&'static str> {
        let mut names: Vec<&'static str> = Vec::new();
        for kind in Self::ALL {
            let operation = kind.text().split('/').next().unwrap_or_default();
            for name in [operation, kind.text()] {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
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
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Its number within the room.
    n: i64,
    kind: Kind,
    users: Vec<String>,
    before: Option<Fields>,
    after: Option<Fields>,
    actor: Actor,
    member_count: Option<i32>,
    undoes: Option<i64>,
}

impl NewEvent {
    /// The most users that an event of the service itself is about; an event of a call is about no more than it may name.
    pub(crate) const MOST_USERS: usize = 1000;

    /// An event of that kind, about no user yet.
    pub(crate) fn new(kind: Kind, actor: &Actor) -> Self {
        Self { n: 0, kind, users: Vec::new(), before: None, after: None, actor: actor.clone(), member_count: None, undoes: None }
    }

    /// Says that it undoes the event `n` of the room.
    pub fn undoing(mut self, n: i64) -> Self {
        self.undoes = Some(n);
        self
    }

    /// With its number within the room.
    pub(crate) fn numbered(mut self, n: i64) -> Self {
        self.n = n;
        self
    }

    /// Whom it is about, each once, in the order of the request.
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

    /// What it tells: its number, its kind, whom it is about, who did it, and how many members there are after it.
    #[cfg(test)]
    pub(crate) fn told(&self) -> (i64, Kind, &[String], &Actor, Option<i32>) {
        (self.n, self.kind, &self.users, &self.actor, self.member_count)
    }
}

/// An event, in the same form wherever it is shown. The empty chatroom is the app as a whole.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Event {
    /// The room's id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub chatroom: String,
    /// Its number within the room.
    pub n: i64,
    /// What has happened: an operation, or one and a type, with a stroke between them.
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
    /// Which earlier event of the room it has undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undoes: Option<i64>,
    /// When, in Unix milliseconds.
    pub timestamp: i64,
}

/// The last event of a room: where its next ones go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Last {
    /// Its number.
    pub n: i64,
    /// The transaction in the feed of the app: later events of the room do not come before it.
    pub xact: i64,
}

/// Events of any rooms whose locks are held, to be written together.
#[derive(Default)]
pub struct EventBatch<'a> {
    apps: Vec<i32>,
    chatrooms: Vec<&'a str>,
    xacts: Vec<i64>,
    moments: Vec<OffsetDateTime>,
    events: Vec<&'a NewEvent>,
}

impl<'a> EventBatch<'a> {
    /// Adds events of a room, which are numbered, with the position of the last of them in the feed of the app.
    pub fn add(&mut self, key: &'a RoomKey, xact: i64, happened_at: OffsetDateTime, events: &'a [NewEvent]) {
        self.push(key.app, key.id(), xact, happened_at, events);
    }

    fn push(&mut self, app: i32, chatroom: &'a str, xact: i64, happened_at: OffsetDateTime, events: &'a [NewEvent]) {
        for event in events {
            self.apps.push(app);
            self.chatrooms.push(chatroom);
            self.xacts.push(xact);
            self.moments.push(happened_at);
            self.events.push(event);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Writes the events, and what callback rules ask for because of them.
    pub async fn write(&self, transaction: &mut Transaction) -> Result<(), Error> {
        // What happens in an app as a whole has no room from which its node could take it, and comes seldom.
        if transaction.layout().is_distributed() && self.chatrooms.iter().all(|room| !room.is_empty()) {
            return self.write_on_node(transaction).await;
        }
        let columns = self.columns()?;
        // A queue of callbacks that is there already is locked all the same: an instance that is about to remove it as empty
        // must see this.
        sqlx::query!(
            r#"
            with written as (
                insert into events
                    (app, chatroom, n, kind, users, before, after, actor, reason, member_count, happened_at, xact, undoes)
                select app, chatroom, n, kind, string_to_array(users, ','), before::json, after::json, actor, reason, member_count,
                       happened_at, xact, undoes
                from unnest(
                    $1::integer[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                    $9::text[], $10::integer[], $11::timestamptz[], $12::bigint[], $13::bigint[]
                ) given (app, chatroom, n, kind, users, before, after, actor, reason, member_count, happened_at, xact, undoes)
                returning app, chatroom, n, kind, users, happened_at
            ),
            named as (
                insert into event_users (app, username, happened_at, chatroom, n)
                select app, username, happened_at, chatroom, n from written, unnest(users) username
            ),
            asked as (
                insert into deliveries (rule, app, chatroom, n)
                select rules.id, written.app, written.chatroom, written.n from written
                join callback_rules rules on rules.app = written.app and rules.deleted_at is null
                    and rules.kinds && array['*', kind, split_part(kind, '/', 1)]
                order by written.chatroom, written.n
                returning rule, app, chatroom
            )
            insert into callback_lines (rule, app, chatroom)
            select distinct rule, app, chatroom from asked order by rule, chatroom
            on conflict (rule, chatroom) do update set next_at = callback_lines.next_at
            "#,
            &self.apps,
            &self.chatrooms as &[&str],
            &columns.numbers,
            &columns.kinds as &[&str],
            &columns.users,
            &columns.before as &[Option<String>],
            &columns.after as &[Option<String>],
            &columns.actors as &[&str],
            &columns.reasons as &[Option<&str>],
            &columns.member_counts as &[Option<i32>],
            &self.moments,
            &self.xacts,
            &columns.undone as &[Option<i64>],
        )
        .execute(&mut **transaction)
        .await?;
        Ok(())
    }

    /// What the events say, column by column.
    fn columns(&self) -> Result<Columns<'_>, Error> {
        Ok(Columns {
            numbers: self.events.iter().map(|event| event.n).collect(),
            kinds: self.events.iter().map(|event| event.kind.text()).collect(),
            users: self.events.iter().map(|event| event.users.join(",")).collect(),
            before: self.fields(|event| event.before.as_ref())?,
            after: self.fields(|event| event.after.as_ref())?,
            actors: self.events.iter().map(|event| &*event.actor.name).collect(),
            reasons: self.events.iter().map(|event| event.actor.reason.as_deref()).collect(),
            member_counts: self.events.iter().map(|event| event.member_count).collect(),
            undone: self.events.iter().map(|event| event.undoes).collect(),
        })
    }

    fn fields(&self, of: impl Fn(&NewEvent) -> Option<&Fields>) -> Result<Vec<Option<String>>, Error> {
        let text = |event: &&NewEvent| of(event).map(serde_json::to_string).transpose();
        self.events.iter().map(text).collect::<Result<_, _>>().map_err(|error| Error::Internal(error.into()))
    }
}

/// What events say, as the statements take it.
struct Columns<'a> {
    numbers: Vec<i64>,
    kinds: Vec<&'a str>,
    /// Of each event, with commas between them: no username has one.
    users: Vec<String>,
    before: Vec<Option<String>>,
    after: Vec<Option<String>>,
    actors: Vec<&'a str>,
    reasons: Vec<Option<&'a str>>,
    member_counts: Vec<Option<i32>>,
    undone: Vec<Option<i64>>,
}

/// The database's clock in whole milliseconds, and the position of this transaction in the feeds of apps. Of one statement
/// after the lock that numbers the events.
pub struct EventClock {
    /// Now.
    pub now: OffsetDateTime,
    /// This transaction.
    pub xact: i64,
}

/// Reads the clock, for those who write events outside of the writer of rooms.
pub async fn read_clock(connection: &mut PgConnection) -> Result<EventClock, Error> {
    Ok(sqlx::query_as!(
        EventClock,
        r#"select date_trunc('milliseconds', statement_timestamp()) as "now!",
                  pg_current_xact_id()::text::bigint + xact_offset as "xact!" from event_clock"#,
    )
    .fetch_one(connection)
    .await?)
}

/// Writes events that follow the last one of a room, or of an app, whose lock is held. Returns which is the last one now.
pub async fn append(transaction: &mut Transaction, scope: &Scope, last: Last, events: Vec<NewEvent>) -> Result<Last, Error> {
    if events.is_empty() {
        return Ok(last);
    }
    let clock = read_clock(transaction).await?;
    let events: Vec<NewEvent> = (last.n + 1..).zip(events).map(|(n, event)| event.numbered(n)).collect();
    let last = Last { n: last.n + i64::try_from(events.len()).unwrap_or(i64::MAX), xact: last.xact.max(clock.xact) };
    let mut batch = EventBatch::default();
    batch.push(scope.app(), scope.chatroom(), last.xact, clock.now, &events);
    batch.write(transaction).await?;
    Ok(last)
}

/// An event as a statement gives it.
#[derive(sqlx::FromRow)]
pub(crate) struct EventRow {
    pub chatroom: String,
    pub n: i64,
    pub kind: String,
    pub users: Vec<String>,
    pub before: Option<String>,
    pub after: Option<String>,
    pub actor: String,
    pub reason: Option<String>,
    pub undoes: Option<i64>,
    pub happened_at: OffsetDateTime,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
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
            undoes: row.undoes,
            timestamp: unix_ms(row.happened_at),
        }
    }
}
