//! Cursors: positions in a list, handed out with a page and taken back with the next request.
//!
//! Opaque to clients, safe in a URL, and sealed: one that was not handed out for this very list is refused. Nothing is
//! stored for them, and any instance reads those of any other.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::paging::Params;
use crate::error::Error;

/// How much of the seal is kept, in bytes.
const SEAL: usize = 12;

/// What cursors are sealed and read with.
pub struct Cursors {
    keys: Vec<Hmac<Sha256>>,
}

impl Cursors {
    /// Of `secrets` the first one seals, all read.
    pub fn new(secrets: &[&str]) -> Self {
        let key = |secret: &&str| Hmac::new_from_slice(secret.as_bytes()).ok();
        Self { keys: secrets.iter().filter_map(key).collect() }
    }

    /// The cursor for `position` in the list called `scope`.
    pub fn write(&self, scope: &str, position: &impl ToString) -> String {
        let mut bytes = position.to_string().into_bytes();
        if let Some(key) = self.keys.first() {
            let seal = seal(key, scope, &bytes).finalize().into_bytes();
            bytes.splice(..0, seal[..SEAL].iter().copied());
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position in the list called `scope` that the request asks for, if it names one.
    pub fn read<P: FromStr>(&self, scope: &str, params: &Params) -> Result<Option<P>, Error> {
        params.first("cursor").filter(|cursor| !cursor.is_empty()).map(|cursor| self.open(scope, cursor)).transpose()
    }

    /// The position in the list called `scope` that a cursor leads to.
    pub fn open<P: FromStr>(&self, scope: &str, cursor: &str) -> Result<P, Error> {
        let unseal = || {
            let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
            let (sealed, position) = bytes.split_at_checked(SEAL)?;
            let good = self.keys.iter().any(|key| seal(key, scope, position).verify_truncated_left(sealed).is_ok());
            std::str::from_utf8(position).ok().filter(|_| good)?.parse().ok()
        };
        unseal().ok_or_else(|| Error::invalid("cursor"))
    }
}

/// A token's signature covers other words than these: a cursor's seal is never one.
fn seal(key: &Hmac<Sha256>, scope: &str, position: &[u8]) -> Hmac<Sha256> {
    key.clone().chain_update("cursor\0").chain_update(scope).chain_update("\0").chain_update(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(cursors: &Cursors, scope: &str, cursor: &str) -> Option<i64> {
        cursors.read(scope, &Params::parse(&format!("cursor={cursor}"))).ok().flatten()
    }

    #[test]
    fn a_cursor_leads_back_to_its_position_in_its_own_list_only() {
        let cursors = Cursors::new(&["new", "old"]);
        let cursor = cursors.write("list", &-7);
        assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')), "{cursor}");
        assert_eq!(ask(&cursors, "list", &cursor), Some(-7));
        assert_eq!(ask(&cursors, "other", &cursor), None);
        assert_eq!(ask(&Cursors::new(&["newer", "new"]), "list", &cursor), Some(-7));
        assert_eq!(ask(&Cursors::new(&["newer"]), "list", &cursor), None);
    }

    #[test]
    fn a_cursor_that_was_touched_is_refused() {
        let cursors = Cursors::new(&["key"]);
        let cursor = cursors.write("list", &7);
        for index in 0..cursor.len() {
            let mut touched = cursor.clone().into_bytes();
            touched[index] = if touched[index] == b'A' { b'B' } else { b'A' };
            let touched = String::from_utf8(touched).expect("ASCII");
            assert!(ask(&cursors, "list", &touched).is_none(), "{touched}");
        }
        for wrong in ["7", "AAAAAAAAAAA", "%00", &cursor[1..], &format!("{cursor}A")] {
            assert!(cursors.read::<i64>("list", &Params::parse(&format!("cursor={wrong}"))).is_err(), "{wrong}");
        }
        assert_eq!(cursors.read::<i64>("list", &Params::parse("cursor=")).expect("absent"), None);
    }
}
