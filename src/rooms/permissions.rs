//! Who may do what: the one table of roles, calls and targets, for callers with a user's token. An app's token may do all.
//!
//! What changes a room is decided under its lock, like the change itself: an admin who is no longer one changes nothing.

use schemars::JsonSchema;
use serde::Serialize;

use super::operation::{Decision, Operation};
use super::state::{Facts, Needs, RoomView};
use crate::error::Error;
use crate::names::Names;

/// What a user is to a room, or to the whole app. One user may be several of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A user of the app, and no more than that.
    User,
    /// Is in the room.
    Member,
    /// Is an admin of the room.
    Admin,
    /// Owns the room.
    Owner,
    /// Makes rooms, app-wide.
    SuperAdmin,
    /// Reads rooms, as a moderator of the app.
    Viewer,
    /// Moderates rooms, as a moderator of the app.
    Moderator,
}

/// Those of whom a role may speak, or on whom it may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The role may not do it.
    No,
    /// The caller alone.
    Oneself,
    /// Those who are neither admins of the room nor its owner.
    Ordinary,
    /// All but the owner.
    NotOwner,
    /// All. Also what is done to no user at all.
    All,
}

/// Somebody to whom something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The caller.
    Oneself,
    /// Neither admin nor owner.
    Ordinary,
    /// An admin of the room.
    Admin,
    /// The owner of the room.
    Owner,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Oneself, Self::Ordinary, Self::Admin, Self::Owner];
}

impl Reach {
    const fn includes(self, target: Target) -> bool {
        match self {
            Self::No => false,
            Self::Oneself => matches!(target, Target::Oneself),
            Self::Ordinary => matches!(target, Target::Ordinary),
            Self::NotOwner => matches!(target, Target::Oneself | Target::Ordinary | Target::Admin),
            Self::All => true,
        }
    }
}

/// Declares [`Action`] and its table in one.
macro_rules! table {
    ($($(#[$doc:meta])* $action:ident: $user:ident $member:ident $admin:ident $owner:ident $super_admin:ident $viewer:ident $moderator:ident;)+) => {
        /// What a call does, as far as it matters who may do it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Action { $($(#[$doc])* $action),+ }

        impl Action {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$action),+];

            /// How far a role goes with it.
            pub const fn reach(self, role: Role) -> Reach {
                match (self, role) {
                    $(
                        (Self::$action, Role::User) => Reach::$user,
                        (Self::$action, Role::Member) => Reach::$member,
                        (Self::$action, Role::Admin) => Reach::$admin,
                        (Self::$action, Role::Owner) => Reach::$owner,
                        (Self::$action, Role::SuperAdmin) => Reach::$super_admin,
                        (Self::$action, Role::Viewer) => Reach::$viewer,
                        (Self::$action, Role::Moderator) => Reach::$moderator,
                    )+
                }
            }
        }
    };
}

#[rustfmt::skip]
table! {
    //                  User    Member  Admin    Owner    SuperAdmin Viewer Moderator
    /// Reads a room: its details, members, admins, announcement and attributes.
    ReadRoom:           No      All     All      All      No      All      All;
    /// Reads who is muted, blocked or whitelisted in a room.
    ReadLists:          No      No      All      All      No      All      All;
    /// Reads what has happened in a room.
    ReadEvents:         No      No      All      All      No      All      All;
    /// Asks whether users may speak in a room.
    CheckSpeech:        No      Oneself All      All      No      All      All;
    /// Takes members out of a room; oneself: leaves it.
    Remove:             No      Oneself Ordinary All      No      No       NotOwner;
    /// Blocks users, or lets them come back.
    Block:              No      No      Ordinary All      No      No       NotOwner;
    /// Mutes members, or lets them speak again.
    Mute:               No      No      Ordinary All      No      No       NotOwner;
    /// Puts members on the whitelist, or takes them off.
    Whitelist:          No      No      Ordinary All      No      No       NotOwner;
    /// Mutes a whole room, or lets it speak again.
    MuteAll:            No      No      All      All      No      No       All;
    /// Writes the announcement.
    Announce:           No      No      All      All      No      No       All;
    /// Makes members admins, or admins members.
    ManageAdmins:       No      No      No       All      No      No       No;
    /// Changes what a room is called, its size, its owner; or deletes it.
    ManageRoom:         No      No      No       All      No      No       No;
    /// Makes a room of one's own.
    CreateRoom:         No      No      No       No       Oneself No       No;
    /// Reads in which rooms a user is what.
    ReadStanding:       Oneself Oneself Oneself  Oneself  Oneself All      All;
    /// Reads the audit, of one room that is named or of all.
    ReadAudit:          No      No       No       No       No      All      All;
    /// Asks what one may do.
    ReadPermissions:    All     All      All      All      All     All      All;
    /// Reads across rooms: lists and searches rooms and users, and the feed of the app.
    ReadApp:            No      No      No       No       No      All      All;
    /// Mutes users in all rooms, or lets them speak again.
    MuteGlobally:       No      No      No       No       No      No       All;
    /// All the rest: users, tokens, super admins, moderators, callbacks, who comes into a room.
    ManageApp:          No      No      No       No       No      No       No;
}

impl Action {
    /// Whether it is about one room, where what one is in the room decides.
    pub const fn is_about_a_room(self) -> bool {
        self.changes_a_room()
            || matches!(self, Self::ReadRoom | Self::ReadLists | Self::ReadEvents | Self::CheckSpeech | Self::ReadAudit)
    }

    /// Whether it is a change of one room, which is permitted or refused under the room's lock.
    pub const fn changes_a_room(self) -> bool {
        matches!(
            self,
            Self::Remove
                | Self::Block
                | Self::Mute
                | Self::Whitelist
                | Self::MuteAll
                | Self::Announce
                | Self::ManageAdmins
                | Self::ManageRoom
        )
    }
}

/// Whether one who has `roles` may do `action` to all of `targets`. Of each target some role must reach it.
pub fn permits(action: Action, roles: &[Role], targets: &[Target]) -> bool {
    let may = |reached: &dyn Fn(Reach) -> bool| roles.iter().any(|role| reached(action.reach(*role)));
    match targets {
        [] => may(&|reach| matches!(reach, Reach::Ordinary | Reach::NotOwner | Reach::All)),
        targets => targets.iter().all(|target| may(&|reach| reach.includes(*target))),
    }
}

/// A caller with a user's token, about to do something.
#[derive(Debug, Clone)]
pub struct Permit {
    /// The user.
    pub user: Names,
    /// What is to be done.
    pub action: Action,
    /// What the user is in the app, as far as it holds for the room.
    pub app_roles: Vec<Role>,
    /// How the caller is refused.
    pub refusal: fn() -> Error,
}

impl Permit {
    fn name(&self) -> &str {
        self.user.usernames().first().map_or("", String::as_str)
    }

    fn check(&self, view: &RoomView<'_>, targets: &[String]) -> Result<(), Error> {
        let (user, mut roles) = (self.name(), self.app_roles.clone());
        let known = view.user(user, Facts::MEMBER | Facts::ADMIN);
        let held = [
            (true, Role::User),
            (known.member.is_some(), Role::Member),
            (known.admin.is_some(), Role::Admin),
            (user == view.room.owner, Role::Owner),
        ];
        roles.extend(held.into_iter().filter(|(holds, _)| *holds).map(|(_, role)| role));
        let target = |name: &String| match name.as_str() {
            name if name == user => Target::Oneself,
            name if name == view.room.owner => Target::Owner,
            name if view.user(name, Facts::ADMIN).admin.is_some() => Target::Admin,
            _ => Target::Ordinary,
        };
        let targets: Vec<Target> = targets.iter().map(target).collect();
        if permits(self.action, &roles, &targets) { Ok(()) } else { Err((self.refusal)()) }
    }
}

/// An operation and who asks for it: with a user's token, or with the app's.
pub struct Permitted<O> {
    /// Who asks; `None`: the app.
    pub permit: Option<Permit>,
    /// What for.
    pub operation: O,
}

impl<O: Operation> Operation for Permitted<O> {
    type Outcome = O::Outcome;

    fn needs(&self, needs: &mut Needs) {
        self.operation.needs(needs);
        if let Some(permit) = &self.permit {
            needs.users(&permit.user, Facts::MEMBER | Facts::ADMIN);
            if let Some(targets) = self.operation.targets() {
                needs.users(targets, Facts::ADMIN);
            }
        }
    }

    fn targets(&self) -> Option<&Names> {
        self.operation.targets()
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<O::Outcome> {
        if let Some(permit) = &self.permit {
            permit.check(view, self.targets().map_or(&[], Names::usernames))?;
        }
        self.operation.decide(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_acts_on_ordinary_members_and_leaves_but_not_on_admins_or_the_owner() {
        let admin = [Role::User, Role::Member, Role::Admin];
        for (target, may) in [(Target::Oneself, true), (Target::Ordinary, true), (Target::Admin, false), (Target::Owner, false)] {
            assert_eq!(permits(Action::Remove, &admin, &[target]), may, "{target:?}");
        }
        assert!(permits(Action::Remove, &admin, &[Target::Ordinary, Target::Oneself]));
        assert!(!permits(Action::Remove, &admin, &[Target::Ordinary, Target::Admin]));
        assert!(!permits(Action::Mute, &admin, &[Target::Oneself]));
    }

    #[test]
    fn what_is_done_to_no_user_needs_more_than_a_right_over_oneself() {
        assert!(!permits(Action::Remove, &[Role::Member], &[]));
        assert!(permits(Action::MuteAll, &[Role::Admin], &[]));
        assert!(!permits(Action::MuteAll, &[Role::Member], &[]));
    }

    #[test]
    fn no_role_manages_the_app() {
        let all = [Role::User, Role::Member, Role::Admin, Role::Owner, Role::SuperAdmin, Role::Viewer, Role::Moderator];
        for target in [Target::Oneself, Target::Ordinary, Target::Admin, Target::Owner] {
            assert!(!permits(Action::ManageApp, &all, &[target]));
        }
    }
}
