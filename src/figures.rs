//! The figures that operators watch, in Prometheus' words: each has its name and its meaning here, and is counted where it
//! happens.
//!
//! Those of the database (lags, backlogs) are the same on every instance: take the greatest. Those of the process add up.

use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

/// What kind of figure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Only ever rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// How observations are spread.
    Histogram,
}

/// Name, kind, unit and meaning of every figure of ours.
#[rustfmt::skip]
const ALL: &[(&str, Kind, Unit, &str)] = &[
    ("roomward_build_info", Kind::Gauge, Unit::Count, "1, with the version as a label."),

    ("roomward_request_seconds", Kind::Histogram, Unit::Seconds, "How long requests took, by method, route and status."),
    ("roomward_requests_in_flight", Kind::Gauge, Unit::Count, "Requests that are being answered, open streams not among them."),
    ("roomward_unauthenticated_total", Kind::Counter, Unit::Count, "Calls without a good token, by what was wrong with it."),
    ("roomward_sign_ins_wrong_total", Kind::Counter, Unit::Count, "Wrong secrets of apps and wrong passwords of users."),
    ("roomward_sign_ins_slowed_total", Kind::Counter, Unit::Count, "Requests for tokens that were refused unseen, after too many wrong ones."),
    ("roomward_streams", Kind::Gauge, Unit::Count, "Open streams of events."),

    ("roomward_changes_waiting", Kind::Gauge, Unit::Count, "Changes of rooms that wait for their batch; at most writes.queue."),
    ("roomward_database_connections_in_use", Kind::Gauge, Unit::Count, "Connections to PostgreSQL that are at work; at most database.max_connections."),
    ("roomward_standby_lag_seconds", Kind::Gauge, Unit::Seconds, "How old the answers of the standby at database.read_url are at most; NaN if that is not known."),
    ("roomward_standby_reads_total", Kind::Counter, Unit::Count, "Reads that went to the standby, by what came of them: answered, or failed (the primary answered then)."),
    ("roomward_database_waiting", Kind::Gauge, Unit::Count, "Who waits for a connection to PostgreSQL."),

    ("roomward_expired_mutes_total", Kind::Counter, Unit::Count, "Mutes that ended by themselves, told by this instance."),
    ("roomward_expired_blocks_total", Kind::Counter, Unit::Count, "Blocks that ended by themselves, told by this instance."),
    ("roomward_expired_room_mutes_total", Kind::Counter, Unit::Count, "Mutes of whole rooms that ended by themselves, told by this instance."),
    ("roomward_expired_global_mutes_total", Kind::Counter, Unit::Count, "Global mutes that ended by themselves, told by this instance."),
    ("roomward_expiry_lag_seconds", Kind::Gauge, Unit::Seconds, "How long the oldest end has waited to be told; NaN if that cannot be seen."),

    ("roomward_callbacks_total", Kind::Counter, Unit::Count, "Attempts of callbacks, by what came of them: done, failed (tried again), dead (given up), lost (another instance goes on)."),
    ("roomward_callback_seconds", Kind::Histogram, Unit::Seconds, "How long targets of callbacks took to answer."),
    ("roomward_callback_lag_seconds", Kind::Gauge, Unit::Seconds, "How long the oldest callback that is due has waited; NaN if that cannot be seen."),
    ("roomward_deliveries", Kind::Gauge, Unit::Count, "Callbacks in the database, by state: pending or dead. Counted up to 100,000; NaN if that cannot be seen."),
    ("roomward_purge_backlog", Kind::Gauge, Unit::Count, "Deleted rooms and users whose rows are still there, by kind. Counted up to 100,000; NaN if that cannot be seen."),

    ("roomward_task_last_success_timestamp_seconds", Kind::Gauge, Unit::Seconds, "When each background task last came to its end without a failure, in Unix time."),
];

/// Says what each figure means.
pub fn describe() {
    for (name, kind, unit, help) in ALL {
        match kind {
            Kind::Counter => describe_counter!(*name, *unit, *help),
            Kind::Gauge => describe_gauge!(*name, *unit, *help),
            Kind::Histogram => describe_histogram!(*name, *unit, *help),
        }
    }
    gauge!("roomward_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    // What has not happened yet is 0, not missing: an alert can tell the two apart.
    for (name, kind, ..) in ALL {
        if *kind == Kind::Counter && !matches!(*name, "roomward_unauthenticated_total" | "roomward_callbacks_total") {
            counter!(*name).absolute(0);
        }
    }
}

/// A gauge that is one higher as long as this lives.
#[must_use]
pub struct Raised(metrics::Gauge);

impl Raised {
    /// Raises the gauge of that name.
    pub fn new(name: &'static str) -> Self {
        let gauge = gauge!(name);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Notes that a background task came to its end without a failure.
pub fn task_succeeded(task: &'static str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge!("roomward_task_last_success_timestamp_seconds", "task" => task).set(now.as_secs_f64());
}
