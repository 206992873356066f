//! The URLs that clients may have events sent to: none is a way into the network of the service.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use reqwest::Url;
use roomward::callbacks::target::Targets;
use roomward::config::Settings;

/// The longest, in characters.
const MAX_URL: usize = 2048;

/// Two ways out: into the internet only, and to private addresses, too.
static TARGETS: LazyLock<[Targets; 2]> = LazyLock::new(|| {
    let mut settings = Settings::from_texts("", []).expect("the defaults").callbacks;
    settings.allow_private_targets = false;
    let guarded = Targets::new(&settings).expect("a way out");
    settings.allow_private_targets = true;
    [guarded, Targets::new(&settings).expect("a way out")]
});

pub fn target(text: &str) {
    let [guarded, open] = &*TARGETS;
    if !open.accepts(text) {
        assert!(!guarded.accepts(text), "{text:?} is accepted by the one that accepts less");
        return;
    }
    let url = Url::parse(text).expect("what was accepted");
    assert!(["http", "https"].contains(&url.scheme()) && text.chars().count() <= MAX_URL);
    assert!(url.username().is_empty() && url.password().is_none(), "{url} has a password in it");
    let host = url.host_str().expect("a host");
    assert!(!host.is_empty());
    // What is connected to is looked at in the form in which it is connected to.
    if url.as_str().chars().count() <= MAX_URL {
        assert_eq!(guarded.accepts(url.as_str()), guarded.accepts(text), "{url}");
    }
    // A name is looked up when it is needed, and what it means is looked at then.
    if guarded.accepts(text) {
        let address = host.trim_matches(['[', ']']);
        assert!(!address.parse().is_ok_and(is_private_v4) && !address.parse().is_ok_and(is_private_v6), "{url}");
    }
}

/// As the standard library has it, which knows fewer of them.
fn is_private_v4(address: Ipv4Addr) -> bool {
    let is_local = address.is_private() || address.is_loopback() || address.is_link_local() || address.is_unspecified();
    is_local || address.is_multicast() || address.is_broadcast() || address.is_documentation()
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let is_local = address.is_loopback() || address.is_unspecified() || address.is_unique_local() || address.is_unicast_link_local();
    // `::a.b.c.d`, too.
    is_local || address.is_multicast() || address.to_ipv4().is_some_and(is_private_v4)
}
