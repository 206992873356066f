//! The service in this process, on a database of its own. Calls come in without a socket: a panic is the target's, and coverage
//! leads on through handlers, rules and statements.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::to_bytes;
use actix_web::dev::Service as _;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::http::{Method, Uri};
use actix_web::middleware::from_fn;
use actix_web::rt::Runtime;
use actix_web::web::{Bytes, Data, PayloadConfig};
use actix_web::{App, test};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use roomward::api::{self, State};
use roomward::db::Db;
use roomward::events::subscriptions::Following;
use roomward::migrations;
use roomward::rooms::writer::Writer;
use roomward::tasks::{expiry, purge};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::app::{SECRET, TestApp, new_app, new_database, server_url, settings, token};
use crate::openapi::forms;

/// What the app is called, and who and what is in it.
pub const BASE: &str = "/fuzz/fuzz";
pub const USERS: [&str; 6] = ["ann", "bob", "cid", "dan", "eve", "fay"];
const ROOMS: [&str; 2] = ["lobby", "hall"];

/// After so many calls the invariants are looked at, and the users and rooms made anew, since calls delete them.
const ROUND: u32 = 200;

/// A service with an app.
pub struct Service {
    runtime: Runtime,
    call: Box<dyn Fn(test::TestRequest) -> LocalBoxFuture<'static, Answer>>,
    pub app: TestApp,
    /// A callback rule.
    pub rule: RefCell<String>,
    calls: Cell<u32>,
}

/// What a call came to.
pub struct Answer {
    pub status: u16,
    media: String,
    pub text: String,
}

thread_local! {
    /// Never dropped: actix has thread locals of its own, which may be gone before.
    static SERVICE: &'static Service = Box::leak(Box::new(Service::start()));
}

/// Does something with the service of this thread.
pub fn with<T>(work: impl FnOnce(&Service) -> T) -> T {
    SERVICE.with(|service| work(service))
}

impl Service {
    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let (call, app) = runtime.block_on(async {
            let url = new_database().await;
            migrations::run(&url).await.expect("migrated");
            let mut settings = settings(&url);
            settings.limits.wrong_secrets_per_minute = 0;
            let db = PgPool::connect(&url).await.expect("the database");
            let app = new_app(&db, "fuzz", "fuzz").await;
            let (client, address) = (reqwest::Client::new(), "127.0.0.1:9".parse().expect("an address"));
            let app = TestApp { token: token(&app), app, db: db.clone(), client, address };
            let max_body_bytes = settings.server.max_body_bytes;
            let writer = Writer::new(Db::new(db), &settings.writes);
            let (following, stop) = (Arc::new(Following::new(&settings.events)), CancellationToken::new());
            // What was deleted goes, and what has ended, while calls are waited for.
            tokio::spawn(purge::run(writer.clone(), settings.purge.clone(), stop.clone()));
            tokio::spawn(expiry::run(writer.clone(), settings.expiry.clone(), stop.clone()));
            let state = State::new(writer, following, stop, settings).expect("a state");
            let service = App::new()
                .app_data(Data::new(state))
                .app_data(PayloadConfig::new(max_body_bytes))
                .wrap(from_fn(api::reply::write_errors))
                .wrap(from_fn(api::observe::observe))
                .configure(api::metrics_routes)
                .configure(api::routes);
            let service = test::init_service(service).await;
            let call = move |request: test::TestRequest| {
                let answer = service.call(request.to_request());
                async move {
                    let response = match answer.await {
                        Ok(response) => response.into_parts().1.map_into_boxed_body(),
                        Err(error) => error.error_response(),
                    };
                    let (status, media) = (response.status().as_u16(), response.headers().get(CONTENT_TYPE));
                    let media = media.and_then(|media| media.to_str().ok()).unwrap_or_default().to_owned();
                    // A stream has no end.
                    let body = match media.as_str() {
                        "text/event-stream" => Bytes::new(),
                        _ => to_bytes(response.into_body()).await.expect("a body"),
                    };
                    Answer { status, media, text: String::from_utf8(body.into()).expect("UTF-8") }
                }
                .boxed_local()
            };
            (Box::new(call), app)
        });
        Self { runtime, call, app, rule: RefCell::default(), calls: Cell::new(0) }
    }

    /// Does something that waits.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Makes a call, and fails if it is answered in a way in which none may be. `None`: it is none that HTTP can carry.
    pub fn call(&self, method: &str, target: &str, headers: &[(HeaderName, HeaderValue)], body: &str) -> Option<Answer> {
        let (method, uri) = (Method::from_bytes(method.as_bytes()).ok()?, Uri::try_from(target).ok()?);
        if self.calls.replace(self.calls.get() + 1).is_multiple_of(ROUND) {
            self.furnish();
        }
        let answer = self.send(&method, target, headers, body);
        assert!(answer.status < 500, "{method} {target}: {} {}", answer.status, answer.text);
        // A method is its letters as they are.
        if method.as_str().bytes().all(|byte| byte.is_ascii_uppercase()) {
            let path = decoded(uri.path());
            assert_eq!(forms::complaint(method.as_str(), &path, answer.status, &answer.media, &answer.text), None);
        }
        if answer.status >= 400 {
            let failure: Value = serde_json::from_str(&answer.text).expect("JSON");
            assert!(failure["error_description"].as_str().is_some_and(|cause| !cause.is_empty()), "{failure} has no cause");
        }
        for secret in [SECRET, &server_url(), "$argon2id$"] {
            assert!(!answer.text.contains(secret) || body.contains(secret) || target.contains(secret), "{}", answer.text);
        }
        Some(answer)
    }

    fn send(&self, method: &Method, target: &str, headers: &[(HeaderName, HeaderValue)], body: &str) -> Answer {
        let mut request = test::TestRequest::with_uri(target).method(method.clone()).set_payload(body.to_owned());
        request = request.peer_addr("127.0.0.1:9".parse().expect("an address"));
        for header in headers {
            request = request.append_header(header.clone());
        }
        self.runtime.block_on((self.call)(request))
    }

    /// The header that opens the app to a token.
    pub fn bearer(token: &str) -> (HeaderName, HeaderValue) {
        (AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).expect("a header"))
    }

    fn furnish(&self) {
        self.wait(self.app.assert_invariants());
        let post = |path: &str, body: Value| {
            let send = || self.send(&Method::POST, &format!("{BASE}{path}"), &[Self::bearer(&self.app.token)], &body.to_string());
            // What was deleted a moment ago is on its way out.
            let answer = std::iter::repeat_with(|| {
                let answer = send();
                if answer.status == 409 {
                    self.wait(tokio::time::sleep(Duration::from_millis(20)));
                }
                answer
            });
            let answer = answer.take(500).find(|answer| answer.status != 409).expect("made in the end");
            // What is there already stays.
            assert!(answer.status < 500, "{}", answer.text);
            serde_json::from_str::<Value>(&answer.text).expect("JSON")
        };
        post("/users", USERS.iter().map(|user| json!({"username": user, "password": "password"})).collect());
        post("/chatrooms/super_admin", json!({"superadmin": "fay"}));
        post("/moderators", json!({"username": "eve", "role": "moderator"}));
        for room in ROOMS {
            post(
                "/chatrooms",
                json!({"roomid": room, "name": room, "description": "", "owner": "ann", "members": ["bob", "cid"]}),
            );
            post(&format!("/chatrooms/{room}/admin"), json!({"newadmin": "bob"}));
        }
        let rule = post("/callbacks/rules", json!({"url": "http://127.0.0.1:9/", "secret": "a secret of sixteen or more"}));
        if let Some(id) = rule["data"]["id"].as_str() {
            self.rule.replace(id.to_owned());
        }
    }

    /// A token of that user's; `None` if there is no such user any more.
    pub fn token_of(&self, user: &str) -> Option<String> {
        let body = json!({"grant_type": "inherit", "username": user}).to_string();
        let answer = self.send(&Method::POST, &format!("{BASE}/token"), &[Self::bearer(&self.app.token)], &body);
        let answer: Value = serde_json::from_str(&answer.text).expect("JSON");
        answer["access_token"].as_str().map(str::to_owned)
    }
}

/// A path as it is routed: each part decoded.
pub fn decoded(path: &str) -> String {
    let part = |part: &str| {
        let part = percent_encoding::percent_decode_str(part).decode_utf8_lossy();
        part.replace('/', "%2F")
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}
