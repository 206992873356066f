//! Calls of every kind: paths, queries, headers and bodies.

use actix_web::http::header::{HeaderName, HeaderValue};

use super::service::{self, BASE, Service, USERS};

/// Not a header, but whose token the call comes with, instead of the app's.
const AS: &str = "as";

/// A request, as HTTP has it but for the version: a method and a path below the app, headers, an empty line, and a body. RULE is
/// for a callback rule.
pub fn target(text: &str) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end_matches('\n'), ""));
    let mut lines = head.lines();
    let Some((method, path)) = lines.next().and_then(|line| line.split_once(' ')) else { return };
    // A trial of a callback leaves this machine.
    if !path.starts_with('/') || service::decoded(path).contains("/test") {
        return;
    }
    service::with(|service| {
        let path = path.replace("RULE", &service.rule.borrow());
        let (mut headers, mut token) = (Vec::new(), Some(service.app.token.clone()));
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            match (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                (Ok(name), _) if name == AS && USERS.contains(&value) => token = service.token_of(value),
                (Ok(name), Ok(value)) => headers.push((name, value)),
                _ => return,
            }
        }
        headers.extend(token.as_deref().map(Service::bearer));
        service.call(method, &format!("{BASE}{path}"), &headers, body);
    });
}
