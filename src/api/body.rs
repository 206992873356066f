//! The JSON body of a call, field by field, with the contract's words for what is missing.

use serde_json::{Map, Value};

use crate::error::Error;

/// A JSON object; any other JSON counts as one without fields.
#[derive(Default)]
pub struct Body(Map<String, Value>);

impl Body {
    /// The names of the fields.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The value of a field as it is, `null` counting as absent.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// A text, if it is there. Refuses NUL, which PostgreSQL cannot store.
    pub fn text(&self, field: &str) -> Result<Option<&str>, Error> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) if !text.contains('\0') => Ok(Some(text)),
            Some(_) => Err(Error::invalid(field)),
        }
    }

    /// A whole number, as such or written as a text, if it is there.
    pub fn integer(&self, field: &str) -> Result<Option<i64>, Error> {
        let number = match self.get(field) {
            None => return Ok(None),
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_i64(),
        };
        number.map(Some).ok_or_else(|| Error::invalid(field))
    }

    /// A list of texts, which must be there; it may be empty.
    pub fn texts(&self, field: &str) -> Result<Vec<String>, Error> {
        let Some(Value::Array(items)) = self.get(field) else {
            return Err(Error::missing(field));
        };
        items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| Error::InvalidParameter(format!("{field} must be strings")))
    }
}

impl From<Value> for Body {
    fn from(value: Value) -> Self {
        match value {
            Value::Object(fields) => Self(fields),
            _ => Self(Map::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_may_be_written_as_a_text_but_not_as_a_fraction() {
        let body = Body::from(json!({"a": 7, "b": "8", "c": 1.5, "d": null, "e": [], "f": "99999999999999999999"}));
        assert_eq!(body.integer("a").expect("a number"), Some(7));
        assert_eq!(body.integer("b").expect("a number"), Some(8));
        assert_eq!(body.integer("d").expect("absent"), None);
        for field in ["c", "e", "f"] {
            assert_eq!(body.integer(field).expect_err("refused").to_string(), format!("{field} is invalid"));
        }
    }

    #[test]
    fn a_list_must_be_a_list_of_texts() {
        let body = Body::from(json!({"none": null, "text": "a,b", "mixed": ["a", 1], "empty": [], "good": ["a"]}));
        for field in ["absent", "none", "text"] {
            assert_eq!(body.texts(field).expect_err("refused").to_string(), format!("{field} must be provided"));
        }
        assert_eq!(body.texts("mixed").expect_err("refused").to_string(), "mixed must be strings");
        assert!(body.texts("empty").expect("a list").is_empty());
        assert_eq!(body.texts("good").expect("a list"), ["a"]);
    }
}
