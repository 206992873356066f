//! Paths: how they are routed and decoded, and the names in them.

use roomward::names::is_username;

use super::service::{self, Service};

/// The target of a request, as its first line has it.
pub fn target(text: &str) {
    service::with(|service| {
        let Some(answer) = service.call("GET", text, &[Service::bearer(&service.app.token)], "") else { return };
        let path = service::decoded(text.split(['?', '#']).next().unwrap_or_default());
        // Nothing is found by a name that it cannot have; of several rooms those that are there are. Ids have fewer letters yet.
        if answer.status == 200
            && let ["", "fuzz", "fuzz", "chatrooms" | "users", names, ..] = *path.split('/').collect::<Vec<_>>()
        {
            let is_name = |name: &str| name.is_empty() || is_username(&name.to_ascii_lowercase());
            assert!(names.split(',').any(is_name), "{names:?} is found");
        }
    });
}
