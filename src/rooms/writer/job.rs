//! A change of any kind that waits to be made, and its caller.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::Error;
use crate::events::log::Actor;
use crate::idempotency::{Answer, Claim, worth_keeping};
use crate::names::RoomKey;
use crate::rooms::operation::{Operation, make};
use crate::rooms::state::{Needs, State};

/// A change that waits to be made.
pub(super) trait Job: Send {
    /// The room that it changes.
    fn room(&self) -> &RoomKey;
    /// How many names it is about.
    fn names(&self) -> usize;
    /// How long it has waited.
    fn age(&self) -> Duration;
    /// Whether the caller is still there.
    fn is_wanted(&self) -> bool;
    /// Names what is to be loaded.
    fn needs(&self, needs: &mut Needs);
    /// The claim that must hold, if the answer is to be kept.
    fn claim(&self) -> Option<&Claim>;
    /// Decides, and applies what was decided.
    fn decide(&mut self, state: &mut State);
    /// Refuses without a decision.
    fn refuse(&mut self, error: Error);
    /// Whether it was refused so. What was decided before is decided anew.
    fn is_refused(&self) -> bool;
    /// The answer that is to be kept.
    fn kept(&self) -> Option<(&Claim, &Answer)>;
    /// Tells the caller what was decided.
    fn answer(self: Box<Self>);
    /// Tells the caller that the change was not made, or that its outcome is unknown.
    fn fail(self: Box<Self>, error: Error);
}

/// What all changes have.
struct PendingChange<O> {
    room: RoomKey,
    actor: Actor,
    operation: O,
    names: usize,
    since: Instant,
}

impl<O: Operation> PendingChange<O> {
    fn new(room: &RoomKey, actor: &Actor, operation: O) -> Self {
        let mut needs = Needs::default();
        operation.needs(&mut needs);
        Self { room: room.clone(), actor: actor.clone(), operation, names: needs.users.len().max(1), since: Instant::now() }
    }

    fn decide(&self, state: &mut State) -> Result<O::Outcome, Error> {
        make(state, &self.room, &self.actor, &self.operation)
    }
}

/// A change whose caller waits for the outcome.
pub(super) struct PlainJob<O: Operation> {
    change: PendingChange<O>,
    caller: oneshot::Sender<Result<O::Outcome, Error>>,
    outcome: Option<Result<O::Outcome, Error>>,
}

impl<O: Operation> PlainJob<O> {
    pub(super) fn new(room: &RoomKey, actor: &Actor, operation: O, caller: oneshot::Sender<Result<O::Outcome, Error>>) -> Self {
        Self { change: PendingChange::new(room, actor, operation), caller, outcome: None }
    }
}

impl<O: Operation> Job for PlainJob<O> {
    fn room(&self) -> &RoomKey {
        &self.change.room
    }

    fn names(&self) -> usize {
        self.change.names
    }

    fn age(&self) -> Duration {
        self.change.since.elapsed()
    }

    fn is_wanted(&self) -> bool {
        !self.caller.is_closed()
    }

    fn needs(&self, needs: &mut Needs) {
        self.change.operation.needs(needs);
    }

    fn claim(&self) -> Option<&Claim> {
        None
    }

    fn decide(&mut self, state: &mut State) {
        self.outcome = Some(self.change.decide(state));
    }

    fn refuse(&mut self, error: Error) {
        self.outcome = Some(Err(error));
    }

    fn is_refused(&self) -> bool {
        false
    }

    fn kept(&self) -> Option<(&Claim, &Answer)> {
        None
    }

    fn answer(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            // A caller who has gone away meanwhile has the change made all the same.
            let _ = self.caller.send(outcome);
        }
    }

    fn fail(self: Box<Self>, error: Error) {
        let _ = self.caller.send(Err(error));
    }
}

/// A change whose answer is kept with it.
pub(super) struct KeyedJob<O: Operation, W> {
    change: PendingChange<O>,
    caller: oneshot::Sender<Result<Answer, Error>>,
    claim: Claim,
    write: W,
    answer: Option<Result<Answer, Error>>,
}

impl<O: Operation, W: Fn(Result<O::Outcome, Error>) -> Answer + Send> KeyedJob<O, W> {
    pub(super) fn new(
        room: &RoomKey,
        actor: &Actor,
        operation: O,
        caller: oneshot::Sender<Result<Answer, Error>>,
        claim: Claim,
        write: W,
    ) -> Self {
        Self { change: PendingChange::new(room, actor, operation), caller, claim, write, answer: None }
    }
}

impl<O: Operation, W: Fn(Result<O::Outcome, Error>) -> Answer + Send> Job for KeyedJob<O, W> {
    fn room(&self) -> &RoomKey {
        &self.change.room
    }

    fn names(&self) -> usize {
        self.change.names
    }

    fn age(&self) -> Duration {
        self.change.since.elapsed()
    }

    fn is_wanted(&self) -> bool {
        !self.caller.is_closed()
    }

    fn needs(&self, needs: &mut Needs) {
        self.change.operation.needs(needs);
    }

    fn claim(&self) -> Option<&Claim> {
        Some(&self.claim)
    }

    fn decide(&mut self, state: &mut State) {
        let outcome = self.change.decide(state);
        self.answer = Some(Ok((self.write)(outcome)));
    }

    fn refuse(&mut self, error: Error) {
        self.answer = Some(Err(error));
    }

    fn is_refused(&self) -> bool {
        matches!(self.answer, Some(Err(_)))
    }

    fn kept(&self) -> Option<(&Claim, &Answer)> {
        match &self.answer {
            Some(Ok(answer)) if worth_keeping(answer.status) => Some((&self.claim, answer)),
            _ => None,
        }
    }

    fn answer(self: Box<Self>) {
        if let Some(answer) = self.answer {
            let _ = self.caller.send(answer);
        }
    }

    fn fail(self: Box<Self>, error: Error) {
        let _ = self.caller.send(Err(error));
    }
}
