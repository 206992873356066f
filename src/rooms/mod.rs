//! What is true of rooms: the five lists of each, its details, and how they change.

pub mod admins;
pub mod announcement;
pub mod attributes;
pub mod blocks;
pub mod change;
pub mod details;
pub mod expiry;
pub mod members;
pub mod mutes;
pub mod read;
pub mod room_deletion;
pub mod user_deletion;
pub mod whitelist;
