//! The description of every call, as OpenAPI 3.1: `/openapi.json`, and `roomward openapi`.
//!
//! What a call takes, gives and refuses stands beside its route, as an [`operation::Operation`]; the forms of answers are
//! those of the types that are written. Here they become one document.

pub mod failures;
pub mod form;
pub mod operation;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use actix_web::web::{self, ServiceConfig};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use self::failures::Responses;
use self::form::{flag, integer, one_of, text};
use self::operation::{Example, Operation, by};
use super::reply::ErrorBody;
use super::{
    admins, announcements, attributes, audit, blocks, callbacks, chatrooms, console, counts, docs, events, global_mutes, health,
    members, moderators, mutes, permissions, resource, restrictions, speech, standing, super_admins, tokens, undo, users,
    whitelist,
};

/// What some calls are about, in a word and in a sentence, and the calls.
type Section = (&'static str, &'static str, fn() -> Vec<Operation>);

/// The calls by what they are about, in the order in which they are read.
const SECTIONS: &[Section] = &[
    ("Tokens", "What opens an app, or a part of it.", tokens::operations),
    ("Users", "Who can be in rooms.", users::operations),
    ("Chatrooms", "The rooms of an app.", chatrooms::operations),
    ("Members", "Who is in a room.", members::operations),
    ("Admins", "Who helps the owner of a room.", admins::operations),
    ("Blocks", "Who is kept out of a room.", blocks::operations),
    ("Whitelist", "Who speaks while the whole room is muted.", whitelist::operations),
    ("Mutes", "Who may not speak in a room for a while; and mutes of whole rooms.", mutes::operations),
    ("Global mutes", "Who may not speak in any room of an app for a while.", global_mutes::operations),
    ("Super admins", "Who may make rooms.", super_admins::operations),
    ("Moderators", "Who reads or moderates the rooms of an app with a token of their own.", moderators::operations),
    ("Permissions", "What may this token do?", permissions::operations),
    ("Announcements", "The text that a room shows.", announcements::operations),
    ("Attributes", "Keys and values that a room shares.", attributes::operations),
    ("Speech", "May this user speak?", speech::operations),
    ("Standing", "Where is this user?", standing::operations),
    ("Restrictions", "Which mutes and blocks are in force, by whom and why?", restrictions::operations),
    ("Events", "What has happened, and what happens.", events::operations),
    ("Audit", "Who did what to whom, when and why?", audit::operations),
    ("Counts", "How much happens?", counts::operations),
    ("Undo", "Makes good what an event has changed.", undo::operations),
    ("Callbacks", "Who is told what happens.", callbacks::operations),
    ("Service", "What the machines of the operator ask; no token is needed.", operations),
];

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(resource("/openapi.json").route(web::get().to(show)));
}

/// Of this file and of those that belong to no app.
fn operations() -> Vec<Operation> {
    let mut operations = health::operations();
    operations.extend(docs::operations());
    operations.extend(console::operations());
    operations.push(by("get", "/openapi.json", "getOpenApi", "This document").open().gives::<Map<String, Value>>());
    operations
}

async fn show() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(document())
}

/// The document, which is made once.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
        let mut text = serde_json::to_string_pretty(&build()).unwrap_or_default();
        text.push('\n');
        text
    });
    &DOCUMENT
}

/// Answers of a service, by the ids of operations.
fn examples() -> BTreeMap<String, Example> {
    serde_json::from_str(include_str!("examples.json")).unwrap_or_default()
}

fn build() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schemas = settings.with(|settings| settings.definitions_path = "/components/schemas".into()).into_generator();
    schemas.subschema_for::<ErrorBody<'static>>();
    let (mut paths, mut responses, examples) = (Map::new(), Responses::default(), examples());
    for (tag, _, operations) in SECTIONS {
        for operation in operations() {
            let methods = paths.entry(operation.path()).or_insert_with(|| json!({}));
            let example = examples.get(operation.id());
            methods[operation.method()] = operation.describe(tag, example, &mut schemas, &mut responses);
        }
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "roomward",
            "version": env!("CARGO_PKG_VERSION"),
            "description": include_str!("introduction.md"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The service that shows this document"}],
        "security": [{"token": []}],
        "tags": SECTIONS.iter().map(|(name, description, _)| json!({"name": name, "description": description})).collect::<Value>(),
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "A token of the app, which may do all, or of one of its users, as far as the user's roles go.",
            }},
            "parameters": parameters(),
            "headers": headers(),
            "schemas": definitions(schemas, &mut responses),
            "responses": responses.into_components(),
        },
    });
    plain(&mut document["components"]["schemas"]);
    document
}

/// The forms of all answers.
fn definitions(mut schemas: SchemaGenerator, responses: &mut Responses) -> Value {
    let mut definitions = schemas.take_definitions(true);
    definitions.append(&mut responses.take_schemas());
    Value::Object(definitions)
}

/// What is left out where it does not apply is never `null`; and the sizes that numbers have here mean nothing to clients.
fn plain(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(plain),
        Value::Object(fields) => {
            if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                fields.remove("format");
            }
            let required = fields.get("required").cloned().unwrap_or_default();
            if let Some(Value::Object(properties)) = fields.get_mut("properties") {
                for (name, property) in properties.iter_mut() {
                    if !required.as_array().is_some_and(|required| required.iter().any(|known| known == name)) {
                        without_null(property);
                    }
                }
            }
            fields.values_mut().for_each(plain);
        }
        _ => {}
    }
}

fn without_null(property: &mut Value) {
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [kind] = &types[..] {
            property["type"] = kind.clone();
        }
    }
    if let Some(Value::Array(forms)) = property.get_mut("anyOf") {
        forms.retain(|form| form["type"] != "null");
        if let [form] = &forms[..] {
            *property = form.clone();
        }
    }
}

/// A parameter: where it is, its name and its form.
fn parameter(place: &str, name: &str, form: Value) -> Value {
    let mut parameter = json!({"name": name, "in": place});
    parameter["schema"] = form;
    parameter
}

/// A part of a path, which is never empty.
fn segment(name: &str, what: &str, example: &str) -> Value {
    let mut segment = parameter("path", name, json!({"type": "string", "description": what, "minLength": 1}));
    segment["required"] = json!(true);
    segment["example"] = json!(example);
    segment
}

/// What paths, query strings and headers of several calls have in common.
fn parameters() -> Value {
    let in_query = |name, form| parameter("query", name, form);
    let in_header = |name, form| parameter("header", name, form);
    json!({
        "org_name": segment("org_name", "The organisation that the app belongs to.", "demo"),
        "app_name": segment("app_name", "The app.", "chat"),
        "chatroom_id": segment("chatroom_id", "The id of a room.", "225133468712961"),
        "usernames": segment("usernames", "A user; several, with commas between them, where the call says so.", "user1"),
        "resource": segment("resource", "A device.", "ios_1"),
        "rule": segment("rule", "The id of a callback rule.", "0b7e3c9a-5d8f-4a61-9e0c-2f4d6b8a1c35"),
        "pagenum": in_query("pagenum", integer("Which page; the first is 1.")),
        "pagesize": in_query("pagesize", integer("How many entries a page has.")),
        "limit": in_query("limit", integer("How many entries a page by cursor has at most.")),
        "cursor": in_query("cursor", text("Where the page begins: the `cursor` of the page before.")),
        "detail": in_query("detail", flag("Whether a page by cursor tells who has set each entry, since when and why.")),
        "q": in_query("q", text("What names or ids begin with.")),
        "operator": in_header("X-Operator", text("Who makes the change, percent-encoded UTF-8, at most 64 characters.")),
        "reason": in_header("X-Audit-Reason", text("Why, percent-encoded UTF-8, at most 512 characters.")),
        "idempotency_key": in_header(
            "Idempotency-Key",
            text("Up to 255 characters of the client's choice: a call with a key is made once, however often it is sent."),
        ),
    })
}

/// What the headers of answers say.
fn headers() -> Value {
    let header = |form| json!({"schema": form});
    json!({
        "X-Request-Id": header(text("What the log of the service calls the request: the caller's own id, if it has sent one.")),
        "RateLimit-Policy": header(text(
            "Where calls are counted: how many may be made in a second, of the app and of the token: `\"app\";q=100;w=1`.",
        )),
        "RateLimit": header(text("How many of them are left: `\"app\";r=99;t=1`.")),
        "Retry-After": header(integer("Seconds until another try has a chance.")),
        "Idempotency-Replayed": header(one_of("A call with that `Idempotency-Key` was made before, and answered so.", &["true"])),
    })
}
