//! roomward keeps who is in a chatroom and who may speak there, on PostgreSQL, behind the Easemob REST API.
//!
//! In reading order: a request comes in through [`server`], is routed and answered by [`api`], and what is true is
//! decided by [`rooms`]. Arrows point one way only: `main → cli, server → api, tasks → rooms → accounts → events → names,
//! db → error`, and `api → callbacks → events`; [`moving`], in and out of a service, is the command line's and knows rooms.

#![cfg_attr(test, allow(clippy::expect_used))]

pub mod config;
pub mod telemetry;

pub mod api;
pub mod server;
pub mod status;
pub mod tasks;

pub mod moving;

pub mod rooms;

pub mod accounts;
pub mod callbacks;
pub mod events;

pub mod auth;
pub mod background;
pub mod db;
pub mod doctor;
pub mod error;
pub mod figures;
pub mod idempotency;
pub mod migrations;
pub mod names;
pub mod search;
