//! Secrets that lie in files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use uuid::Uuid;

use crate::app::{SECRET, new_database};

/// A folder of a test's own.
pub struct Files(pub PathBuf);

impl Files {
    pub fn new() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("secrets-{}", Uuid::new_v4().simple()));
        fs::create_dir(&folder).expect("a folder");
        Self(folder)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a text").to_owned()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn roomward(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roomward"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the binary")
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_secret_may_lie_in_a_file() {
    let (files, database) = (Files::new(), new_database().await);
    let (url, secret) = (files.write("url", &format!("{database}\n")), files.write("secret", &format!("{SECRET}\n")));
    let in_files = [("ROOMWARD__DATABASE__URL_FILE", &*url), ("ROOMWARD__AUTH__SECRET_FILE", &secret)];
    let migrated = roomward(&["migrate"], &in_files);
    assert!(migrated.status.success(), "{}", err(&migrated));
    assert!(roomward(&["app", "create", "acme/live"], &in_files).status.success());
    let token = |environment: &[(&str, &str)]| {
        let output = roomward(&["token", "acme/live"], environment);
        assert!(output.status.success(), "{}", err(&output));
        let token = String::from_utf8(output.stdout).expect("a token");
        token.split_once('.').map(|(header, _)| header.to_owned()).expect("a header, which names the key")
    };
    let by_value = token(&[("ROOMWARD__DATABASE__URL", &database), ("ROOMWARD__AUTH__SECRET", SECRET)]);
    assert_eq!(token(&in_files), by_value, "the newline at its end is no part of the secret");
    // A file of settings may name the files as well.
    let settings = files.write("roomward.toml", &format!("[database]\nurl_file = '{url}'\n[auth]\nsecret_file = '{secret}'\n"));
    assert_eq!(token(&[("ROOMWARD_CONFIG", &settings)]), by_value);
}

#[test]
fn a_file_that_cannot_be_a_secret_is_refused_by_its_setting_and_its_path() {
    let files = Files::new();
    let (empty, blank) = (files.write("empty", ""), files.write("blank", "\n"));
    let (missing, short) = (files.path("missing"), files.write("short", "hunter2"));
    let (folder, names) = (files.path("."), ["DATABASE__URL", "AUTH__SECRET", "AUTH__PREVIOUS_SECRETS"]);
    for (name, setting) in names.into_iter().zip(["database.url", "auth.secret", "auth.previous_secrets"]) {
        let by_file = format!("ROOMWARD__{name}_FILE");
        for (file, why) in [
            (&empty, "empty"),
            (&blank, "empty"),
            (&missing, "No such file or directory (os error 2)"),
            (&folder, "Is a directory (os error 21)"),
        ] {
            let refused = roomward(&["serve"], &[(&by_file, file)]);
            assert!(!refused.status.success());
            assert_eq!(err(&refused), format!("roomward: settings: {setting}_file: {file}: {why}\n"));
        }
        let both = roomward(&["serve"], &[(&by_file, &short), (&format!("ROOMWARD__{name}"), "hunter2")]);
        assert!(!both.status.success());
        assert_eq!(err(&both), format!("roomward: settings: {setting} and {setting}_file are both set, and only one may be\n"));
    }
    for short in [
        [("ROOMWARD__AUTH__SECRET_FILE", &*short), ("ROOMWARD__AUTH__PREVIOUS_SECRETS", "")],
        [("ROOMWARD__AUTH__SECRET", SECRET), ("ROOMWARD__AUTH__PREVIOUS_SECRETS_FILE", &short)],
    ] {
        let refused = roomward(&["serve"], &[short.as_slice(), &[("ROOMWARD__DATABASE__URL", "postgres://h/d")]].concat());
        assert!(!refused.status.success() && err(&refused).contains("need at least 32 bytes each"), "{}", err(&refused));
        assert!(!err(&refused).contains("hunter2"));
    }
}
