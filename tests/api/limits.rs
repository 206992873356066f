//! How much one may ask for.

use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, CLIENT_ID, CLIENT_SECRET, Instance, TestApp, settings, shared_database};

const TOO_MANY: &str = r#"{"error":"reach_limit","exception":"ReachLimitException","timestamp":T,"duration":T,"error_description":"This request has reached api limit"}"#;

/// How many attempts are under way at once.
const AT_ONCE: usize = 32;

/// An app on a service behind a proxy that says where callers come from.
async fn behind_a_proxy() -> (Instance, TestApp) {
    let mut behind = settings(shared_database());
    behind.server.trust_forwarded_for = true;
    behind.limits.wrong_secrets_per_minute = 10;
    let instance = Instance::start(behind);
    let app = TestApp::on(instance.address, shared_database()).await;
    (instance, app)
}

async fn ask(app: &TestApp, address: &str, body: Value) -> Answer {
    let request = app.client.post(format!("{}/token", app.base()));
    // The first entry is what the caller says, the last what the proxy has seen.
    app.send(request.header("X-Forwarded-For", format!("203.0.113.7, {address}")).body(body.to_string())).await
}

/// A thousand wrong attempts, many at once, of which `allowed` are looked at, and as many as are allowed again meanwhile: so
/// many in a minute. Returns when one is refused.
async fn guess(app: &TestApp, allowed: u64, attempt: impl Fn(usize) -> Value) {
    let started = Instant::now();
    let answers: Vec<Answer> =
        stream::iter(0..1000).map(|n| ask(app, "192.0.2.1", attempt(n))).buffer_unordered(AT_ONCE).collect().await;
    for refused in answers.iter().filter(|answer| answer.status != 400) {
        assert_eq!((refused.status, &*refused.text), (429, TOO_MANY));
    }
    let looks = answers.iter().filter(|answer| answer.status == 400).count() as u64;
    let most = allowed + started.elapsed().as_secs() * allowed / 60 + 1;
    assert!((allowed..=most).contains(&looks), "{looks} of at most {most}");
    while ask(app, "192.0.2.1", attempt(0)).await.status != 429 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_a_secret_costs_few_looks_and_keeps_nobody_else_out() {
    let (_instance, app) = behind_a_proxy().await;
    let credentials = |secret: &str| json!({"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": secret});
    guess(&app, 10, |n| credentials(&format!("guess {n}"))).await;
    // From there not even the right one is looked at; from elsewhere it is.
    let refused = ask(&app, "192.0.2.1", credentials(CLIENT_SECRET)).await;
    assert_eq!((refused.status, &*refused.text), (429, TOO_MANY));
    assert_eq!(ask(&app, "192.0.2.2", credentials(CLIENT_SECRET)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_a_password_costs_few_hashes_and_keeps_nobody_else_out() {
    let (_instance, app) = behind_a_proxy().await;
    app.users(&["ann", "bob"]).await;
    let password = |user: &str, password: &str| json!({"grant_type": "password", "username": user, "password": password});
    guess(&app, 10, |n| password(["ann", "ANN"][n % 2], &format!("guess {n}"))).await;
    assert_eq!(ask(&app, "192.0.2.1", password("ann", "password")).await.status, 429);
    assert_eq!(ask(&app, "192.0.2.1", password("bob", "password")).await.status, 200);
    assert_eq!(ask(&app, "192.0.2.2", password("ann", "password")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_try_all_names() {
    let (_instance, app) = behind_a_proxy().await;
    guess(&app, 100, |n| json!({"grant_type": "client_credentials", "client_id": format!("c{n}"), "client_secret": "x"})).await;
}

#[tokio::test]
async fn right_secrets_are_never_counted() {
    let (_instance, app) = behind_a_proxy().await;
    for _ in 0..30 {
        let credentials = json!({"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
        assert_eq!(ask(&app, "192.0.2.1", credentials).await.status, 200);
    }
}

/// What an answer says of limits: policy, state, and when to come again.
async fn told(request: reqwest::RequestBuilder) -> (u16, [Option<String>; 3], String) {
    let answer = request.send().await.expect("an answer");
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("a text").to_owned());
    let headers = ["ratelimit-policy", "ratelimit", "retry-after"].map(header);
    (answer.status().as_u16(), headers, answer.text().await.expect("a body"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_may_make_so_many_calls_a_second_and_hears_what_is_left() {
    let (mut app, other) = (TestApp::new().await, TestApp::new().await);
    app.set("limits.calls_per_second_of_app", "1").await;
    let ask = || told(app.request(Method::GET, "/users"));
    let some = |text: &str| Some(text.to_owned());
    crate::app::eventually("a call is one too many", async || {
        let (status, headers, body) = ask().await;
        if status != 429 {
            return false;
        }
        assert_eq!(headers, [some(r#""app";q=1;w=1"#), some(r#""app";r=0;t=1"#), some("1")]);
        assert!(body.contains(r#""error":"reach_limit""#), "{body}");
        true
    })
    .await;
    // A call whose token opens nothing is not counted, and nor is another app's.
    assert_eq!(told(app.client.get(format!("{}/users", app.base()))).await.1, [None, None, None]);
    let (status, headers, _) = told(other.request(Method::GET, "/users")).await;
    assert_eq!((status, headers), (200, [None, None, None]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_user_s_may_make_so_many_calls_a_second() {
    let mut limited = settings(shared_database());
    limited.limits.calls_per_second_of_user_token = 1;
    limited.limits.calls_per_second_of_app = 1000;
    let instance = Instance::start(limited);
    let app = TestApp::on(instance.address, shared_database()).await;
    let room = app.room_with("ann", &["bob"]).await;
    let (one, another) = (app.user_token("ann").await, app.user_token("ann").await);
    let path = format!("/chatrooms/{room}/ban");
    let keyed = app.as_user(&one, Method::POST, &path).header("Idempotency-Key", "one");
    let (status, [policy, state, _], _) = told(keyed).await;
    // A call with a key is looked at twice, and counted once.
    assert_eq!(status, 200);
    assert_eq!(policy.as_deref(), Some(r#""user-token";q=1;w=1, "app";q=1000;w=1"#));
    assert!(state.expect("a state").starts_with(r#""user-token";r=0;t=1, "app";r=9"#));
    crate::app::eventually("one call is too many", async || told(app.as_user(&one, Method::DELETE, &path)).await.0 == 429).await;
    assert_eq!(told(app.as_user(&another, Method::GET, &format!("/chatrooms/{room}"))).await.0, 200);
    assert_eq!(app.get("/users").await.status, 200);
}
