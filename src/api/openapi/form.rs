//! The forms of parameters and of fields of a body, in the words of JSON Schema.

use serde_json::{Map, Value, json};

/// A text.
pub fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// One of those texts.
pub fn one_of(description: &str, texts: &[&str]) -> Value {
    json!({"type": "string", "description": description, "enum": texts})
}

/// A whole number.
pub fn integer(description: &str) -> Value {
    json!({"type": "integer", "format": "int64", "description": description})
}

/// `true` or `false`.
pub fn flag(description: &str) -> Value {
    json!({"type": "boolean", "description": description})
}

/// A list of texts.
pub fn texts(description: &str) -> Value {
    json!({"type": "array", "items": {"type": "string"}, "description": description})
}

/// An object with these fields: the name, the form, and whether it must be there.
pub fn object(fields: &[(&str, Value, bool)]) -> Value {
    let properties: Map<String, Value> = fields.iter().map(|(name, form, _)| ((*name).to_owned(), form.clone())).collect();
    let required: Vec<&str> = fields.iter().filter(|(.., required)| *required).map(|(name, ..)| *name).collect();
    let mut object = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}
