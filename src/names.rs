//! Names of rooms and users, and the other words that every module shares.

use time::OffsetDateTime;

use crate::error::Error;

/// The longest username, and the longest id of a room, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// The end of a mute or a block without an end, in Unix milliseconds: 2117-01-01 00:00 +08:00. None ends later.
pub const PERMANENT_MS: i64 = 4_638_873_600_000;

/// A room by its app and its id. Whether it exists is for the statements to find out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomKey {
    /// The app, by its key in the database.
    pub app: i32,
    id: String,
}

impl RoomKey {
    /// The room that `id` names in `app`; `None` if no room can have that id.
    pub fn parse(app: i32, id: &str) -> Option<Self> {
        is_room_id(id).then(|| Self { app, id: id.to_owned() })
    }

    /// A room as a row of the database names it.
    pub(crate) fn from_row(app: i32, id: String) -> Self {
        debug_assert!(is_room_id(&id), "{id} is no id of a room");
        Self { app, id }
    }

    /// The room's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// That this room does not exist.
    pub fn not_found(&self) -> Error {
        Error::RoomNotFound { room: self.id.clone() }
    }
}

/// A room, or an app as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The app, by its key in the database.
    App(i32),
    /// A room of it.
    Room(RoomKey),
}

impl Scope {
    /// The app, or the app of the room.
    pub fn app(&self) -> i32 {
        match self {
            Self::App(app) => *app,
            Self::Room(key) => key.app,
        }
    }

    /// What columns hold: the room's id, or nothing for the app as a whole.
    pub fn chatroom(&self) -> &str {
        match self {
            Self::App(_) => "",
            Self::Room(key) => key.id(),
        }
    }
}

/// Distinct names of users in the order of a call, folded to lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    given: Vec<String>,
    usernames: Vec<String>,
}

impl Names {
    /// The first of each of `names`, folded.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut given: Vec<String> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for name in names {
            let mut name = name.into();
            name.make_ascii_lowercase();
            if seen.insert(name.clone()) {
                given.push(name);
            }
        }
        let usernames = given.iter().filter(|name| is_username(name)).cloned().collect();
        Self { given, usernames }
    }

    /// All of them. Some may be texts that no user can be called by.
    pub fn given(&self) -> &[String] {
        &self.given
    }

    /// Those that a user may be called by. No other reaches SQL.
    pub fn usernames(&self) -> &[String] {
        &self.usernames
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.given.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Those of the names that satisfy `wanted`, told by their index.
    pub fn select(&self, wanted: impl Fn(usize) -> bool) -> Vec<String> {
        self.given.iter().enumerate().filter(|(index, _)| wanted(*index)).map(|(_, name)| name.clone()).collect()
    }
}

/// Many names in one piece of memory: a list of a thousand is read and written without a thousand allocations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameList {
    text: String,
    /// Where each of them ends in the text.
    ends: Vec<usize>,
}

impl NameList {
    /// An empty list with room for `names` of together `bytes`.
    pub(crate) fn with_capacity(names: usize, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), ends: Vec::with_capacity(names) }
    }

    /// Adds a name.
    pub(crate) fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..*end])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// From which end a list is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the beginning.
    OldestFirst,
    /// From the end.
    NewestFirst,
}

/// A page of a list that is read by cursor.
pub struct CursorPage<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// The number of the last of them, if more follow.
    pub next: Option<i64>,
}

impl<T> CursorPage<T> {
    /// The first `size` of `rows`, each with its number. One more than that tells whether more follow; rows without a
    /// number only tell that the room exists. `None`: not even that.
    pub(crate) fn new(rows: Vec<(Option<i64>, Option<T>)>, size: i64) -> Option<Self> {
        if rows.is_empty() {
            return None;
        }
        let mut rows: Vec<(i64, T)> = rows.into_iter().filter_map(|(seq, entry)| Some((seq?, entry?))).collect();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = rows.len() > size;
        rows.truncate(size);
        let next = rows.last().map(|(seq, _)| *seq).filter(|_| more);
        Some(Self { entries: rows.into_iter().map(|(_, entry)| entry).collect(), next })
    }
}

/// What a search sees on its way through an index: a position, and the entry there if it is one that is asked for.
pub(crate) struct Seen<T, C> {
    pub cursor: C,
    pub entry: Option<T>,
    /// Whether this index was looked at so far and no further.
    pub ends_window: bool,
}

/// A page of a search that looks at a window of entries for it.
#[derive(Debug)]
pub struct WindowPage<T, C> {
    /// As many as were wanted, or fewer, or none.
    pub entries: Vec<T>,
    /// Behind which there may be more.
    pub next: Option<C>,
}

impl<T, C> Default for WindowPage<T, C> {
    fn default() -> Self {
        Self { entries: Vec::new(), next: None }
    }
}

impl<T, C> WindowPage<T, C> {
    /// The first `limit` of what was seen, of which one more is there if there are more. Behind the first end of a window
    /// there may be entries of that index that were not looked at: the page ends there.
    pub(crate) fn new(mut seen: Vec<Seen<T, C>>, limit: i64) -> Self {
        let window = seen.iter().position(|seen| seen.ends_window).map_or(usize::MAX, |last| last + 1);
        let length = usize::try_from(limit).unwrap_or(usize::MAX).min(window);
        let more = seen.len() > length || seen.len() >= window;
        seen.truncate(length);
        let (mut entries, mut next) = (Vec::with_capacity(seen.len()), None);
        for Seen { cursor, entry, .. } in seen {
            entries.extend(entry);
            next = Some(cursor);
        }
        Self { entries, next: next.filter(|_| more) }
    }
}

/// Whether a user may be called so; names are folded before.
pub fn is_username(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'))
}

/// Whether a room may have this id.
pub fn is_room_id(id: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&id.len()) && id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'))
}

/// So long after a moment, but not later than the end of a mute or a block without an end.
pub fn ends_after(moment: OffsetDateTime, duration_ms: i64) -> OffsetDateTime {
    let permanent = i128::from(PERMANENT_MS);
    let ends_ms = (i128::from(unix_ms(moment)) + i128::from(duration_ms)).min(permanent);
    OffsetDateTime::from_unix_timestamp_nanos(ends_ms * 1_000_000).unwrap_or(moment)
}

/// A moment as the wire says it: Unix milliseconds.
pub fn unix_ms(moment: OffsetDateTime) -> i64 {
    i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// The moment that the wire says so; `None` if there is none.
pub fn from_unix_ms(ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_and_then_collapsed() {
        let names = Names::new(["Bob", "ann", "BOB", "ann"]);
        assert_eq!(names.given(), ["bob", "ann"]);
        assert_eq!(names.usernames(), ["bob", "ann"]);
    }

    #[test]
    fn a_list_of_names_gives_them_back_one_by_one() {
        let mut list = NameList::with_capacity(1, 1);
        assert!(list.is_empty() && list.iter().next().is_none());
        for name in ["ann", "", "é", "bob"] {
            list.push(name);
        }
        assert_eq!((list.len(), list.iter().collect::<Vec<_>>()), (4, vec!["ann", "", "é", "bob"]));
    }

    #[test]
    fn a_page_ends_with_its_limit_or_with_the_first_window() {
        let seen = |meant: &[i32], end: i32| -> Vec<Seen<i32, i32>> {
            let seen = |n| Seen { cursor: n, entry: Some(n).filter(|n| meant.contains(n)), ends_window: n == end };
            (1..=4).map(seen).collect()
        };
        let page = |meant, end, limit| {
            let page = WindowPage::new(seen(meant, end), limit);
            (page.entries, page.next)
        };
        assert_eq!(page(&[1, 2, 3, 4], 0, 4), (vec![1, 2, 3, 4], None));
        assert_eq!(page(&[1, 2, 3, 4], 0, 3), (vec![1, 2, 3], Some(3)));
        assert_eq!(page(&[1, 2, 3, 4], 4, 4), (vec![1, 2, 3, 4], Some(4)));
        assert_eq!(page(&[1, 3, 4], 2, 4), (vec![1], Some(2)), "what comes behind the window is not told yet");
        assert_eq!(page(&[1, 3, 4], 2, 1), (vec![1], Some(1)));
        assert_eq!(WindowPage::<i32, i32>::new(Vec::new(), 1).next, None);
    }

    #[test]
    fn what_cannot_be_a_name_reaches_no_statement() {
        let long = "x".repeat(65);
        let names = Names::new(["a\0b", "", "张三", "ann", "a b", long.as_str(), "É"]);
        assert_eq!(names.usernames(), ["ann"]);
        assert_eq!(names.given()[6], "É", "folding is ASCII only");
        for impossible in ["", "12\0", "Room1", &long] {
            assert_eq!(RoomKey::parse(1, impossible), None, "{impossible}");
        }
        assert_eq!(RoomKey::parse(1, "room1").expect("an id").id(), "room1");
    }
}
