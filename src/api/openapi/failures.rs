//! The ways in which calls fail, as the document shows them: each row of the catalogue with an error of its kind.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::reply::example_of_failure;
use super::operation::{ALLOWANCES, REPLAYED, headers, reference};
use crate::error::Error;
use crate::idempotency::worth_keeping;

/// A way to fail: what makes an error of its kind.
#[derive(Clone, Copy)]
pub struct Failure(fn() -> Error);

impl PartialEq for Failure {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = ((self.0)(), (other.0)());
        name(&own) == name(&others) && own.row() == others.row()
    }
}

fn user() -> String {
    "user1".into()
}

fn room() -> String {
    "225133468712961".into()
}

/// What every call of an app can fail with.
pub(super) const EVERYWHERE: [Failure; 8] = [
    Failure(|| Error::AppNotFound { org: "demo".into(), app: "chat".into(), rest: "chatrooms".into() }),
    Failure(|| Error::TooManyCalls { retry_after_seconds: 1 }),
    Failure(|| Error::NoSuchCall { status: 404 }),
    Failure(|| Error::BodyTooLarge),
    Failure(|| Error::BodyUnreadable),
    ILLEGAL_ARGUMENT,
    Failure(|| Error::Unavailable("too busy".into())),
    Failure(|| Error::Internal("a mistake".into())),
];

/// What every call with a token can.
pub(super) const OF_TOKENS: [Failure; 3] = [UNAUTHENTICATED, NOT_PERMITTED, NO_APP_TOKEN];

/// What every call with an `Idempotency-Key` can.
pub(super) const OF_IDEMPOTENCY_KEYS: [Failure; 2] =
    [Failure(|| Error::IdempotencyKeyReused), Failure(|| Error::IdempotencyKeyBusy)];

/// What calls name as theirs. An `Error` cannot be a constant; what makes one can.
macro_rules! failures {
    ($($name:ident = $error:expr;)+) => {
        $(#[doc = concat!("`", stringify!($error), "`.")] pub const $name: Failure = Failure(|| $error);)+
    };
}

failures! {
    UNAUTHENTICATED = Error::Unauthenticated { why: "no_token" };
    NOT_PERMITTED = Error::NotPermitted;
    NO_APP_TOKEN = Error::NoAppToken;
    WRONG_METHOD = Error::NoSuchCall { status: 405 };
    JSON_PARSE = serde_json::from_str::<Value>("{").map_or_else(Error::JsonParse, |_| Error::BodyUnreadable);
    INVALID_PARAMETER = Error::missing("usernames");
    ILLEGAL_ARGUMENT = Error::IllegalArgument("this is an invalid request.".into());
    INVALID_GRANT = Error::InvalidGrant("client_secret does not match");
    GRANT_USER_NOT_FOUND = Error::GrantUserNotFound;
    GRANT_USER_BUSY = Error::GrantUserBusy;
    TOO_MANY_NAMES = Error::TooManyNames { limit: "usernames size is more than max limit", max: 60 };

    ROOM_NOT_FOUND = Error::RoomNotFound { room: room() };
    ROOM_NOT_FOUND_ON_READ = Error::RoomNotFoundOnRead { room: room() };
    ROOM_ID_TAKEN = Error::RoomIdTaken { room: room() };
    ROOM_ID_BUSY = Error::RoomIdBusy { room: room() };
    EVENTS_GONE = Error::EventsGone { oldest: "17".into() };
    EVENT_NOT_FOUND = Error::EventNotFound { n: 17, room: room() };
    CANNOT_BE_UNDONE = Error::CannotBeUndone("event 17 cannot be undone: it is undone already".into());
    EXCEED_LIMIT = Error::ExceedLimit("admin count exceeds the limit 99!".into());
    RULE_NOT_FOUND = Error::RuleNotFound { rule: Uuid::nil().to_string() };

    USER_NOT_FOUND = Error::UserNotFound { user: user() };
    ACCOUNT_NOT_FOUND = Error::AccountNotFound;
    ENTITY_NOT_FOUND = Error::EntityNotFound;
    USERNAME_TAKEN = Error::UsernameTaken { app: Uuid::nil(), user: user() };

    NOT_MEMBERS = Error::NotMembers { users: vec![user()], status: 400 };
    NOT_MEMBERS_TODAY = Error::NotMembers { users: vec![user()], status: 403 };
    NOT_IN_ROOM = Error::NotInRoom { user: user(), room: room() };
    NEW_OWNER_NOT_IN_ROOM = Error::NewOwnerNotInRoom { user: user(), room: room() };
    OWNER_ALREADY = Error::OwnerAlready;
    NOT_ADMIN = Error::NotAdmin { user: user(), room: room() };
    ALREADY_MEMBER = Error::AlreadyMember { user: user(), room: room() };
    BLOCKED = Error::Blocked { user: user(), room: room() };
    ROOM_FULL = Error::RoomFull;
    TOO_MANY_ROOMS = Error::TooManyRooms { user: user() };
    SEATS_TAKEN = Error::SeatsTaken;
    ANNOUNCEMENT_TOO_LONG = Error::AnnouncementTooLong;
    ATTRIBUTES_REFUSED = Error::AttributesRefused("exceed allowed batch size 10".into());
    ATTRIBUTE_SETTER_OUTSIDE = Error::AttributeSetterOutside;
    OWNER_IS_PROTECTED = Error::OwnerIsProtected;
}

/// The variant's own name.
fn name(error: &Error) -> String {
    format!("{error:?}").split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// The answers of failures, each once: calls that fail alike share them.
#[derive(Default)]
pub struct Responses {
    components: Map<String, Value>,
    schemas: Map<String, Value>,
}

impl Responses {
    /// The answers of a call with these failures, by status.
    pub(super) fn of(&mut self, failures: &[Failure]) -> Map<String, Value> {
        let mut by_status: BTreeMap<u16, BTreeMap<String, Error>> = BTreeMap::new();
        for Failure(sample) in failures {
            let error = sample();
            by_status.entry(error.row().status).or_default().insert(name(&error), error);
        }
        by_status.into_iter().map(|(status, errors)| (status.to_string(), self.share(status, &errors))).collect()
    }

    /// The failures that share a status.
    fn share(&mut self, status: u16, errors: &BTreeMap<String, Error>) -> Value {
        let key = format!("{status}.{}", errors.keys().map(String::as_str).collect::<Vec<_>>().join("."));
        if !self.components.contains_key(&key) {
            let forms: Vec<Value> = errors.iter().map(|(name, error)| self.form(name, error)).collect();
            let forms = if let [form] = &forms[..] { form.clone() } else { json!({"anyOf": forms}) };
            let examples: Map<String, Value> =
                errors.iter().map(|(name, error)| (name.clone(), json!({"value": example_of_failure(error)}))).collect();
            let kinds: BTreeSet<&str> = errors.values().map(|error| error.row().error).filter(|kind| !kind.is_empty()).collect();
            let mut names = ALLOWANCES.to_vec();
            names.extend(worth_keeping(status).then_some(REPLAYED));
            names.extend((status == 429).then_some("Retry-After"));
            let mut response = json!({
                "description": format!("Refused: {}.", kinds.into_iter().collect::<Vec<_>>().join(", ")),
                "headers": headers(&names),
                "content": {"application/json": {"schema": forms, "examples": examples}},
            });
            if status >= 500 {
                response["description"] = json!("Failed; the log of the service says why.");
            }
            self.components.insert(key.clone(), response);
        }
        reference("responses", &key)
    }

    /// The form of a failure: that of them all, with its own row.
    fn form(&mut self, name: &str, error: &Error) -> Value {
        let row = error.row();
        self.schemas.entry(name).or_insert_with(|| {
            json!({
                "allOf": [reference("schemas", "Failure")],
                "properties": {"error": {"const": row.error}, "exception": {"const": row.exception}},
            })
        });
        reference("schemas", name)
    }

    pub(super) fn take_schemas(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.schemas)
    }

    pub(super) fn into_components(self) -> Map<String, Value> {
        self.components
    }
}
