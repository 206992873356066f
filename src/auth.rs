//! Who may call: tokens, client secrets, passwords. And how a secret is kept that must be readable again.
//!
//! A token is a JWT (HS256) that names the app it opens. Its header carries the id of the key that signed it, so that
//! keys can be rotated while old tokens live on. Nothing here is stored in memory that a restart would lose.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use moka::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::config::Passwords as Cost;
use crate::error::Error;

const ISSUER: &str = "roomward";

/// Most tokens that are remembered as good: those that are in use are verified once.
const TOKENS_REMEMBERED: u64 = 10_000;

/// What clocks of different instances may differ by.
const LEEWAY_SECONDS: u64 = 5;

/// What an unlimited life is answered as: the largest number of seconds that every client can hold.
const FOREVER_SECONDS: u32 = i32::MAX as u32;

/// The end of an unlimited life: 9999-12-31, in seconds.
const FAR_FUTURE: u64 = 253_402_214_400;

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// Everything in one app.
    App,
    /// What one user of the app may do. It also tells others, such as a message gateway, who the user is.
    User,
}

/// How long a token lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// This many seconds.
    Seconds(u32),
    /// Until its key goes.
    Forever,
}

/// A token that was just issued.
pub struct Token {
    /// The token itself.
    pub text: String,
    /// Its life in seconds; always fits a signed 32-bit integer.
    pub expires_in: u32,
}

/// What a token says.
#[derive(Clone, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    /// The app's UUID.
    pub app: Uuid,
    /// What it opens.
    pub typ: TokenKind,
    /// Who asked for it: a client, or the user whose token it is.
    pub sub: String,
    /// When it was issued, in Unix seconds.
    pub iat: u64,
    /// When it ends, in Unix seconds.
    pub exp: u64,
    /// The token's own name.
    pub jti: Uuid,
    /// The app's generation of tokens: earlier ones are revoked.
    #[serde(default)]
    pub app_generation: i32,
    /// A user's own UUID: names are given away again, this never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uuid>,
    /// A user's generation of tokens: earlier ones are revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i32>,
}

/// The app that a token opens, and its present generation of tokens.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "said above")]
pub struct Audience {
    pub app: Uuid,
    pub generation: i32,
}

/// Whose token it is to be.
pub enum Subject<'a> {
    /// A client of the app, by its id.
    Client(&'a str),
    /// A user of the app.
    User {
        /// The user's name.
        name: &'a str,
        /// The user's own UUID.
        uuid: Uuid,
        /// The user's present generation of tokens.
        generation: i32,
    },
}

/// The keys that sign and verify tokens.
pub struct Keys {
    signing: (Header, EncodingKey),
    verifying: Vec<(String, DecodingKey)>,
    validation: Validation,
    /// What good tokens say. Keys do not change while a process lives; the end of a token is looked at each time.
    verified: Cache<String, Arc<Claims>>,
}

impl Keys {
    /// Keys made of `secrets`: the first one signs, all verify.
    pub fn new(secrets: &[&str]) -> Self {
        let signing = secrets.first().copied().unwrap_or_default();
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(key_id(signing));
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.leeway = LEEWAY_SECONDS;
        Self {
            signing: (header, EncodingKey::from_secret(signing.as_bytes())),
            verifying: secrets.iter().map(|secret| (key_id(secret), DecodingKey::from_secret(secret.as_bytes()))).collect(),
            validation,
            verified: Cache::new(TOKENS_REMEMBERED),
        }
    }

    /// A token for `subject`.
    pub fn issue(&self, audience: Audience, subject: &Subject<'_>, life: Life) -> Result<Token, Error> {
        let iat = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (expires_in, exp) = match life {
            Life::Seconds(seconds) => {
                let seconds = seconds.min(FOREVER_SECONDS);
                (seconds, iat + u64::from(seconds))
            }
            Life::Forever => (FOREVER_SECONDS, FAR_FUTURE),
        };
        let (typ, sub, uid, generation) = match *subject {
            Subject::Client(id) => (TokenKind::App, id, None, None),
            Subject::User { name, uuid, generation } => (TokenKind::User, name, Some(uuid), Some(generation)),
        };
        let (iss, sub, jti) = (ISSUER.into(), sub.into(), Uuid::new_v4());
        let Audience { app, generation: app_generation } = audience;
        let claims = Claims { iss, app, typ, sub, iat, exp, jti, app_generation, uid, generation };
        let (header, key) = &self.signing;
        let text = jsonwebtoken::encode(header, &claims, key).map_err(|error| Error::Internal(error.into()))?;
        Ok(Token { text, expires_in })
    }

    /// What a token says, if it is signed by a key of ours and not expired. Whether it is revoked is not known here.
    pub fn claims(&self, token: &str) -> Result<Arc<Claims>, BadToken> {
        let claims = match self.verified.get(token) {
            Some(claims) => claims,
            None => self.verify(token)?,
        };
        if claims.has_ended() { Err(BadToken::Expired) } else { Ok(claims) }
    }

    fn verify(&self, token: &str) -> Result<Arc<Claims>, BadToken> {
        let signer = jsonwebtoken::decode_header(token).map_err(|_| BadToken::Unreadable)?.kid;
        let (_, key) = self.verifying.iter().find(|(id, _)| Some(id) == signer.as_ref()).ok_or(BadToken::UnknownKey)?;
        let decoded = jsonwebtoken::decode::<Claims>(token, key, &self.validation).map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => BadToken::Expired,
            _ => BadToken::Unreadable,
        })?;
        let claims = Arc::new(decoded.claims);
        self.verified.insert(token.to_owned(), claims.clone());
        Ok(claims)
    }
}

/// Why a token is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadToken {
    /// It is no token, or was changed.
    Unreadable,
    /// It was signed with a secret that is not set here (any more).
    UnknownKey,
    /// Its time is over.
    Expired,
}

impl BadToken {
    /// The same for the operator.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::UnknownKey => "unknown_key",
            Self::Expired => "expired",
        }
    }
}

impl Claims {
    /// Whether the token's time is over, by the same rule by which it is verified.
    fn has_ended(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.exp < now.saturating_sub(LEEWAY_SECONDS)
    }
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The name of a key: the first 8 hex digits of its SHA-256.
fn key_id(secret: &str) -> String {
    hex(&Sha256::digest(secret)[..4])
}

/// Seals the secrets of callbacks, so that a reader of the database cannot sign in our name.
pub struct Seals {
    keys: Vec<RandomizedNonceKey>,
}

/// A secret that was sealed.
pub struct Unsealed {
    /// The secret itself.
    pub secret: SecretString,
    /// Whether a previous key opened it: it is to be sealed anew before that key goes.
    pub is_stale: bool,
}

impl Seals {
    /// Keys derived from `secrets`: the first one seals, all open.
    pub fn new(secrets: &[&str]) -> Result<Self, Error> {
        let key = |secret: &&str| {
            let derived = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?.chain_update("callback secret").finalize();
            RandomizedNonceKey::new(&AES_256_GCM, &derived.into_bytes()).ok()
        };
        let keys = secrets.iter().map(key).collect::<Option<_>>();
        Ok(Self { keys: keys.ok_or_else(|| Error::Internal("no key can be made".into()))? })
    }

    /// Seals the secret of one rule: a nonce, then the sealed text. No other rule's row can pass it off as its own.
    pub fn seal(&self, rule: Uuid, secret: &SecretString) -> Result<Vec<u8>, Error> {
        let mut sealed = secret.expose_secret().as_bytes().to_vec();
        let nonce = self.keys.first().and_then(|key| key.seal_in_place_append_tag(Aad::from(rule.as_bytes()), &mut sealed).ok());
        let nonce = nonce.ok_or_else(|| Error::Internal("a secret cannot be sealed".into()))?;
        sealed.splice(..0, *nonce.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed for that rule by one of the keys.
    pub fn open(&self, rule: Uuid, sealed: &[u8]) -> Option<Unsealed> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        self.keys.iter().enumerate().find_map(|(index, key)| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut text = sealed.to_vec();
            let text = key.open_in_place(nonce, Aad::from(rule.as_bytes()), &mut text).ok()?;
            Some(Unsealed { secret: std::str::from_utf8(text).ok()?.into(), is_stale: index > 0 })
        })
    }
}

/// A new secret of a client or a callback: 32 random bytes, in hex.
pub fn new_secret() -> Result<String, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::Internal(error.to_string().into()))?;
    Ok(hex(&bytes))
}

/// What is stored of a client secret. A plain hash will do: the secrets are long and random.
pub fn hash_client_secret(app: Uuid, secret: &str) -> Vec<u8> {
    Sha256::new().chain_update(app.as_bytes()).chain_update(secret).finalize().to_vec()
}

/// Whether `secret` is the one that was hashed, in a time that does not tell how much of it is right.
pub fn client_secret_matches(app: Uuid, secret: &str, hash: &[u8]) -> bool {
    hash_client_secret(app, secret).ct_eq(hash).into()
}

/// Users' passwords: hashed with argon2id, off the async threads, a bounded number at once.
pub struct Passwords {
    argon2: argon2::Argon2<'static>,
    at_once: Arc<Semaphore>,
}

impl Passwords {
    /// Hashes of the given cost. Fails on a cost that argon2 does not allow.
    pub fn new(cost: &Cost) -> Result<Self, argon2::Error> {
        let params = argon2::Params::new(cost.memory_kib, cost.iterations, 1, None)?;
        Ok(Self {
            argon2: argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params),
            at_once: Arc::new(Semaphore::new(cost.at_once)),
        })
    }

    /// The hash of a password, as a PHC string.
    pub async fn hash(&self, password: String) -> Result<String, Error> {
        let argon2 = self.argon2.clone();
        self.off_the_async_threads(move || argon2.hash_password(password.as_bytes()).map(|hash| hash.to_string()))
            .await?
            .map_err(|error| Error::Internal(error.to_string().into()))
    }

    /// Whether `password` is the one that was hashed.
    pub async fn matches(&self, password: String, hash: String) -> Result<bool, Error> {
        let argon2 = self.argon2.clone();
        self.off_the_async_threads(move || {
            PasswordHash::new(&hash).is_ok_and(|hash| argon2.verify_password(password.as_bytes(), &hash).is_ok())
        })
        .await
    }

    /// Waits for one of `at_once` permits. The permit is given back when the work ends, even if its caller has gone away.
    async fn off_the_async_threads<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let permit = self.at_once.clone().acquire_owned().await.map_err(|error| Error::Internal(error.into()))?;
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        })
        .await
        .map_err(|error| Error::Internal(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an old secret of thirty-two bytes";
    const NEW: &str = "a new secret of thirty-two bytes!";

    fn issue(keys: &Keys, app: Uuid) -> String {
        keys.issue(Audience { app, generation: 0 }, &Subject::Client("test"), Life::Seconds(60)).expect("issued").text
    }

    /// The app that an app token opens, if it is good.
    fn verify(keys: &Keys, token: &str) -> Option<Uuid> {
        keys.claims(token).ok().filter(|claims| claims.typ == TokenKind::App).map(|claims| claims.app)
    }

    #[test]
    fn a_token_opens_the_app_it_was_issued_for() {
        let (keys, app) = (Keys::new(&[NEW]), Uuid::new_v4());
        assert_eq!(verify(&keys, &issue(&keys, app)), Some(app));
    }

    #[test]
    fn a_token_that_was_good_is_refused_when_its_time_is_over() {
        let (keys, app) = (Keys::new(&[NEW]), Uuid::new_v4());
        let token = issue(&keys, app);
        assert_eq!(verify(&keys, &token), Some(app));
        let mut ended = keys.verified.get(&token).expect("remembered").as_ref().clone();
        ended.exp = ended.iat - LEEWAY_SECONDS - 1;
        keys.verified.insert(token.clone(), Arc::new(ended));
        assert_eq!(verify(&keys, &token), None);
    }

    #[test]
    fn a_rotated_key_still_verifies_and_a_removed_one_does_not() {
        let app = Uuid::new_v4();
        let token = issue(&Keys::new(&[OLD]), app);
        assert_eq!(verify(&Keys::new(&[NEW, OLD]), &token), Some(app));
        assert_eq!(verify(&Keys::new(&[NEW]), &token), None);
    }

    #[test]
    fn another_algorithm_another_issuer_a_missing_end_and_another_kind_are_refused() {
        let keys = Keys::new(&[NEW]);
        let sign = |header: &Header, claims: &serde_json::Value| {
            jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(NEW.as_bytes())).expect("signed")
        };
        let good = serde_json::json!({
            "iss": "roomward", "app": Uuid::new_v4(), "typ": "app", "sub": "x", "iat": 1, "exp": FAR_FUTURE, "jti": Uuid::new_v4()
        });
        let header = keys.signing.0.clone();
        assert!(verify(&keys, &sign(&header, &good)).is_some());

        let mut strong = header.clone();
        strong.alg = Algorithm::HS512;
        assert!(verify(&keys, &sign(&strong, &good)).is_none());
        for (field, value) in
            [("iss", "other".into()), ("exp", serde_json::Value::Null), ("typ", "user".into()), ("exp", 1000.into())]
        {
            let mut bad = good.clone();
            bad[field] = value;
            assert!(verify(&keys, &sign(&header, &bad)).is_none(), "{bad}");
        }
        let mut endless = good.clone();
        endless.as_object_mut().expect("object").remove("exp");
        assert!(verify(&keys, &sign(&header, &endless)).is_none());
        assert!(verify(&keys, "").is_none());
        assert!(verify(&keys, "a.b.c").is_none());
    }

    #[test]
    fn an_unlimited_life_is_answered_as_the_largest_31_bit_number() {
        let keys = Keys::new(&[NEW]);
        let token =
            keys.issue(Audience { app: Uuid::new_v4(), generation: 0 }, &Subject::Client("test"), Life::Forever).expect("issued");
        assert_eq!(token.expires_in, 2_147_483_647);
        assert!(verify(&keys, &token.text).is_some());
    }

    #[test]
    fn a_client_secret_matches_its_own_hash_of_its_own_app_only() {
        let app = Uuid::new_v4();
        let hash = hash_client_secret(app, "secret");
        assert!(client_secret_matches(app, "secret", &hash));
        assert!(!client_secret_matches(app, "secre", &hash));
        assert!(!client_secret_matches(Uuid::new_v4(), "secret", &hash));
    }

    #[test]
    fn a_sealed_secret_opens_for_its_own_rule_and_with_its_own_key_only() {
        let (rule, secret) = (Uuid::new_v4(), SecretString::from("hush, 静"));
        let open = |secrets: &[&str], rule, sealed: &[u8]| {
            let opened = Seals::new(secrets).expect("keys").open(rule, sealed)?;
            Some((opened.secret.expose_secret().to_owned(), opened.is_stale))
        };
        let seals = Seals::new(&[OLD]).expect("keys");
        let sealed = seals.seal(rule, &secret).expect("sealed");
        assert_ne!(sealed, seals.seal(rule, &secret).expect("sealed"), "no two alike");
        assert!(!sealed.windows(4).any(|part| part == b"hush"));
        assert_eq!(open(&[OLD], rule, &sealed), Some(("hush, 静".into(), false)));
        assert_eq!(open(&[NEW, OLD], rule, &sealed), Some(("hush, 静".into(), true)));
        assert_eq!(open(&[NEW], rule, &sealed), None);
        assert_eq!(open(&[OLD], Uuid::new_v4(), &sealed), None, "another rule's");
        for index in 0..sealed.len() {
            let mut touched = sealed.clone();
            touched[index] ^= 1;
            assert_eq!(open(&[OLD], rule, &touched), None, "byte {index}");
        }
        assert_eq!(open(&[OLD], rule, &[]), None);
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::new(&Cost { memory_kib: 8, iterations: 1, at_once: 1 }).expect("a legal cost");
        let hash = passwords.hash("hunter2".into()).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(passwords.matches("hunter2".into(), hash.clone()).await.expect("compared"));
        assert!(!passwords.matches("hunter3".into(), hash).await.expect("compared"));
    }
}
