//! The 22 examples of the page that defines the calls, replayed: request as printed there, names replaced, answer side
//! by side with the page's. `make replay` shows them.

use std::fmt::Write as _;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::TestApp;

/// An example of the page; its room ids are replaced by ROOM.
#[derive(Deserialize)]
struct Example {
    call: usize,
    method: String,
    path: String,
    body: Option<Value>,
    response: String,
}

/// Why an answer cannot be the page's, and what it is instead: the `data` and everything behind the times.
fn explained(call: usize) -> Option<(&'static str, &'static str, &'static str)> {
    match call {
        // A page 2 of size 2 cannot begin with the owner of a room of two.
        1 => Some(("the page shows the first two members as page 2", "[]", ",\"count\":0")),
        // The request names one user, and the answer shows two others.
        16 => Some((
            "the page asks for one user and shows two others",
            r#"[{"result":true,"action":"add_user_whitelist","user":"user1","chatroomid":"ROOM"}]"#,
            "",
        )),
        _ => None,
    }
}

#[tokio::test]
async fn every_example_of_the_page_is_answered_as_printed() {
    let examples: Vec<Example> = serde_json::from_str(include_str!("page.json")).expect("the examples");
    assert_eq!(examples.len(), 22);
    let mut shown = String::new();
    let mut differences = Vec::new();
    for example in examples {
        let app = TestApp::new().await;
        let room = prepare(&app, example.call).await;
        let mut request =
            app.request(Method::from_bytes(example.method.as_bytes()).expect("a method"), &example.path.replace("ROOM", &room));
        if let Some(body) = &example.body {
            request = request.body(body.to_string());
        }
        let answer = app.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let ours = masked(&answer.text.replace(&room, "ROOM"), "BASE", "APP", "ORG", "app");
        let page = page_masked(&example.response);
        let expected = match explained(example.call) {
            None => page.clone(),
            Some((_, data, count)) => {
                let (before, rest) = page.split_once("\"data\":").expect("data");
                let (_, after) = rest.split_once(",\"timestamp\"").expect("times");
                let after = after.split(",\"count\"").next().expect("the part before the count").trim_end_matches('}');
                format!("{before}\"data\":{data},\"timestamp\"{after}{count}}}")
            }
        };
        let verdict = match (ours == page, explained(example.call)) {
            (true, _) => "the same".to_owned(),
            (false, Some((why, ..))) => format!("differs: {why}"),
            (false, None) => "DIFFERS".to_owned(),
        };
        writeln!(
            shown,
            "call {}  {} {}  {verdict}\n  page  {page}\n  ours  {ours}\n",
            example.call, example.method, example.path
        )
        .expect("a text");
        if ours != expected {
            differences.push(format!("call {}\n  page  {expected}\n  ours  {ours}", example.call));
        }
    }
    println!("{shown}");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Users and a room in which the example can happen.
async fn prepare(app: &TestApp, call: usize) -> String {
    app.users(&["boss", "user1", "user2", "user3", "user4"]).await;
    let wzy = ["wzy_test", "wzy_vivo", "wzy_huawei", "wzy_xiaomi", "wzy_meizu"];
    app.users(&wzy).await;
    let owner = if call == 1 { "user1" } else { "boss" };
    let members: &[&str] = match call {
        1 | 5 => &["user2"],
        2 | 3 => &[],
        11 => &["user4"],
        14..=15 | 17 => &wzy,
        _ => &["user1", "user2", "user3"],
    };
    let room = app.room(owner, members).await;
    let block = |name: &'static str| format!("/chatrooms/{room}/blocks/users/{name}");
    match call {
        6 | 8 => _ = app.post_json(&format!("/chatrooms/{room}/admin"), json!({"newadmin": "user1"})).await,
        9 => {
            app.post(&block("user2")).await;
            app.post(&block("user3")).await;
        }
        12 => _ = app.post(&block("user1")).await,
        13 => {
            app.post(&block("user1")).await;
            app.post(&block("user2")).await;
        }
        14 | 17 => _ = app.post_json(&format!("/chatrooms/{room}/white/users"), json!({"usernames": wzy})).await,
        18 | 21 => {
            let body = json!({"usernames": ["user1", "user2"], "mute_duration": 86_400_000});
            app.post_json(&format!("/chatrooms/{room}/mute"), body).await;
        }
        22 => _ = app.post(&format!("/chatrooms/{room}/ban")).await,
        _ => {}
    }
    room
}

fn page_masked(text: &str) -> String {
    let application = text.split("\"application\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an application");
    let name = text.split("\"applicationName\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a name");
    let text = text.replace("12XXXX11", "ROOM").replace("66XXXX33", "ROOM");
    masked(&text, "https://XXXX/XXXX/XXXX", application, "XXXX", name)
}

/// What has to differ from run to run: host and names of the app, and every time.
fn masked(text: &str, base: &str, application: &str, organization: &str, name: &str) -> String {
    let mut text = text
        .replace(&format!("\"uri\":\"{base}"), "\"uri\":\"BASE")
        .replace(&format!("\"application\":\"{application}\""), "\"application\":\"APP\"")
        .replace(&format!("\"organization\":\"{organization}\""), "\"organization\":\"ORG\"")
        .replace(&format!("\"applicationName\":\"{name}\""), "\"applicationName\":\"NAME\"");
    for key in ["\"timestamp\":", "\"duration\":", "\"expire\":"] {
        text = crate::app::mask_number(&text, key);
    }
    text
}
