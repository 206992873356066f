//! One call, as a file of calls describes it.
//!
//! What follows from its path and its method is added here: parameters of the path, headers of a change, and the failures
//! that every call of its kind can have.

use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::reply::Envelope;
use super::failures::{self as fails, Failure, Responses};
use super::form;

/// What every call of an app is under.
pub const APP: &str = "/{org_name}/{app_name}";

/// A call.
pub struct Operation {
    method: &'static str,
    path: String,
    id: &'static str,
    summary: &'static str,
    description: Option<String>,
    kind: Kind,
    parameters: Vec<Value>,
    /// The fields of the body: the name, the form, and whether it must be there.
    fields: Vec<(&'static str, Value, bool)>,
    /// The body, where it is more than an object with those fields.
    body: Option<Value>,
    answers: Vec<Answer>,
    failures: Vec<Failure>,
}

/// What of a call follows from what it does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Belongs to no app and needs no token.
    Open,
    /// Belongs to an app and needs no token.
    Unauthenticated,
    /// Changes nothing.
    Read,
    /// Changes something, and takes an `Idempotency-Key`.
    Change,
    /// Changes something, though a repetition changes nothing more.
    Repeatable,
}

struct Answer {
    status: u16,
    media: &'static str,
    form: fn(&mut SchemaGenerator) -> Value,
    /// The data, where a call answers with entities and with data.
    data: Option<fn(&mut SchemaGenerator) -> Value>,
    required: Vec<&'static str>,
}

/// A call as it was made once: its body, if it had one, and its answer.
#[derive(Deserialize)]
pub struct Example {
    body: Option<Value>,
    answer: Value,
}

/// A call of an app that reads.
pub fn get(path: &str, id: &'static str, summary: &'static str) -> Operation {
    in_app("get", path, id, summary, Kind::Read)
}

/// A call of an app that changes something.
pub fn post(path: &str, id: &'static str, summary: &'static str) -> Operation {
    in_app("post", path, id, summary, Kind::Change)
}

/// A call of an app that changes something.
pub fn put(path: &str, id: &'static str, summary: &'static str) -> Operation {
    in_app("put", path, id, summary, Kind::Change)
}

/// A call of an app that changes something.
pub fn delete(path: &str, id: &'static str, summary: &'static str) -> Operation {
    in_app("delete", path, id, summary, Kind::Change)
}

fn in_app(method: &'static str, path: &str, id: &'static str, summary: &'static str, kind: Kind) -> Operation {
    Operation { kind, ..by(method, &format!("{APP}{path}"), id, summary) }
}

/// A call by that method to that path, whatever it belongs to.
pub fn by(method: &'static str, path: &str, id: &'static str, summary: &'static str) -> Operation {
    Operation {
        method,
        path: path.into(),
        id,
        summary,
        description: None,
        kind: Kind::Read,
        parameters: Vec::new(),
        fields: Vec::new(),
        body: None,
        answers: Vec::new(),
        failures: Vec::new(),
    }
}

impl Operation {
    /// Says more than the summary.
    pub fn says(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// It belongs to no app, and needs no token.
    pub fn open(mut self) -> Self {
        self.kind = Kind::Open;
        self
    }

    /// It needs no token.
    pub fn unauthenticated(mut self) -> Self {
        self.kind = Kind::Unauthenticated;
        self
    }

    /// It changes nothing, whatever its method.
    pub fn reads(mut self) -> Self {
        self.kind = Kind::Read;
        self
    }

    /// It takes no `Idempotency-Key`, and needs none.
    pub fn repeatable(mut self) -> Self {
        self.kind = Kind::Repeatable;
        self
    }

    /// Takes parameters of the query that several calls have.
    pub fn with(mut self, shared: &[&str]) -> Self {
        self.parameters.extend(shared.iter().map(|name| reference("parameters", name)));
        self
    }

    /// Takes pages by number.
    pub fn by_number(self) -> Self {
        self.with(&["pagenum", "pagesize"])
    }

    /// Takes pages by cursor.
    pub fn by_cursor(self) -> Self {
        self.with(&["limit", "cursor"]).fails(&[fails::INVALID_PARAMETER])
    }

    /// Takes a parameter of the query.
    pub fn query(self, name: &str, form: Value) -> Self {
        self.parameter("query", name, form)
    }

    /// Must be given a parameter of the query.
    pub fn needs_query(mut self, name: &str, form: Value) -> Self {
        let mut parameter = super::parameter("query", name, form);
        parameter["required"] = json!(true);
        self.parameters.push(parameter);
        self
    }

    /// Takes a header.
    pub fn header(self, name: &str, form: Value) -> Self {
        self.parameter("header", name, form)
    }

    fn parameter(mut self, place: &str, name: &str, form: Value) -> Self {
        self.parameters.push(super::parameter(place, name, form));
        self
    }

    /// The body must have that field.
    pub fn takes(mut self, field: &'static str, form: Value) -> Self {
        self.fields.push((field, form, true));
        self
    }

    /// The body may have that field.
    pub fn may_take(mut self, field: &'static str, form: Value) -> Self {
        self.fields.push((field, form, false));
        self
    }

    /// The body is of that form.
    pub fn takes_body(mut self, form: Value) -> Self {
        self.body = Some(form);
        self
    }

    /// Answers in the usual envelope, with `T` as its data.
    pub fn answers<T: JsonSchema>(self) -> Self {
        self.answer("application/json", enveloped::<T>, &["application", "data", "organization", "applicationName"])
    }

    /// Answers in the envelope of calls that change users, with `T` as its entities.
    pub fn answers_users<T: JsonSchema>(self) -> Self {
        self.answer("application/json", entities::<T>, &["application", "path", "organization", "applicationName"])
    }

    /// Answers in the envelope of calls that read users, with `T` as its entities.
    pub fn answers_read_users<T: JsonSchema>(self) -> Self {
        self.answer("application/json", entities::<T>, &["path", "count"])
    }

    /// The envelope has `T` as its data, too, in some answers.
    pub fn and_data<T: JsonSchema>(mut self) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.data = Some(bare::<T>);
        }
        self
    }

    /// Answers with `T` and nothing around it.
    pub fn gives<T: JsonSchema>(self) -> Self {
        self.answer("application/json", bare::<T>, &[])
    }

    /// Answers without a body.
    pub fn gives_nothing(self) -> Self {
        self.gives_nothing_as(200)
    }

    /// The same with another status than 200.
    pub fn gives_nothing_as(mut self, status: u16) -> Self {
        self.answers.push(Answer { status, media: "", form: |_| Value::Null, data: None, required: Vec::new() });
        self
    }

    /// Answers with `T`, nothing around it, and another status than 200.
    pub fn gives_as<T: JsonSchema>(mut self, status: u16) -> Self {
        self.answers.push(Answer { status, media: "application/json", form: bare::<T>, data: None, required: Vec::new() });
        self
    }

    /// Answers with text of that media type, if it is asked for.
    pub fn gives_text(self, media: &'static str) -> Self {
        self.answer(media, |_| json!({"type": "string"}), &[])
    }

    /// The envelope says how many elements it has.
    pub fn counted(self) -> Self {
        self.has(&["count"])
    }

    /// The envelope has these keys.
    pub fn has(mut self, keys: &[&'static str]) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.required.extend(keys);
        }
        self
    }

    /// Can fail so, besides the ways that follow from its kind.
    pub fn fails(mut self, failures: &[Failure]) -> Self {
        self.failures.extend(failures);
        self
    }

    fn answer(mut self, media: &'static str, form: fn(&mut SchemaGenerator) -> Value, required: &[&'static str]) -> Self {
        self.answers.push(Answer { status: 200, media, form, data: None, required: required.to_vec() });
        self
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn method(&self) -> &'static str {
        self.method
    }

    pub(super) fn id(&self) -> &'static str {
        self.id
    }

    /// The description, in the words of OpenAPI.
    pub(super) fn describe(
        &self,
        tag: &str,
        example: Option<&Example>,
        schemas: &mut SchemaGenerator,
        responses: &mut Responses,
    ) -> Value {
        let mut described = json!({
            "tags": [tag],
            "operationId": self.id,
            "summary": self.summary,
            "parameters": self.all_parameters(),
            "responses": self.responses(example, schemas, responses),
        });
        if let Some(description) = &self.description {
            described["description"] = json!(description);
        }
        if let Some(mut body) = self.request_body() {
            if let Some(sent) = example.and_then(|example| example.body.as_ref()) {
                body["content"]["application/json"]["example"] = sent.clone();
            }
            described["requestBody"] = body;
        }
        if matches!(self.kind, Kind::Open | Kind::Unauthenticated) {
            described["security"] = json!([]);
        }
        described
    }

    fn all_parameters(&self) -> Vec<Value> {
        let in_path = self.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
        let mut parameters: Vec<Value> = in_path.map(|name| reference("parameters", name)).collect();
        parameters.extend(self.parameters.iter().cloned());
        let headers: &[&str] = match self.kind {
            Kind::Change => &["operator", "reason", "idempotency_key"],
            Kind::Repeatable => &["operator", "reason"],
            Kind::Open | Kind::Unauthenticated | Kind::Read => &[],
        };
        parameters.extend(headers.iter().map(|name| reference("parameters", name)));
        parameters
    }

    fn request_body(&self) -> Option<Value> {
        if self.body.is_none() && self.fields.is_empty() {
            return None;
        }
        let form = self.body.clone().unwrap_or_else(|| {
            form::object(&self.fields.iter().map(|(name, form, required)| (*name, form.clone(), *required)).collect::<Vec<_>>())
        });
        Some(json!({"required": self.needs_body(), "content": {"application/json": {"schema": form}}}))
    }

    fn needs_body(&self) -> bool {
        self.body.is_some() || self.fields.iter().any(|(.., required)| *required)
    }

    fn responses(&self, example: Option<&Example>, schemas: &mut SchemaGenerator, responses: &mut Responses) -> Value {
        let mut described = Map::new();
        for answer in &self.answers {
            let mut form = (answer.form)(schemas);
            if !answer.required.is_empty() {
                form["required"] = json!(answer.required);
            }
            if let Some(data) = answer.data {
                form["properties"]["data"] = data(schemas);
            }
            super::plain(&mut form);
            let mut content = json!({"schema": form});
            if let Some(example) = example.filter(|_| answer.status == 200 && answer.media == "application/json") {
                content["example"] = example.answer.clone();
            }
            let description = if answer.status == 200 { "Done." } else { "Not now." };
            let response = json!({"description": description, "headers": self.headers()});
            let response = described.entry(answer.status.to_string()).or_insert(response);
            if !answer.media.is_empty() {
                response["content"][answer.media] = content;
            }
        }
        described.extend(responses.of(&self.all_failures()));
        Value::Object(described)
    }

    fn headers(&self) -> Value {
        let names: &[&str] = match self.kind {
            Kind::Open => &[],
            Kind::Unauthenticated | Kind::Read | Kind::Repeatable => &ALLOWANCES,
            Kind::Change => &[ALLOWANCES[0], ALLOWANCES[1], REPLAYED],
        };
        headers(names)
    }

    fn all_failures(&self) -> Vec<Failure> {
        let mut failures = self.failures.clone();
        if self.kind == Kind::Open {
            return failures;
        }
        failures.extend(fails::EVERYWHERE);
        if self.kind != Kind::Unauthenticated {
            failures.extend(fails::OF_TOKENS);
        }
        if self.kind == Kind::Change || self.kind == Kind::Repeatable {
            failures.push(fails::INVALID_PARAMETER);
        }
        if self.kind == Kind::Change {
            failures.extend(fails::OF_IDEMPOTENCY_KEYS);
        }
        if self.needs_body() {
            failures.push(fails::JSON_PARSE);
        }
        if self.path.contains("{chatroom_id}") && !failures.contains(&fails::ROOM_NOT_FOUND_ON_READ) {
            failures.push(fails::ROOM_NOT_FOUND);
        }
        failures
    }
}

/// What stands under that name in the components of the document.
pub(super) fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

/// What is left of the calls that may be made.
pub(super) const ALLOWANCES: [&str; 2] = ["RateLimit-Policy", "RateLimit"];

/// That the answer is an earlier one.
pub(super) const REPLAYED: &str = "Idempotency-Replayed";

/// The headers of an answer: that of every one, and these.
pub(super) fn headers(names: &[&str]) -> Value {
    let names = ["X-Request-Id"].iter().chain(names);
    names.map(|name| ((*name).to_owned(), reference("headers", name))).collect::<Map<_, _>>().into()
}

type AnyEnvelope = Envelope<'static, Vec<Value>, Value>;

fn enveloped<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    json!({
        "type": "object",
        "allOf": [schemas.subschema_for::<AnyEnvelope>()],
        "properties": {"entities": {"maxItems": 0}, "data": schemas.subschema_for::<T>()},
    })
}

fn entities<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    json!({
        "type": "object",
        "allOf": [schemas.subschema_for::<AnyEnvelope>()],
        "properties": {"entities": schemas.subschema_for::<Vec<T>>()},
    })
}

fn bare<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}
