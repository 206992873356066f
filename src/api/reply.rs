//! How an answer is written: the envelope of a success, and the body of a failure. Both are always a JSON object.
//!
//! The keys stand in the order in which the contract prints them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, Responder, ResponseError};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::State;
use super::call::{Call, CursorRequest};
use super::change::Head;
use super::limits::{self, Allowance};
use super::observe::Refused;
use super::paging::Params;
use crate::error::{Causes, Error};
use crate::idempotency::Answer;

impl Call {
    /// The success of a call around rooms.
    pub fn reply<D>(self, data: D) -> Reply<D> {
        Reply { call: self, action: None, data, count: None, cursor: None, feed: None }
    }

    /// The success of a call around users.
    pub fn user_reply<E>(self, entities: Vec<E>) -> UserReply<E> {
        UserReply { call: self, entities, data: None, is_read: false, cursor: None }
    }
}

/// The success of a call around rooms.
pub struct Reply<D> {
    call: Call,
    action: Option<&'static str>,
    data: D,
    count: Option<usize>,
    cursor: Option<String>,
    feed: Option<FeedEnds>,
}

/// Where a feed begins and ends: numbers of events in a room, cursors in an app, where it also is told where to go on.
#[derive(Serialize, JsonSchema)]
pub struct FeedEnds {
    /// The oldest event that is kept; as a cursor, the position before it.
    pub oldest: Value,
    /// The last event.
    pub last: Value,
    /// What to ask for next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Value>,
}

impl<D> Reply<D> {
    /// Adds how many elements the answer has.
    pub fn count(mut self, count: usize) -> Self {
        self.count = Some(count);
        self
    }

    /// Adds where the next page begins, if there is one.
    pub fn cursor(mut self, cursor: Option<String>) -> Self {
        self.cursor = cursor;
        self
    }

    /// The same, from the number with which a page of a room's list has ended.
    pub fn next(self, asked: &CursorRequest, next: Option<i64>) -> Self {
        let cursor = next.map(|seq| self.call.state.cursors.write(&asked.scope, &seq));
        self.cursor(cursor)
    }

    /// Adds where the feed begins and ends.
    pub fn feed(mut self, ends: FeedEnds) -> Self {
        self.feed = Some(ends);
        self
    }

    /// Names another action than the HTTP method.
    pub fn action(mut self, action: &'static str) -> Self {
        self.action = Some(action);
        self
    }
}

impl<D: Serialize> Responder for Reply<D> {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let call = self.call;
        let params = call.params();
        HttpResponse::Ok().json(Envelope {
            action: self.action.map_or_else(|| call.method(), str::to_owned),
            application: Some(call.app.uuid),
            params: (!params.is_empty()).then_some(params),
            path: None,
            uri: call.uri(),
            entities: [(); 0],
            data: Some(self.data),
            timestamp: now_ms(),
            duration: call.duration_ms(),
            organization: Some(&call.app.org),
            application_name: Some(&call.app.name),
            count: self.count,
            cursor: self.cursor,
            feed: self.feed,
        })
    }
}

/// The success of a call around users: it has a `path`, and its results are `entities`.
pub struct UserReply<E, D = ()> {
    call: Call,
    entities: Vec<E>,
    data: Option<D>,
    is_read: bool,
    cursor: Option<String>,
}

impl<E> UserReply<E> {
    /// Adds what could not be done.
    pub fn data<D>(self, data: D) -> UserReply<E, D> {
        UserReply { call: self.call, entities: self.entities, data: Some(data), is_read: self.is_read, cursor: self.cursor }
    }

    /// Leaves out what names the app, and counts the entities instead, as the calls that read users do.
    pub fn read(mut self) -> Self {
        self.is_read = true;
        self
    }

    /// Adds where the next page begins, if there is one.
    pub fn cursor(mut self, cursor: Option<String>) -> Self {
        self.cursor = cursor;
        self
    }
}

impl<E: Serialize, D: Serialize> Responder for UserReply<E, D> {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let call = self.call;
        let params = call.params();
        HttpResponse::Ok().json(Envelope {
            action: call.method(),
            application: (!self.is_read).then_some(call.app.uuid),
            params: (!params.is_empty()).then_some(params),
            path: Some("/users"),
            uri: call.uri(),
            count: self.is_read.then_some(self.entities.len()),
            entities: self.entities,
            data: self.data,
            timestamp: now_ms(),
            duration: call.duration_ms(),
            organization: (!self.is_read).then_some(&*call.app.org),
            application_name: (!self.is_read).then_some(&*call.app.name),
            cursor: self.cursor,
            feed: None,
        })
    }
}

/// Every key that a success can have, in the contract's order; which of them it has is up to the kind of reply.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Envelope", description = "The success of a call.")]
pub(super) struct Envelope<'a, E, D> {
    /// The HTTP method in lower case, unless the call has a word of its own.
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<Uuid>,
    /// The query string: each key with all its values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, Vec<String>>>")]
    params: Option<Params>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'static str>,
    /// The URL of the call without its query.
    uri: String,
    entities: E,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<D>,
    /// When the call was answered, in Unix milliseconds.
    timestamp: u128,
    /// How long it took, in milliseconds.
    duration: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_name: Option<&'a str>,
    /// How many elements the answer has.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    #[serde(flatten)]
    feed: Option<FeedEnds>,
}

/// Why a call was refused, or failed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Failure")]
pub(super) struct ErrorBody<'a> {
    /// The kind of failure.
    error: &'a str,
    /// The same, more closely.
    exception: &'a str,
    /// When the call was answered, in Unix milliseconds.
    timestamp: u128,
    /// How long it took, in milliseconds.
    duration: u128,
    /// What is wrong, for people.
    error_description: String,
}

fn failure(error: &Error, duration: Duration) -> HttpResponse {
    let mut response = HttpResponse::build(error.status_code());
    if let Error::TooManyCalls { retry_after_seconds } = error {
        response.insert_header((RETRY_AFTER, *retry_after_seconds));
    }
    response.json(error_body(error, duration))
}

fn error_body(error: &Error, duration: Duration) -> ErrorBody<'static> {
    let row = error.row();
    ErrorBody {
        error: row.error,
        exception: row.exception,
        timestamp: now_ms(),
        duration: duration.as_millis(),
        error_description: error.to_string(),
    }
}

/// What the client reads of an error, at a moment like any other.
pub(super) fn example_of_failure(error: &Error) -> Value {
    let body = ErrorBody { timestamp: 1_790_000_000_000, ..error_body(error, Duration::from_millis(1)) };
    serde_json::to_value(body).unwrap_or_default()
}

/// The success of a change, as it goes over the wire.
pub(super) fn write_envelope<D: Serialize>(head: &Head, data: D) -> Result<Vec<u8>, Error> {
    let envelope = Envelope {
        action: head.action.clone(),
        application: Some(head.application),
        params: (!head.params.is_empty()).then(|| head.params.clone()),
        path: None,
        uri: head.uri.clone(),
        entities: [(); 0],
        data: Some(data),
        timestamp: now_ms(),
        duration: head.elapsed().as_millis(),
        organization: Some(&head.organization),
        application_name: Some(&head.application_name),
        count: None,
        cursor: None,
        feed: None,
    };
    serde_json::to_vec(&envelope).map_err(|error| Error::Internal(error.into()))
}

/// The refusal of a change, as it goes over the wire.
pub(super) fn write_failure(error: &Error, duration: Duration) -> Answer {
    let body = serde_json::to_vec(&error_body(error, duration)).unwrap_or_default();
    Answer { status: error.row().status, body }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Without the duration, which is not known here; [`write_errors`] adds it wherever there is a response to rewrite.
    fn error_response(&self) -> HttpResponse {
        failure(self, Duration::ZERO)
    }
}

/// The longest path: some hundred long names, percent-encoded.
const MAX_PATH_BYTES: usize = 32 * 1024;

/// Writes every failure in the contract's form, and logs what failed inside, each once. A call that takes longer than
/// `server.request_timeout_ms` fails here: its work is dropped, and what it had begun is rolled back.
pub async fn write_errors<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let started = Instant::now();
    // Before the path is matched, which takes its time with a long one.
    if request.path().len() > MAX_PATH_BYTES {
        return Err(Error::IllegalArgument("this is an invalid request.".into()).into());
    }
    let limit_ms = request.app_data::<Data<State>>().map_or(u64::MAX, |state| state.settings.server.request_timeout_ms);
    let Ok(response) = tokio::time::timeout(Duration::from_millis(limit_ms), next.call(request)).await else {
        tracing::error!(status = 503, limit_ms, "the call took too long");
        return Err(Error::Unavailable("the call took too long".into()).into());
    };
    let mut response = write_error(response?, started);
    let allowances = response.request().extensions_mut().remove::<Vec<Allowance>>();
    if let Some(allowances) = allowances {
        limits::write_headers(response.headers_mut(), &allowances);
    }
    Ok(response)
}

/// Writes the answer if it is a failure that was not written yet.
pub(super) fn write_error<B: MessageBody>(response: ServiceResponse<B>, started: Instant) -> ServiceResponse<EitherBody<B>> {
    let Some(error) = response.response().error() else {
        return response.map_into_left_body();
    };
    let foreign;
    let error = match error.as_error::<Error>() {
        Some(error) => error,
        // The framework's own refusals carry no more than a status.
        None if response.status().is_client_error() => {
            foreign = Error::IllegalArgument("this is an invalid request.".into());
            &foreign
        }
        None => {
            foreign = Error::Internal(error.to_string().into());
            &foreign
        }
    };
    if error.row().status >= 500 {
        tracing::error!(status = error.row().status, error = %Causes(error), "the call failed");
    }
    let mut written = failure(error, started.elapsed());
    let token = if let Error::Unauthenticated { why } = error { Some(*why) } else { None };
    written.extensions_mut().insert(Refused { error: error.row().error, token });
    response.into_response(written).map_into_right_body()
}

/// This moment, in Unix milliseconds.
pub(super) fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}
