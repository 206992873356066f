//! Settings: `config/default.toml` (embedded), then a file named by `ROOMWARD_CONFIG`, then `ROOMWARD__SECTION__KEY`.
//!
//! What a setting means is said once, in `config/default.toml`. Secrets are [`SecretString`]s, so that printing the
//! settings cannot leak them; each may lie in a file instead.

#![expect(missing_docs, reason = "config/default.toml says what each setting means")]

mod compat;
mod database_url;
mod secret_file;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

pub use self::compat::{AddExistingMember, Compat, Edition, ListCall};

const DEFAULTS: &str = include_str!("../config/default.toml");

/// All settings, as found at start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub server: Server,
    pub database: Database,
    pub auth: Auth,
    pub passwords: Passwords,
    pub limits: Limits,
    pub compat: Compat,
    pub writes: Writes,
    pub expiry: Sweep,
    pub purge: Sweep,
    pub events: Events,
    pub callbacks: Callbacks,
    pub idempotency: Idempotency,
    pub console: Console,
    pub metrics: Metrics,
    pub log: Log,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub host: String,
    pub port: u16,
    pub workers: usize,
    pub max_connections: usize,
    pub max_body_bytes: usize,
    pub request_timeout_ms: u64,
    pub keep_alive_seconds: u64,
    pub unread_seconds: u32,
    pub drain_seconds: u64,
    pub shutdown_seconds: u64,
    pub trust_forwarded_proto: bool,
    pub trust_forwarded_for: bool,
    pub development: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: SecretString,
    pub url_file: PathBuf,
    pub transaction_pooling: bool,
    pub read_url: SecretString,
    pub read_url_file: PathBuf,
    pub read_max_age_ms: u64,
    pub max_connections: u32,
    pub acquire_timeout_ms: u64,
    pub statement_timeout_ms: u64,
    pub lock_timeout_ms: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub secret: SecretString,
    pub secret_file: PathBuf,
    pub previous_secrets: SecretString,
    pub previous_secrets_file: PathBuf,
    pub token_ttl_seconds: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passwords {
    pub memory_kib: u32,
    pub iterations: u32,
    pub at_once: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub members_per_room: u32,
    pub default_maxusers: u32,
    pub rooms_per_user: u32,
    pub rooms_per_app: u32,
    pub affiliations_in_detail: u32,
    pub blocks_per_room: u32,
    pub mutes_per_room: u32,
    pub calls_per_second_of_app: u32,
    pub calls_per_second_of_user_token: u32,
    pub wrong_secrets_per_minute: u32,
}

/// What one app has differently from the service, as stored with the app. Absent: as the service has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    #[serde(rename = "compat.edition", skip_serializing_if = "Option::is_none")]
    pub edition: Option<Edition>,
    #[serde(rename = "compat.max_batch", skip_serializing_if = "Option::is_none")]
    pub max_batch: Option<usize>,
    #[serde(rename = "compat.add_existing_member", skip_serializing_if = "Option::is_none")]
    pub add_existing_member: Option<AddExistingMember>,
    #[serde(rename = "compat.non_member_status", skip_serializing_if = "Option::is_none")]
    pub non_member_status: Option<u16>,
    #[serde(rename = "limits.rooms_per_user", skip_serializing_if = "Option::is_none")]
    pub rooms_per_user: Option<u32>,
    #[serde(rename = "limits.rooms_per_app", skip_serializing_if = "Option::is_none")]
    pub rooms_per_app: Option<u32>,
    #[serde(rename = "limits.calls_per_second_of_app", skip_serializing_if = "Option::is_none")]
    pub calls_per_second_of_app: Option<u32>,
}

/// The settings that apps can have differently, as they hold for one app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub compat: Compat,
    pub rooms_per_user: u32,
    pub rooms_per_app: u32,
    pub calls_per_second_of_app: u32,
}

/// How often a background task looks for work, and how much it does in one transaction.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    pub every_ms: u64,
    pub batch: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Writes {
    pub batch: usize,
    pub queue: usize,
    pub lanes: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    pub keep_days: u32,
    pub every_ms: u64,
    pub streams: usize,
    pub stream_buffer: usize,
    pub heartbeat_seconds: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Callbacks {
    pub every_ms: u64,
    pub at_once: usize,
    pub timeout_ms: u64,
    pub give_up_after_hours: u32,
    pub keep_days: u32,
    pub allow_private_targets: bool,
    pub follow_redirects: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idempotency {
    pub keep_hours: u32,
    pub wait_ms: u64,
    pub claim_seconds: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    pub enabled: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Overrides {
    /// Sets one of them by its name; an empty value takes it away again. What is refused leaves all of them as they were.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Unusable> {
        let wrong = || Unusable(format!("{name} cannot be {value}"));
        match name {
            "compat.max_batch" => self.max_batch = parse(value, |names| *names > 0).ok_or_else(wrong)?,
            "compat.non_member_status" => {
                self.non_member_status = parse(value, |status| matches!(status, 400 | 403)).ok_or_else(wrong)?;
            }
            "limits.rooms_per_user" => self.rooms_per_user = parse(value, |_| true).ok_or_else(wrong)?,
            "limits.calls_per_second_of_app" => self.calls_per_second_of_app = parse(value, |_| true).ok_or_else(wrong)?,
            "limits.rooms_per_app" => self.rooms_per_app = parse(value, |_| true).ok_or_else(wrong)?,
            "compat.edition" => {
                self.edition = match value {
                    "" => None,
                    "seed" => Some(Edition::Seed),
                    "present" => Some(Edition::Present),
                    _ => return Err(wrong()),
                }
            }
            "compat.add_existing_member" => {
                self.add_existing_member = match value {
                    "" => None,
                    "error" => Some(AddExistingMember::Error),
                    "ok" => Some(AddExistingMember::Ok),
                    _ => return Err(wrong()),
                }
            }
            _ => return Err(Unusable(format!("{name} is not a setting of an app"))),
        }
        Ok(())
    }
}

/// A legal value, or none where the text is empty. `None`: neither.
#[expect(clippy::option_option, reason = "the inner one is what is set")]
fn parse<T: std::str::FromStr>(text: &str, is_legal: impl FnOnce(&T) -> bool) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { text.parse().ok().filter(is_legal).map(Some) }
}

/// Why the settings cannot be used, as a sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[error("settings: {0}")]
pub struct Unusable(String);

/// A setting with one underscore where there are to be two would be ignored, and nothing would tell.
fn refuse_misspelt_names(given: &[String]) -> Result<(), Unusable> {
    type Sections = std::collections::BTreeMap<String, std::collections::BTreeMap<String, config::Value>>;
    let defaults = config::Config::builder().add_source(config::File::from_str(DEFAULTS, config::FileFormat::Toml)).build();
    let sections = defaults.and_then(config::Config::try_deserialize::<Sections>).unwrap_or_default();
    for (section, name) in sections.iter().flat_map(|(section, names)| names.keys().map(move |name| (section, name))) {
        let wrong = format!("ROOMWARD_{section}_{name}").to_uppercase();
        if given.contains(&wrong) {
            return Err(Unusable(format!("{wrong} is not read: {} is", format!("ROOMWARD__{section}__{name}").to_uppercase())));
        }
    }
    Ok(())
}

impl Settings {
    /// Reads the settings of this process and checks each by itself.
    pub fn load() -> Result<Self, Unusable> {
        let file = std::env::var_os("ROOMWARD_CONFIG").map(|file| config::File::from(PathBuf::from(file)));
        let names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
        Self::read(file, config::Environment::default(), &names)
    }

    /// The same for the text of a file and an environment of one's own: a door for those who try what nobody would set.
    #[doc(hidden)]
    pub fn from_texts(file: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Unusable> {
        let environment: HashMap<String, String> = environment.into_iter().collect();
        let file = config::File::from_str(file, config::FileFormat::Toml);
        let names: Vec<String> = environment.keys().cloned().collect();
        Self::read(Some(file), config::Environment::default().source(Some(environment)), &names)
    }

    /// `names` are those of all variables in the environment.
    fn read(
        file: Option<impl config::Source + Send + Sync + 'static>,
        environment: config::Environment,
        names: &[String],
    ) -> Result<Self, Unusable> {
        let mut sources = config::Config::builder().add_source(config::File::from_str(DEFAULTS, config::FileFormat::Toml));
        if let Some(file) = file {
            sources = sources.add_source(file);
        }
        // No `try_parsing`: it would turn a secret such as 007e2 into the number 700.
        let environment = environment.prefix("ROOMWARD").prefix_separator("__").separator("__");
        let mut settings: Self = sources
            .add_source(environment)
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(|error| Unusable(without_values(error)))?;
        refuse_misspelt_names(names)?;
        settings.read_secret_files()?;
        settings.check()?;
        Ok(settings)
    }

    fn read_secret_files(&mut self) -> Result<(), Unusable> {
        let (database, auth) = (&mut self.database, &mut self.auth);
        secret_file::read("database.url", &mut database.url, &database.url_file)?;
        secret_file::read("database.read_url", &mut database.read_url, &database.read_url_file)?;
        secret_file::read("auth.secret", &mut auth.secret, &auth.secret_file)?;
        secret_file::read("auth.previous_secrets", &mut auth.previous_secrets, &auth.previous_secrets_file)
    }

    fn check(&self) -> Result<(), Unusable> {
        let positive = [
            ("server.max_body_bytes", self.server.max_body_bytes as u64),
            ("database.max_connections", self.database.max_connections.into()),
            ("database.acquire_timeout_ms", self.database.acquire_timeout_ms),
            ("database.statement_timeout_ms", self.database.statement_timeout_ms),
            ("database.lock_timeout_ms", self.database.lock_timeout_ms),
            ("database.read_max_age_ms", self.database.read_max_age_ms),
            ("auth.token_ttl_seconds", self.auth.token_ttl_seconds.into()),
            ("passwords.at_once", self.passwords.at_once as u64),
            ("limits.members_per_room", self.limits.members_per_room.into()),
            ("limits.affiliations_in_detail", self.limits.affiliations_in_detail.into()),
            ("server.request_timeout_ms", self.server.request_timeout_ms),
            ("limits.default_maxusers", self.limits.default_maxusers.into()),
            ("compat.max_batch", self.compat.max_batch.map_or(1, |names| names as u64)),
            ("writes.batch", self.writes.batch as u64),
            ("writes.queue", self.writes.queue as u64),
            ("writes.lanes", self.writes.lanes as u64),
            ("server.max_connections", self.server.max_connections as u64),
            ("expiry.every_ms", self.expiry.every_ms),
            ("expiry.batch", self.expiry.batch.into()),
            ("purge.every_ms", self.purge.every_ms),
            ("purge.batch", self.purge.batch.into()),
            ("events.keep_days", self.events.keep_days.into()),
            ("events.every_ms", self.events.every_ms),
            ("events.stream_buffer", self.events.stream_buffer as u64),
            ("events.heartbeat_seconds", self.events.heartbeat_seconds),
            ("callbacks.every_ms", self.callbacks.every_ms),
            ("callbacks.at_once", self.callbacks.at_once as u64),
            ("callbacks.timeout_ms", self.callbacks.timeout_ms),
            ("idempotency.keep_hours", self.idempotency.keep_hours.into()),
            ("idempotency.claim_seconds", self.idempotency.claim_seconds.into()),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(Unusable(format!("{name} must be at least 1")));
        }
        if self.callbacks.keep_days < self.events.keep_days {
            return Err(Unusable("callbacks.keep_days must be at least events.keep_days".into()));
        }
        if self.compat.non_member_status.is_some_and(|status| !matches!(status, 400 | 403)) {
            return Err(Unusable("compat.non_member_status must be 400 or 403".into()));
        }
        // Both are counted in PostgreSQL's integer.
        for (name, value) in [
            ("limits.members_per_room", self.limits.members_per_room),
            ("limits.affiliations_in_detail", self.limits.affiliations_in_detail),
        ] {
            if i32::try_from(value).is_err() {
                return Err(Unusable(format!("{name} must be at most {}", i32::MAX)));
            }
        }
        Ok(())
    }

    /// The settings as they hold for an app.
    pub fn rules(&self, overrides: &Overrides) -> Rules {
        Rules {
            compat: self.compat.for_app(overrides),
            rooms_per_user: overrides.rooms_per_user.unwrap_or(self.limits.rooms_per_user),
            rooms_per_app: overrides.rooms_per_app.unwrap_or(self.limits.rooms_per_app),
            calls_per_second_of_app: overrides.calls_per_second_of_app.unwrap_or(self.limits.calls_per_second_of_app),
        }
    }

    /// The database's URL; there is no default for it. sqlx can read it, and uses all that is in it.
    pub fn database_url(&self) -> Result<&str, Unusable> {
        let url = self.database.url.expose_secret();
        if url.is_empty() {
            let example = "ROOMWARD__DATABASE__URL=postgres://user:password@host/database";
            return Err(Unusable(format!("database.url is not set, nor is database.url_file ({example})")));
        }
        database_url::check("database.url", url)?;
        Ok(url)
    }

    /// The standby's URL, if there is one.
    pub fn read_url(&self) -> Result<Option<&str>, Unusable> {
        let url = Some(self.database.read_url.expose_secret()).filter(|url| !url.is_empty());
        url.map(|url| database_url::check("database.read_url", url).map(|()| url)).transpose()
    }

    /// The secrets that verify tokens, the signing one first.
    pub fn token_secrets(&self) -> Result<Vec<&str>, Unusable> {
        let signing = self.auth.secret.expose_secret();
        if signing.is_empty() {
            let example = "ROOMWARD__AUTH__SECRET; `openssl rand -base64 48` makes one";
            return Err(Unusable(format!("auth.secret is not set, nor is auth.secret_file ({example})")));
        }
        let previous = self.auth.previous_secrets.expose_secret().split(',').map(str::trim).filter(|old| !old.is_empty());
        let secrets: Vec<&str> = std::iter::once(signing).chain(previous).collect();
        if !self.server.development && secrets.iter().any(|secret| secret.len() < 32) {
            return Err(Unusable(
                "auth.secret and auth.previous_secrets need at least 32 bytes each (server.development = true lifts this)".into(),
            ));
        }
        Ok(secrets)
    }
}

/// What is wrong with the settings, in words that do not repeat what was set: it may be a secret.
fn without_values(error: config::ConfigError) -> String {
    use config::ConfigError as E;
    let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let must_be = |key: Option<String>, what: &str| format!("{} must be {what}", key.as_deref().unwrap_or("a setting"));
    match error {
        E::Type { key, expected, .. } => must_be(key, expected),
        E::At { error, key, .. } => match *error {
            E::Message(text) => match text.strip_prefix("invalid").and_then(|text| text.rsplit_once(", expected ")) {
                Some((_, expected)) => must_be(key, expected),
                None => format!("{}: {text}", key.unwrap_or_default()),
            },
            other => without_values(other),
        },
        // The lines that follow show the place in the file.
        E::FileParse { uri, cause } => format!("{}: {}", uri.unwrap_or_default(), first_line(cause.to_string())),
        other => other.to_string(),
    }
}

impl Sweep {
    /// The time between two looks for work.
    pub fn every(&self) -> Duration {
        Duration::from_millis(self.every_ms)
    }
}

impl Callbacks {
    /// The time between two looks for due deliveries.
    pub fn every(&self) -> Duration {
        Duration::from_millis(self.every_ms)
    }

    /// How long a target may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// How long failures are tried again.
    pub fn give_up_after(&self) -> Duration {
        // More would be more than PostgreSQL's moments and intervals hold.
        const LONGEST_HOURS: u32 = 24 * 365 * 100;
        Duration::from_hours(self.give_up_after_hours.min(LONGEST_HOURS).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, config::ConfigError> {
        config::Config::builder()
            .add_source(config::File::from_str(DEFAULTS, config::FileFormat::Toml))
            .add_source(config::File::from_str(text, config::FileFormat::Toml))
            .build()
            .and_then(config::Config::try_deserialize)
    }

    #[test]
    fn the_defaults_are_whole_and_usable() {
        read("").expect("readable").check().expect("usable");
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        let error = read("[server]\nprot = 1").expect_err("refused").to_string();
        assert!(error.contains("prot"), "{error}");
    }

    #[test]
    fn an_app_may_differ_where_it_says_so() {
        let mut settings = read("").expect("readable");
        settings.limits.rooms_per_user = 7;
        let mut overrides = Overrides::default();
        overrides.set("compat.max_batch", "100").expect("legal");
        overrides.set("compat.add_existing_member", "ok").expect("legal");
        let rules = settings.rules(&overrides);
        let compat = rules.compat;
        assert_eq!((compat.max_batch(ListCall::Block), compat.add_existing_member()), (100, AddExistingMember::Ok));
        assert_eq!(rules.rooms_per_user, 7);
        overrides.set("compat.max_batch", "").expect("taken away");
        assert_eq!(settings.rules(&overrides).compat.max_batch(ListCall::Block), 60);
        for (name, value) in [
            ("compat.max_batch", "0"),
            ("compat.non_member_status", "404"),
            ("compat.add_existing_member", "yes"),
            ("compat.edition", "past"),
            ("server.port", "1"),
        ] {
            let before = overrides.clone();
            assert!(overrides.set(name, value).is_err(), "{name}={value}");
            assert_eq!(overrides, before, "{name}={value} was refused");
        }
    }

    #[test]
    fn a_limit_of_zero_is_refused_by_name() {
        let error = read("[compat]\nmax_batch = 0").expect("readable").check().expect_err("refused");
        assert_eq!(error.to_string(), "settings: compat.max_batch must be at least 1");
    }

    #[test]
    fn printed_settings_show_no_secret() {
        let settings = read("[auth]\nsecret = 'hush-hush'\n[database]\nurl = 'postgres://u:pw@h/d'").expect("readable");
        let printed = format!("{settings:?}");
        assert!(!printed.contains("hush-hush") && !printed.contains("pw@h"), "{printed}");
    }

    #[test]
    fn short_token_secrets_are_for_development_only() {
        let mut settings = read("[auth]\nsecret = 'short'\nprevious_secrets = 'a, ,b'").expect("readable");
        assert!(settings.token_secrets().is_err());
        settings.server.development = true;
        assert_eq!(settings.token_secrets().expect("usable"), ["short", "a", "b"]);
    }
}
