//! Searches by the beginning of a name. Each thing has two: what it is called by in calls (a room's id, a username), and what
//! people call it (a room's name, a nickname).
//!
//! Those whose first name begins so come first, in the order of these; then those of whom only the second does, in the order
//! of those.

use std::fmt;
use std::str::FromStr;

/// How many names of either kind are looked at for one page.
pub const WINDOW: i64 = 10_000;

/// The beginning of names, as searches compare them: ASCII letters in lower case, byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    /// The first name that could begin so.
    pub from: String,
    /// The first one behind all that do.
    pub to: String,
}

impl Prefix {
    /// The beginning of names that are found by `text`. `None`: no name begins so.
    pub fn new(text: &str) -> Option<Self> {
        let from = text.to_ascii_lowercase();
        let mut to = from.clone();
        // The order of bytes is that of characters.
        while let Some(last) = to.pop() {
            if let Some(next) = (last..=char::MAX).nth(1) {
                to.push(next);
                break;
            }
        }
        (!to.is_empty() && !from.contains('\0')).then_some(Self { from, to })
    }
}

/// A position in what a search finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchCursor {
    /// The second name, in lower case, of one that is found by that.
    pub name: Option<String>,
    /// The first name.
    pub id: String,
}

/// Where the two parts of a search go on.
pub struct SearchStart {
    /// Behind this first name.
    pub id: String,
    /// Behind this second name, and this first name there.
    pub name: (String, String),
}

impl SearchCursor {
    /// Where to go on behind a position, or to begin.
    pub fn start(after: Option<Self>, prefix: &Prefix) -> SearchStart {
        let names = (prefix.from.clone(), String::new());
        match after {
            None => SearchStart { id: String::new(), name: names },
            Some(Self { name: None, id }) => SearchStart { id, name: names },
            Some(Self { name: Some(name), id }) => SearchStart { id: prefix.to.clone(), name: (name, id) },
        }
    }
}

/// As cursors on the wire hold it.
impl fmt::Display for SearchCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "{}/{name}", self.id),
            None => formatter.write_str(&self.id),
        }
    }
}

impl FromStr for SearchCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text.split_once('/') {
            Some((id, name)) => Self { name: Some(name.into()), id: id.into() },
            None => Self { name: None, id: text.into() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_name_that_does_not_begin_so() {
        let to = |text| Prefix::new(text).map(|prefix| prefix.to);
        assert_eq!(to("Lob").as_deref(), Some("loc"));
        assert_eq!(to("z").as_deref(), Some("{"));
        assert_eq!(to("张三").as_deref(), Some("张三".replace('三', "\u{4e0a}").as_str()));
        assert_eq!(to("a\u{d7ff}").as_deref(), Some("a\u{e000}"), "there is no character between these");
        assert_eq!(to("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(to("\u{10ffff}"), None);
        assert_eq!(to("a\0"), None);
        assert_eq!(Prefix::new("ÄLob").expect("a prefix").from, "Älob", "folding is ASCII only");
    }

    #[test]
    fn a_position_is_read_as_it_was_written() {
        for cursor in [
            SearchCursor { name: None, id: "lobby".into() },
            SearchCursor { name: Some(String::new()), id: "lobby".into() },
            SearchCursor { name: Some("a/b".into()), id: "lobby".into() },
        ] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }
}
