//! A secret that lies in a file of its own, as containers are given them: `auth.secret_file` instead of `auth.secret`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::Unusable;

/// No secret is as large as this; what is, is some other file.
const MAX_BYTES: usize = 64 * 1024;

/// Puts what is in the file in the place of the secret, but for one newline at its end. Without a file the secret stays.
pub(super) fn read(name: &str, secret: &mut SecretString, file: &Path) -> Result<(), Unusable> {
    if file.as_os_str().is_empty() {
        return Ok(());
    }
    if !secret.expose_secret().is_empty() {
        return Err(Unusable(format!("{name} and {name}_file are both set, and only one may be")));
    }
    let refused = |why: &str| Unusable(format!("{name}_file: {}: {why}", file.display()));
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| refused(&error.to_string()))?;
    if bytes.len() > MAX_BYTES {
        return Err(refused(&format!("larger than {MAX_BYTES} bytes")));
    }
    // What the decoder says is left out: it carries the bytes.
    let text = String::from_utf8(bytes).map_err(|_| refused("not UTF-8"))?;
    let line = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text);
    if line.is_empty() {
        return Err(refused("empty"));
    }
    *secret = line.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bytes(bytes: &[u8]) -> Result<String, String> {
        let file = std::env::temp_dir().join(format!("roomward-{}", uuid::Uuid::new_v4()));
        std::fs::write(&file, bytes).expect("written");
        let mut secret = SecretString::default();
        let outcome = read("auth.secret", &mut secret, &file);
        std::fs::remove_file(&file).expect("removed");
        outcome.map_err(|error| error.to_string().replace(file.to_str().expect("a text"), "FILE"))?;
        Ok(secret.expose_secret().to_owned())
    }

    #[test]
    fn one_newline_at_the_end_is_no_part_of_a_secret() {
        for (bytes, secret) in [("a b", "a b"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("a\nb", "a\nb")]
        {
            assert_eq!(read_bytes(bytes.as_bytes()).as_deref(), Ok(secret), "{bytes:?}");
        }
    }

    #[test]
    fn a_file_without_a_secret_is_refused_without_what_is_in_it() {
        let large = vec![b'x'; MAX_BYTES + 1];
        for (bytes, why) in
            [(b"".as_slice(), "empty"), (b"\n", "empty"), (b"hunter\xff", "not UTF-8"), (&large, "larger than 65536 bytes")]
        {
            assert_eq!(read_bytes(bytes), Err(format!("settings: auth.secret_file: FILE: {why}")));
        }
        assert_eq!(read_bytes(&large[1..]).map(|secret| secret.len()), Ok(MAX_BYTES));
    }
}
