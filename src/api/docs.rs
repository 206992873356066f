//! What people see in a browser: `/`, and at `/docs` every call, to read and to try. Works without any other host.
//!
//! The files of the page are under `/docs/` by their exact names. No call of an app can hide behind them, even of an
//! organisation called `docs`: a path of an app has three segments or more.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, Resource};

use super::openapi::operation::{self, Operation};
use super::{State, resource};

/// Nothing but what this service itself sends, and no script or style within a page. Swagger UI has its icons as `data:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the first page says of the console, where it is served.
const CONSOLE: &str = "<li><a href=\"/console\">/console</a>: for moderators</li>\n";

/// The files that pages are made of: the path, the media type, and what is in it.
const FILES: [(&str, &str, &str); 4] = [
    ("/docs/home.css", "text/css; charset=utf-8", include_str!("../../assets/pages/home.css")),
    ("/docs/docs.js", "text/javascript; charset=utf-8", include_str!("../../assets/pages/docs.js")),
    ("/docs/swagger-ui.css", "text/css; charset=utf-8", include_str!("../../assets/swagger-ui/swagger-ui.css")),
    (
        "/docs/swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
        include_str!("../../assets/swagger-ui/swagger-ui-bundle.js"),
    ),
];

pub fn routes(config: &mut ServiceConfig) {
    config.service(web::resource("/").route(web::get().to(home)).default_service(web::to(super::wrong_method)));
    config.service(resource("/docs").route(web::get().to(docs)));
    for (path, media, text) in FILES {
        config.service(file(path, media, text));
    }
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::by("get", "/", "showHome", "Show where to go on, in a browser").open().gives_text("text/html"),
        operation::by("get", "/docs", "showDocs", "Show every call, in a browser").open().gives_text("text/html"),
    ]
}

async fn home(state: Data<State>) -> HttpResponse {
    let console = if state.settings.console.enabled { CONSOLE } else { "" };
    let page = include_str!("../../assets/pages/home.html").replace("VERSION", env!("CARGO_PKG_VERSION"));
    show(page.replace("CONSOLE\n", console))
}

async fn docs() -> HttpResponse {
    show(include_str!("../../assets/pages/docs.html").into())
}

fn show(html: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(html)
}

fn file(path: &str, media: &'static str, text: &'static str) -> Resource {
    resource(path).route(web::get().to(move || async move {
        HttpResponse::Ok()
            .content_type(media)
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            // As long as a reader stays; another version brings others.
            .insert_header((CACHE_CONTROL, "max-age=3600"))
            .body(text)
    }))
}
