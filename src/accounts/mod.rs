//! Apps, their users, and their super admins: all accounts that there are besides rooms.

pub mod apps;
pub mod super_admins;
pub mod users;
