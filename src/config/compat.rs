//! Where editions of the hosted service differ, and what each call answers then.
//!
//! An edition is a name for all of it, with a value for each call. A single switch sets one thing, for all calls.

use serde::{Deserialize, Serialize};

use super::Overrides;

/// An edition of the hosted service's documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edition {
    /// The page that defines the 22 calls.
    Seed,
    /// The documents of today.
    Present,
}

/// What adding one user who is in the room already is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddExistingMember {
    /// 400.
    Error,
    /// 200.
    Ok,
}

/// The calls among the 22 that take several names or refuse non-members, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListCall {
    /// 3: adds several.
    Add,
    /// 4 and 5.
    Remove,
    /// 10 and 11.
    Block,
    /// 12 and 13.
    Unblock,
    /// 15: puts one on the whitelist.
    WhitelistOne,
    /// 16: puts several on the whitelist.
    WhitelistSeveral,
    /// 17: takes off the whitelist.
    Unwhitelist,
    /// 19.
    Mute,
    /// 21.
    Unmute,
}

/// An edition, and the switches that go before it where they are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compat {
    pub edition: Edition,
    pub max_batch: Option<usize>,
    pub add_existing_member: Option<AddExistingMember>,
    pub non_member_status: Option<u16>,
}

impl Compat {
    /// The service's, as it holds for an app. The first that says something decides: the app's switch, the app's edition,
    /// the service's switch, the service's edition.
    pub(super) fn for_app(self, app: &Overrides) -> Self {
        let behind = match app.edition {
            Some(edition) => Self { edition, max_batch: None, add_existing_member: None, non_member_status: None },
            None => self,
        };
        Self {
            edition: behind.edition,
            max_batch: app.max_batch.or(behind.max_batch),
            add_existing_member: app.add_existing_member.or(behind.add_existing_member),
            non_member_status: app.non_member_status.or(behind.non_member_status),
        }
    }

    /// The most names in one call.
    pub fn max_batch(&self, call: ListCall) -> usize {
        self.max_batch.unwrap_or(match (self.edition, call) {
            (Edition::Present, ListCall::Add | ListCall::Mute) => 100,
            _ => 60,
        })
    }

    /// The status for users who are not in the room, or not on the list.
    pub fn non_member_status(&self, call: ListCall) -> u16 {
        self.non_member_status.unwrap_or(match (self.edition, call) {
            (Edition::Present, ListCall::Block | ListCall::Unblock | ListCall::WhitelistOne) => 403,
            _ => 400,
        })
    }

    /// What adding one user who is in the room already is answered with.
    pub fn add_existing_member(&self) -> AddExistingMember {
        self.add_existing_member.unwrap_or(match self.edition {
            Edition::Seed => AddExistingMember::Error,
            Edition::Present => AddExistingMember::Ok,
        })
    }

    /// Whether a user's token that does not go so far is one without permission; if not, it is no token at all.
    pub fn has_user_tokens(&self) -> bool {
        self.edition == Edition::Seed
    }

    /// Whether the rooms of a user are listed with `disabled`.
    pub fn shows_disabled(&self) -> bool {
        self.edition == Edition::Present
    }
}
