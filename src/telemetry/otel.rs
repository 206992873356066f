//! Traces over OTLP/HTTP: a span for each request, under the one that the caller's `traceparent` names.
//!
//! Set up by OpenTelemetry's own variables: nothing is sent unless `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>); `OTEL_SERVICE_NAME` and `OTEL_TRACES_SAMPLER` hold, too.

use std::collections::HashMap;
use std::sync::OnceLock;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{Status, TracerProvider as _};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::registry::LookupSpan;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// What turns spans into traces, if a collector is named.
pub fn layer<S: Subscriber + for<'s> LookupSpan<'s>>()
-> Result<Option<OpenTelemetryLayer<S, SdkTracer>>, Box<dyn std::error::Error + Send + Sync>> {
    if std::env::var_os(ENDPOINT).is_none_or(|endpoint| endpoint.is_empty()) {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build()?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("roomward");
    }
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
    let tracer = provider.tracer("roomward");
    Ok(PROVIDER.set(provider).is_ok().then(|| OpenTelemetryLayer::new(tracer).with_location(false).with_threads(false)))
}

/// Puts the span of a request under the one that the caller's `traceparent` names.
pub fn begin(span: &Span, traceparent: Option<&str>) {
    let headers: HashMap<String, String> = traceparent.map(|text| ("traceparent".into(), text.into())).into_iter().collect();
    // Fails only where nothing is traced.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&headers));
}

/// Says in the span of a request what came of it.
pub fn end(span: &Span, method: &'static str, route: &str, status: u16) {
    span.set_attribute("otel.name", format!("{method} {route}"));
    span.set_attribute("http.request.method", method);
    span.set_attribute("http.route", route.to_owned());
    span.set_attribute("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.set_status(Status::error("the call failed"));
    }
}

/// Sends what has not been sent yet. Waits for the collector.
pub fn flush() {
    if let Some(provider) = PROVIDER.get() {
        let _ = provider.shutdown();
    }
}
