//! What a database's URL may not have in it. sqlx passes over what it does not know and writes it to the log, be it a
//! password, or the wish for TLS with a slip of the pen in it. Here it is refused, at start and without being shown.

use std::fs::File;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::Unusable;

/// The parameters that sqlx knows, but for `options[…]`. The others are refused.
const KNOWN: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// Those that name a file.
const FILES: [&str; 7] = ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];

/// Those that say whom to trust.
const AUTHORITIES: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];

/// Fails on a URL that cannot be used, in words that begin with the name of its setting.
pub(super) fn check(setting: &str, url: &str) -> Result<(), Unusable> {
    let refused = |why: &str| Unusable(format!("{setting} {why}"));
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(refused("is not a PostgreSQL URL (postgres://user:password@host:port/database)"));
    }
    let parameters: Vec<_> = form_urlencoded::parse(query(url).as_bytes()).collect();
    // The name is not shown: behind a `?` in an unescaped password it is a part of that.
    if !parameters.iter().all(|(name, _)| KNOWN.contains(&&**name) || name.starts_with("options[")) {
        return Err(refused("has a parameter that is not known; for TLS there are sslmode, sslrootcert, sslcert and sslkey"));
    }
    // The parser's own message may carry the URL, and the URL a password.
    let options: PgConnectOptions =
        url.parse().map_err(|_| refused("is not a PostgreSQL URL, or a parameter has a value that it cannot have"))?;
    for (name, file) in parameters.iter().filter(|(name, _)| FILES.contains(&&**name)) {
        File::open(&**file).map_err(|error| refused(&format!("cannot have {name}={file}: {error}")))?;
    }
    let verifies = matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
    if !verifies && parameters.iter().any(|(name, _)| AUTHORITIES.contains(&&**name)) {
        return Err(refused("has sslrootcert, but nothing is verified without sslmode=verify-full or verify-ca"));
    }
    Ok(())
}

/// Where the URL's parser finds it.
fn query(url: &str) -> &str {
    let before_fragment = url.split_once('#').map_or(url, |(before, _)| before);
    before_fragment.split_once('?').map_or("", |(_, query)| query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_passed_over_is_refused_without_being_shown() {
        for url in [
            "postgres://u:hunter2@h/d?sslpassword=hunter2",
            "postgres://u:hunter2@h/d?ssl_mode=verify-full",
            "postgres://u:p?hunter2@h/d",
            "postgres://u:p@h/d?sslmode=hunter2",
            "postgres://u:hunter2@h:many/d",
            "postgres://u:hunter2@h/d?sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
            "postgres://u:hunter2@h/d?sslmode=verify-full&sslkey=/nowhere/key.pem",
            "postgres://u:hunter2@h/d?sslmode=require&sslrootcert=/dev/null",
        ] {
            let error = check("database.url", url).expect_err(url).to_string();
            assert!(error.starts_with("settings: database.url ") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_known_may_be_there() {
        for url in [
            "postgres://u:p@h/d",
            "postgres://u:p@h:5433/d?application_name=a&options=-c%20geqo%3Doff&options[jit]=off#f?g=h",
            "postgres://u@h/d?sslmode=verify-full&sslrootcert=/dev/null&sslcert=/dev/null&sslkey=/dev/null",
            "postgres://u@h/d?sslmode=verify-ca&ssl-ca=/dev/null",
        ] {
            check("database.url", url).expect(url);
        }
    }
}
