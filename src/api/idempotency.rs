//! `Idempotency-Key`: a call that carries one is made once, however often it is sent; its answer is kept, and repeated
//! byte for byte.
//!
//! The request that makes the call runs in a task of its own, to its end: a client that hangs up, or a request that takes
//! too long, finds the answer when it comes again.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody as _};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{ContentType, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use sha2::{Digest as _, Sha256};
use tracing::Instrument as _;

use super::State;
use super::call::{AppRequest, Caller};
use super::reply;
use crate::error::{Causes, Error};
use crate::idempotency::{self, Answer, Claim, Claimed, KeyedCall, worth_keeping};
use crate::names::Scope;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest key.
const MAX_KEY_BYTES: usize = 255;

/// Makes a change with a key once. Other requests pass.
pub async fn once(mut request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse, actix_web::Error> {
    let is_change = matches!(*request.method(), Method::POST | Method::PUT | Method::DELETE);
    if !is_change || !request.headers().contains_key(KEY) {
        return next.call(request).await;
    }
    let started = Instant::now();
    let (state, call) = match read(&mut request).await {
        Ok(read) => read,
        Err(error) => return Ok(request.error_response(error)),
    };
    let http = request.request().clone();
    let work = make_once(state, call, request, next, started).in_current_span();
    Ok(actix_web::rt::spawn(work).await.unwrap_or_else(|panic| {
        // The claim stays until it is too old: what the call has done is unknown.
        ServiceResponse::from_err(Error::Internal(panic.into()), http)
    }))
}

/// What a key is about: the same key with another print is a mistake of the caller's. Only a good token gets so far.
async fn read(request: &mut ServiceRequest) -> Result<(Data<State>, KeyedCall), Error> {
    let app_request = AppRequest::open(request.request().clone()).await?;
    let (_, caller) = app_request.authenticate().await?;
    let user = match &caller {
        Caller::App => "",
        Caller::User(user) => user.name.given().first().map_or("", String::as_str),
    };
    let key = key(request.headers())?;
    let app_request = app_request.read_body(&mut request.take_payload()).await?;
    request.set_payload(Payload::from(app_request.bytes().clone()));
    let uri = request.uri();
    let parts: [&[u8]; 5] = [
        // One user's answer is not told to another.
        user.as_bytes(),
        request.method().as_str().as_bytes(),
        uri.path().as_bytes(),
        uri.query().unwrap_or_default().as_bytes(),
        app_request.bytes(),
    ];
    let scope = app_request.room().map_or(Scope::App(app_request.app.id), Scope::Room);
    let call = KeyedCall { scope, key, print: print(parts) };
    Ok((app_request.state, call))
}

/// One key of 1 to 255 visible ASCII characters.
fn key(headers: &HeaderMap) -> Result<String, Error> {
    let mut keys = headers.get_all(KEY).map(HeaderValue::as_bytes);
    match (keys.next(), keys.next()) {
        (Some(key), None) if (1..=MAX_KEY_BYTES).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic) => {
            Ok(String::from_utf8_lossy(key).into_owned())
        }
        _ => Err(Error::invalid("Idempotency-Key")),
    }
}

/// Each part goes in behind its length, so that no two calls look the same.
fn print<const N: usize>(parts: [&[u8]; N]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

async fn make_once(
    state: Data<State>,
    call: KeyedCall,
    request: ServiceRequest,
    next: Next<BoxBody>,
    started: Instant,
) -> ServiceResponse {
    let http = request.request().clone();
    let claim = match idempotency::claim(&state.db, call, &state.settings.idempotency).await {
        Ok(Claimed::New(claim)) => claim,
        Ok(Claimed::Repeated(answer)) => return repeat(http, answer),
        Err(error) => return ServiceResponse::from_err(error, http),
    };
    let until = claim.until();
    // A call that makes its change in a transaction takes the claim along, and keeps the answer there.
    http.extensions_mut().insert(claim.clone());
    // Dropped before another request may take the call over.
    let response = match tokio::time::timeout_at(until, next.call(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => ServiceResponse::from_err(error, http),
        Err(_) => ServiceResponse::from_err(Error::Unavailable("the call outlived its claim".into()), http),
    };
    let response = reply::write_error(response, started).map_into_boxed_body();
    let is_settled = response.request().extensions_mut().remove::<Claim>().is_none() && worth_keeping(response.status().as_u16());
    if is_settled { response } else { settle(&state, claim, response).await }
}

/// Keeps the answer as the client gets it. The call is made by now, so that its client is answered in any case.
async fn settle(state: &State, claim: Claim, response: ServiceResponse) -> ServiceResponse {
    let (http, response) = response.into_parts();
    let (head, body) = response.into_parts();
    let (settled, body) = match body.try_into_bytes() {
        Ok(bytes) if worth_keeping(head.status().as_u16()) => {
            let answer = Answer { status: head.status().as_u16(), body: bytes.to_vec() };
            (claim.keep(&state.db, &answer).await, BoxBody::new(bytes))
        }
        Ok(bytes) => (claim.give_up(&state.db).await, BoxBody::new(bytes)),
        // A stream has no end to wait for.
        Err(stream) => (claim.give_up(&state.db).await, stream),
    };
    if let Err(error) = settled {
        let error = Causes(&error);
        tracing::error!(%error, "an answer could not be kept: its call may be made anew when the claim is too old");
    }
    ServiceResponse::new(http, head.set_body(body))
}

fn repeat(http: HttpRequest, answer: Answer) -> ServiceResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let response = HttpResponse::build(status)
        .insert_header(ContentType::json())
        .insert_header((REPLAYED, HeaderValue::from_static("true")))
        .body(answer.body);
    ServiceResponse::new(http, response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_tells_where_one_part_ends_and_the_next_begins() {
        let of = |path: &str, query: &str| print([b"POST", path.as_bytes(), query.as_bytes(), b""]);
        assert_eq!(of("/a", "b"), of("/a", "b"));
        assert_ne!(of("/a", "b"), of("/ab", ""));
    }
}
