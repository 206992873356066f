//! `POST /token`: a client's credentials against an app token.

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use serde::Serialize;
use uuid::Uuid;

use super::at;
use super::body::Body;
use super::call::Visit;
use crate::auth::{self, Kind, Life};
use crate::chatroom::apps;
use crate::error::Error;

pub fn routes(config: &mut ServiceConfig) {
    config.service(at("/token").route(web::post().to(issue)));
}

/// Not wrapped in an envelope, unlike every other answer.
#[derive(Serialize)]
struct AppToken {
    access_token: String,
    expires_in: u32,
    application: Uuid,
}

async fn issue(visit: Visit) -> Result<HttpResponse, Error> {
    let body = visit.body()?;
    let text = |field: &str, refusal: &str| match body.text(field) {
        Ok(Some(text)) if !text.is_empty() => Ok(text),
        _ => Err(Error::IllegalArgument(refusal.into())),
    };
    match text("grant_type", "grant_type must be provided")? {
        "client_credentials" => {}
        _ => return Err(Error::InvalidGrant("grant_type is not supported")),
    }
    let client_id = text("client_id", "client_id must be provided.")?;
    let client_secret = text("client_secret", "client_secret must be provided")?;
    let life = life(&body, visit.state.settings.auth.token_ttl_seconds)?;

    let app = &visit.app;
    let credentials = apps::credentials(&visit.state.db, app.id).await?;
    if credentials.client_id != client_id {
        return Err(Error::InvalidGrant("client_id does not match"));
    }
    if !auth::client_secret_matches(app.uuid, client_secret, &credentials.client_secret_hash) {
        return Err(Error::InvalidGrant("client_secret does not match"));
    }
    let token = visit.state.keys.issue(app.uuid, Kind::App, client_id, life)?;
    Ok(HttpResponse::Ok().json(AppToken { access_token: token.text, expires_in: token.expires_in, application: app.uuid }))
}

/// `ttl` in seconds; 0 is for ever.
fn life(body: &Body, default: u32) -> Result<Life, Error> {
    match body.integer("ttl") {
        Ok(None) => Ok(Life::Seconds(default)),
        Ok(Some(0)) => Ok(Life::Forever),
        Ok(Some(seconds @ 1..)) => Ok(Life::Seconds(u32::try_from(seconds).unwrap_or(u32::MAX))),
        Ok(Some(_)) | Err(_) => Err(Error::IllegalArgument("ttl is invalid".into())),
    }
}
