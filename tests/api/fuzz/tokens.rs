//! Tokens: what is taken for one, and what one must say.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use roomward::auth::{Keys, TokenKind};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::app::SECRET;

/// As a service that has changed its secret has them.
static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::new(&[SECRET, "an older secret of thirty-two bytes!"]));

/// A token; or, on two lines, what its header and its claims are to say.
pub fn target(text: &str) {
    let keys = &*KEYS;
    if let Ok(claims) = keys.claims(text) {
        let (signed, signature) = text.rsplit_once('.').expect("three parts");
        assert_eq!(signature, sign(SECRET, signed), "{} was let in with it", claims.sub);
    }

    let Some((header, claims)) = text.split_once('\n') else { return };
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let token = |secret| format!("{signed}.{}", sign(secret, &signed));
    assert!(keys.claims(&token("a secret that nobody has ever set here")).is_err());
    assert!(keys.claims(&format!("{signed}.")).is_err(), "without a signature");
    let Ok(read) = keys.claims(&token(SECRET)) else { return };
    let (header, claims): (Value, Value) =
        (serde_json::from_str(header).expect("JSON"), serde_json::from_str(claims).expect("JSON"));
    let key_id = roomward::auth::hex(&Sha256::digest(SECRET)[..4]);
    assert_eq!((&header["alg"], &header["kid"]), (&"HS256".into(), &Value::from(key_id)));
    assert_eq!(claims["iss"], "roomward");
    assert_eq!(claims["typ"], if read.typ == TokenKind::App { "app" } else { "user" });
    assert_eq!(claims["app"].as_str().and_then(|app| Uuid::parse_str(app).ok()), Some(read.app));
    assert_eq!((claims["sub"].as_str(), claims["exp"].as_u64()), (Some(&*read.sub), Some(read.exp)));
    // Five seconds are for clocks that differ.
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    assert!(read.exp + 5 >= now, "{} is over", read.exp);
}

fn sign(secret: &str, signed: &str) -> String {
    let key = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    URL_SAFE_NO_PAD.encode(key.chain_update(signed).finalize().into_bytes())
}
