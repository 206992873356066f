//! The arrows of the house: what may know what.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    if root.is_file() {
        return vec![(root.clone(), fs::read_to_string(root).expect("readable"))];
    }
    fs::read_dir(root)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read_to_string(path).expect("readable")))
        .collect()
}

#[track_caller]
fn assert_none(folder: &str, words: &[&str]) {
    for (path, text) in sources(folder) {
        for word in words {
            assert!(!text.contains(word), "{} says {word}", path.display());
        }
    }
}

#[test]
fn what_is_true_knows_no_http() {
    assert_none("chatroom", &["actix", "crate::api", "crate::server", "StatusCode"]);
    assert_none("error.rs", &["actix", "crate::"]);
    assert_none("auth.rs", &["actix", "crate::api", "crate::chatroom", "sqlx"]);
}

#[test]
fn what_is_said_knows_no_sql() {
    assert_none("api", &["sqlx::query", "select ", "insert into", "delete from", "crate::server"]);
}

#[test]
fn background_tasks_know_no_http() {
    for task in ["callbacks", "expiry.rs", "following.rs", "purge.rs", "retention.rs"] {
        assert_none(task, &["actix", "crate::api", "crate::server", "sqlx::query"]);
    }
}
