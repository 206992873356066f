//! The error catalogue: every way in which a call can fail, with what the client reads of it.
//!
//! `Display` is the `error_description`; [`Error::row`] is the rest. What went wrong inside is for the log alone.

use std::error::Error as StdError;
use std::fmt;

/// Why a call was refused, or failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the sentences are about")]
pub enum Error {
    /// No such tenant. `rest` is everything after `/{org}/{app}/`.
    #[error("Could not find application for {org}/{app} from URI: {org}/{app}/{rest}")]
    AppNotFound { org: String, app: String, rest: String },
    /// No token, or none that opens this app; `why` is for the log.
    #[error("Unable to authenticate (OAuth)")]
    Unauthenticated { why: &'static str },
    /// A user's token, and what is asked for is not the user's to do.
    #[error("you have no permission to do this, group admin permission is required")]
    NotPermitted,
    /// The same where the app's edition asks for the app's token.
    #[error("Unable to authenticate")]
    NoAppToken,
    /// One too many in a second, or after too many wrong secrets.
    #[error("This request has reached api limit")]
    TooManyCalls { retry_after_seconds: u64 },
    /// An event that a room does not have.
    #[error("event {n} of grpID {room} does not exist!")]
    EventNotFound { n: i64, room: String },
    /// What followed an event forbids to undo it, or it is one that cannot be undone.
    #[error("{0}")]
    CannotBeUndone(String),
    /// The path or the method is none of ours; the status tells which.
    #[error("Service operation not supported")]
    NoSuchCall { status: u16 },
    /// The body exceeds `server.max_body_bytes`.
    #[error("Request Entity Too Large")]
    BodyTooLarge,
    /// The connection broke, or the body's framing is wrong.
    #[error("the request body could not be read")]
    BodyUnreadable,
    /// The body is not JSON.
    #[error("{0}")]
    JsonParse(#[from] serde_json::Error),
    /// A field is missing or has a value that cannot be used.
    #[error("{0}")]
    InvalidParameter(String),
    /// The same, in the words of the calls around users and tokens.
    #[error("{0}")]
    IllegalArgument(String),
    /// The credentials of a token request do not fit.
    #[error("{0}")]
    InvalidGrant(&'static str),
    /// A user who asks for a token is not registered.
    #[error("user not found")]
    GrantUserNotFound,
    /// Another request took a name while a token request was about to register it.
    #[error("concurrency create app user failed")]
    GrantUserBusy,
    /// More names in one call than it may have; the words before the number are the call's own.
    #[error("{limit} : {max}")]
    TooManyNames { limit: &'static str, max: usize },

    /// The room does not exist.
    #[error("grpID {room} does not exist!")]
    RoomNotFound { room: String },
    /// The same, in the words of the paged member list and the room's detail.
    #[error("do not find this group:{room}")]
    RoomNotFoundOnRead { room: String },
    /// The caller chose the id of an existing room.
    #[error("group ID {room} already exists!")]
    RoomIdTaken { room: String },
    /// The chosen id belonged to a room that is still being removed.
    #[error("group ID {room} is being removed, try again!")]
    RoomIdBusy { room: String },
    /// Events were asked for that are too old to be kept.
    #[error("events before {oldest} are gone")]
    EventsGone { oldest: String },
    /// A length or size beyond what a room may have.
    #[error("{0}")]
    ExceedLimit(String),
    /// The key belongs to another call.
    #[error("Idempotency-Key was used for another call")]
    IdempotencyKeyReused,
    /// The call of that key is still under way.
    #[error("the call of this Idempotency-Key is still under way, try again!")]
    IdempotencyKeyBusy,

    /// The app has no callback rule of that id.
    #[error("callback rule {rule} does not exist!")]
    RuleNotFound { rule: String },

    /// The user is not registered.
    #[error("username {user} doesn't exist!")]
    UserNotFound { user: String },
    /// The same, in the words of the calls around users.
    #[error("Service resource not found")]
    AccountNotFound,
    /// The same, in the words of the calls that change a user.
    #[error("User null not found")]
    EntityNotFound,
    /// The name is taken.
    #[error("Application {app} Entity user requires that property named username be unique, value of {user} exists")]
    UsernameTaken { app: uuid::Uuid, user: String },

    /// None of the users named is in the room (or on the list that was meant).
    #[error("users [{}] are not members of this group!", .users.join(", "))]
    NotMembers { users: Vec<String>, status: u16 },
    /// The user to be an admin is not in the room.
    #[error("user: {user} doesn't exist in group: {room}")]
    NotInRoom { user: String, room: String },
    /// The same for a new owner.
    #[error("user: {user} doesn't exist in group: {room}")]
    NewOwnerNotInRoom { user: String, room: String },
    /// The new owner is the old one.
    #[error("new owner and old owner are the same")]
    OwnerAlready,
    /// The user to be demoted is no admin.
    #[error("user:{user} is not admin of group:{room}")]
    NotAdmin { user: String, room: String },
    /// The user to be added is in the room already.
    #[error("can not join this group, reason:user: {user} already in group: {room}")]
    AlreadyMember { user: String, room: String },
    /// The user to be added is blocked in the room.
    #[error("can not join this group, reason:user {user} is in the blacklist of group {room}")]
    Blocked { user: String, room: String },
    /// No seat is left.
    #[error("can not join this group, reason:member list is full!")]
    RoomFull,
    /// The user is in `limits.rooms_per_user` rooms.
    #[error("can not join this group, reason:user {user} has joined too many chatrooms!")]
    TooManyRooms { user: String },
    /// Fewer seats than people, asked for by an update.
    #[error("current user count is larger than the maxUsers that you want to update !")]
    SeatsTaken,
    /// An announcement that is too long.
    #[error("announce info length exceeds limit!")]
    AnnouncementTooLong,
    /// A call around attributes that cannot be; their errors have no type.
    #[error("{0}")]
    AttributesRefused(String),
    /// An attribute can be set by people in the room only.
    #[error("user is not in chatroom")]
    AttributeSetterOutside,
    /// What cannot be done to the owner of a room.
    #[error("forbidden operation on group owner!")]
    OwnerIsProtected,

    /// The database cannot be reached, or is too busy, at the moment.
    #[error("Service Unavailable")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// Our fault.
    #[error("Internal Server Error")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

/// A line of the catalogue: the HTTP status, and the body's `error` and `exception`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named as on the wire")]
pub struct Row {
    pub status: u16,
    pub error: &'static str,
    pub exception: &'static str,
}

impl Error {
    /// The row of this error. No default arm: a new variant does not compile until it has its row.
    #[rustfmt::skip]
    #[expect(clippy::match_same_arms, reason = "a table has a line for each entry")]
    pub const fn row(&self) -> Row {
        use Error as E;
        let (status, error, exception) = match self {
            E::AppNotFound { .. }        => (404, "organization_application_not_found", "OrganizationApplicationNotFoundException"),
            E::Unauthenticated { .. }    => (401, "unauthorized",                       "EasemobSecurityException"),
            E::TooManyCalls { .. }       => (429, "reach_limit",                        "ReachLimitException"),
            E::NotPermitted              => (401, "group_authorization",                "com.easemob.group.exception.GroupAuthorizationException"),
            E::NoAppToken                => (401, "auth_bad_access_token",              "EasemobSecurityException"),
            E::NoSuchCall { status }     => (*status, "unsupported_service_operation",  "UnsupportedServiceOperationException"),
            E::BodyTooLarge              => (413, "request_entity_too_large",           "RequestEntityTooLargeException"),
            E::BodyUnreadable            => (400, "illegal_argument",                   "java.lang.IllegalArgumentException"),
            E::JsonParse(_)              => (400, "json_parse",                         "com.fasterxml.jackson.core.JsonParseException"),
            E::InvalidParameter(_)       => (400, "invalid_parameter",                  "com.easemob.group.exception.InvalidParameterException"),
            E::IllegalArgument(_)        => (400, "illegal_argument",                   "java.lang.IllegalArgumentException"),
            E::InvalidGrant(_)           => (400, "invalid_grant",                      "InvalidGrantException"),
            E::GrantUserNotFound         => (404, "invalid_grant",                      "InvalidGrantException"),
            E::GrantUserBusy             => (409, "concurrent_operation_error",         "ConcurrentOperationException"),
            E::TooManyNames { .. }       => (400, "invalid_parameter",                  "com.easemob.group.exception.InvalidParameterException"),

            E::RoomNotFound { .. }       => (404, "resource_not_found",                 "com.easemob.group.exception.ResourceNotFoundException"),
            E::RoomNotFoundOnRead { .. } => (404, "service_resource_not_found",         "com.easemob.group.exception.ServiceResourceNotFoundException"),
            E::RoomIdTaken { .. }        => (400, "illegal_argument",                   "java.lang.IllegalArgumentException"),
            E::RoomIdBusy { .. }         => (409, "concurrent_operation_error",         "ConcurrentOperationException"),
            E::EventsGone { .. }         => (410, "events_gone",                        "EventsGoneException"),
            E::EventNotFound { .. }      => (404, "resource_not_found",                 "com.easemob.group.exception.ResourceNotFoundException"),
            E::CannotBeUndone(_)         => (403, "forbidden_op",                       "com.easemob.group.exception.ForbiddenOpException"),
            E::ExceedLimit(_)            => (403, "exceed_limit",                       "com.easemob.group.exception.ExceedLimitException"),
            E::IdempotencyKeyReused      => (422, "idempotency_key_reused",             "IdempotencyKeyReusedException"),
            E::IdempotencyKeyBusy        => (409, "concurrent_operation_error",         "ConcurrentOperationException"),
            E::RuleNotFound { .. }       => (404, "resource_not_found",                 "com.easemob.group.exception.ResourceNotFoundException"),

            E::UserNotFound { .. }       => (404, "resource_not_found",                 "com.easemob.group.exception.ResourceNotFoundException"),
            E::AccountNotFound           => (404, "service_resource_not_found",         "UserNotFoundException"),
            E::EntityNotFound            => (404, "entity_not_found",                   "EntityNotFoundException"),
            E::UsernameTaken { .. }      => (400, "duplicate_unique_property_exists",   "DuplicateUniquePropertyExistsException"),

            E::NotMembers { status, .. } => (*status, "forbidden_op",                       "com.easemob.group.exception.ForbiddenOpException"),
            E::NotInRoom { .. }          => (404, "resource_not_found",                 "com.easemob.group.exception.ResourceNotFoundException"),
            E::NewOwnerNotInRoom { .. }  => (403, "forbidden_op",                       "com.easemob.group.exception.ForbiddenOpException"),
            E::OwnerAlready              => (403, "forbidden_op",                       "com.easemob.group.exception.ForbiddenOpException"),
            E::NotAdmin { .. }           => (403, "forbidden_op",                       "com.easemob.group.exception.ForbiddenOpException"),
            E::AlreadyMember { .. }      => (400, "forbidden_op",                       "com.easemob.group.exception.ForbiddenOpException"),
            E::Blocked { .. }            => (403, "forbidden_op",                       "com.easemob.group.exception.ForbiddenOpException"),
            E::RoomFull                  => (403, "forbidden_op",                       "com.easemob.group.exception.ForbiddenOpException"),
            E::TooManyRooms { .. }       => (403, "forbidden_op",                       "com.easemob.group.exception.ForbiddenOpException"),
            E::SeatsTaken                => (403, "forbidden_op",                       "com.easemob.group.exception.ForbiddenOpException"),
            E::AnnouncementTooLong       => (403, "forbidden_op",                       "com.easemob.group.exception.ForbiddenOpException"),
            E::AttributesRefused(_)      => (400, "",                                   "MetadataException"),
            E::AttributeSetterOutside    => (401, "MetadataException",                  "MetadataException"),
            E::OwnerIsProtected          => (403, "forbidden_op",                       "com.easemob.group.exception.ForbiddenOpException"),

            E::Unavailable(_)            => (503, "service_unavailable",                "ServiceUnavailableException"),
            E::Internal(_)               => (500, "internal_server_error",              "java.lang.RuntimeException"),
        };
        Row { status, error, exception }
    }

    /// What was sent cannot be used.
    pub fn invalid(what: &str) -> Self {
        Self::InvalidParameter(format!("{what} is invalid"))
    }

    /// The same, and what would be accepted.
    pub fn not_among(what: &str, accepted: &[&str]) -> Self {
        Self::InvalidParameter(format!("{what} is invalid: {}", accepted.join(", ")))
    }

    /// A field that the call needs is not there.
    pub fn missing(field: &str) -> Self {
        Self::InvalidParameter(format!("{field} must be provided"))
    }
}

/// An error with all that has caused it, in one line: for the log.
pub struct Causes<'e>(pub &'e (dyn StdError + 'e));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)?;
        std::iter::successors(self.0.source(), |cause| (*cause).source()).try_for_each(|cause| write!(out, ": {cause}"))
    }
}

/// A database that is down, starting, stopping or overloaded, or does not let us in, is [`Error::Unavailable`]: clients do
/// well to try again. Anything else that it says is a mistake of ours.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let unavailable = match &error {
            E::Io(_) | E::Tls(_) | E::Protocol(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed => true,
            // Classes: 08 connection, 28 not let in (our password is being changed), 53 resources, 40 to be repeated;
            // 57P01-03 shutdown, crash, starting up; 57014 and 55P03 our statement and lock time-outs; 25P03 idle in
            // transaction.
            E::Database(cause) => cause.code().is_some_and(|code| {
                matches!(&code[..2.min(code.len())], "08" | "28" | "3D" | "53" | "40")
                    || matches!(&*code, "57P01" | "57P02" | "57P03" | "57014" | "55P03" | "25P03")
            }),
            _ => false,
        };
        if unavailable { Self::Unavailable(error.into()) } else { Self::Internal(error.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_database_is_unavailable_and_a_missing_row_is_our_mistake() {
        assert_eq!(Error::from(sqlx::Error::PoolTimedOut).row().status, 503);
        assert_eq!(Error::from(sqlx::Error::RowNotFound).row().status, 500);
    }

    #[test]
    fn the_log_has_every_cause_in_one_line() {
        let error = Error::from(sqlx::Error::Io(std::io::Error::other("a broken pipe")));
        let line = Causes(&error).to_string();
        assert!(line.starts_with("Service Unavailable: ") && line.ends_with("a broken pipe"), "{line}");
    }

    #[test]
    fn what_failed_inside_is_not_told_to_the_client() {
        let error = Error::from(sqlx::Error::Configuration("password=hunter2".into()));
        assert_eq!(error.to_string(), "Internal Server Error");
    }
}
