//! What comes from outside, read as texts that nobody would write: each target is a function that takes any text, and fails if
//! what was read breaks a property.
//!
//! Here each is tried with the texts of its corpus, `corpus/NAME`: what once led somewhere new, and what was once found.
//! `make fuzz-targets` has libFuzzer think up more of them, led by the code that they reach; see `fuzz/`.

mod service;

use std::fs;
use std::path::{Path, PathBuf};

/// The targets, and for each the property that its test is called by.
macro_rules! targets {
    ($($name:ident: $property:ident;)*) => {
        $(pub mod $name;)*

        /// All targets by their names.
        pub const TARGETS: &[(&str, fn(&str))] = &[$((stringify!($name), $name::target)),*];

        $(#[test]
        fn $property() {
            replay(stringify!($name));
        })*
    };
}

targets! {
    authorization: only_the_token_of_the_app_or_of_its_user_opens_it;
    callback_urls: a_url_that_a_callback_may_have_leads_to_the_internet;
    calls: every_call_is_answered_as_documented_and_tells_no_secret;
    cursors: a_position_prints_back_and_a_cursor_opens_in_its_own_list_only;
    database_urls: a_database_url_is_understood_or_refused_without_its_password;
    imports: a_trial_tells_what_an_import_does_and_one_of_what_is_there_does_nothing;
    names: a_name_that_is_accepted_is_made_of_what_names_are_made_of;
    overrides: an_app_keeps_what_it_was_set_to_and_nothing_else;
    paths: a_path_is_routed_or_refused_and_names_nothing_that_cannot_be;
    queries: a_page_is_within_its_limits_and_a_query_is_echoed_whole;
    settings: settings_that_are_accepted_can_be_used_and_none_is_shown;
    tokens: a_token_that_verifies_was_signed_by_us_and_says_what_a_token_must;
}

/// The target of that name.
pub fn find(name: &str) -> Option<fn(&str)> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// The texts of a target, in the order of their names.
fn corpus(name: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/fuzz/corpus").join(name);
    let files = fs::read_dir(folder).expect("a corpus").map(|file| file.expect("a file").path());
    let mut texts: Vec<(PathBuf, String)> = files.map(|file| (file.clone(), fs::read_to_string(file).expect("a text"))).collect();
    texts.sort();
    texts
}

fn replay(name: &str) {
    let target = find(name).expect("a target");
    for (file, text) in corpus(name) {
        // Shown if the test fails.
        println!("{}", file.display());
        target(&text);
    }
}

#[test]
fn the_corpora_are_small_and_no_target_is_without_one() {
    let texts: Vec<_> = TARGETS.iter().map(|(name, _)| corpus(name)).collect();
    assert!(texts.iter().all(|texts| !texts.is_empty()));
    let bytes: usize = texts.iter().flatten().map(|(_, text)| text.len()).sum();
    assert!(bytes < 300_000, "{bytes}");
}
