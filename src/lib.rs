//! roomward keeps who is in a chatroom and who may speak there, on PostgreSQL, behind the Easemob REST API.
//!
//! In reading order: a request comes in through [`server`], is routed and answered by [`api`], and what is true is
//! decided by [`chatroom`]. Arrows point that way only: `main → server → api → callbacks → chatroom → error`,
//! `callbacks → auth → error`.

#![cfg_attr(test, allow(clippy::expect_used))]

pub mod config;
pub mod telemetry;

pub mod api;
pub mod auth;
pub mod chatroom;
pub mod error;
pub mod server;

pub mod callbacks;
pub mod expiry;
pub mod following;
pub mod migrations;
pub mod purge;
pub mod retention;
