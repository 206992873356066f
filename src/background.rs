//! How a background task fares, for the operator: the first failure of a row is a line in the log, and so is the success
//! that ends the row; each success is noted in the figures.

use crate::error::{Causes, Error};
use crate::figures;

/// A task that does the same again and again.
pub struct Task {
    name: &'static str,
    is_failing: bool,
}

impl Task {
    /// A task of that name, which has not failed yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, is_failing: false }
    }

    /// Notes what came of one time. Returns what it brought, if it did not fail.
    pub fn note<T>(&mut self, done: Result<T, Error>) -> Option<T> {
        let (task, was_failing) = (self.name, self.is_failing);
        self.is_failing = done.is_err();
        match &done {
            Ok(_) if was_failing => tracing::info!(task, "works again"),
            Err(error) if !was_failing => {
                tracing::warn!(task, error = %Causes(error), "fails; it is tried again, and said when it works");
            }
            _ => {}
        }
        let done = done.ok()?;
        figures::task_succeeded(task);
        Some(done)
    }
}
