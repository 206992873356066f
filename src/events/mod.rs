//! What has happened: the log of events, and the ways in which it is read.

pub mod audit;
pub mod counts;
pub mod cursor;
pub mod feeds;
pub mod log;
pub mod retention;
pub mod subscriptions;
