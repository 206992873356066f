//! Moves an app in and out: its users, its rooms with all their lists, and who stands above rooms.
//!
//! An app goes out into a [file](mod@format) by [`export`], and comes in again out of such a [`file`](mod@file), or straight out of a
//! [`service`] that speaks the same API. Both ways in meet in [`import`], which decides row by row what is new, what is there
//! already and what cannot be, and writes what is new. [`verify`] compares both sides afterwards.
//!
//! A move can be broken off at any point and begun anew: it writes only what is missing, so that what is there is passed over
//! by reading it. Nothing that is there is ever changed or taken away.

pub mod export;
pub mod file;
pub mod format;
pub mod import;
pub mod report;
pub mod service;
pub mod verify;

pub mod source;

mod room;
mod store;

use crate::error::{Causes, Error};

/// Why a move ended before its end. Begun anew, it goes on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database is not to be reached, or has refused something.
    #[error("{}", Causes(.0))]
    Database(#[from] Error),
    /// What was given is no file of a move.
    #[error("{0}")]
    Unreadable(String),
    /// The service that is read does not answer as it must.
    #[error("{0}")]
    Source(#[from] source::SourceError),
}
