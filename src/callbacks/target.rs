//! The way out: posts to URLs that clients of apps have chosen.
//!
//! Such a URL must not become a way into the network that this service lives in. Addresses that the internet cannot
//! reach are refused where they stand in a URL, in each redirect, and whenever a name is looked up: what was checked is
//! what is connected to, so that a name that means another address the next time gains nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderMap;
use reqwest::{Client, ClientBuilder, Response, Url, redirect};
use tokio::time::{Instant, timeout_at};

use crate::config::Callbacks;
use crate::error::{Causes, Error};

/// The longest URL of a target, in characters.
const MAX_URL: usize = 2048;

/// The most redirects that are followed for one delivery.
const MAX_REDIRECTS: usize = 5;

/// How much of an answer is read. Nothing in it is looked at, but a connection that was read to its end is used again.
const READ_AT_MOST: usize = 64 * 1024;

/// What reaches targets.
#[derive(Clone)]
pub struct Targets {
    client: Client,
    guard: Guard,
    timeout: Duration,
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// Nothing may be sent to the URL, or to the address that its name means.
    Forbidden,
    /// It took longer than `callbacks.timeout_ms`.
    TimedOut,
    /// No connection came about.
    Unreachable,
    /// The connection broke, or what came is not HTTP.
    Broken,
    /// It cannot be signed.
    SecretUnreadable,
}

impl SendError {
    /// The same for the operator.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "refused: the target is not on the internet",
            Self::TimedOut => "timed out",
            Self::Unreachable => "cannot connect",
            Self::Broken => "no answer",
            Self::SecretUnreadable => {
                "the secret cannot be opened: what was auth.secret when it was sealed belongs into auth.previous_secrets"
            }
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Targets {
    /// A way out as the settings have it.
    pub fn new(settings: &Callbacks) -> Result<Self, Error> {
        let guard = Guard { allows_private: settings.allow_private_targets };
        let build = || Self::client(settings, guard);
        // A machine without certificates of authorities can still serve, and send where no TLS is asked for.
        let client = build().build().or_else(|error| {
            tracing::warn!(error = %Causes(&error), "no authorities to trust: callbacks to https will fail");
            build().tls_certs_only([]).build()
        });
        let timeout = settings.timeout();
        Ok(Self { client: client.map_err(|error| Error::Internal(error.into()))?, guard, timeout })
    }

    fn client(settings: &Callbacks, guard: Guard) -> ClientBuilder {
        let follows = settings.follow_redirects;
        // Only these two send the message on; after any other it would be a mere GET that is answered.
        let redirects = redirect::Policy::custom(move |hop| match hop.status().as_u16() {
            307 | 308 if follows && hop.previous().len() <= MAX_REDIRECTS && guard.allows(hop.url()) => hop.follow(),
            _ => hop.stop(),
        });
        Client::builder()
            .user_agent(concat!("roomward/", env!("CARGO_PKG_VERSION")))
            .redirect(redirects)
            .referer(false)
            .no_proxy()
            .dns_resolver(Arc::new(guard))
            .pool_max_idle_per_host(settings.at_once)
    }

    /// Whether a rule may have this URL.
    pub fn accepts(&self, url: &str) -> bool {
        self.parse(url).is_some()
    }

    fn parse(&self, url: &str) -> Option<Url> {
        let parsed = Url::parse(url).ok().filter(|_| url.chars().count() <= MAX_URL)?;
        self.guard.allows(&parsed).then_some(parsed)
    }

    /// Posts, and returns the HTTP status of the answer.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: String) -> Result<u16, SendError> {
        let url = self.parse(url).ok_or(SendError::Forbidden)?;
        let deadline = Instant::now() + self.timeout;
        let request = self.client.post(url).headers(headers).body(body);
        // What an error says has the URL in it, and may go to a log.
        let answer = timeout_at(deadline, request.send()).await.map_err(|_| SendError::TimedOut)?.map_err(|error| why(&error))?;
        let status = answer.status().as_u16();
        let _ = timeout_at(deadline, drain(answer)).await;
        Ok(status)
    }
}

async fn drain(mut answer: Response) {
    let mut read = 0;
    while let Ok(Some(part)) = answer.chunk().await {
        read += part.len();
        if read > READ_AT_MOST {
            return;
        }
    }
}

fn why(error: &reqwest::Error) -> SendError {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |cause| cause.source());
    if causes.any(<dyn std::error::Error>::is::<Private>) {
        SendError::Forbidden
    } else if error.is_connect() {
        SendError::Unreachable
    } else {
        SendError::Broken
    }
}

/// That a name means no address that may be sent to.
#[derive(Debug, thiserror::Error)]
#[error("the name means no address on the internet")]
struct Private;

/// Tells which URLs and which addresses may be sent to.
#[derive(Debug, Clone, Copy)]
struct Guard {
    allows_private: bool,
}

impl Guard {
    fn allows(self, url: &Url) -> bool {
        let is_plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
        let host = url.host_str().unwrap_or_default();
        is_plain
            && match host.trim_matches(['[', ']']).parse() {
                Ok(address) => self.allows_address(address),
                // A name: what it means is asked when it is needed.
                Err(_) => !host.is_empty(),
            }
    }

    fn allows_address(self, address: IpAddr) -> bool {
        self.allows_private || is_global(address)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| guard.allows_address(address.ip())).collect();
            if allowed.is_empty() { Err(Private.into()) } else { Ok(Box::new(allowed.into_iter()) as Addrs) }
        })
    }
}

/// Whether the internet can reach an address: it is in none of IANA's registries of special-purpose addresses.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => is_global_v6(address),
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127 | 224.., ..]      // this network, private, loopback, multicast and reserved
            | [100, 64..=127, ..]       // carriers' NAT
            | [169, 254, ..]            // link-local, where clouds keep credentials
            | [172, 16..=31, ..]        // private
            | [192, 0, 0 | 2, _]        // protocol assignments, documentation
            | [192, 88, 99, _]          // 6to4 relays
            | [192, 168, ..]            // private
            | [198, 18..=19, ..]        // benchmarks
            | [198, 51, 100, _]         // documentation
            | [203, 0, 113, _] // documentation
    )
}

fn is_global_v6(address: Ipv6Addr) -> bool {
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_global_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // An IPv4 address in the clothes of IPv6: mapped, NAT64, 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => inner(high, low),
        // Protocol assignments (Teredo among them) and documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Nothing but this is global unicast.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};

    use super::*;

    #[test]
    fn addresses_that_the_internet_cannot_reach_are_known() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_global(private.parse().expect("an address")), "{private}");
        }
        for public in [
            "1.1.1.1",
            "9.9.9.9",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ] {
            assert!(is_global(public.parse().expect("an address")), "{public}");
        }
    }

    #[test]
    fn a_url_is_plain_and_names_no_private_address_in_any_spelling() {
        let targets = |allow_private_targets| Targets::new(&settings(allow_private_targets)).expect("a way out");
        let (guarded, open) = (targets(false), targets(true));
        for private in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1:80/",
            "http://017700000001/",
            "https://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]:8080/x",
            "http://169.254.169.254/latest/meta-data",
        ] {
            assert!(!guarded.accepts(private) && open.accepts(private), "{private}");
        }
        let long = format!("https://example.com/{}", "x".repeat(2048));
        for never in [
            "",
            "example.com",
            "/path",
            "ftp://example.com/",
            "file:///etc/passwd",
            "https://user@example.com/",
            "https://:pw@example.com/",
            "http://",
            &long,
        ] {
            assert!(!guarded.accepts(never) && !open.accepts(never), "{never}");
        }
        for fine in [
            "https://example.com",
            "http://example.com:8080/a?b=c",
            "https://1.1.1.1/",
            "https://bücher.example/",
            "HTTPS://EXAMPLE.COM/",
        ] {
            assert!(guarded.accepts(fine), "{fine}");
        }
    }

    #[tokio::test]
    async fn a_name_of_a_private_address_is_refused_when_it_is_looked_up() {
        let refused =
            Targets::new(&settings(false)).expect("a way out").post("http://localhost:9/", HeaderMap::new(), String::new()).await;
        assert_eq!(refused, Err(SendError::Forbidden));
    }

    /// A receiver under a name that the guard takes for one of the internet; it redirects, and counts who comes.
    #[tokio::test]
    async fn a_redirect_into_a_private_network_is_not_followed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = std::thread::spawn(move || {
            let mut asked = Vec::new();
            while asked.last().is_none_or(|path| path != "/end") {
                let mut lines = BufReader::new(listener.accept().expect("a connection").0);
                let mut first = String::new();
                lines.read_line(&mut first).expect("a line");
                let path = first.split(' ').nth(1).expect("a path").to_owned();
                let host = if path == "/literal" { "127.0.0.1" } else { "localhost" };
                let port = address.port();
                let answer = format!("HTTP/1.1 307 X\r\nLocation: http://{host}:{port}/inside\r\nContent-Length: 0\r\n\r\n");
                lines.get_mut().write_all(answer.as_bytes()).expect("sent");
                asked.push(path);
            }
            asked
        });
        let settings = Callbacks { follow_redirects: true, ..settings(false) };
        let guard = Guard { allows_private: false };
        let client = Targets::client(&settings, guard).resolve("public.example", address).pool_max_idle_per_host(0).build();
        let targets = Targets { client: client.expect("a client"), guard, timeout: Duration::from_secs(5) };
        for (path, expected) in [("/literal", Ok(307)), ("/name", Err(SendError::Forbidden)), ("/end", Err(SendError::Forbidden))]
        {
            let url = format!("http://public.example:{}{path}", address.port());
            assert_eq!(targets.post(&url, HeaderMap::new(), String::new()).await, expected, "{path}");
        }
        assert_eq!(asked.join().expect("no panic"), ["/literal", "/name", "/end"]);
    }

    fn settings(allow_private_targets: bool) -> Callbacks {
        Callbacks {
            every_ms: 1,
            at_once: 1,
            timeout_ms: 1000,
            give_up_after_hours: 1,
            keep_days: 1,
            allow_private_targets,
            follow_redirects: false,
        }
    }
}
