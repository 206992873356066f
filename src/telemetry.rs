//! Where log lines, figures and traces go.

#[cfg(feature = "otel")]
pub mod otel;

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::config::{Log, LogFormat};
use crate::figures;

/// The bounds of the histograms, in seconds. The last ones are where calls and callbacks are given up.
const BUCKETS: [f64; 16] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0];

/// What the log never tells, whatever its filter: sqlx shows the line of `~/.pgpass` that it cannot read, password and all.
const SILENCED: [&str; 1] = ["sqlx_postgres::options::pgpass=off"];

/// Log lines go to standard error from here on. Fails on a filter that cannot be read.
pub fn log(settings: &Log) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut filter = EnvFilter::try_new(&settings.filter).map_err(|error| format!("settings: log.filter: {error}"))?;
    for silenced in SILENCED {
        filter = filter.add_directive(silenced.parse()?);
    }
    let lines = fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let lines = match settings.format {
        LogFormat::Text => lines.boxed(),
        // Each line has one request at most: its fields once.
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines);
    #[cfg(feature = "otel")]
    let registry = registry.with(otel::layer()?);
    Ok(registry.with(filter).try_init()?)
}

/// The figures of this process; made at the first call.
pub fn figures() -> &'static PrometheusHandle {
    static FIGURES: OnceLock<PrometheusHandle> = OnceLock::new();
    FIGURES.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&BUCKETS)
            .map_or_else(|_| PrometheusBuilder::new().build_recorder(), PrometheusBuilder::build_recorder);
        let handle = recorder.handle();
        // Only this function installs a recorder, and it runs once. Descriptions go to the one that is installed.
        let _ = metrics::set_global_recorder(recorder);
        figures::describe();
        Collector::default().describe();
        handle
    })
}

/// The figures of this process as they are now, in Prometheus' text format.
pub fn render() -> String {
    let figures = figures();
    Collector::default().collect();
    figures.render()
}
