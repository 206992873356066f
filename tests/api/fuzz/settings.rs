//! The settings of the service: a file, and variables of the environment.

use roomward::config::{ListCall, Overrides, Settings};
use secrecy::ExposeSecret as _;

/// Stands for a secret, in values only.
const MARK: &str = "hunter2";

/// A file; its lines that begin with `ROOMWARD` are variables.
pub fn target(text: &str) {
    let (variables, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("ROOMWARD"));
    let variables = variables.iter().filter_map(|line| line.split_once('='));
    let environment: Vec<(String, String)> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    // What is not a value may be shown; nor is any file of this machine opened, some of which never end.
    let is_value = |before: &str| before.ends_with("= \"") || before.ends_with("= '");
    let is_in_values = |text: &str| text.match_indices(MARK).all(|(at, _)| is_value(&text[..at]));
    let file = lines.join("\n");
    if environment.iter().any(|(name, _)| name.contains(MARK)) || !is_in_values(&file) || text.contains("_file") && text.contains('/') {
        return;
    }

    let settings = match Settings::from_texts(&file, environment) {
        Ok(settings) => settings,
        Err(error) => {
            let error = error.to_string();
            assert!(error.starts_with("settings: ") && error.len() > "settings: ".len(), "{error:?}");
            assert!(!error.contains(MARK), "{error:?}");
            assert!(!error.contains('\n'), "{error:?} is not one line");
            return;
        }
    };
    for secret in [&settings.auth.secret, &settings.auth.previous_secrets, &settings.database.url] {
        let secret = secret.expose_secret();
        assert!(!secret.contains(MARK) || !format!("{settings:?}").contains(secret), "it is shown");
    }
    if let Ok(secrets) = settings.token_secrets() {
        assert!(secrets.iter().all(|secret| !secret.is_empty() && (settings.server.development || secret.len() >= 32)));
    }
    assert!(settings.rules(&Overrides::default()).compat.max_batch(ListCall::Add) > 0);
    assert!(settings.callbacks.keep_days >= settings.events.keep_days);
    // None of these is so long that a moment or an interval would be beyond what PostgreSQL can hold.
    let _ = (settings.callbacks.timeout(), settings.callbacks.give_up_after(), settings.expiry.every());
}
