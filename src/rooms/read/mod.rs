//! The statements of reading: each call is one statement, and none of them locks a room.

pub mod admins;
pub mod announcement;
pub mod attributes;
pub mod blocks;
pub mod details;
pub mod due;
pub mod members;
pub mod mutes;
pub mod restrictions;
pub mod roles;
pub mod search;
pub mod speech;
pub mod standing;
pub mod whitelist;
