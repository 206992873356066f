//! The background tasks: when something is done. How it is done is in the modules that they call.

pub mod backlog;
pub mod expiry;
pub mod purge;
pub mod retention;
