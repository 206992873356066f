//! Every row of the error tables of the 22 calls, as the page prints them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{TestApp, numbered};

/// A call: its number, method, path below the room, and body; `{u}` is a user of the table's row.
const CALLS: [(usize, &str, &str, &str); 22] = [
    (1, "GET", "/users?pagenum=2&pagesize=2", ""),
    (2, "POST", "/users/{u}", ""),
    (3, "POST", "/users", "usernames"),
    (4, "DELETE", "/users/{u}", ""),
    (5, "DELETE", "/users/{u}%2C{u}", ""),
    (6, "GET", "/admin", ""),
    (7, "POST", "/admin", "newadmin"),
    (8, "DELETE", "/admin/{u}", ""),
    (9, "GET", "/blocks/users", ""),
    (10, "POST", "/blocks/users/{u}", ""),
    (11, "POST", "/blocks/users", "usernames"),
    (12, "DELETE", "/blocks/users/{u}", ""),
    (13, "DELETE", "/blocks/users/{u}%2C{u}", ""),
    (14, "GET", "/white/users", ""),
    (15, "POST", "/white/users/{u}", ""),
    (16, "POST", "/white/users", "usernames"),
    (17, "DELETE", "/white/users/{u}", ""),
    (18, "GET", "/mute", ""),
    (19, "POST", "/mute", "mute"),
    (20, "POST", "/ban", ""),
    (21, "DELETE", "/mute/{u}", ""),
    (22, "DELETE", "/ban", ""),
];

/// The rows besides the one for a bad token: call, what is wrong, status, type, text.
const ROWS: [(usize, &str, u16, &str, &str); 48] = [
    (1, "room", 404, "service_resource_not_found", "do not find this group:XX"),
    (2, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (2, "user", 404, "resource_not_found", "username XXX doesn't exist!"),
    (2, "join", 403, "forbidden_op", "can not join this group, reason:user XXX has joined too many chatrooms!"),
    (3, "size", 400, "invalid_parameter", "addMembers: addMembers number more than maxSize : 60"),
    (3, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (3, "user", 404, "resource_not_found", "username XXX doesn't exist!"),
    (3, "join", 403, "forbidden_op", "can not join this group, reason:user XXX has joined too many chatrooms!"),
    (4, "member", 400, "forbidden_op", "users [XXX] are not members of this group!"),
    (4, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (4, "user", 404, "resource_not_found", "username XXX doesn't exist!"),
    (5, "size", 400, "invalid_parameter", "kickMember: kickMembers number more than maxSize : 60"),
    (5, "member", 400, "forbidden_op", "users [XXX] are not members of this group!"),
    (5, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (5, "user", 404, "resource_not_found", "username XXX doesn't exist!"),
    (6, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (7, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (7, "user", 404, "resource_not_found", "username XXX doesn't exist!"),
    (8, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (8, "user", 404, "resource_not_found", "username XXX doesn't exist!"),
    (9, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (10, "member", 400, "forbidden_op", "users [XXX] are not members of this group!"),
    (10, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (11, "size", 400, "invalid_parameter", "userNames is more than max limit : 60"),
    (11, "member", 400, "forbidden_op", "users [XXX] are not members of this group!"),
    (11, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (12, "member", 400, "forbidden_op", "users [XXX] are not members of this group!"),
    (12, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (13, "size", 400, "invalid_parameter", "removeBlacklist: list size more than max limit : 60"),
    (13, "member", 400, "forbidden_op", "users [XXX] are not members of this group!"),
    (13, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (14, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (15, "member", 400, "forbidden_op", "users [XXX] are not members of this group!"),
    (15, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (16, "size", 400, "invalid_parameter", "usernames size is more than max limit : 60"),
    (16, "member", 400, "forbidden_op", "users [XXX] are not members of this group!"),
    (16, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (17, "size", 400, "invalid_parameter", "removeWhitelist size is more than max limit : 60"),
    (17, "member", 400, "forbidden_op", "users [XXX] are not members of this group!"),
    (17, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (18, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (19, "member", 400, "forbidden_op", "users [XXX] are not members of this group!"),
    (19, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (19, "size", 400, "invalid_parameter", "userNames size is more than max limit : 60"),
    (20, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (21, "size", 400, "invalid_parameter", "removeMute member size more than max limit : 60"),
    (21, "room", 404, "resource_not_found", "grpID XX does not exist!"),
    (22, "room", 404, "resource_not_found", "grpID XX does not exist!"),
];

const fn exception(error: &str) -> &'static str {
    match error.as_bytes() {
        b"service_resource_not_found" => "com.easemob.group.exception.ServiceResourceNotFoundException",
        b"resource_not_found" => "com.easemob.group.exception.ResourceNotFoundException",
        b"forbidden_op" => "com.easemob.group.exception.ForbiddenOpException",
        _ => "com.easemob.group.exception.InvalidParameterException",
    }
}

fn body(kind: &str, users: &[String]) -> Option<Value> {
    match kind {
        "usernames" => Some(json!({"usernames": users})),
        "newadmin" => Some(json!({"newadmin": users[0]})),
        "mute" => Some(json!({"usernames": users, "mute_duration": 60_000})),
        _ => None,
    }
}

#[tokio::test]
async fn every_row_of_every_error_table_is_answered_as_printed() {
    let mut app = TestApp::new().await;
    app.set("limits.rooms_per_user", "1").await;
    let many = numbered("user", 61);
    app.users(&many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    app.users(&["boss", "other", "outsider", "busy"]).await;
    let room = app.room("boss", &[]).await;
    app.room("other", &["busy"]).await;

    for (call, wrong, status, error, text) in ROWS {
        let (_, method, path, kind) = CALLS[call - 1];
        let user = match wrong {
            "user" => "nobody",
            "join" => "busy",
            _ => "outsider",
        };
        let users = if wrong == "size" { many.clone() } else { vec![user.to_owned()] };
        let path = match wrong {
            "size" => path.replace("{u}%2C{u}", &users.join(",")).replace("{u}", &users.join(",")),
            _ => path.replace("{u}", user),
        };
        let room = if wrong == "room" { "66213271109633" } else { &room };
        let mut request =
            app.request(Method::from_bytes(method.as_bytes()).expect("a method"), &format!("/chatrooms/{room}{path}"));
        if let Some(body) = body(kind, &users) {
            request = request.body(body.to_string());
        }
        let answer = app.send(request).await;
        println!("call {call}, {wrong}: {}", answer.text);
        answer.fails(status, error, exception(error), &text.replace("XXX", user).replace("XX", room));
    }
    assert_eq!(app.members(&room).await, ["boss"], "nothing was applied");

    // And on each of the 22: the row for a bad token.
    app.token.push('x');
    for (call, method, path, kind) in CALLS {
        let path = format!("/chatrooms/{room}{}", path.replace("{u}", "user1"));
        let mut request = app.request(Method::from_bytes(method.as_bytes()).expect("a method"), &path);
        if let Some(body) = body(kind, &["user1".to_owned()]) {
            request = request.body(body.to_string());
        }
        println!("call {call}, token");
        app.send(request).await.fails_auth();
    }
}

#[test]
fn the_table_has_as_many_rows_as_the_page() {
    let count = |wrong: &str| ROWS.iter().filter(|row| row.1 == wrong).count();
    assert_eq!(["room", "member", "user", "join", "size"].map(count), [22, 10, 6, 2, 8]);
}
