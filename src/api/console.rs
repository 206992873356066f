//! The moderators' console: `/console`, and its files under their own names in `assets/console`.
//!
//! It is a client of the public API as any other, with the token of who signs in; here it is only sent. As with the pages of
//! [`docs`](super::docs), no call of an app hides behind it.

use std::borrow::Cow;
use std::future::{Ready, ready};

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, EntityTag, Header as _, IfNoneMatch, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Compress;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rust_embed::{Embed, EmbeddedFile};

use super::openapi::operation::{self, Operation};
use super::resource;
use crate::error::Error;

/// What the console is made of.
#[derive(Embed)]
#[folder = "assets/console"]
struct Files;

/// Nothing but what this service itself sends, and no script or style within a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub fn routes(config: &mut ServiceConfig) {
    let page = web::get().to(sends("index.html".into()));
    config.service(resource("/console").wrap(Compress::default()).route(page));
    for name in Files::iter() {
        let path = format!("/console/{name}");
        config.service(resource(&path).wrap(Compress::default()).route(web::get().to(sends(name))));
    }
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::by("get", "/console", "showConsole", "Show the moderators' console, in a browser")
            .says("Where `console.enabled`.")
            .open()
            .gives_text("text/html"),
    ]
}

fn sends(name: Cow<'static, str>) -> impl Fn(HttpRequest) -> Ready<Result<HttpResponse, Error>> + Clone {
    move |request| ready(send(&request, &name))
}

/// A file, or that the reader has it already. It is asked for each time, so that all files are of one version.
fn send(request: &HttpRequest, name: &str) -> Result<HttpResponse, Error> {
    let EmbeddedFile { data, metadata } = Files::get(name).ok_or(Error::NoSuchCall { status: 404 })?;
    // Weak: the same file is sent compressed or not.
    let tag = EntityTag::new_weak(URL_SAFE_NO_PAD.encode(metadata.sha256_hash()));
    let status = if has(request, &tag) { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut answer = HttpResponse::build(status);
    answer
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"));
    Ok(match status {
        StatusCode::NOT_MODIFIED => answer.finish(),
        _ => answer.content_type(media_type(name)).body(data.into_owned()),
    })
}

fn has(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(tag)),
        Err(_) => false,
    }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}
