//! What came of a move: what is new, what was there already, and what was refused, with the reason.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard};

use serde::Serialize;

/// So many refusals are kept to be shown; all are counted, and written to the file of the report if there is one.
const SHOWN: usize = 20;

/// What rows are about, in the words of the [format](super::format).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Registered users.
    User,
    /// Rooms with their owners.
    Room,
    /// Members besides owners.
    Member,
    /// Admins.
    Admin,
    /// Members on whitelists.
    Whitelist,
    /// Blocked users.
    Block,
    /// Muted users.
    Mute,
    /// Custom attributes.
    Attribute,
    /// Super admins.
    SuperAdmin,
    /// Moderators.
    Moderator,
    /// Users who are muted in the whole app.
    GlobalMute,
    /// The file or the service itself.
    Source,
}

impl Kind {
    /// As it is shown.
    pub const fn text(self) -> &'static str {
        match self {
            Self::User => "users",
            Self::Room => "rooms",
            Self::Member => "members",
            Self::Admin => "admins",
            Self::Whitelist => "whitelist",
            Self::Block => "blocks",
            Self::Mute => "mutes",
            Self::Attribute => "attributes",
            Self::SuperAdmin => "super admins",
            Self::Moderator => "moderators",
            Self::GlobalMute => "global mutes",
            Self::Source => "source",
        }
    }
}

/// The rows of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Written, or to be written.
    pub new: u64,
    /// There already, the same.
    pub present: u64,
    /// Ended meanwhile, and left out.
    pub ended: u64,
    /// Refused, or there already in another form.
    pub refused: u64,
}

/// A row that was not brought in, or differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What it is.
    pub kind: Kind,
    /// In which room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// Its name: a user, a room, or the key of an attribute.
    pub name: String,
    /// Why.
    pub why: String,
}

/// The report of a move, filled by all who work on it.
#[derive(Default)]
pub struct Report {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: BTreeMap<Kind, Count>,
    shown: Vec<Refusal>,
    refusals: u64,
    file: Option<Box<dyn Write + Send>>,
    failure: Option<io::Error>,
}

impl Report {
    /// A report that writes each refusal to `file`, as NDJSON.
    pub fn new(file: Option<Box<dyn Write + Send>>) -> Self {
        Self { state: Mutex::new(State { file, ..State::default() }) }
    }

    /// An empty report that goes on with the same file.
    pub fn continued(&self) -> Self {
        Self::new(self.state().file.take())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Counts rows.
    pub(super) fn count(&self, kind: Kind, rows: Count) {
        let mut state = self.state();
        let count = state.counts.entry(kind).or_default();
        count.new += rows.new;
        count.present += rows.present;
        count.ended += rows.ended;
    }

    /// Notes, and counts, a row that is not brought in.
    pub(super) fn refuse(&self, refusal: Refusal) {
        let mut state = self.state();
        state.counts.entry(refusal.kind).or_default().refused += 1;
        state.refusals += 1;
        let State { file, failure, shown, .. } = &mut *state;
        if let Some(file) = file
            && let Err(error) =
                serde_json::to_writer(&mut *file, &refusal).map_err(io::Error::from).and_then(|()| file.write_all(b"\n"))
        {
            failure.get_or_insert(error);
        }
        if shown.len() < SHOWN {
            shown.push(refusal);
        }
    }

    /// The rows of each kind that there was.
    pub fn counts(&self) -> BTreeMap<Kind, Count> {
        self.state().counts.clone()
    }

    /// The first refusals, and how many there are.
    pub fn refusals(&self) -> (Vec<Refusal>, u64) {
        let state = self.state();
        (state.shown.clone(), state.refusals)
    }

    /// How many rows were dealt with.
    pub fn rows(&self) -> u64 {
        self.state().counts.values().map(|count| count.new + count.present + count.ended + count.refused).sum()
    }

    /// Ends the file of the report; tells if any of it could not be written.
    pub fn finish(&self) -> io::Result<()> {
        let mut state = self.state();
        if let Some(file) = &mut state.file {
            file.flush()?;
        }
        state.failure.take().map_or(Ok(()), Err)
    }
}
