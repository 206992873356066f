//! Who did what to whom, when and why: `/audit`, by page and as NDJSON.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Method, Response};
use roomward::events::log::Kind;
use serde_json::{Value, json};

use crate::app::{Instance, TestApp, eventually, migrated_database, settings};

/// The first moment of the events that tests write, in Unix milliseconds.
pub const START: i64 = 1_700_000_000_000;

/// Writes events as SQL gives them: `(chatroom, n, kind, users, before, after, actor, reason, milliseconds)`, the last
/// counted from [`START`].
pub async fn write(app: &TestApp, events: &str) {
    let written = sqlx::query(sqlx::AssertSqlSafe(format!(
        "with given (chatroom, n, kind, users, before, after, actor, reason, ms) as ({events}),
         written as (
             insert into events (app, chatroom, n, kind, users, before, after, actor, reason, happened_at, xact)
             select $1, chatroom, n, kind, users::text[], before::json, after::json, actor, reason,
                    to_timestamp(({START} + ms) / 1000.0), 1
             from given returning *
         )
         insert into event_users (app, username, happened_at, chatroom, n)
         select app, username, happened_at, chatroom, n from written, unnest(users) username"
    )));
    written.bind(app.app.id).execute(&app.db).await.expect("written");
}

/// What happened in two rooms and to the app, as told to the tests below.
async fn story(app: &TestApp) {
    write(
        app,
        r#"values
        ('', 1, 'ROOM_SUPER_ADMIN/ADD', '{ann}', null, null, '@ppAdmin', null, 0),
        ('lobby', 1, 'CREATE', '{ann,bob}', null, '{"name":"lobby"}', '@ppAdmin', null, 10),
        ('lobby', 2, 'MUTE/ADD', '{bob,cid}', '{"bob":0,"cid":0}', '{"cid":5,"bob":5}', 'mod.ann', 'spam', 20),
        ('attic', 1, 'CREATE', '{bob}', null, null, '@ppAdmin', null, 20),
        ('attic', 2, 'JOIN/DIRECT', '{cid}', null, null, 'mod.ann', null, 30),
        ('lobby', 3, 'MUTE/EXPIRE', '{bob}', null, null, '@system', null, 30),
        ('lobby', 4, 'DELETE', '{}', null, null, 'mod.dan', 'closed', 40)"#,
    )
    .await;
}

/// The same events, the newest first, as they are shown.
const SHOWN: [&str; 7] = [
    r#"{"chatroom":"lobby","n":4,"kind":"DELETE","actor":"mod.dan","reason":"closed","timestamp":1700000000040}"#,
    r#"{"chatroom":"lobby","n":3,"kind":"MUTE/EXPIRE","users":["bob"],"actor":"@system","timestamp":1700000000030}"#,
    r#"{"chatroom":"attic","n":2,"kind":"JOIN/DIRECT","users":["cid"],"actor":"mod.ann","timestamp":1700000000030}"#,
    r#"{"chatroom":"lobby","n":2,"kind":"MUTE/ADD","users":["bob","cid"],"before":{"bob":0,"cid":0},"after":{"cid":5,"bob":5},"actor":"mod.ann","reason":"spam","timestamp":1700000000020}"#,
    r#"{"chatroom":"attic","n":1,"kind":"CREATE","users":["bob"],"actor":"@ppAdmin","timestamp":1700000000020}"#,
    r#"{"chatroom":"lobby","n":1,"kind":"CREATE","users":["ann","bob"],"after":{"name":"lobby"},"actor":"@ppAdmin","timestamp":1700000000010}"#,
    r#"{"n":1,"kind":"ROOM_SUPER_ADMIN/ADD","users":["ann"],"actor":"@ppAdmin","timestamp":1700000000000}"#,
];

/// The text of [`TestApp::masked`]: the time of an event is one, too.
fn masked(event: &str) -> String {
    crate::app::mask_number(event, "\"timestamp\":")
}

/// The event as [`Answer::json`](crate::app::Answer::json) has it.
fn timeless(event: &str) -> Value {
    serde_json::from_str(&masked(event).replace(":T", ":0")).expect("JSON")
}

/// The events of a page, and its cursor.
async fn page(app: &TestApp, query: &str) -> (Vec<Value>, Option<String>) {
    app.page(&format!("/audit{query}")).await
}

/// All events by cursor, and on how many pages they were.
async fn all(app: &TestApp, query: &str) -> (Vec<Value>, usize) {
    app.pages(&format!("/audit{query}")).await
}

/// Room and number of each event.
fn positions(events: &[Value]) -> Vec<(String, i64)> {
    events
        .iter()
        .map(|event| (event["chatroom"].as_str().unwrap_or_default().to_owned(), event["n"].as_i64().expect("a number")))
        .collect()
}

async fn export(app: &TestApp, query: &str) -> Response {
    let request = app.request(Method::GET, &format!("/audit{query}")).header(ACCEPT, "application/x-ndjson");
    request.send().await.expect("an answer")
}

/// The lines of a whole export, but the end line, which is asserted.
async fn exported(app: &TestApp, query: &str) -> Vec<String> {
    let text = export(app, query).await.text().await.expect("a whole body");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let end = lines.pop();
    assert_eq!(end, Some(format!(r#"{{"end":true,"count":{}}}"#, lines.len())));
    lines
}

#[tokio::test]
async fn the_audit_of_an_app_has_all_events_the_newest_first() {
    let app = TestApp::new().await;
    app.get("/audit").await.is(
        r#"{"action":"get","application":"APP","uri":"BASE/audit","entities":[],"data":[],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":0}"#,
    );
    story(&app).await;
    app.get("/audit").await.is(&format!(
        r#"{{"action":"get","application":"APP","uri":"BASE/audit","entities":[],"data":[{}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":7}}"#,
        SHOWN.map(masked).join(",")
    ));
    let first = app.get("/audit/?limit=1").await;
    let cursor = first.json()["cursor"].as_str().expect("more").to_owned();
    first.is(&format!(
        r#"{{"action":"get","application":"APP","params":{{"limit":["1"]}},"uri":"BASE/audit/","entities":[],"data":[{}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":1,"cursor":"{cursor}"}}"#,
        masked(SHOWN[0])
    ));
}

#[tokio::test]
async fn what_a_call_has_changed_is_found_by_whom_it_concerns_and_by_who_made_it() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    let mute = app.request(Method::POST, &format!("/chatrooms/{room}/mute")).header("X-Operator", "mod.eve");
    let mute = mute.header("X-Audit-Reason", "spam").body(r#"{"usernames":["bob"],"mute_duration":-1}"#);
    assert_eq!(app.send(mute).await.status, 200);
    assert_eq!(app.post_json("/chatrooms/super_admin", json!({"superadmin": "ann"})).await.status, 200);
    for query in ["?user=bob&kind=MUTE", "?actor=mod.eve"] {
        let (events, _) = page(&app, query).await;
        let [event] = &events[..] else { panic!("{events:?}") };
        assert_eq!(
            ["chatroom", "kind", "users", "actor", "reason"].map(|field| event[field].clone()),
            [json!(room), json!("MUTE/ADD"), json!(["bob"]), json!("mod.eve"), json!("spam")]
        );
    }
    assert_eq!(positions(&page(&app, "").await.0), [(String::new(), 1), (room.clone(), 2), (room, 1)]);
}

#[tokio::test]
async fn each_filter_finds_what_fits_it_in_either_order_and_on_pages_of_any_size() {
    let app = TestApp::new().await;
    story(&app).await;
    let t = |ms: i64| START + ms;
    for (query, expected) in [
        (String::new(), &[0, 1, 2, 3, 4, 5, 6][..]),
        ("user=&actor=&room=&kind=&from=&to=".into(), &[0, 1, 2, 3, 4, 5, 6]),
        ("user=bob".into(), &[1, 3, 4, 5]),
        ("user=BOB".into(), &[1, 3, 4, 5]),
        ("user=ann".into(), &[5, 6]),
        ("room=lobby".into(), &[0, 1, 3, 5]),
        ("actor=mod.ann".into(), &[2, 3]),
        ("actor=@system".into(), &[1]),
        ("actor=%40ppAdmin".into(), &[4, 5, 6]),
        ("kind=MUTE".into(), &[1, 3]),
        ("kind=MUTE/EXPIRE".into(), &[1]),
        ("kind=CREATE,MUTE/ADD".into(), &[3, 4, 5]),
        ("kind=ROOM_SUPER_ADMIN".into(), &[6]),
        (format!("from={}", t(30)), &[0, 1, 2]),
        (format!("to={}", t(30)), &[3, 4, 5, 6]),
        (format!("from={}&to={}", t(20), t(21)), &[3, 4]),
        (format!("from={}&to={}", t(20), t(20)), &[]),
        (format!("from={}&to={}", t(30), t(10)), &[]),
        ("from=-9223372036854775808&to=9223372036854775807".into(), &[0, 1, 2, 3, 4, 5, 6]),
        ("from=9223372036854775807".into(), &[]),
        ("to=0".into(), &[]),
        // Together.
        ("user=bob&room=lobby".into(), &[1, 3, 5]),
        ("user=bob&kind=MUTE/ADD".into(), &[3]),
        ("user=bob&actor=@ppAdmin".into(), &[4, 5]),
        (format!("user=bob&from={}&to={}", t(10), t(30)), &[3, 4, 5]),
        ("user=cid&room=attic&actor=mod.ann&kind=JOIN".into(), &[2]),
        ("room=lobby&actor=mod.ann".into(), &[3]),
        ("room=lobby&actor=@ppAdmin".into(), &[5]),
        ("room=lobby&kind=MUTE,DELETE".into(), &[0, 1, 3]),
        (format!("room=lobby&from={}", t(20)), &[0, 1, 3]),
        (format!("room=lobby&from={}", t(21)), &[0, 1]),
        (format!("room=lobby&from={}", t(41)), &[]),
        (format!("room=lobby&to={}", t(20)), &[5]),
        (format!("room=lobby&to={}", t(21)), &[3, 5]),
        (format!("room=lobby&to={}", t(5)), &[]),
        (format!("room=lobby&from={}&to={}", t(11), t(40)), &[1, 3]),
        (format!("room=lobby&from={}&to={}", t(40), t(11)), &[]),
        ("actor=mod.ann&kind=MUTE".into(), &[3]),
        (format!("actor=mod.ann&from={}", t(21)), &[2]),
        (format!("kind=CREATE&to={}", t(20)), &[5]),
        // What cannot be.
        ("user=nobody".into(), &[]),
        ("user=a%00b".into(), &[]),
        ("user=a%20b".into(), &[]),
        ("room=cellar".into(), &[]),
        ("room=Lobby".into(), &[]),
        ("room=%00".into(), &[]),
        ("actor=nobody".into(), &[]),
        ("actor=a%00b".into(), &[]),
    ] {
        let mut expected = expected.iter().map(|at| SHOWN[*at]).collect::<Vec<_>>();
        let shown: Vec<Value> = expected.iter().map(|event| timeless(event)).collect();
        for limit in 1..=8 {
            let (events, pages) = all(&app, &format!("?{query}&limit={limit}")).await;
            assert_eq!(events, shown, "{query}, by {limit}");
            assert_eq!(pages, expected.len().div_ceil(limit).max(1), "{query}, by {limit}");
        }
        expected.reverse();
        assert_eq!(exported(&app, &format!("?{query}&limit=1")).await, expected, "{query}");
    }
}

#[tokio::test]
async fn pages_of_any_size_have_each_event_once_while_new_ones_are_written() {
    let app = TestApp::new().await;
    // Many at the same moment, in several rooms: only all of the order tells them apart.
    write(
        &app,
        "select 'r' || i % 7, i, 'JOIN/DIRECT', '{bob}', null, null, case i % 2 when 0 then 'mod' else '@ppAdmin' end, null, i / 50
         from generate_series(1, 2500) i",
    )
    .await;
    let mut expected: Vec<(String, i64)> = (1..=2500).map(|i| (format!("r{}", i % 7), i)).collect();
    expected.sort_by(|one, other| (other.1 / 50, &other.0, other.1).cmp(&(one.1 / 50, &one.0, one.1)));
    let mut newest = 10_000;
    for (query, is_meant) in [
        ("", (|_| true) as fn(&(String, i64)) -> bool),
        ("&user=bob", |_| true),
        ("&room=r3", |position| position.0 == "r3"),
        ("&actor=mod", |position| position.1 % 2 == 0),
    ] {
        let expected: Vec<(String, i64)> = expected.iter().filter(|position| is_meant(position)).cloned().collect();
        for limit in [7, 99, 100, 101, 499, 1000, 5000] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let (events, next) = page(&app, &format!("?limit={limit}{query}{cursor}")).await;
                assert!(events.len() <= limit.min(1000));
                seen.extend(positions(&events));
                // One that every query means, and that is the newest of all.
                newest += 7;
                let event = format!("values ('r3', {newest}, 'JOIN/DIRECT', '{{bob}}', null, null, 'mod', null, {newest})");
                write(&app, &event).await;
                let Some(next) = next else { break };
                cursor = format!("&cursor={next}");
            }
            let known = seen.iter().position(|position| position.1 <= 2500).unwrap_or(seen.len());
            assert!(seen[..known].windows(2).all(|pair| pair[0].1 > pair[1].1), "{query}, by {limit}");
            assert_eq!(seen[known..], expected, "{query}, by {limit}");
        }
    }
}

/// A page looks at 10,000 entries, then says how far it has come.
#[tokio::test]
async fn a_search_that_finds_little_goes_on_behind_a_short_page() {
    let app = TestApp::new().await;
    // Of 25,000 events each 9,000th is a deletion.
    write(
        &app,
        "select 'room', i, case i % 9000 when 0 then 'DELETE' else 'JOIN/DIRECT' end, '{bob}', null, null, 'mod', null, i
         from generate_series(1, 25000) i",
    )
    .await;
    let found = |events: &[Value]| positions(events).into_iter().map(|position| position.1).collect::<Vec<_>>();
    for way in ["", "&user=bob", "&room=room", "&actor=mod"] {
        let (first, cursor) = page(&app, &format!("?kind=DELETE{way}")).await;
        let (second, cursor) = page(&app, &format!("?kind=DELETE{way}&cursor={}", cursor.expect("more"))).await;
        let (third, end) = page(&app, &format!("?kind=DELETE{way}&cursor={}", cursor.expect("more"))).await;
        assert_eq!((found(&first), found(&second), found(&third), end), (vec![18000], vec![9000], vec![], None), "{way}");
        let (events, pages) = all(&app, &format!("?kind=CREATE{way}")).await;
        assert_eq!((events.len(), pages), (0, 3), "{way}");
        // The last entry of a window may itself be an event that fits.
        let to = START + 18000 + 10_000;
        let (events, pages) = all(&app, &format!("?kind=DELETE{way}&to={to}")).await;
        assert_eq!((found(&events), pages), (vec![18000, 9000], 3), "{way}");
        let lines = exported(&app, &format!("?kind=DELETE{way}")).await;
        let numbers = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>();
        assert_eq!(found(&numbers), [9000, 18000], "{way}");
    }
}

#[tokio::test]
async fn a_page_is_about_a_bounded_number_of_names() {
    let app = TestApp::new().await;
    // Thirty events about a thousand users each, and a small one behind every tenth.
    write(
        &app,
        "select 'lobby', n, 'LEAVE/DELETE', array(select 'user' || i from generate_series(1, 1000) i)::text, null, null, 'x', null, n
         from generate_series(1, 30) n
         union all select 'attic', n, 'CREATE', '{}', null, null, 'x', null, n * 10 from generate_series(1, 3) n",
    )
    .await;
    let (events, cursor) = page(&app, "?limit=1000").await;
    let numbers: usize = events.iter().map(|event| event["users"].as_array().map_or(0, Vec::len)).sum();
    assert_eq!((numbers, events.len(), cursor.is_some()), (10_000, 11, true), "ten large ones and one without users");
    for query in ["?limit=1000", "?limit=1000&room=lobby", "?limit=7&user=user7", "?actor=x&limit=4"] {
        let (seen, _) = all(&app, query).await;
        let mut distinct = positions(&seen);
        distinct.sort();
        distinct.dedup();
        let expected = if query.contains("room") || query.contains("user") { 30 } else { 33 };
        assert_eq!((seen.len(), distinct.len()), (expected, expected), "{query}");
    }
    assert_eq!(exported(&app, "").await.len(), 33);
}

#[tokio::test]
async fn a_cursor_is_good_for_the_query_that_it_came_with() {
    let app = TestApp::new().await;
    story(&app).await;
    let (_, cursor) = page(&app, "?user=bob&limit=1").await;
    let cursor = cursor.expect("more");
    assert_eq!(page(&app, &format!("?cursor={cursor}&user=Bob&limit=2")).await.0.len(), 2, "the size may be another");
    for query in [
        "",
        "&user=cid",
        "&user=bob&room=lobby",
        "&user=bob&actor=mod.ann",
        "&user=bob&kind=MUTE",
        "&user=bob&from=0",
        "&user=bob&to=1",
        "&room=bob",
        "&actor=bob",
    ] {
        app.get(&format!("/audit?cursor={cursor}{query}")).await.fails_parameter("cursor is invalid");
    }
    let other = TestApp::new().await;
    other.get(&format!("/audit?user=bob&cursor={cursor}")).await.fails_parameter("cursor is invalid");
    app.get("/audit?cursor=x").await.fails_parameter("cursor is invalid");
    let export = app.request(Method::GET, "/audit?cursor=x").header(ACCEPT, "application/x-ndjson");
    app.send(export).await.fails_parameter("cursor is invalid");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_either_form() {
    let app = TestApp::new().await;
    for (query, wrong) in [
        ("from=x", "from"),
        ("from=1.5", "from"),
        ("from=2027-01-01", "from"),
        ("to=x", "to"),
        ("to=%20", "to"),
        ("to=99999999999999999999", "to"),
        ("kind=SING", "kind"),
        ("kind=mute", "kind"),
        ("kind=MUTE,", "kind"),
        ("kind=MUTE/", "kind"),
        ("kind=MUTE,JOIN/INVITE", "kind"),
        ("kind=%00", "kind"),
    ] {
        let accepted = if wrong == "kind" { Kind::names().join(", ") } else { "Unix milliseconds".into() };
        let refusal = format!("{wrong} is invalid: {accepted}");
        app.get(&format!("/audit?{query}")).await.fails_parameter(&refusal);
        let request = app.request(Method::GET, &format!("/audit?{query}")).header(ACCEPT, "application/x-ndjson");
        app.send(request).await.fails_parameter(&refusal);
    }
    app.post("/audit").await.fails(
        405,
        "unsupported_service_operation",
        "UnsupportedServiceOperationException",
        "Service operation not supported",
    );
    let app = TestApp { token: "x".into(), ..app };
    app.get("/audit").await.fails_auth();
    let request = app.request(Method::GET, "/audit").header(ACCEPT, "application/x-ndjson");
    app.send(request).await.fails_auth();
}

#[tokio::test]
async fn an_export_has_an_event_on_each_line_the_oldest_first_and_an_end() {
    let app = TestApp::new().await;
    let text = async |answer: Response| {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
        answer.text().await.expect("a whole body")
    };
    assert_eq!(text(export(&app, "").await).await, "{\"end\":true,\"count\":0}\n");
    story(&app).await;
    let whole = SHOWN.iter().rev().fold(String::new(), |text, line| text + line + "\n") + "{\"end\":true,\"count\":7}\n";
    assert_eq!(text(export(&app, "").await).await, whole);
    for accept in ["Application/X-NDJSON;q=0.9", "text/plain, application/x-ndjson"] {
        let request = app.request(Method::GET, "/audit").header(ACCEPT, accept);
        assert_eq!(text(request.send().await.expect("an answer")).await, whole, "{accept}");
    }
    for accept in ["*/*", "application/json", "application/json, application/*", "no such thing"] {
        let request = app.request(Method::GET, "/audit").header(ACCEPT, accept);
        assert_eq!(app.send(request).await.json()["count"], 7, "{accept}");
    }
}

#[tokio::test]
async fn an_export_ends_at_what_there_was_when_it_began() {
    let app = TestApp::new().await;
    story(&app).await;
    write(&app, "values ('lobby', 5, 'CREATE', '{bob}', null, null, 'mod', null, 1000000000000)").await;
    for way in ["", "user=bob", "room=lobby", "actor=mod"] {
        assert_eq!(positions(&page(&app, &format!("?{way}")).await.0)[0], ("lobby".into(), 5), "{way}");
        for to in ["", "&to=9000000000000"] {
            let lines = exported(&app, &format!("?{way}{to}")).await;
            assert!(!lines.iter().any(|line| line.contains(r#""n":5"#)), "{way}{to}");
        }
    }
}

#[tokio::test]
async fn a_long_export_has_each_event_once_in_each_order_of_reading() {
    let app = TestApp::new().await;
    write(
        &app,
        "select 'r' || i % 3, i, 'JOIN/DIRECT', '{bob}', null, null, 'mod', null, i / 700 from generate_series(1, 50000) i",
    )
    .await;
    for (way, count) in [("", 50_000), ("room=r1", 16_667), ("actor=mod", 50_000), ("user=bob&room=r0", 16_666)] {
        let mut last = BTreeMap::new();
        let lines = exported(&app, &format!("?{way}")).await;
        assert_eq!(lines.len(), count, "{way}");
        let mut time = 0;
        for line in lines {
            let event: Value = serde_json::from_str(&line).expect("JSON");
            let (room, n) = positions(std::slice::from_ref(&event)).remove(0);
            let moment = event["timestamp"].as_i64().expect("a moment");
            assert!(moment >= time && last.insert(room, n).is_none_or(|before| before < n), "{way}: {line}");
            time = moment;
        }
    }
}

/// 50 MB do not fit between the two: the rest is read when the reader asks for it, and cannot be read then.
#[tokio::test]
async fn an_export_is_read_as_it_is_taken_and_breaks_off_without_an_end_when_the_database_fails() {
    let url = migrated_database().await;
    let instance = Instance::start(settings(&url));
    let app = TestApp::on(instance.address, &url).await;
    write(
        &app,
        "select 'room', i, 'JOIN/DIRECT', '{bob}', null, null, 'mod', repeat('x', 1000), i from generate_series(1, 50000) i",
    )
    .await;
    let mut answer = export(&app, "").await;
    let mut text = answer.chunk().await.expect("a beginning").expect("a beginning").to_vec();
    eventually("nothing waits for the reader", || async {
        let busy: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and state <> 'idle' and pid <> pg_backend_pid()",
        )
        .fetch_one(&app.db)
        .await
        .expect("a row");
        busy == 0
    })
    .await;
    sqlx::query("alter table events rename to lost").execute(&app.db).await.expect("renamed");
    let broken = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => text.extend(chunk),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(broken && text.lines().count() < 50_000 && !text.contains(r#""end""#), "{} lines", text.lines().count());
    sqlx::query("alter table lost rename to events").execute(&app.db).await.expect("renamed");
    assert_eq!(exported(&app, "").await.len(), 50_000);
}

#[tokio::test]
async fn what_happens_in_another_app_is_not_seen() {
    let (one, two) = (TestApp::new().await, TestApp::new().await);
    story(&one).await;
    write(&two, "values ('lobby', 2, 'UPDATE/MUTE', '{bob}', null, null, 'mod.ann', null, 20)").await;
    for way in ["", "user=bob", "room=lobby", "actor=mod.ann", "kind=UPDATE"] {
        assert_eq!(positions(&all(&two, &format!("?{way}")).await.0), [("lobby".to_owned(), 2)], "{way}");
        assert_eq!(exported(&two, &format!("?{way}")).await.len(), 1, "{way}");
    }
    for way in ["user=ann", "room=attic", "actor=mod.dan", "actor=@ppAdmin", "kind=MUTE"] {
        assert!(!page(&one, &format!("?{way}")).await.0.is_empty(), "{way}");
        assert_eq!(page(&two, &format!("?{way}")).await, (vec![], None), "{way}");
        assert!(exported(&two, &format!("?{way}")).await.is_empty(), "{way}");
    }
}

#[tokio::test]
async fn an_export_waits_for_what_was_being_written_when_it_began() {
    let url = migrated_database().await;
    let instance = Instance::start(settings(&url));
    let app = TestApp::on(instance.address, &url).await;
    let mut writing = app.db.begin().await.expect("a transaction");
    sqlx::query(
        "insert into events (app, chatroom, n, kind, users, actor, happened_at, xact)
         values ($1, 'lobby', 1, 'CREATE', '{}', 'mod', now(), 1)",
    )
    .bind(app.app.id)
    .execute(&mut *writing)
    .await
    .expect("written");
    let (lines, ()) = tokio::join!(exported(&app, ""), async {
        // The export has begun, and looks for this transaction again and again.
        tokio::time::sleep(Duration::from_millis(200)).await;
        writing.commit().await.expect("committed");
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
}
