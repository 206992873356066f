//! The arrows of the house: what may know what.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file of a module, be it a folder or a file, with its text.
fn sources(module: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(module);
    let mut found = Vec::new();
    let mut rest = vec![root];
    while let Some(path) = rest.pop() {
        if path.is_dir() {
            rest.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else {
            let text = fs::read_to_string(&path).expect("readable");
            found.push((path, text));
        }
    }
    assert!(!found.is_empty(), "{module} is empty");
    found
}

#[track_caller]
fn assert_none(module: &str, words: &[&str]) {
    for (path, text) in sources(module) {
        for word in words {
            assert!(!text.contains(word), "{} says {word}", path.display());
        }
    }
}

/// Each module, and what of this crate it may use. No circle, no arrow upward.
const ARROWS: &[(&str, &[&str])] = &[
    ("error.rs", &[]),
    ("names.rs", &["error"]),
    ("search.rs", &[]),
    ("config.rs", &[]),
    ("auth.rs", &["config", "error"]),
    ("figures.rs", &[]),
    ("background.rs", &["error", "figures"]),
    ("db.rs", &["background", "error", "figures", "names"]),
    ("idempotency.rs", &["config", "db", "error", "names"]),
    ("events", &["background", "config", "db", "error", "figures", "names"]),
    ("accounts", &["auth", "config", "db", "error", "events", "idempotency", "names", "search"]),
    ("rooms", &["accounts", "config", "db", "error", "events", "idempotency", "names", "search"]),
    ("callbacks", &["auth", "background", "config", "db", "error", "events", "figures", "idempotency", "names"]),
    (
        "tasks",
        &["accounts", "background", "callbacks", "config", "db", "error", "events", "figures", "idempotency", "names", "rooms"],
    ),
    (
        "api",
        &[
            "accounts",
            "auth",
            "callbacks",
            "config",
            "db",
            "error",
            "events",
            "figures",
            "idempotency",
            "names",
            "rooms",
            "search",
            "telemetry",
        ],
    ),
    ("moving", &["accounts", "config", "db", "error", "events", "names", "rooms"]),
    ("status.rs", &["accounts", "callbacks", "db", "error", "migrations", "rooms"]),
    ("doctor.rs", &["config", "db", "error", "migrations"]),
    (
        "cli",
        &[
            "accounts",
            "api",
            "auth",
            "callbacks",
            "config",
            "db",
            "doctor",
            "error",
            "events",
            "migrations",
            "moving",
            "names",
            "rooms",
            "server",
            "status",
            "telemetry",
        ],
    ),
];

#[test]
fn arrows_point_one_way() {
    for (module, allowed) in ARROWS {
        let own = module.trim_end_matches(".rs");
        for (path, text) in sources(module) {
            // The command line is the binary's, and the rest a library to it.
            let root = if *module == "cli" { "roomward::" } else { "crate::" };
            for used in text.split(root).skip(1) {
                let used: String = used.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect();
                assert!(used == own || used.is_empty() || allowed.contains(&&*used), "{} uses {used}", path.display());
            }
        }
    }
}

#[test]
fn what_is_true_knows_no_http() {
    for module in ["rooms", "accounts", "events", "error.rs", "names.rs", "db.rs", "idempotency.rs"] {
        assert_none(module, &["actix", "StatusCode"]);
    }
    assert_none("auth.rs", &["actix", "sqlx"]);
    // Of a move only the source is read by HTTP.
    for file in ["import", "export", "room", "store", "verify", "file", "format", "report"] {
        assert_none(&format!("moving/{file}.rs"), &["actix", "StatusCode", "reqwest"]);
    }
    assert_none("moving/source.rs", &["actix", "sqlx"]);
}

#[test]
fn what_is_said_knows_no_sql() {
    assert_none("api", &["sqlx::query", "select ", "insert into", "delete from"]);
}

#[test]
fn what_an_operator_types_knows_no_http_and_no_sql() {
    assert_none("cli", &["actix", "sqlx::query", "select ", "insert into", "delete from"]);
}

#[test]
fn background_tasks_say_when_and_not_how() {
    assert_none("tasks", &["actix", "sqlx::query"]);
}

/// The rules of rooms: the same answer to the same question, whenever and however often it is asked.
#[test]
fn rules_have_no_sql_no_clock_and_nothing_to_wait_for() {
    let rules = [
        "operation",
        "state",
        "changes",
        "members",
        "admins",
        "blocks",
        "whitelist",
        "mutes",
        "restrictions",
        "details",
        "attributes",
        "expiry",
        "forgetting",
    ];
    for rule in rules {
        assert_none(
            &format!("rooms/{rule}.rs"),
            &["sqlx", "async", ".await", "now(", "now_utc", "Instant", "crate::db", "store::"],
        );
    }
}
