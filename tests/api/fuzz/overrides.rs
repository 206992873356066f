//! The settings that an app has of its own: as the operator sets them, and as they are stored.

use roomward::config::{ListCall, Overrides, Settings};

/// Lines of `name=value`, one after another; or what is stored, as JSON.
pub fn target(text: &str) {
    let mut overrides: Overrides = serde_json::from_str(text).unwrap_or_default();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let before = overrides.clone();
        match overrides.set(name, value) {
            Ok(()) => {
                let mut again = overrides.clone();
                again.set(name, value).expect("what was legal");
                assert_eq!(again, overrides, "{name}={value} a second time");
            }
            Err(error) => {
                assert!(error.to_string().starts_with(&format!("settings: {name} ")), "{error}");
                assert_eq!(overrides, before, "{name}={value} was refused");
            }
        }
    }
    let stored = serde_json::to_string(&overrides).expect("JSON");
    assert_eq!(serde_json::from_str::<Overrides>(&stored).expect("what was stored"), overrides);
    let rules = Settings::from_texts("", []).expect("the defaults").rules(&overrides);
    let _ = (rules.compat.max_batch(ListCall::Mute), rules.compat.non_member_status(ListCall::Unblock));
}
