//! The `Authorization` header: who is let in.

use std::cell::OnceCell;

use actix_web::http::header::{AUTHORIZATION, HeaderValue};

use super::service::{self, BASE};

thread_local! {
    static TOKEN_OF_ANN: OnceCell<String> = const { OnceCell::new() };
}

/// The header's value, in which APP and USER are for good tokens. A letter is a byte.
pub fn target(text: &str) {
    service::with(|service| {
        let app = &service.app.token;
        let user = TOKEN_OF_ANN.with(|token| {
            let issue = || {
                service.call("GET", BASE, &[], "");
                service.token_of("ann").expect("a token")
            };
            token.get_or_init(issue).clone()
        });
        let value = text.replace("APP", app).replace("USER", &user);
        let Some(bytes) = value.chars().map(|letter| u8::try_from(letter).ok()).collect::<Option<Vec<u8>>>() else { return };
        let Ok(header) = HeaderValue::from_bytes(&bytes) else { return };
        let answer = service.call("GET", &format!("{BASE}/chatrooms/lobby"), &[(AUTHORIZATION, header)], "").expect("a call");
        let is_good = |token: &str| value.strip_prefix("Bearer ").is_some_and(|rest| rest.trim_matches([' ', '\t']) == token);
        match answer.status {
            200 => assert!(is_good(app) || is_good(&user), "{text:?} is let in: {}", answer.text),
            401 => assert!(!is_good(app) && !is_good(&user), "{text:?} is kept out: {}", answer.text),
            _ => panic!("{} {}", answer.status, answer.text),
        }
    });
}
