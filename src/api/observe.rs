//! What the operator sees of a request: its id, one line in the log, and its time in the figures.
//!
//! The id is in a header of the answer and on every log line that belongs to the request. Names in a line come from the
//! caller, so they are shortened and quoted.

use std::time::{Duration, Instant};

use actix_web::Error;
use actix_web::HttpMessage as _;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{State, limits};
use crate::figures::Raised;
#[cfg(feature = "otel")]
use crate::telemetry::otel;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A caller's own request id is kept if it is no longer than this.
const REQUEST_ID_BYTES: usize = 128;

/// Names of the caller's are shown in the log up to this length, in bytes.
const SHOWN_BYTES: usize = 64;

/// Who asks here asks all the time, and nobody wants to read it.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// On whose behalf a call is made, if not the app's own: noted in the extensions of the request.
pub struct ActsFor(pub Box<str>);

/// Why a call was refused, in the words of the catalogue, and why its token is not good: noted in those of the answer.
#[derive(Clone, Copy)]
pub struct Refused {
    /// The catalogue's word.
    pub error: &'static str,
    /// What is wrong with the token, if that is the reason.
    pub token: Option<&'static str>,
}

/// Gives the request its id, and says afterwards what came of it.
pub async fn observe(request: ServiceRequest, next: Next<impl MessageBody>) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let (started, in_flight) = (Instant::now(), Raised::new("roomward_requests_in_flight"));
    let id = request_id(request.headers());
    let (method, trace) = (method(&request), trace_id(request.headers()));
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default(), trace);
    #[cfg(feature = "otel")]
    otel::begin(&span, request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok()));
    async move {
        let mut answer = next.call(request).await;
        drop(in_flight);
        match &mut answer {
            Ok(response) => {
                report(method, response, started.elapsed());
                response.headers_mut().insert(REQUEST_ID, id);
            }
            Err(error) => {
                let status = error.as_response_error().status_code().as_u16();
                tracing::info!(method, status, duration_ms = ms(started.elapsed()), "answered");
            }
        }
        answer
    }
    .instrument(span)
    .await
}

/// One line in the log, and one observation in the figures.
fn report<B>(method: &'static str, response: &ServiceResponse<B>, elapsed: Duration) {
    let request = response.request();
    let status = response.status().as_u16();
    // The pattern, not the path: paths carry user names, and have no end.
    let route = request.match_pattern().unwrap_or_else(|| "unknown".into());
    metrics::histogram!("roomward_request_seconds", "method" => method, "route" => route.clone(), "status" => status.to_string())
        .record(elapsed.as_secs_f64());
    #[cfg(feature = "otel")]
    otel::end(&tracing::Span::current(), method, &route, status);
    let duration_ms = ms(elapsed);
    if PROBES.contains(&&*route) {
        tracing::debug!(method, route, status, duration_ms, "answered");
        return;
    }
    let refused = response.response().extensions().get::<Refused>().copied();
    let (error, token) = refused.map_or((None, None), |refused| (Some(refused.error), refused.token));
    if let Some(reason) = token {
        metrics::counter!("roomward_unauthenticated_total", "reason" => reason).increment(1);
    }
    let segment = |name| request.match_info().get(name).map(shown);
    let app = segment("org_name").zip(segment("app_name")).map(|(org, app)| format!("{org}/{app}"));
    let actor = request.extensions().get::<ActsFor>().map(|ActsFor(actor)| shown(actor).to_owned());
    let trusts = request.app_data::<Data<State>>().is_some_and(|state| state.settings.server.trust_forwarded_for);
    let client = tracing::field::display(limits::address(request, trusts));
    tracing::info!(
        method,
        route,
        app,
        room = segment("chatroom_id"),
        actor,
        client,
        status,
        error,
        token,
        duration_ms,
        "answered"
    );
}

fn ms(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

fn shown(name: &str) -> &str {
    &name[..name.floor_char_boundary(SHOWN_BYTES)]
}

/// The method as a label: a client may send any word, and each word would be a time series of its own.
fn method(request: &ServiceRequest) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
    KNOWN.into_iter().find(|known| *known == request.method().as_str()).unwrap_or("other")
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let readable = |id: &&HeaderValue| id.len() <= REQUEST_ID_BYTES && id.to_str().is_ok_and(|id| !id.is_empty());
    headers.get(REQUEST_ID).filter(readable).cloned().unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        HeaderValue::from_str(Uuid::now_v7().hyphenated().encode_lower(&mut text)).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// The trace that the caller's `traceparent` names (<https://www.w3.org/TR/trace-context/>).
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = headers.get(TRACEPARENT)?.to_str().ok()?.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let is_one =
        version.len() == 2 && trace.len() == 32 && parent.len() == 16 && [version, trace, parent].into_iter().all(is_hex);
    (is_one && version != "ff" && trace.bytes().any(|byte| byte != b'0')).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_what_the_standard_calls_one() {
        let trace = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, HeaderValue::from_str(text).expect("a header"));
            trace_id(&headers).map(str::to_owned)
        };
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace(&format!("00-{id}-b7ad6b7169203331-01")).as_deref(), Some(id));
        assert_eq!(trace(&format!("01-{id}-b7ad6b7169203331-01-more")).as_deref(), Some(id), "later versions may say more");
        for wrong in ["", "00", "00-0-0-0", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"] {
            assert_eq!(trace(wrong), None, "{wrong}");
        }
        assert_eq!(trace("00-00000000000000000000000000000000-b7ad6b7169203331-01"), None);
        assert_eq!(trace(&format!("00-{}-b7ad6b7169203331-01", id.to_uppercase())), None);
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(shown("ann"), "ann");
        assert_eq!(shown(&"é".repeat(100)).chars().count(), 32);
        assert_eq!(shown(&format!("a{}", "é".repeat(100))).len(), 63);
    }
}
