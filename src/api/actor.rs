//! On whose behalf a call is made, and why: two optional headers of every call that changes something.
//!
//! A user's token proves who acts. An app's token speaks for whomever the header names.

use actix_web::http::header::HeaderMap;
use percent_encoding::percent_decode;

use super::call::{Call, Caller};
use crate::error::Error;
use crate::events::log::Actor;

/// The longest name of an operator and the longest reason, in characters.
const MAX_OPERATOR: usize = 64;
const MAX_REASON: usize = 512;

impl Call {
    /// Who is named by `X-Operator`, with the reason in `X-Audit-Reason`, both percent-encoded UTF-8.
    ///
    /// With a user's token it is that user, and the header may only say the same. With the app's it is the client itself
    /// where there is no header. Names that begin with `@` are the service's own.
    pub fn actor(&self) -> Result<Actor, Error> {
        let headers = self.http().headers();
        let name = text(headers, "X-Operator", MAX_OPERATOR)?;
        if name.as_deref().is_some_and(|name| name.starts_with('@')) {
            return Err(Error::invalid("X-Operator"));
        }
        let reason = text(headers, "X-Audit-Reason", MAX_REASON)?;
        let name = match (self.caller(), name) {
            (Caller::App, name) => name.map_or(Actor::client().name, Into::into),
            (Caller::User(user), name) => {
                let own = user.name.given().concat();
                if name.is_some_and(|name| !name.eq_ignore_ascii_case(&own)) {
                    return Err(Error::InvalidParameter("X-Operator is invalid: it is not the user of the token".into()));
                }
                own.into()
            }
        };
        Ok(Actor { name, reason })
    }
}

/// The decoded text of a header; `None` if it is missing or empty.
fn text(headers: &HeaderMap, name: &str, max_characters: usize) -> Result<Option<String>, Error> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let bytes = value.as_bytes();
    let escapes_are_whole = bytes
        .split(|byte| *byte == b'%')
        .skip(1)
        .all(|rest| matches!(rest, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()));
    let text = percent_decode(bytes).decode_utf8().ok().filter(|_| escapes_are_whole).ok_or_else(|| Error::invalid(name))?;
    if text.chars().any(char::is_control) || text.chars().count() > max_characters {
        return Err(Error::invalid(name));
    }
    Ok((!text.is_empty()).then(|| text.into_owned()))
}
