//! Apps, their users, super admins and moderators, who is muted in the whole app, and which tokens are good: all accounts
//! that there are besides rooms.

pub mod apps;
pub mod global_mutes;
pub mod moderators;
pub mod super_admins;
pub mod tokens;
pub mod user_list;
pub mod user_search;
pub mod users;
