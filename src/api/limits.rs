//! How much one may ask for: calls a second of an app and of a user's token, and wrong secrets and passwords.
//!
//! Each instance counts by itself and in memory: N of them allow N times as much in all, and a restart forgets. What is
//! counted is bounded: entries that nobody asks for go, the least used first.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::{NoOpMiddleware, StateInformationMiddleware};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::sync::Cache;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::config::Limits as Settings;
use crate::error::Error;

/// Most apps, tokens, names and addresses that are counted at once, each.
const COUNTED: u64 = 100_000;

/// How long what is counted is kept without being asked for. By then every allowance is whole again.
const KEPT_FOR: Duration = Duration::from_mins(10);

/// Wrong attempts from one address at any names, for each that is allowed at one name.
const NAMES_OF_AN_ADDRESS: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// Attempts at one name from one address, and from one address at any, that are under way at once; later ones wait for their
/// turn. Each holds an allowance until it turns out to be right: they must be fewer than a few clients are allowed.
const ATTEMPTS_AT_ONCE: usize = 5;
const ATTEMPTS_AT_ONCE_OF_AN_ADDRESS: usize = 50;

/// What is counted in this process.
pub struct Limits {
    calls: Cache<(Subject, NonZeroU32), Arc<Calls>>,
    by_name: Cache<(i32, String, IpAddr), Arc<Attempts>>,
    by_address: Cache<IpAddr, Arc<Attempts>>,
    wrong_per_minute: Option<NonZeroU32>,
}

/// Whose calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// All of an app.
    App(i32),
    /// Those with one token of a user's.
    UserToken(Uuid),
}

impl Subject {
    const fn name(self) -> &'static str {
        match self {
            Self::App(_) => "app",
            Self::UserToken(_) => "user-token",
        }
    }
}

type Calls = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// What is left of an allowance of calls, for the headers `RateLimit` and `RateLimit-Policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    name: &'static str,
    per_second: u32,
    left: u32,
}

impl Limits {
    /// Nothing was counted yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            calls: Cache::builder().max_capacity(COUNTED).time_to_idle(KEPT_FOR).build(),
            by_name: Cache::builder().max_capacity(COUNTED).time_to_idle(KEPT_FOR).build(),
            by_address: Cache::builder().max_capacity(COUNTED).time_to_idle(KEPT_FOR).build(),
            wrong_per_minute: NonZeroU32::new(settings.wrong_secrets_per_minute),
        }
    }

    /// Counts a call of `subject`, which has `per_second` of them, as many at once, and no limit if that is 0. Tells what is
    /// left, and whether this call is one too many.
    pub fn count(&self, subject: Subject, per_second: u32) -> Option<(Allowance, Result<(), Error>)> {
        let quota = NonZeroU32::new(per_second)?;
        let calls =
            self.calls.get_with((subject, quota), || Arc::new(RateLimiter::direct(Quota::per_second(quota)).with_middleware()));
        let allowance = |left| Allowance { name: subject.name(), per_second, left };
        Some(match calls.check() {
            Ok(state) => (allowance(state.remaining_burst_capacity()), Ok(())),
            Err(_) => (allowance(0), Err(Error::TooManyCalls { retry_after_seconds: 1 })),
        })
    }

    /// Tries a secret or a password of the user or client `name`, unless there were too many wrong ones before: then it is
    /// refused without a look at it, so that guessing costs no hash.
    ///
    /// Wrong attempts are counted for each name and address together, so that one who guesses keeps nobody out who comes
    /// from elsewhere; and, more generously, for each address, so that one address cannot try all names. Right ones are
    /// never counted.
    pub async fn sign_in<T>(
        &self,
        app: i32,
        name: &str,
        address: IpAddr,
        attempt: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(allowed) = self.wrong_per_minute else { return attempt.await };
        let (address, of_address) = (network(address), allowed.saturating_mul(NAMES_OF_AN_ADDRESS));
        let here = self
            .by_name
            .get_with((app, name.to_ascii_lowercase(), address), || Arc::new(Attempts::new(allowed, ATTEMPTS_AT_ONCE)));
        let anywhere = self.by_address.get_with(address, || Arc::new(Attempts::new(of_address, ATTEMPTS_AT_ONCE_OF_AN_ADDRESS)));
        let _turns = (here.at_once.acquire().await, anywhere.at_once.acquire().await);
        here.take()?;
        anywhere.take().inspect_err(|_| here.give_back())?;
        let done = attempt.await;
        if let Err(Error::InvalidGrant(_) | Error::GrantUserNotFound) = &done {
            metrics::counter!("roomward_sign_ins_wrong_total").increment(1);
        } else {
            here.give_back();
            anywhere.give_back();
        }
        done
    }
}

/// The attempts at one name from one address, or from one address at all: each takes an allowance, and a right one gives it
/// back.
struct Attempts<C: Clock = DefaultClock> {
    allowed: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    /// Allowances that were given back; never more than there were attempts at once.
    given_back: Mutex<u32>,
    at_once: Semaphore,
    clock: C,
}

impl Attempts {
    fn new(per_minute: NonZeroU32, at_once: usize) -> Self {
        Self::with_clock(per_minute, at_once, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Attempts<C> {
    fn with_clock(per_minute: NonZeroU32, at_once: usize, clock: C) -> Self {
        Self {
            allowed: RateLimiter::direct_with_clock(Quota::per_minute(per_minute), clock.clone()),
            given_back: Mutex::new(0),
            at_once: Semaphore::new(at_once.min(per_minute.get() as usize)),
            clock,
        }
    }

    fn take(&self) -> Result<(), Error> {
        let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        if *given_back > 0 {
            *given_back -= 1;
            return Ok(());
        }
        self.allowed.check().map_err(|too_many| {
            metrics::counter!("roomward_sign_ins_slowed_total").increment(1);
            let wait_ms = too_many.wait_time_from(self.clock.now()).as_millis();
            Error::TooManyCalls { retry_after_seconds: wait_ms.div_ceil(1000).try_into().unwrap_or(u64::MAX) }
        })
    }

    fn give_back(&self) {
        *self.given_back.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}

/// What counts as one address: of IPv6 its network, since a host has as many as it likes.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Where a request comes from: the peer; or behind a proxy that is trusted, what the proxy itself has added to
/// `X-Forwarded-For`, its last entry.
pub fn address(http: &HttpRequest, trust_forwarded_for: bool) -> IpAddr {
    let forwarded = || {
        let last = http.headers().get_all("x-forwarded-for").next_back()?.to_str().ok()?;
        last.rsplit(',').next()?.trim().parse().ok()
    };
    let forwarded = if trust_forwarded_for { forwarded() } else { None };
    forwarded.or_else(|| http.peer_addr().map(|peer| peer.ip())).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
}

/// Adds to an answer what is left of the allowances that its call was counted against.
pub fn write_headers(headers: &mut HeaderMap, allowances: &[Allowance]) {
    let list = |item: fn(&Allowance) -> String| allowances.iter().map(item).collect::<Vec<_>>().join(", ");
    let policy = list(|allowance| format!(r#""{}";q={};w=1"#, allowance.name, allowance.per_second));
    let state = list(|allowance| format!(r#""{}";r={};t=1"#, allowance.name, allowance.left));
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", state)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn wrong_attempts_are_refused_until_one_more_is_allowed_and_right_ones_are_free() {
        let clock = FakeRelativeClock::default();
        let attempts = Attempts::with_clock(NonZeroU32::new(10).expect("positive"), 5, clock.clone());
        for _ in 0..100 {
            attempts.take().expect("allowed");
            attempts.give_back();
        }
        for _ in 0..10 {
            attempts.take().expect("allowed");
        }
        assert!(matches!(attempts.take(), Err(Error::TooManyCalls { retry_after_seconds: 6 })));
        clock.advance(Duration::from_millis(5_900));
        assert!(matches!(attempts.take(), Err(Error::TooManyCalls { retry_after_seconds: 1 })));
        clock.advance(Duration::from_millis(100));
        attempts.take().expect("allowed again");
        assert!(attempts.take().is_err(), "one, and no more");
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let network = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
