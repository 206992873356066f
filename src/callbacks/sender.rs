//! Sends one callback: opens the rule's secret, writes the message, signs it, and says what came of it.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::SecretString;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use super::message;
use super::target::{SendError, Targets};
use crate::auth::{Seals, Unsealed};
use crate::callbacks::deliveries::{Attempt, CallbackEvent};
use crate::callbacks::rules::Target;
use crate::config::Callbacks;
use crate::error::Error;

/// What a sender needs: the seals of secrets, and the way out.
pub struct Sender {
    seals: Seals,
    targets: Targets,
}

/// A callback that is to be sent.
pub struct OutgoingCallback<'a> {
    /// The app, as ORG#APP.
    pub appkey: &'a str,
    /// The id of the delivery on the wire.
    pub call_id: Uuid,
    /// Counted from 1.
    pub attempt: i32,
    /// What has happened.
    pub event: &'a CallbackEvent,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// The HTTP status, or why there is none.
    pub answer: Result<u16, SendError>,
    /// How long it took.
    pub latency: Duration,
}

impl Outcome {
    /// The same in the words of deliveries. Only 200 counts.
    pub fn attempt(&self) -> Attempt {
        let (status, error) = self.answer.map_or_else(|error| (None, Some(error.as_str())), |status| (Some(status), None));
        Attempt { succeeded: status == Some(200), status, error, latency: self.latency }
    }
}

impl Sender {
    /// A sender; of `secrets` the first one seals, all open.
    pub fn new(secrets: &[&str], settings: &Callbacks) -> Result<Self, Error> {
        Ok(Self { seals: Seals::new(secrets)?, targets: Targets::new(settings)? })
    }

    /// Whether a rule may have this URL.
    pub fn accepts(&self, url: &str) -> bool {
        self.targets.accepts(url)
    }

    /// Seals the secret of a rule.
    pub fn seal(&self, rule: Uuid, secret: &SecretString) -> Result<Vec<u8>, Error> {
        self.seals.seal(rule, secret)
    }

    /// Opens the secret of a rule. It cannot if `auth.secret` was replaced and the old one not kept.
    pub fn open(&self, rule: Uuid, sealed: &[u8]) -> Option<Unsealed> {
        self.seals.open(rule, sealed)
    }

    /// Sends a callback once.
    pub async fn send(&self, url: &str, secret: &SecretString, callback: &OutgoingCallback<'_>) -> Outcome {
        let body = message::body(callback.appkey, callback.call_id, callback.event, secret);
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        for (name, value) in [
            ("x-roomward-delivery", callback.call_id.to_string()),
            ("x-roomward-attempt", callback.attempt.to_string()),
            ("x-roomward-signature", message::signature(secret, OffsetDateTime::now_utc().unix_timestamp(), &body)),
        ] {
            headers.extend(HeaderValue::try_from(value).map(|value| (reqwest::header::HeaderName::from_static(name), value)));
        }
        let started = Instant::now();
        let answer = self.targets.post(url, headers, body).await;
        Outcome { answer, latency: started.elapsed() }
    }

    /// Sends something that has not happened, at once and once.
    pub async fn test(&self, appkey: &str, rule: Uuid, target: &Target) -> Result<Outcome, Error> {
        let unsealed =
            self.open(rule, &target.sealed).ok_or_else(|| Error::Internal(SendError::SecretUnreadable.as_str().into()))?;
        let event = message::test_event();
        let callback = OutgoingCallback { appkey, call_id: Uuid::new_v4(), attempt: 1, event: &event };
        Ok(self.send(&target.url, &unsealed.secret, &callback).await)
    }
}
