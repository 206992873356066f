//! Tokens: how they are given, and what they open.

use reqwest::Method;
use roomward::auth::{Keys, Life, Subject};
use serde_json::{Value, json};

use crate::app::{Answer, CLIENT_ID, CLIENT_SECRET, Instance, SECRET, TestApp, settings, shared_database};

async fn ask(app: &TestApp, body: Value) -> Answer {
    app.send(app.client.post(format!("{}/token", app.base())).body(body.to_string())).await
}

fn credentials() -> Value {
    json!({"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

#[tokio::test]
async fn credentials_are_answered_with_a_token_that_opens_the_app() {
    let app = TestApp::new().await;
    let answer = ask(&app, credentials()).await;
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    answer.is(&format!(r#"{{"access_token":"{token}","expires_in":5184000,"application":"APP"}}"#));
    let request = app.client.post(format!("{}/users", app.base())).bearer_auth(token);
    assert_eq!(app.send(request.body(r#"{"username":"ann","password":"x"}"#)).await.status, 200);
}

#[tokio::test]
async fn the_life_of_a_token_is_what_was_asked_for() {
    let app = TestApp::new().await;
    for (ttl, expires_in) in [
        (json!(60), 60),
        (json!("1024000"), 1_024_000),
        (json!(0), 2_147_483_647),
        (json!("0"), 2_147_483_647),
        (json!(99_999_999_999_i64), 2_147_483_647),
        (Value::Null, 5_184_000),
    ] {
        let answer = ask(&app, with(credentials(), "ttl", ttl.clone())).await;
        assert_eq!((answer.status, &answer.json()["expires_in"]), (200, &json!(expires_in)), "{ttl}");
    }
    for ttl in [json!(-1), json!("soon"), json!(1.5), json!([])] {
        ask(&app, with(credentials(), "ttl", ttl)).await.fails_argument("ttl is invalid");
    }
}

#[tokio::test]
async fn wrong_credentials_are_told_what_is_wrong() {
    let app = TestApp::new().await;
    for empty in [Value::Null, json!(""), json!(7)] {
        ask(&app, with(credentials(), "client_id", empty.clone())).await.fails_argument("client_id must be provided.");
        ask(&app, with(credentials(), "client_secret", empty.clone())).await.fails_argument("client_secret must be provided");
        ask(&app, with(credentials(), "grant_type", empty)).await.fails_argument("grant_type must be provided");
    }
    let grant = |answer: Answer, text: &str| answer.fails(400, "invalid_grant", "InvalidGrantException", text);
    grant(ask(&app, with(credentials(), "client_id", json!("other"))).await, "client_id does not match");
    grant(ask(&app, with(credentials(), "client_secret", json!("other"))).await, "client_secret does not match");
    grant(ask(&app, with(credentials(), "grant_type", json!("magic"))).await, "grant_type is not supported");
    let broken = app.send(app.client.post(format!("{}/token", app.base())).body("{")).await;
    assert_eq!((broken.status, broken.json()["error"].as_str()), (400, Some("json_parse")));
}

#[tokio::test]
async fn an_app_that_does_not_exist_is_not_found_by_any_call() {
    let app = TestApp::new().await;
    for (method, rest) in
        [(Method::POST, "token"), (Method::GET, "chatrooms/1/users?pagenum=1"), (Method::DELETE, "users/a%2Cb/")]
    {
        for (org, name) in [("nobody", "app"), (&*app.app.org, "other"), ("a%00b", "app")] {
            let url = format!("http://{}/{org}/{name}/{rest}", app.address);
            let answer = app.send(app.client.request(method.clone(), url).bearer_auth(&app.token)).await;
            let path = rest.split('?').next().unwrap_or_default();
            let (org, name) = (org.replace("%00", "\0").replace(&app.app.org, "ORG"), name);
            let text = format!("Could not find application for {org}/{name} from URI: {org}/{name}/{path}");
            answer.fails(404, "organization_application_not_found", "OrganizationApplicationNotFoundException", &text);
        }
    }
}

#[tokio::test]
async fn without_a_good_token_nothing_is_told_not_even_whether_the_room_exists() {
    let app = TestApp::new().await;
    let other = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let keys = Keys::new(&["another secret of thirty-two bytes"]);
    let forged = keys.issue(app.app.audience(), &Subject::Client("test"), Life::Forever).expect("signed").text;
    let expired = {
        let claims =
            json!({"iss": "roomward", "app": app.app.uuid, "typ": "app", "sub": "x", "iat": 1, "exp": 1000, "jti": app.app.uuid});
        let header = jsonwebtoken::decode_header(&app.token).expect("a header");
        jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes())).expect("signed")
    };
    for authorization in [
        None,
        Some(String::new()),
        Some("Bearer".into()),
        Some("Bearer ".into()),
        Some("Bearer nonsense".into()),
        Some(app.token.clone()),
        Some(format!("bearer {}", app.token)),
        Some(format!("Basic {}", app.token)),
        Some(format!("Bearer {}x", app.token)),
        Some(format!("Bearer {}", other.token)),
        Some(format!("Bearer {forged}")),
        Some(format!("Bearer {expired}")),
    ] {
        for room in [&*room, "123"] {
            let mut request = app.client.post(format!("{}/chatrooms/{room}/users", app.base())).body("{broken");
            if let Some(authorization) = &authorization {
                request = request.header("Authorization", authorization);
            }
            app.send(request).await.fails_auth();
        }
    }
}

#[tokio::test]
async fn a_token_outlives_the_service_and_a_rotation_of_its_key() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &[]).await;
    let mut rotated = settings(shared_database());
    rotated.auth.secret = "a newer secret of all tests, 32 bytes".to_owned().into();
    let without_commas = "an older secret of thirty-two bytes!";
    rotated.auth.previous_secrets = format!("yet another, {without_commas}").into();
    let token =
        Keys::new(&[without_commas]).issue(app.app.audience(), &Subject::Client("test"), Life::Seconds(60)).expect("signed").text;
    let rotated = Instance::start(rotated);
    let mut app = app.through(rotated.address);
    app.token = token;
    assert_eq!(app.get(&format!("/chatrooms/{room}/users")).await.status, 200);
}

#[tokio::test]
async fn a_password_is_answered_with_a_token_and_the_user() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    let answer = ask(&app, json!({"grant_type": "password", "username": "ANN", "password": "password", "ttl": "60"})).await;
    let body = answer.json();
    let (token, uuid) = (body["access_token"].as_str().expect("a token"), body["user"]["uuid"].as_str().expect("a uuid"));
    answer.is(&format!(
        r#"{{"access_token":"{token}","expires_in":60,"user":{{"uuid":"{uuid}","type":"user","created":T,"modified":T,"username":"ann","activated":true}}}}"#
    ));
    let grant = |answer: Answer, status: u16, text: &str| answer.fails(status, "invalid_grant", "InvalidGrantException", text);
    grant(
        ask(&app, json!({"grant_type": "password", "username": "ann", "password": "wrong"})).await,
        400,
        "invalid username or password",
    );
    grant(ask(&app, json!({"grant_type": "password", "username": "nobody", "password": "x"})).await, 404, "user not found");
    ask(&app, json!({"grant_type": "password", "username": "ann"})).await.fails_argument("password must be provided");
    ask(&app, json!({"grant_type": "password", "password": "x"})).await.fails_argument("username must be provided");
    // A user's token is no app token: it opens what the user may do.
    let request = app.client.get(format!("{}/users/ann", app.base())).bearer_auth(token);
    app.send(request).await.fails(
        401,
        "group_authorization",
        "com.easemob.group.exception.GroupAuthorizationException",
        "you have no permission to do this, group admin permission is required",
    );
}

#[tokio::test]
async fn the_word_of_the_app_is_answered_with_a_token_and_may_register_the_user() {
    let app = TestApp::new().await;
    let inherit =
        |name: &str, create: bool| json!({"grant_type": "inherit", "username": name, "autoCreateUser": create, "ttl": 100});
    ask(&app, inherit("ann", true)).await.fails_auth();
    let with_token = async |body: Value| app.post_json("/token", body).await;
    with_token(inherit("ann", false)).await.fails(404, "entity_not_found", "EntityNotFoundException", "User null not found");
    let answer = with_token(inherit("Ann", true)).await;
    assert_eq!(
        (answer.status, &answer.json()["user"]["username"], &answer.json()["expires_in"]),
        (200, &json!("ann"), &json!(100))
    );
    assert_eq!(app.get("/users/ann").await.status, 200);
    assert_eq!(with_token(inherit("ann", false)).await.status, 200);
    with_token(inherit("a b", true)).await.fails_argument("username [a b] is not legal");
    with_token(inherit(&"x".repeat(65), true)).await.fails_argument("USERNAME_TOO_LONG");
    let no_password = ask(&app, json!({"grant_type": "password", "username": "ann", "password": ""})).await;
    no_password.fails_argument("password must be provided");
    let no_password = ask(&app, json!({"grant_type": "password", "username": "ann", "password": "x"})).await;
    no_password.fails(400, "invalid_grant", "InvalidGrantException", "invalid username or password");
}

#[tokio::test]
async fn a_user_token_is_good_until_it_is_revoked() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    let token = async || {
        app.post_json("/token", json!({"grant_type": "inherit", "username": "ann"})).await.json()["access_token"].clone()
    };
    let active = async |token: &Value| app.post_json("/token/introspect", json!({"token": token})).await.json();
    let first = token().await;
    let answer = active(&first).await;
    assert_eq!((&answer["active"], &answer["username"]), (&json!(true), &json!("ann")));
    assert!(answer["exp"].as_i64() > answer["iat"].as_i64());
    app.get("/users/ann/disconnect").await;
    assert_eq!(active(&first).await, json!({"active": false}));
    for revoke in ["deactivate", "password"] {
        let token = token().await;
        assert_eq!(active(&token).await["active"], true);
        match revoke {
            "deactivate" => _ = app.post("/users/ann/deactivate").await,
            _ => _ = app.post_json("/users/ann/password", json!({"newpassword": "x"})).await,
        }
        app.post("/users/ann/activate").await;
        assert_eq!(active(&token).await, json!({"active": false}), "{revoke}");
    }
    // Another user who is given the name later does not inherit the token.
    let last = token().await;
    app.delete("/users/ann").await;
    assert_eq!(active(&last).await, json!({"active": false}));
    app.users(&["ann"]).await;
    assert_eq!(active(&last).await, json!({"active": false}));
    for nonsense in [json!("x"), json!(app.token), json!("a.b.c")] {
        assert_eq!(active(&nonsense).await, json!({"active": false}));
    }
    app.post_json("/token/introspect", json!({})).await.fails_argument("token must be provided");
    ask(&app, json!({})).await.fails_argument("grant_type must be provided");
}

/// Whether a token opens anything through each of the instances.
async fn opens(apps: &[&TestApp], token: &str, path: &str) -> Vec<bool> {
    let mut opens = Vec::new();
    for app in apps {
        opens.push(app.send(app.as_user(token, Method::GET, path)).await.status != 401);
    }
    opens
}

#[tokio::test]
async fn what_is_revoked_is_refused_by_every_instance() {
    let app = TestApp::new().await;
    let other = Instance::start(settings(shared_database()));
    let room = app.room_with("ann", &["bob"]).await;
    let through_other = app.through(other.address);
    let (apps, path) = ([&app, &through_other], format!("/chatrooms/{room}"));
    let credentials = async || ask(&app, credentials()).await.json()["access_token"].as_str().expect("a token").to_owned();
    let refused = async |token: &str| {
        crate::app::eventually("both refuse it", async || opens(&apps, token, &path).await == [false, false]).await;
    };

    // One token of the app by its text, one of a user by its id; others of the same live on.
    let (one, another) = (credentials().await, credentials().await);
    assert_eq!(opens(&apps, &one, &path).await, [true, true]);
    app.post_json("/token/revoke", json!({"token": one})).await.is(
        r#"{"action":"post","application":"APP","uri":"BASE/token/revoke","entities":[],"data":{"result":true},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}"#,
    );
    refused(&one).await;
    assert_eq!(opens(&apps, &another, &path).await, [true, true]);
    let (first, second) = (app.user_token("bob").await, app.user_token("bob").await);
    assert_eq!(opens(&apps, &first, &path).await, [true, true]);
    let jti = app.post_json("/token/introspect", json!({"token": first})).await.json()["jti"].clone();
    assert_eq!(app.post_json("/token/revoke", json!({"jti": jti})).await.status, 200);
    assert_eq!(app.post_json("/token/introspect", json!({"token": first})).await.json(), json!({"active": false}));
    refused(&first).await;
    assert_eq!(opens(&apps, &second, &path).await, [true, true]);

    // All of a user; then all of the app.
    app.get("/users/bob/disconnect").await;
    refused(&second).await;
    let third = app.user_token("bob").await;
    assert_eq!(opens(&apps, &third, &path).await, [true, true]);
    roomward::accounts::tokens::revoke_all(&roomward::db::Db::new(app.db.clone()), app.app.id).await.expect("revoked");
    for token in [&app.token, &another, &third] {
        refused(token).await;
    }
    assert_eq!(opens(&apps, &credentials().await, &path).await, [true, true]);
}

#[tokio::test]
async fn only_a_token_of_the_app_is_revoked_by_it() {
    let (app, other) = (TestApp::new().await, TestApp::new().await);
    app.post_json("/token/revoke", json!({"token": other.token})).await.fails_parameter("token is invalid");
    app.post_json("/token/revoke", json!({"token": "x"})).await.fails_parameter("token is invalid");
    app.post_json("/token/revoke", json!({"jti": "x"})).await.fails_parameter("jti is invalid");
    app.post_json("/token/revoke", json!({})).await.fails_parameter("token or jti must be provided");
}
