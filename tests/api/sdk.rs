//! The official Java SDK's calls, with the bytes that it sends and in the order of its integration tests, asserting what
//! it reads of each answer.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{CLIENT_ID, CLIENT_SECRET, TestApp};

/// What the SDK is over one connection: HTTP/1.1, keep-alive, its own headers, and a Content-Type on metadata calls only.
struct Sdk {
    connection: TcpStream,
    app: TestApp,
    token: Option<String>,
}

impl Sdk {
    async fn new() -> Self {
        let app = TestApp::new().await;
        let connection = TcpStream::connect(app.address).expect("connected");
        connection.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        Self { connection, app, token: None }
    }

    /// A call after the token was fetched, as the SDK does before its first one. Fails unless the status is below 400
    /// and the body is a JSON object.
    fn call(&mut self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.send(method, path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    fn send(&mut self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        if self.token.is_none() {
            let credentials = json!({"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
            let (status, answer) = self.exchange("POST", "/token", Some(&credentials.to_string()));
            let expires = answer["expires_in"].as_i64().expect("a number");
            assert!(status == 200 && expires > 1 && i32::try_from(expires).is_ok(), "{answer}");
            self.token = Some(answer["access_token"].as_str().expect("a token").to_owned());
        }
        self.exchange(method, path, body.map(|body| body.to_string()).as_deref())
    }

    fn exchange(&mut self, method: &str, path: &str, body: Option<&str>) -> (u16, Value) {
        let (org, name) = (&self.app.app.org, &self.app.app.name);
        let mut request = format!(
            "{method} /{org}/{name}{path} HTTP/1.1\r\nUser-Agent: EasemobServerSDK/0.8\r\nHost: {}\r\nAccept: */*\r\n",
            self.app.address
        );
        if let Some(token) = &self.token {
            write!(request, "Authorization: Bearer {token}\r\n").expect("a text");
        }
        if path.starts_with("/metadata") {
            request += "Content-Type: application/json\r\n";
        }
        match body {
            Some(body) => write!(request, "Content-Length: {}\r\n\r\n{body}", body.len()).expect("a text"),
            None if method == "POST" => request.push_str("Content-Length: 0\r\n\r\n"),
            None => request.push_str("\r\n"),
        }
        self.connection.write_all(request.as_bytes()).expect("sent");
        self.read()
    }

    fn read(&mut self) -> (u16, Value) {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if let Some(head_end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
                let length: usize =
                    head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).expect("a length");
                if bytes.len() >= head_end + 4 + length {
                    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
                    let body: Value =
                        serde_json::from_slice(&bytes[head_end + 4..head_end + 4 + length]).expect("JSON, never empty");
                    assert!(body.is_object(), "{body}");
                    return (status, body);
                }
            }
            let read = self.connection.read(&mut buffer).expect("an answer");
            assert!(read > 0, "the connection was closed");
            bytes.extend_from_slice(&buffer[..read]);
        }
    }

    fn create_user(&mut self, name: &str) {
        let answer = self.call("POST", "/users", Some(json!({"username": name, "password": format!("it-password-{name}")})));
        let entity =
            answer["entities"].as_array().expect("entities").iter().find(|entity| entity["username"] == name).expect("the user");
        assert!(entity["uuid"].is_string() && entity["activated"] == true && entity["nickname"].is_null());
    }

    /// `members` with whom the SDK always sends `scale` and `need_verify`.
    fn create_room(&mut self, owner: &str, members: &[&str]) -> String {
        let body = json!({"name": "chat room", "description": "room description", "maxusers": 200, "owner": owner, "members": members, "scale": "large", "need_verify": true});
        self.call("POST", "/chatrooms", Some(body))["data"]["id"].as_str().expect("an id").to_owned()
    }

    fn room(&mut self, id: &str) -> Value {
        let answer = self.call("GET", &format!("/chatrooms/{id}"), None);
        let room = answer["data"].as_array().expect("an array")[0].clone();
        for text in ["id", "name", "description", "owner", "custom"] {
            assert!(room[text].is_string(), "{text}");
        }
        for flag in ["membersonly", "mute"] {
            assert!(room[flag].is_boolean(), "{flag}");
        }
        for number in ["maxusers", "affiliations_count", "created"] {
            assert!(room[number].is_i64(), "{number}");
        }
        assert!(
            room["affiliations"].as_array().expect("an array").iter().all(|entry| entry
                .as_object()
                .expect("a map")
                .values()
                .all(Value::is_string))
        );
        room
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_made_read_updated_listed_given_away_and_destroyed() {
    let mut sdk = Sdk::new().await;
    for user in ["owner", "one", "two"] {
        sdk.create_user(user);
    }
    let room = sdk.create_room("owner", &["one"]);
    let detail = sdk.room(&room);
    assert_eq!(detail["affiliations"].as_array().map(Vec::len), Some(2));
    let other = sdk.create_room("owner", &[]);
    let both = sdk.call("GET", &format!("/chatrooms/{room},{other}"), None);
    assert_eq!(both["data"].as_array().map(Vec::len), Some(2));

    let updated = sdk.call(
        "PUT",
        &format!("/chatrooms/{room}"),
        Some(json!({"name": "new", "description": "new", "maxusers": 100, "custom": "c", "need_verify": false})),
    );
    for field in ["groupname", "description", "maxusers"] {
        assert_eq!(updated["data"][field], true);
    }
    let detail = sdk.room(&room);
    assert_eq!((&detail["name"], &detail["maxusers"], &detail["custom"]), (&json!("new"), &json!(100), &json!("c")));

    // listRoomsAll: pages of 10 until there is no cursor.
    let mut ids = Vec::new();
    let mut cursor = String::new();
    for _ in 0..10 {
        let page = sdk.call("GET", &format!("/chatrooms?limit=1{cursor}"), None);
        ids.extend(page["data"].as_array().expect("an array").iter().map(|room| room["id"].as_str().expect("an id").to_owned()));
        match page.get("cursor").filter(|cursor| !cursor.is_null()) {
            Some(next) => cursor = format!("&cursor={}", next.as_str().expect("a text")),
            None => break,
        }
    }
    assert_eq!(ids, [other.clone(), room.clone()], "the newest first");
    let joined = sdk.call("GET", "/users/owner/joined_chatrooms", None);
    assert_eq!(joined["data"].as_array().map(Vec::len), Some(2));
    assert!(joined["data"][0]["id"].is_string());

    sdk.call("PUT", &format!("/chatrooms/{room}"), Some(json!({"newowner": "one"})));
    assert_eq!(sdk.room(&room)["owner"], "one");
    for id in [room, other] {
        assert_eq!(sdk.call("DELETE", &format!("/chatrooms/{id}"), None)["data"]["success"], true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_and_are_listed_in_both_forms() {
    let mut sdk = Sdk::new().await;
    for user in ["owner", "one", "two"] {
        sdk.create_user(user);
    }
    let room = sdk.create_room("owner", &["one"]);
    assert_eq!(sdk.call("POST", &format!("/chatrooms/{room}/users/two"), None)["data"]["result"], true);
    // listRoomMembersAll(asc): plain names, the owner left out, the first added first.
    let first = sdk.call("GET", &format!("/chatrooms/{room}/users?version=v3&limit=1&sort=asc"), None);
    assert_eq!(first["data"], json!(["one"]));
    let cursor = first["cursor"].as_str().expect("more").to_owned();
    let last = sdk.call("GET", &format!("/chatrooms/{room}/users?version=v3&limit=1&cursor={cursor}&sort=asc"), None);
    assert_eq!((&last["data"], last.get("cursor")), (&json!(["two"]), None));
    // listRoomMembersAllWithOwner: pages until one is not full.
    let page = sdk.call("GET", &format!("/chatrooms/{room}/users?pagenum=1&pagesize=2"), None);
    assert_eq!((&page["count"], &page["params"]["pagenum"][0]), (&json!(2), &json!("1")));
    let page = sdk.call("GET", &format!("/chatrooms/{room}/users?pagenum=2&pagesize=2"), None);
    assert_eq!((&page["count"], &page["data"]), (&json!(1), &json!([{"member": "two"}])));
    assert_eq!(sdk.call("DELETE", &format!("/chatrooms/{room}/users/two"), None)["data"]["result"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_and_super_admins_are_promoted_listed_and_demoted() {
    let mut sdk = Sdk::new().await;
    for user in ["owner", "one", "two"] {
        sdk.create_user(user);
    }
    let room = sdk.create_room("owner", &["one"]);
    assert_eq!(
        sdk.call("POST", &format!("/chatrooms/{room}/admin"), Some(json!({"newadmin": "one"})))["data"]["result"],
        "success"
    );
    assert_eq!(sdk.call("GET", &format!("/chatrooms/{room}/admin"), None)["data"], json!(["one"]));
    assert_eq!(sdk.call("DELETE", &format!("/chatrooms/{room}/admin/one"), None)["data"]["result"], "success");

    for user in ["owner", "one"] {
        assert_eq!(sdk.call("POST", "/chatrooms/super_admin", Some(json!({"superadmin": user})))["data"]["result"], "success");
    }
    // listRoomSuperAdminsAll: pages of 1 until one is empty.
    let mut names = Vec::new();
    for number in 1..10 {
        let page = sdk.call("GET", &format!("/chatrooms/super_admin?pagenum={number}&pagesize=1"), None);
        assert_eq!(page["params"]["pagenum"][0], number.to_string());
        match page["data"].as_array().expect("an array").first() {
            Some(name) => names.push(name.clone()),
            None => break,
        }
    }
    assert_eq!(names, ["owner", "one"]);
    assert!(sdk.call("DELETE", "/chatrooms/super_admin/two", None)["data"].is_object(), "of one who never was one");
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_mutes_and_the_mute_of_the_room() {
    let mut sdk = Sdk::new().await;
    for user in ["owner", "one", "two"] {
        sdk.create_user(user);
    }
    let room = sdk.create_room("owner", &["one", "two"]);
    let at = |path: &str| format!("/chatrooms/{room}{path}");
    // blockUserSendMsgToRoom: an entry with the very name and `result`; null durations become -1.
    let entry = |answer: &Value, user: &str| {
        answer["data"].as_array().expect("an array").iter().find(|entry| entry["user"] == user).expect("an entry").clone()
    };
    let muted = sdk.call("POST", &at("/mute"), Some(json!({"usernames": ["one"], "mute_duration": 30_000})));
    assert!(entry(&muted, "one")["result"] == true && entry(&muted, "one")["expire"].is_i64());
    sdk.call("POST", &at("/mute"), Some(json!({"usernames": ["one", "two"], "mute_duration": -1})));
    sdk.call("DELETE", &at("/users/one"), None);
    sdk.call("POST", &at("/users/one"), None);
    assert_eq!(sdk.call("GET", &at("/mute"), None)["data"].as_array().map(Vec::len), Some(2), "still muted after coming back");
    assert_eq!(entry(&sdk.call("DELETE", &at("/mute/one"), None), "one")["result"], true);
    sdk.call("DELETE", &at("/mute/one,two"), None);
    assert_eq!(sdk.call("GET", &at("/mute"), None)["data"], json!([]));

    sdk.call("POST", &at("/ban"), None);
    assert_eq!(sdk.room(&room)["mute"], true);
    sdk.call("DELETE", &at("/ban"), None);
    assert_eq!(sdk.room(&room)["mute"], false);

    assert_eq!(sdk.call("POST", &at("/blocks/users/one"), None)["data"]["result"], true);
    assert_eq!(sdk.call("GET", &at("/blocks/users"), None)["data"], json!(["one"]));
    assert_eq!(sdk.call("DELETE", &at("/blocks/users/one"), None)["data"]["result"], true);

    assert_eq!(sdk.call("GET", &at("/announcement"), None)["data"]["announcement"], "");
    sdk.call("POST", &at("/announcement"), Some(json!({"announcement": "hello"})));
    assert_eq!(sdk.call("GET", &at("/announcement"), None)["data"]["announcement"], "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_muted_in_the_whole_app() {
    let mut sdk = Sdk::new().await;
    sdk.create_user("one");
    // muteUser: the SDK takes a 404 for a success.
    assert_eq!(sdk.call("POST", "/mutes", Some(json!({"username": "one", "chat": 100})))["data"], json!({"result": "ok"}));
    let detail = sdk.call("GET", "/mutes/one", None)["data"].clone();
    assert!(detail["userid"].is_string(), "{detail}");
    for number in ["chat", "groupchat", "chatroom", "unixtime"] {
        assert!(detail[number].as_i64().is_some_and(|number| i32::try_from(number).is_ok()), "{number}: {detail}");
    }
    // muteList: without a page.
    let list = sdk.call("GET", "/mutes", None);
    assert_eq!(list["data"]["data"][0]["username"], "one");
    assert_eq!(sdk.call("DELETE", "/users/one", None)["entities"][0]["username"], "one");
    assert_eq!(sdk.call("GET", "/mutes", None)["data"]["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_with_a_body_on_delete_and_none_on_post() {
    let mut sdk = Sdk::new().await;
    for user in ["owner", "one"] {
        sdk.create_user(user);
    }
    let room = sdk.create_room("owner", &["one"]);
    let base = format!("/metadata/chatroom/{room}");
    let set = json!({"metaData": {"avatar": "http://x", "ext": "ext", "nickname": "昵称"}, "autoDelete": "DELETE"});
    let answer = sdk.call("PUT", &format!("{base}/user/one"), Some(set.clone()));
    assert_eq!(answer["data"]["successKeys"].as_array().map(Vec::len), Some(3));
    let answer = sdk.call("PUT", &format!("{base}/user/owner/forced"), Some(set));
    assert_eq!(answer["data"]["successKeys"].as_array().map(Vec::len), Some(3));
    let keys = |keys: Value| Some(json!({"autoDelete": "DELETE", "keys": keys}));
    assert_eq!(sdk.call("POST", &base, keys(json!(["nickname"])))["data"], json!({"nickname": "昵称"}));
    assert_eq!(
        sdk.call("DELETE", &format!("{base}/user/owner"), keys(json!(["nickname"])))["data"]["successKeys"],
        json!(["nickname"])
    );
    assert_eq!(
        sdk.call("DELETE", &format!("{base}/user/admin/forced"), keys(json!(["avatar"])))["data"]["successKeys"],
        json!(["avatar"])
    );
    assert_eq!(sdk.call("POST", &base, None)["data"], json!({"ext": "ext"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_live_and_die() {
    let mut sdk = Sdk::new().await;
    sdk.create_user("one");
    assert_eq!(sdk.call("GET", "/users/one", None)["entities"][0]["username"], "one");
    let batch = json!([{"username": "two", "password": "p", "nickname": "n"}, {"username": "three", "password": "p"}]);
    assert_eq!(sdk.call("POST", "/users", Some(batch))["entities"].as_array().map(Vec::len), Some(2));
    assert_eq!(sdk.call("GET", "/users/two", None)["entities"][0]["nickname"], "n");
    let page = sdk.call("GET", "/users?limit=2", None);
    assert!(page["entities"][0]["username"].is_string() && page["cursor"].is_string());
    sdk.call("PUT", "/users/one/password", Some(json!({"newpassword": "other"})));
    assert_eq!(sdk.call("GET", "/users/one/disconnect", None)["data"]["result"], true);
    assert_eq!(sdk.call("GET", "/users/one/disconnect/ios_1", None)["data"]["result"], true);
    sdk.call("POST", "/users/one/deactivate", None);
    sdk.call("POST", "/users/one/activate", None);
    assert_eq!(sdk.call("GET", "/users/one/status", None)["data"]["one"], "offline");
    assert_eq!(
        sdk.call("POST", "/users/batch/status", Some(json!({"usernames": ["one", "nobody"]})))["data"],
        json!([{"one": "offline"}, {"nobody": "offline"}])
    );
    let token = sdk.call("POST", "/token", Some(json!({"grant_type": "password", "username": "one", "password": "other"})));
    assert!(token["access_token"].is_string() && token["expires_in"].is_i64());
    let inherit = json!({"grant_type": "inherit", "username": "fresh", "autoCreateUser": true, "ttl": 1000});
    assert_eq!(sdk.call("POST", "/token", Some(inherit))["expires_in"], 1000);
    sdk.call("GET", "/users/fresh", None);
    assert_eq!(sdk.call("DELETE", "/users/one", None)["entities"][0]["username"], "one");
    assert_eq!(sdk.send("GET", "/users/one", None).0, 404);
    // deleteAll: pages until there is no cursor.
    let page = sdk.call("DELETE", "/users?limit=2", None);
    let cursor = page["cursor"].as_str().expect("more").to_owned();
    let rest = sdk.call("DELETE", &format!("/users?limit=2&cursor={cursor}"), None);
    assert_eq!((rest["entities"].as_array().map(Vec::len), rest.get("cursor")), (Some(1), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_json_with_a_description() {
    let mut sdk = Sdk::new().await;
    for (method, path) in [("GET", "/users/nobody"), ("GET", "/nothing"), ("PATCH", "/users"), ("DELETE", "/chatrooms/1")] {
        let (status, body) = sdk.send(method, path, None);
        assert!(status >= 400 && body["error_description"].is_string(), "{method} {path}: {status} {body}");
    }
}

/// The SDK keeps a connection for 20 s at most; a service that closed it earlier could lose a request.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_idle_for_twenty_seconds_is_still_there() {
    let mut sdk = Sdk::new().await;
    sdk.create_user("one");
    tokio::time::sleep(Duration::from_millis(20_500)).await;
    sdk.call("GET", "/users/one", None);
}
