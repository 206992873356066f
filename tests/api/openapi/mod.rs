//! The description of every call: it is whole, it is true, and it is shown.

mod examples;
pub mod forms;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use reqwest::Method;
use roomward::api::openapi;
use serde_json::{Value, json};

use self::forms::DOCUMENT;
use crate::app::TestApp;

/// Every method and path of the document.
fn documented() -> BTreeSet<(String, String)> {
    let methods = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().expect("methods").keys().cloned().collect::<Vec<_>>();
        methods.into_iter().map(|method| (method, path.clone())).collect::<Vec<_>>()
    };
    DOCUMENT["paths"].as_object().expect("paths").iter().flat_map(methods).collect()
}

/// Every method and path that the sources route, as they say it: `resource("/path").route(web::get().to(…))`.
fn routed() -> BTreeSet<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
    let mut routed = BTreeSet::new();
    for file in ["", "openapi"].into_iter().flat_map(|part| fs::read_dir(folder.join(part)).expect("a folder")) {
        let file = file.expect("an entry").path();
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("readable");
        let belongs_to_no_app =
            ["health.rs", "docs.rs", "console.rs"].iter().any(|name| file.ends_with(name)) || file.ends_with("openapi/mod.rs");
        let app = if belongs_to_no_app { "" } else { "/{org_name}/{app_name}" };
        for piece in text.split("resource(\"").skip(1) {
            let (path, rest) = piece.split_once('"').expect("the end of a path");
            for method in ["get", "head", "post", "put", "delete", "patch"] {
                if rest.split("\n}\n").next().expect("a function").contains(&format!("web::{method}()")) {
                    routed.insert((method.to_owned(), format!("{app}{path}")));
                }
            }
        }
    }
    routed
}

#[test]
fn every_route_is_in_the_document_and_nothing_else() {
    let (documented, routed) = (documented(), routed());
    assert!(routed.len() > 80, "{routed:?}");
    assert_eq!(documented.difference(&routed).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "not routed");
    assert_eq!(routed.difference(&documented).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "not documented");
}

#[tokio::test]
async fn every_path_and_method_of_the_document_is_routed_and_no_other_method() {
    let app = TestApp::new().await;
    for (path, methods) in DOCUMENT["paths"].as_object().expect("paths") {
        let url = path
            .replace("{org_name}", &app.app.org)
            .replace("{app_name}", &app.app.name)
            .replace("{chatroom_id}", "1")
            .replace("{rule}", "1")
            .replace("{resource}", "1")
            // The one word there that is no user.
            .replace("{usernames}", if path.ends_with("/status") { "batch" } else { "user1" });
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"] {
            let request = app.client.request(Method::from_bytes(method.as_bytes()).expect("a method"), app.url(&url));
            let answer = request.bearer_auth(&app.token).send().await.expect("an answer");
            let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
            let is_routed = status != 405 && !(status == 404 && text.contains("unsupported_service_operation"));
            assert_eq!(is_routed, methods.get(method.to_ascii_lowercase()).is_some(), "{method} {url}: {status} {text}");
        }
    }
}

#[test]
fn operations_have_names_of_their_own_and_say_what_they_do() {
    let mut ids = BTreeSet::new();
    for methods in DOCUMENT["paths"].as_object().expect("paths").values() {
        for operation in methods.as_object().expect("methods").values() {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(ids.insert(id), "{id} twice");
            assert!(!operation["summary"].as_str().expect("a summary").is_empty(), "{id}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let text = openapi::document();
    let used: BTreeSet<&str> = text.split("\"$ref\": \"#").skip(1).map(|rest| rest.split('"').next().expect("an end")).collect();
    for pointer in &used {
        assert!(DOCUMENT.pointer(pointer).is_some(), "{pointer} is not there");
    }
    for kind in ["parameters", "headers", "responses", "schemas"] {
        for name in DOCUMENT["components"][kind].as_object().expect("components").keys() {
            assert!(used.contains(&*format!("/components/{kind}/{name}")), "{kind} {name} is of no use");
        }
    }
}

#[test]
fn every_row_of_the_catalogue_is_in_the_document() {
    let catalogue = include_str!("../../../src/error.rs").split("pub const fn row").nth(1).expect("the table");
    let rows = catalogue.split("Row { status").next().expect("the table").split("E::").skip(1);
    let names: Vec<&str> = rows.map(|row| row.split(|letter: char| !letter.is_alphanumeric()).next().expect("a name")).collect();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        assert!(DOCUMENT["components"]["schemas"].get(name).is_some(), "{name} is nowhere");
    }
}

#[tokio::test]
async fn the_document_is_shown_without_a_token() {
    let app = TestApp::new().await;
    let answer = app.client.get(app.url("/openapi.json")).send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.text().await.expect("a body"), openapi::document());
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
    assert_eq!(DOCUMENT["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn pages_are_shown_without_a_token_and_run_nothing_but_what_the_service_sends() {
    let app = TestApp::new().await;
    for path in ["/", "/docs", "/docs/"] {
        let answer = app.client.get(app.url(path)).send().await.expect("an answer");
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"text/html; charset=utf-8".parse().expect("a value"))
        );
        let policy = answer.headers()["content-security-policy"].to_str().expect("a text").to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let page = answer.text().await.expect("a page");
        assert!(
            !page.contains("<style") && !page.contains("://") && !page.contains(" style=") && !page.contains(" on"),
            "{page}"
        );
        assert!(page.matches("<script").count() == page.matches("<script src=\"/docs/").count(), "{page}");
        for asked in page.split("src=\"").skip(1).chain(page.split("<link rel=\"stylesheet\" href=\"").skip(1)) {
            let file = asked.split('"').next().expect("an end");
            let answer = app.client.get(app.url(file)).send().await.expect("an answer");
            assert_eq!(answer.status(), 200, "{file}");
            assert!(!answer.text().await.expect("a file").is_empty(), "{file}");
        }
    }
    let home = app.client.get(app.url("/")).send().await.expect("an answer").text().await.expect("a page");
    for word in ["roomward", env!("CARGO_PKG_VERSION"), "href=\"/docs\"", "href=\"/readyz\""] {
        assert!(home.contains(word), "{word}: {home}");
    }
}

#[tokio::test]
async fn an_organisation_may_be_called_docs() {
    let app = TestApp::of("docs", &format!("app{}", std::process::id())).await;
    app.users(&["ann"]).await;
    assert_eq!(app.get("/users/ann").await.json()["entities"][0]["username"], json!("ann"));
}
