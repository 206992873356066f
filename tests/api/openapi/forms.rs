//! Whether an answer is one of those that the document tells of: every answer that a test is given is looked at.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use reqwest::header::HeaderMap;
use roomward::api::openapi;
use serde_json::{Map, Value, json};

/// The document of this version.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(openapi::document()).expect("JSON"));

/// The components, with every object closed: what is not in the document is not answered.
static CLOSED: LazyLock<Value> = LazyLock::new(|| {
    let mut components = DOCUMENT["components"].clone();
    for (name, schema) in components["schemas"].as_object_mut().expect("schemas") {
        // These two are parts of others.
        if !["Envelope", "Failure"].contains(&name.as_str()) {
            close(schema);
        }
    }
    components
});

fn close(schema: &mut Value) {
    if schema.get("allOf").is_some() {
        schema["unevaluatedProperties"] = json!(false);
    } else if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
        schema["additionalProperties"] = json!(false);
    }
}

/// What the document calls a path, and the methods that it has there; `None` for paths that are none of its.
pub fn find(path: &str) -> Option<(&'static str, &'static Map<String, Value>)> {
    let path = if path.len() > 2 { path.strip_suffix('/').unwrap_or(path) } else { path };
    let fits = |template: &str| {
        let (wanted, given): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        let fits = |(wanted, given): (&&str, &&str)| wanted == given || (wanted.starts_with('{') && !given.is_empty());
        wanted.len() == given.len() && wanted.iter().zip(&given).all(fits)
    };
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let found = paths.iter().filter(|(template, _)| fits(template));
    // The one with the fewest parameters is the one that is routed.
    let (template, methods) = found.min_by_key(|(template, _)| template.matches('{').count())?;
    Some((template, methods.as_object().expect("methods")))
}

/// What a response says, wherever it is written.
fn resolve(response: &Value) -> &Value {
    match response["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(&reference[1..]).expect("a component"),
        None => response,
    }
}

/// What is wrong with an answer; nothing if the document does not know the call.
pub fn complaint(method: &str, path: &str, status: u16, media: &str, text: &str) -> Option<String> {
    let (template, methods) = find(path)?;
    let operation = methods.get(&method.to_ascii_lowercase())?;
    let call = format!("{method} {template} {status}");
    let Some(response) = operation["responses"].get(status.to_string()) else {
        return Some(format!("{call} is not in the document: {text}"));
    };
    let contents = &resolve(response)["content"];
    if contents.is_null() {
        return (!text.is_empty()).then(|| format!("{call} has no body in the document: {text}"));
    }
    let media = media.split(';').next().unwrap_or_default();
    let Some(content) = contents.get(media) else {
        return Some(format!("{call} is not of {media} in the document: {text}"));
    };
    if media != "application/json" {
        return None;
    }
    let answer: Value = serde_json::from_str(text).expect("JSON");
    let errors: Vec<String> = validator(&call, &content["schema"]).iter_errors(&answer).map(|error| error.to_string()).collect();
    (!errors.is_empty()).then(|| format!("{call}: {}\n{text}", errors.join("\n")))
}

/// The first header of an answer that says something of the service's own, and that the document does not tell of.
pub fn unknown_header(method: &str, path: &str, status: u16, headers: &HeaderMap) -> Option<String> {
    const OWN: [&str; 5] = ["x-request-id", "ratelimit-policy", "ratelimit", "retry-after", "idempotency-replayed"];
    let (_, methods) = find(path)?;
    let response = methods.get(&method.to_ascii_lowercase())?["responses"].get(status.to_string())?;
    let described = resolve(response)["headers"].as_object().expect("headers");
    let is_described = |header: &str| described.keys().any(|name| name.eq_ignore_ascii_case(header));
    OWN.into_iter().find(|header| headers.contains_key(*header) && !is_described(header)).map(str::to_owned)
}

fn validator(call: &str, schema: &Value) -> Arc<Validator> {
    static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().expect("no panic");
    known.entry(call.to_owned()).or_insert_with(|| Arc::new(closed_validator(schema.clone()))).clone()
}

fn closed_validator(mut schema: Value) -> Validator {
    close(&mut schema);
    // With only those components that it needs: all of them take their time.
    let (mut needed, mut found) = (json!({}), references(&schema));
    while let Some(name) = found.pop() {
        if needed.get(&name).is_none() {
            let component = &CLOSED["schemas"][&name];
            found.extend(references(component));
            needed[&name] = component.clone();
        }
    }
    let whole = json!({"allOf": [schema], "components": {"schemas": needed}});
    jsonschema::draft202012::new(&whole).expect("a schema")
}

/// The names of the components that a schema leads to.
fn references(schema: &Value) -> Vec<String> {
    let text = schema.to_string();
    let names = text.split("\"#/components/schemas/").skip(1);
    names.map(|rest| rest.split('"').next().expect("an end").to_owned()).collect()
}
