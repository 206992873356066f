//! What clients and operators see, over a socket, on a real PostgreSQL. `make test` starts one.

#![expect(clippy::disallowed_methods, reason = "tests age rows and look behind the curtain")]
#![allow(missing_docs, reason = "the names of tests are sentences")]

mod app;

mod admins;
mod announcements;
mod attributes;
mod audit;
mod blocks;
mod callbacks;
mod chatrooms;
mod citus;
mod cli;
mod cluster;
mod compat;
mod concurrency;
mod console;
mod counts;
mod deploy;
mod documents;
mod errors;
mod events;
mod examples;
mod expiry;
mod fuzz;
mod global_mutes;
mod idempotency;
mod layers;
mod limits;
mod logs;
mod members;
mod migrations;
mod model;
mod moderators;
mod moving;
mod mutes;
mod observability;
mod openapi;
mod page;
mod permissions;
mod pooler;
mod protocol;
mod recovery;
mod restrictions;
mod retention;
mod sdk;
mod search;
mod secrets;
mod speech;
mod standby;
mod standing;
mod storms;
mod streams;
mod super_admins;
mod tenants;
mod tls;
mod tokens;
mod undo;
mod user_list;
mod users;
mod whitelist;
mod writer;
