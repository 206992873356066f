//! The statements of writing. A sentence above each says what it is for; rules are not in here.

pub mod create;
pub mod load;
pub mod purge;
pub mod save;
