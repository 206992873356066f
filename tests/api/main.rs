//! What clients and operators see, over a socket, on a real PostgreSQL. `make test` starts one.

#![expect(clippy::disallowed_methods, reason = "tests age rows and look behind the curtain")]
#![allow(missing_docs, reason = "the names of tests are sentences")]

mod app;

mod chatrooms;
mod cli;
mod concurrency;
mod layers;
mod members;
mod protocol;
mod recovery;
mod tokens;
mod users;
