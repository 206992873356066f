//! What the operator sees: log lines and figures.
//!
//! Each request has an id, in a header of its answer and on every log line that belongs to it.

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::Instant;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing::Instrument as _;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

use crate::config::{Log, LogFormat};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A caller's own request id is kept if it is no longer than this.
const REQUEST_ID_BYTES: usize = 128;

const REQUEST_SECONDS: &str = "roomward_request_seconds";

/// The bounds of the histograms, in seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Log lines go to standard error from here on. Fails on a filter that cannot be read.
pub fn log(settings: &Log) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&settings.filter)?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
}

/// The figures of this process; made at the first call.
pub fn figures() -> &'static PrometheusHandle {
    static FIGURES: OnceLock<PrometheusHandle> = OnceLock::new();
    FIGURES.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&BUCKETS)
            .map_or_else(|_| PrometheusBuilder::new().build_recorder(), PrometheusBuilder::build_recorder);
        let handle = recorder.handle();
        metrics::describe_histogram!(
            REQUEST_SECONDS,
            metrics::Unit::Seconds,
            "How long requests took, by method, route and status."
        );
        // Only this function installs a recorder, and it runs once.
        let _ = metrics::set_global_recorder(recorder);
        handle
    })
}

/// Gives the request its id, and says afterwards what came of it: one line in the log, one observation in the figures.
pub async fn observe(request: ServiceRequest, next: Next<impl MessageBody>) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let started = Instant::now();
    let id = request_id(&request);
    let method = method(&request);
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    async move {
        let mut answer = next.call(request).await;
        let (status, route) = match &answer {
            // The pattern, not the path: paths carry user names, and have no end.
            Ok(response) => (response.status().as_u16(), response.request().match_pattern()),
            Err(error) => (error.as_response_error().status_code().as_u16(), None),
        };
        let (elapsed, route) = (started.elapsed(), route.unwrap_or_else(|| "unknown".into()));
        metrics::histogram!(REQUEST_SECONDS, "method" => method, "route" => route.clone(), "status" => status.to_string())
            .record(elapsed.as_secs_f64());
        tracing::info!(method, route, status, duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), "answered");
        if let Ok(response) = &mut answer {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        answer
    }
    .instrument(span)
    .await
}

/// The method as a label: a client may send any word, and each word would be a time series of its own.
fn method(request: &ServiceRequest) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
    KNOWN.into_iter().find(|known| *known == request.method().as_str()).unwrap_or("other")
}

fn request_id(request: &ServiceRequest) -> HeaderValue {
    let readable = |id: &&HeaderValue| id.len() <= REQUEST_ID_BYTES && id.to_str().is_ok_and(|id| !id.is_empty());
    request.headers().get(REQUEST_ID).filter(readable).cloned().unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        HeaderValue::from_str(Uuid::now_v7().hyphenated().encode_lower(&mut text)).unwrap_or(HeaderValue::from_static("none"))
    })
}
