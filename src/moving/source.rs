//! Reads a service that speaks the same API: the hosted one, or another roomward. It is read as fast as it allows, and what
//! it says is taken as it comes: ids and counts as texts or numbers, a list as an array of names or of objects.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Method, StatusCode as Status, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior, sleep};

use super::format::{Attribute, GlobalMute, Listed, Member, Restriction, Room, RoomPart, SuperAdmin, User};
use crate::names::PERMANENT_MS;

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// How often a call is tried that finds the source too busy, or not there, and the longest wait between two tries.
const ATTEMPTS: u32 = 10;
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// The same for the first call of all: an address that is wrong is told at once.
const FIRST_ATTEMPTS: u32 = 3;

/// Entries on a page: of members, and of everything else.
const MEMBERS_PER_PAGE: usize = 1000;
const PER_PAGE: usize = 100;

/// The most rooms in one question for details.
pub const DETAILS: usize = 100;

/// Global mutes on a page.
const MUTES_PER_PAGE: usize = 50;

/// Why the source cannot be read. It never holds a secret or a token.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address is none of an app.
    #[error("--from is the URL of an app, such as https://a1.easemob.com/ORG/APP")]
    NoUrl,
    /// The client's id or secret is wrong, or the token was revoked.
    #[error("the source refuses the client id and secret: {0}")]
    Unauthorized(String),
    /// It answers with an error.
    #[error("{call} is answered with {status}: {description}")]
    #[expect(missing_docs, reason = "the fields are what the sentence is about")]
    Refused { call: String, status: u16, description: String },
    /// It does not answer.
    #[error("{call} is not answered: {why}")]
    #[expect(missing_docs, reason = "the fields are what the sentence is about")]
    Unreachable { call: String, why: String },
    /// What it answers is not what the API says.
    #[error("{call} is answered with something else than the API says: no {missing}")]
    #[expect(missing_docs, reason = "the fields are what the sentence is about")]
    Unexpected { call: String, missing: &'static str },
}

/// An app on another service.
pub struct Source {
    client: Client,
    base: Url,
    client_id: String,
    client_secret: SecretString,
    token: Mutex<Option<SecretString>>,
    pace: Mutex<Interval>,
}

/// A page by cursor, and where the next one begins.
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Without it this is the last one.
    pub cursor: Option<String>,
}

/// A room in the list of rooms.
pub struct Summary {
    /// Its id.
    pub id: String,
    /// The number of members, the owner counted, if it is told.
    pub member_count: Option<i64>,
}

impl Source {
    /// The app at `base`, asked at most `rate` times a second.
    pub fn new(base: &str, client_id: String, client_secret: SecretString, rate: u32) -> Result<Self, SourceError> {
        let base: Url = base.trim_end_matches('/').parse().map_err(|_| SourceError::NoUrl)?;
        let is_app = base.path_segments().is_some_and(|path| path.filter(|segment| !segment.is_empty()).count() >= 2);
        if !is_app || !matches!(base.scheme(), "http" | "https") || !base.username().is_empty() || base.password().is_some() {
            return Err(SourceError::NoUrl);
        }
        let client = Client::builder()
            .user_agent(concat!("roomward/", env!("CARGO_PKG_VERSION")))
            .referer(false)
            .timeout(TIMEOUT)
            // A redirect would carry the client's secret to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| SourceError::Unreachable { call: "the source".into(), why: error.to_string() })?;
        let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { client, base, client_id, client_secret, token: Mutex::default(), pace: Mutex::new(pace) })
    }

    /// A page of users.
    pub async fn users(&self, cursor: Option<&str>) -> Result<Page<User>, SourceError> {
        let answer = self.must(Method::GET, "/users", &by_cursor(cursor), None).await?;
        let entities = list(&answer, "entities", "/users")?;
        let user = |entity: &Value| {
            Some(User {
                name: text(entity.get("username")?)?,
                nickname: entity.get("nickname").and_then(text),
                created: entity.get("created").and_then(number),
                activated: entity.get("activated").and_then(Value::as_bool).unwrap_or(true),
                password_hash: None,
            })
        };
        Ok(Page { entries: entities.iter().filter_map(user).collect(), cursor: next(&answer, cursor) })
    }

    /// A page of rooms.
    pub async fn rooms(&self, cursor: Option<&str>) -> Result<Page<Summary>, SourceError> {
        let answer = self.must(Method::GET, "/chatrooms", &by_cursor(cursor), None).await?;
        let summary = |room: &Value| {
            Some(Summary { id: text(room.get("id")?)?, member_count: room.get("affiliations_count").and_then(number) })
        };
        let entries = list(&answer, "data", "/chatrooms")?.iter().filter_map(summary).collect();
        Ok(Page { entries, cursor: next(&answer, cursor) })
    }

    /// The details of up to [`DETAILS`] rooms; those that are gone are left out.
    pub async fn details(&self, ids: &[String]) -> Result<Vec<(Room, Option<i64>)>, SourceError> {
        let path = format!("/chatrooms/{}", ids.join(","));
        let Some(answer) = self.call(Method::GET, &path, &[], None).await? else { return Ok(Vec::new()) };
        let detail = |room: &Value| {
            let field = |name| room.get(name).and_then(text);
            let detail = Room {
                id: field("id")?,
                name: field("name")?,
                description: field("description").unwrap_or_default(),
                custom: field("custom").unwrap_or_default(),
                announcement: String::new(),
                owner: field("owner")?,
                owner_joined: None,
                maxusers: room.get("maxusers").and_then(number)?,
                created: room.get("created").and_then(number),
                // How long it lasts is not told.
                muted_until: room.get("mute").and_then(Value::as_bool)?.then_some(PERMANENT_MS),
                mute_reason: None,
            };
            Some((detail, room.get("affiliations_count").and_then(number)))
        };
        let rooms = match answer.get("data") {
            Some(Value::Array(rooms)) => rooms.iter().map(detail).collect(),
            Some(room @ Value::Object(_)) => Some(vec![detail(room)]).into_iter().flatten().collect(),
            _ => None,
        };
        rooms.ok_or(SourceError::Unexpected { call: "GET /chatrooms/…".into(), missing: "id, name, owner, maxusers or mute" })
    }

    /// A room with all its lists; `None`: it is gone meanwhile. `member_count` is what its detail says.
    pub async fn room(&self, room: Room, member_count: Option<i64>) -> Result<Option<RoomPart>, SourceError> {
        let path = format!("/chatrooms/{}", room.id);
        let mut whole = RoomPart::new(room);
        let Some(members) = self.members(&path, &whole.room.owner, member_count).await? else { return Ok(None) };
        whole.members = members;
        let Some(admins) = self.names(&format!("{path}/admin")).await? else { return Ok(None) };
        let Some(whitelist) = self.names(&format!("{path}/white/users")).await? else { return Ok(None) };
        let Some(blocks) = self.names(&format!("{path}/blocks/users")).await? else { return Ok(None) };
        let Some(mutes) = self.call(Method::GET, &format!("{path}/mute"), &[], None).await? else { return Ok(None) };
        let Some(announcement) = self.call(Method::GET, &format!("{path}/announcement"), &[], None).await? else {
            return Ok(None);
        };
        let attributes = self
            .call(Method::POST, &format!("/metadata{}", path.replacen("chatrooms", "chatroom", 1)), &[], Some(json!({})))
            .await?;
        whole.admins = admins.into_iter().map(|user| Listed { user }).collect();
        whole.whitelist = whitelist.into_iter().map(|user| Listed { user }).collect();
        // How long a block lasts is not told.
        whole.blocks = blocks.into_iter().map(|user| Restriction { user, until: PERMANENT_MS, reason: None }).collect();
        let mute = |mute: &Value| {
            Some(Restriction { user: text(mute.get("user")?)?, until: number(mute.get("expire")?)?, reason: None })
        };
        whole.mutes = list(&mutes, "data", "GET …/mute")?.iter().filter_map(mute).collect();
        let announcement = announcement.pointer("/data/announcement").and_then(text).unwrap_or_default();
        std::sync::Arc::make_mut(&mut whole.room).announcement = announcement;
        let attributes = attributes.as_ref().and_then(|answer| answer.get("data")?.as_object());
        let attribute = |(key, value): (&String, &Value)| {
            Some(Attribute { key: key.clone(), value: text(value)?, setter: None, leaves_with_setter: false })
        };
        whole.attributes = attributes.into_iter().flatten().filter_map(attribute).collect();
        Ok(Some(whole))
    }

    /// The members of a room besides its owner. The source may have smaller pages than asked for: only an empty one, one that
    /// repeats what is known, or the number of members is the end.
    async fn members(&self, room: &str, owner: &str, member_count: Option<i64>) -> Result<Option<Vec<Member>>, SourceError> {
        let (mut members, mut seen) = (Vec::new(), std::collections::HashSet::new());
        for page in 1.. {
            let query = [("pagenum", page.to_string()), ("pagesize", MEMBERS_PER_PAGE.to_string())];
            let Some(answer) = self.call(Method::GET, &format!("{room}/users"), &query, None).await? else { return Ok(None) };
            let before = seen.len();
            for name in list(&answer, "data", "GET …/users")?.iter().filter_map(name) {
                if seen.insert(name.to_ascii_lowercase()) && !name.eq_ignore_ascii_case(owner) {
                    members.push(Member { user: name, joined: None });
                }
            }
            let is_complete = member_count.is_some_and(|count| i64::try_from(seen.len()).is_ok_and(|seen| seen >= count));
            if is_complete || seen.len() == before {
                break;
            }
        }
        Ok(Some(members))
    }

    /// A list of names that comes as a whole; `None`: the room is gone.
    async fn names(&self, path: &str) -> Result<Option<Vec<String>>, SourceError> {
        let Some(answer) = self.call(Method::GET, path, &[], None).await? else { return Ok(None) };
        Ok(Some(list(&answer, "data", "GET …/admin, white or blocks")?.iter().filter_map(name).collect()))
    }

    /// All super admins.
    pub async fn super_admins(&self) -> Result<Vec<SuperAdmin>, SourceError> {
        let mut names: Vec<String> = Vec::new();
        for page in 1.. {
            let query = [("pagenum", page.to_string()), ("pagesize", PER_PAGE.to_string())];
            let answer = self.must(Method::GET, "/chatrooms/super_admin", &query, None).await?;
            let before = names.len();
            for name in list(&answer, "data", "GET /chatrooms/super_admin")?.iter().filter_map(name) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            if names.len() == before {
                break;
            }
        }
        Ok(names.into_iter().map(|user| SuperAdmin { user, since: None }).collect())
    }

    /// All global mutes. They are told in seconds that are left.
    pub async fn global_mutes(&self) -> Result<Vec<GlobalMute>, SourceError> {
        let mut mutes: Vec<GlobalMute> = Vec::new();
        for page in 1.. {
            let query = [("pageNum", page.to_string()), ("pageSize", MUTES_PER_PAGE.to_string())];
            let Some(answer) = self.call(Method::GET, "/mutes", &query, None).await? else { break };
            let Some(data) = answer.get("data") else { break };
            let entries = list(data, "data", "GET /mutes")?;
            let now = data.get("unixtime").and_then(number).unwrap_or_default();
            if entries.is_empty() || now == 0 {
                break;
            }
            for entry in entries {
                let Some(user) = entry.get("username").and_then(text) else { continue };
                let until = |part| match entry.get(part).and_then(number) {
                    None | Some(0) => None,
                    Some(..0) => Some(PERMANENT_MS),
                    Some(left) => Some((now + left) * 1000),
                };
                let (chat, groupchat, chatroom) = (until("chat"), until("groupchat"), until("chatroom"));
                match mutes.iter_mut().find(|mute| mute.user == user) {
                    Some(mute) => {
                        mute.chat = mute.chat.or(chat);
                        mute.groupchat = mute.groupchat.or(groupchat);
                        mute.chatroom = mute.chatroom.or(chatroom);
                    }
                    None => mutes.push(GlobalMute { user, chat, groupchat, chatroom, reason: None }),
                }
            }
        }
        Ok(mutes)
    }

    async fn must(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<Value>,
    ) -> Result<Value, SourceError> {
        let call = format!("{method} {path}");
        let answer = self.call(method, path, query, body).await?;
        answer.ok_or_else(|| SourceError::Refused { call, status: 404, description: "there is nothing of that name".into() })
    }

    /// Makes a call; `None`: what it is about does not exist. What is too busy, or not there, is tried again.
    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<Value>,
    ) -> Result<Option<Value>, SourceError> {
        let (mut attempt, mut is_new_token) = (0, false);
        loop {
            attempt += 1;
            let token = self.token(false).await?;
            let (status, answer, wait) = match self.send(&method, path, query, body.as_ref(), Some(&token)).await {
                Ok(answer) => answer,
                Err(_) if attempt < ATTEMPTS => {
                    sleep(backoff(attempt)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let description = || answer.get("error_description").and_then(text).unwrap_or_default();
            match status {
                Status::OK => return Ok(Some(answer)),
                Status::NOT_FOUND => return Ok(None),
                Status::UNAUTHORIZED if !is_new_token => {
                    is_new_token = true;
                    self.token(true).await?;
                }
                Status::UNAUTHORIZED => return Err(SourceError::Unauthorized(description())),
                status if is_busy(status) && attempt < ATTEMPTS => sleep(wait.unwrap_or_else(|| backoff(attempt))).await,
                status => {
                    let call = format!("{method} {path}");
                    return Err(SourceError::Refused { call, status: status.as_u16(), description: description() });
                }
            }
        }
    }

    /// The app's token; a new one if the former is none any more.
    async fn token(&self, renew: bool) -> Result<SecretString, SourceError> {
        let mut token = self.token.lock().await;
        if let Some(token) = token.as_ref().filter(|_| !renew) {
            return Ok(token.clone());
        }
        let body = json!({
            "grant_type": "client_credentials", "client_id": self.client_id, "client_secret": self.client_secret.expose_secret(),
        });
        let attempts = if token.is_none() { FIRST_ATTEMPTS } else { ATTEMPTS };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (status, answer, wait) = match self.send(&Method::POST, "/token", &[], Some(&body), None).await {
                Ok(answer) => answer,
                Err(_) if attempt < attempts => {
                    sleep(backoff(attempt)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if is_busy(status) && attempt < ATTEMPTS {
                sleep(wait.unwrap_or_else(|| backoff(attempt))).await;
                continue;
            }
            let Some(new) = answer.get("access_token").and_then(text).filter(|_| status == Status::OK) else {
                let description = answer.get("error_description").and_then(text);
                return Err(SourceError::Unauthorized(description.unwrap_or_else(|| format!("status {status}"))));
            };
            return Ok(token.insert(SecretString::from(new)).clone());
        }
    }

    /// Sends a request at its turn. Returns the status, the body, and how long the source wants to be left alone.
    async fn send(
        &self,
        method: &Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
        token: Option<&SecretString>,
    ) -> Result<(Status, Value, Option<Duration>), SourceError> {
        self.pace.lock().await.tick().await;
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method.clone(), url);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let failed = |error: reqwest::Error| {
            let why = crate::error::Causes(&error.without_url()).to_string();
            SourceError::Unreachable { call: format!("{method} {path}"), why }
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        let wait = wait.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
        let answer = response.bytes().await.map_err(failed)?;
        // An error may come with a page of a proxy's.
        Ok((status, serde_json::from_slice(&answer).unwrap_or(Value::Null), wait))
    }
}

fn is_busy(status: Status) -> bool {
    matches!(status, Status::TOO_MANY_REQUESTS | Status::BAD_GATEWAY | Status::SERVICE_UNAVAILABLE | Status::GATEWAY_TIMEOUT)
}

/// Half a second, then twice as long each time.
fn backoff(attempt: u32) -> Duration {
    (Duration::from_millis(250) * 2_u32.saturating_pow(attempt)).min(LONGEST_WAIT)
}

fn by_cursor(cursor: Option<&str>) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", PER_PAGE.to_string())];
    query.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
    query
}

/// The cursor of an answer. One that is the same as before would never end.
fn next(answer: &Value, former: Option<&str>) -> Option<String> {
    answer.get("cursor").and_then(text).filter(|cursor| !cursor.is_empty() && Some(&**cursor) != former)
}

fn list<'a>(answer: &'a Value, field: &'static str, call: &str) -> Result<&'a Vec<Value>, SourceError> {
    let list = answer.get(field).and_then(Value::as_array);
    list.ok_or_else(|| SourceError::Unexpected { call: call.into(), missing: field })
}

/// A name that stands by itself, or as the only value of an object.
fn name(entry: &Value) -> Option<String> {
    match entry {
        Value::Object(fields) => fields.values().next().and_then(text),
        entry => text(entry),
    }
}

/// A text; a number is as good as one.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number; its digits as a text are as good as one.
fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(digits) => digits.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_stand_for_each_other() {
        assert_eq!(
            (text(&json!("1")), text(&json!(66_213_271_109_633_i64)), text(&json!(null))),
            (Some("1".into()), Some("66213271109633".into()), None)
        );
        assert_eq!((number(&json!(200)), number(&json!(" 200 ")), number(&json!("x"))), (Some(200), Some(200), None));
        assert_eq!((name(&json!({"member": "bob"})), name(&json!("bob"))), (Some("bob".into()), Some("bob".into())));
        assert_eq!(
            (next(&json!({"cursor": 7}), None), next(&json!({"cursor": "7"}), Some("7")), next(&json!({}), None)),
            (Some("7".into()), None, None)
        );
    }

    #[tokio::test]
    async fn a_source_is_the_url_of_an_app_without_secrets() {
        let source = |base| Source::new(base, "id".into(), "secret".to_owned().into(), 1).map(drop);
        assert!(source("https://a1.easemob.com/org/app/").is_ok());
        for wrong in ["a1.easemob.com/org/app", "https://a1.easemob.com/org", "ftp://x/org/app", "https://u:p@x/org/app"] {
            assert!(source(wrong).is_err(), "{wrong}");
        }
    }
}
