//! What the operator's machines ask: `/healthz`, `/readyz`, `/metrics`.

use actix_web::web::{self, Data, Json, ServiceConfig};
use serde_json::{Value, json};

use super::{State, resource};
use crate::error::Error;
use crate::{migrations, telemetry};

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(resource("/healthz").route(web::get().to(alive)))
        .service(resource("/readyz").route(web::get().to(ready)))
        .service(resource("/metrics").route(web::get().to(metrics)));
}

/// The process is there and answers.
async fn alive() -> Json<Value> {
    Json(json!({"status": "alive"}))
}

/// The database can be reached, and none of this version's migrations is missing there.
async fn ready(state: Data<State>) -> Result<Json<Value>, Error> {
    let mut connection = state.db.pool().acquire().await?;
    match migrations::missing(&mut connection).await? {
        0 => Ok(Json(json!({"status": "ready"}))),
        missing => Err(Error::Unavailable(format!("{missing} migrations are missing: run `roomward migrate`").into())),
    }
}

/// Figures in the Prometheus text format.
async fn metrics() -> String {
    telemetry::figures().render()
}
