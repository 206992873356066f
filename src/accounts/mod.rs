//! Apps, their users, super admins and moderators, and which tokens are good: all accounts that there are besides rooms.

pub mod apps;
pub mod moderators;
pub mod super_admins;
pub mod tokens;
pub mod users;
