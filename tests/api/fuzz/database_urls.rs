//! The database's URL.

use std::sync::LazyLock;

use roomward::config::Settings;
use roomward::server::session;
use sqlx::postgres::PgSslMode;

/// Stands for the password.
const MARK: &str = "hunter2";

/// Parameters that name a file. It is shown if it cannot be opened.
const FILES: [&str; 3] = ["root", "ca", "cert"];

static DEFAULTS: LazyLock<Settings> = LazyLock::new(|| Settings::from_texts("", []).expect("the defaults"));

pub fn target(text: &str) {
    // No file of this machine is opened: some never end.
    if text.to_ascii_lowercase().contains("dev") && !text.contains("=/dev/null") {
        return;
    }
    let mut settings = DEFAULTS.clone();
    settings.database.url = text.into();
    match settings.database_url() {
        Ok(url) => {
            assert_eq!(url, text);
            assert!(text.starts_with("postgres://") || text.starts_with("postgresql://"));
            let options = session(&settings.database, url).expect("what was accepted").options;
            // A wish for TLS is never passed over.
            if text.ends_with("?sslmode=verify-full") && !text.contains('#') {
                assert!(matches!(options.get_ssl_mode(), PgSslMode::VerifyFull));
            }
            assert!(!format!("{:?}", settings.database).contains(MARK));
        }
        Err(error) => {
            let error = error.to_string();
            assert!(error.starts_with("settings: database.url "), "{error}");
            let names_a_file = text.contains("ssl") && FILES.iter().any(|name| text.contains(name));
            assert!(names_a_file || !error.contains(MARK), "{error}");
        }
    }
}
