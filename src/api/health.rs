//! What the operator's machines ask: `/healthz`, `/readyz`, `/metrics`.

use std::sync::PoisonError;

use actix_web::HttpResponse;
use actix_web::web::{self, Data, Json, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;

use super::openapi::operation::{self, Operation};
use super::{State, resource};
use crate::error::{Causes, Error};
use crate::{migrations, telemetry};

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(resource("/healthz").route(web::get().to(alive)).route(web::head().to(alive)))
        .service(resource("/readyz").route(web::get().to(ready)).route(web::head().to(ready)));
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::by("get", "/healthz", "isAlive", "Say that the process is there").open().gives::<Health>(),
        operation::by("head", "/healthz", "isAliveByHead", "The same without a body").open().gives_nothing(),
        operation::by("get", "/readyz", "isReady", "Say whether the service takes calls")
            .says("It is not about to stop, the database can be reached, and its schema is that of this version.")
            .open()
            .gives::<Health>()
            .gives_as::<Health>(503),
        operation::by("head", "/readyz", "isReadyByHead", "The same without a body").open().gives_nothing().gives_nothing_as(503),
        operation::by("get", "/metrics", "getMetrics", "Show figures, in Prometheus' text format")
            .says("On a port of its own where `metrics.port` says so.")
            .open()
            .gives_text("text/plain"),
    ]
}

/// The path of the figures, wherever they are served.
pub fn metrics_routes(config: &mut ServiceConfig) {
    config.service(resource("/metrics").route(web::get().to(metrics)));
}

/// `reason` says why the service is not ready.
#[derive(Serialize, JsonSchema)]
struct Health {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    status: &'static str,
}

/// The process is there and answers.
async fn alive() -> Json<Health> {
    Json(Health { status: "alive", reason: None })
}

/// The service is not about to stop, the database can be reached, and none of this version's migrations is missing there.
async fn ready(state: Data<State>) -> HttpResponse {
    let reason = why_not_ready(&state).await;
    let answer = match &reason {
        None => HttpResponse::Ok().json(Health { status: "ready", reason: None }),
        Some(_) => HttpResponse::ServiceUnavailable().json(Health { status: "not ready", reason: reason.clone() }),
    };
    let mut last = state.unready.lock().unwrap_or_else(PoisonError::into_inner);
    if *last != reason {
        // Once, however often that is asked.
        match &reason {
            None => tracing::info!("ready again"),
            Some(reason) => tracing::warn!(reason, "not ready"),
        }
        *last = reason;
    }
    answer
}

async fn why_not_ready(state: &State) -> Option<String> {
    if state.draining.is_cancelled() {
        return Some("stopping".into());
    }
    let missing = async {
        let mut transaction = state.db.begin().await?;
        let missing = migrations::missing(&mut transaction).await?;
        transaction.undo().await;
        Ok::<_, Error>(missing)
    };
    match missing.await {
        Ok(0) => None,
        Ok(missing) => Some(format!("{missing} migrations are missing: run `roomward migrate`")),
        Err(error) => {
            tracing::debug!(error = %Causes(&error), "the database cannot be asked");
            Some("the database cannot be reached".into())
        }
    }
}

/// Figures in the Prometheus text format.
async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(telemetry::render())
}
