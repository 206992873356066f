//! Callbacks: which events are sent to which URL, what was sent, and the task that sends it.

pub mod deliveries;
pub mod dispatcher;
pub mod message;
pub mod replay;
pub mod rules;
pub mod sender;
pub mod target;
