//! A call that changes something: submits the operation on a room, or commits what is a transaction of its own, and writes
//! the answer.
//!
//! A call with an `Idempotency-Key` has its answer written in the transaction that makes the change, so that a repetition
//! finds both or neither. The outcome is turned into the answer by the same words in either case.

use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody as _};
use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use actix_web::{HttpMessage as _, HttpResponse, Responder};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::call::Call;
use super::paging::Params;
use super::reply;
use crate::error::Error;
use crate::idempotency::{Answer, Claim, Uncommitted};
use crate::names::RoomKey;
use crate::rooms::operation::Operation;
use crate::rooms::permissions::{Action, Permitted};

/// What an answer says besides its data: all that is left of a call when its change is made.
pub struct Head {
    pub(super) action: String,
    pub(super) application: Uuid,
    pub(super) params: Params,
    pub(super) uri: String,
    pub(super) organization: String,
    pub(super) application_name: String,
    started: Instant,
}

impl Head {
    pub(super) fn of(call: &Call) -> Self {
        Self {
            action: call.method(),
            application: call.app.uuid,
            params: call.params(),
            uri: call.uri(),
            organization: call.app.org.clone(),
            application_name: call.app.name.clone(),
            started: call.started(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Where a path names one user or several: an object for the one, an array for several.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "OneOrAll_{T}")]
pub enum OneOrAll<T> {
    One(#[schemars(with = "T")] Option<T>),
    All(Vec<T>),
}

impl<T> OneOrAll<T> {
    /// The results as they are asked for.
    pub fn of(results: Vec<T>, are_several: bool) -> Self {
        if are_several { Self::All(results) } else { Self::One(results.into_iter().next()) }
    }
}

impl Call {
    /// Makes a change of the room, and answers in the usual envelope with what `data` makes of the outcome.
    pub async fn change<O: Operation, D: Serialize>(
        self,
        operation: O,
        data: impl Fn(O::Outcome) -> Result<D, Error> + Send + 'static,
    ) -> Result<HttpResponse, Error> {
        let write = move |head: &Head, outcome| reply::write_envelope(head, data(outcome)?);
        self.change_and_write(operation, write).await
    }

    /// The same with another action than the HTTP method.
    pub async fn change_as<O: Operation, D: Serialize>(
        self,
        action: &'static str,
        operation: O,
        data: impl Fn(O::Outcome) -> Result<D, Error> + Send + 'static,
    ) -> Result<HttpResponse, Error> {
        let mut head = Head::of(&self);
        action.clone_into(&mut head.action);
        self.submit(head, operation, move |head: &Head, outcome| reply::write_envelope(head, data(outcome)?)).await
    }

    /// The same in words of the call's own.
    pub async fn change_and_write<O: Operation>(
        self,
        operation: O,
        write: impl Fn(&Head, O::Outcome) -> Result<Vec<u8>, Error> + Send + 'static,
    ) -> Result<HttpResponse, Error> {
        let head = Head::of(&self);
        self.submit(head, operation, write).await
    }

    /// The same to a room that the path does not name, where it also depends on more than the path who may do it; `None`: only
    /// the app.
    pub async fn change_room<O: Operation, D: Serialize>(
        self,
        room: RoomKey,
        action: Option<Action>,
        operation: O,
        data: impl Fn(O::Outcome) -> Result<D, Error> + Send + 'static,
    ) -> Result<HttpResponse, Error> {
        let (head, permit) = (Head::of(&self), self.permit(&room, action.unwrap_or(Action::ManageApp)));
        let write = move |head: &Head, outcome| reply::write_envelope(head, data(outcome)?);
        self.submit_to(room, head, Permitted { permit, operation }, write).await
    }

    /// Commits what was done in a transaction of its own, and answers with what `reply` makes of the outcome. A call that
    /// `reply` refuses is undone.
    pub async fn commit<T, R: Responder<Body = BoxBody>>(
        self,
        done: Uncommitted<T>,
        reply: impl FnOnce(Self, T) -> Result<R, Error>,
    ) -> Result<HttpResponse, Error> {
        let (http, (outcome, done)) = (self.http().clone(), done.split());
        let response = match reply(self, outcome) {
            Ok(reply) => reply.respond_to(&http),
            Err(error) => {
                done.undo().await;
                return Err(error);
            }
        };
        let claim = http.extensions_mut().remove::<Claim>();
        let Some(claim) = claim else {
            done.commit().await?;
            return Ok(response);
        };
        let (head, body) = response.into_parts();
        let body = body.try_into_bytes().map_err(|_| Error::Internal("a change is answered with a stream".into()))?;
        done.commit_with(&claim, &Answer { status: head.status().as_u16(), body: body.to_vec() }).await?;
        Ok(head.set_body(BoxBody::new(body)))
    }

    async fn submit<O: Operation>(
        self,
        head: Head,
        operation: O,
        write: impl Fn(&Head, O::Outcome) -> Result<Vec<u8>, Error> + Send + 'static,
    ) -> Result<HttpResponse, Error> {
        let room = self.room()?;
        let permit = self.permit(&room, self.action());
        self.submit_to(room, head, Permitted { permit, operation }, write).await
    }

    async fn submit_to<O: Operation>(
        self,
        room: RoomKey,
        head: Head,
        operation: Permitted<O>,
        write: impl Fn(&Head, O::Outcome) -> Result<Vec<u8>, Error> + Send + 'static,
    ) -> Result<HttpResponse, Error> {
        let (actor, writer) = (self.actor()?, &self.state.writer);
        let claim = self.http().extensions_mut().remove::<Claim>();
        let answer = match claim {
            None => Answer { status: 200, body: write(&head, writer.submit(&room, &actor, operation).await?)? },
            Some(claim) => {
                let answer = move |outcome: Result<O::Outcome, Error>| match outcome.and_then(|outcome| write(&head, outcome)) {
                    Ok(body) => Answer { status: 200, body },
                    Err(error) => reply::write_failure(&error, head.elapsed()),
                };
                writer.submit_once(&room, &actor, operation, claim, answer).await?
            }
        };
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Ok(HttpResponse::build(status).insert_header(ContentType::json()).body(answer.body))
    }
}
