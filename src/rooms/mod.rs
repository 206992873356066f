//! What is true of rooms: the five lists of each, its details, and how they change.
//!
//! A change is an [`operation`]: a pure rule in the file named after its list, decided on a [`state`] that was loaded under
//! the room's lock, and written as what is different afterwards. The [`writer`] does that for many at once. What is read is
//! in [`read`].
//!
//! Locks are taken in one order everywhere: apps, then rooms by key, then users by name. A transaction that holds a user's row
//! never asks for a room's. The queues of callbacks come after the rooms, and after a queue only its rule.

pub mod changes;
pub mod operation;
pub mod permissions;
pub mod state;

pub mod admins;
pub mod attributes;
pub mod blocks;
pub mod details;
pub mod expiry;
pub mod forgetting;
pub mod members;
pub mod mutes;
mod restrictions;
pub mod undo;
pub mod whitelist;

pub mod writer;

pub mod read;
pub mod store;

#[cfg(test)]
mod model_tests;

pub mod room_deletion;
pub mod user_deletion;
