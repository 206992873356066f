//! A position in the order of an app's events: by time, then room, then number.

use std::fmt;
use std::str::FromStr;

use time::{Date, OffsetDateTime, Time};

/// A position in the order of an app's events, at an event or between two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventCursor {
    pub(crate) happened_at: OffsetDateTime,
    pub(crate) chatroom: String,
    /// 0 in a position before all events of a moment, which each room has at a number of its own.
    pub(crate) n: i64,
}

impl EventCursor {
    /// Before everything.
    pub const START: Self = Self { happened_at: OffsetDateTime::UNIX_EPOCH, chatroom: String::new(), n: 1 };

    /// Behind everything.
    pub const END: Self =
        Self { happened_at: OffsetDateTime::new_utc(Date::MAX, Time::MIDNIGHT), chatroom: String::new(), n: i64::MAX };

    /// Before all events of a moment.
    pub fn at(moment: OffsetDateTime) -> Self {
        Self { happened_at: moment, chatroom: String::new(), n: 0 }
    }

    /// The same for a moment as the wire says it. What is beyond all time is the start or the end of it.
    pub fn at_unix_ms(ms: i64) -> Self {
        match OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000) {
            Ok(moment) => Self::at(moment.clamp(Self::START.happened_at, Self::END.happened_at)),
            Err(_) if ms < 0 => Self::START,
            Err(_) => Self::END,
        }
    }
}

/// As cursors on the wire hold it.
impl fmt::Display for EventCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.happened_at.unix_timestamp_nanos(), self.n, self.chatroom)
    }
}

impl FromStr for EventCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '/');
        let mut part = || parts.next().ok_or(());
        let nanos = part()?.parse().map_err(drop)?;
        let happened_at = OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(drop)?;
        Ok(Self { happened_at, n: part()?.parse().map_err(drop)?, chatroom: part()?.into() })
    }
}
