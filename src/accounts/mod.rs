//! Who there is besides rooms: apps, their users, and who may act app-wide.

pub mod apps;
pub mod super_admins;
pub mod users;
