//! What is in force, until when, by whom and why: `/restrictions`.

use std::slice::from_ref;

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Instance, TestApp, eventually, migrated_database, plant_rooms, recount, settings};

/// The first moment since when something is in force, in Unix milliseconds.
const START: i64 = 1_700_000_000_000;

/// The end of what has none.
const NEVER: i64 = 4_638_873_600_000;

/// Makes rooms of the owner alone.
async fn rooms(app: &TestApp, ids: &[&str]) {
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    plant_rooms(&app.db, app.app.id, &ids, "owner", &[(1, "owner".into())]).await;
}

/// Writes entries of a list as SQL gives them: `(chatroom, username, milliseconds, actor, reason)`, the third counted from
/// [`START`].
async fn write(app: &TestApp, list: &str, entries: &str) {
    let written = sqlx::query(sqlx::AssertSqlSafe(format!(
        "insert into {list} (app, chatroom, username, seq, ends_at, since, actor, reason)
         select $1, chatroom, username, 10 + row_number() over () + (select count(*) from {list} where app = $1),
                '2117-01-01 00:00:00+08', to_timestamp(({START} + ms) / 1000.0), actor, reason
         from ({entries}) given (chatroom, username, ms, actor, reason)"
    )));
    written.bind(app.app.id).execute(&app.db).await.expect("written");
}

/// Writes mutes in all rooms as SQL gives them: `(username, milliseconds, actor, reason)`.
async fn write_global(app: &TestApp, entries: &str) {
    let written = sqlx::query(sqlx::AssertSqlSafe(format!(
        "insert into global_mutes (app, username, chatroom_ends_at, since, actor, reason)
         select $1, username, '2117-01-01 00:00:00+08', to_timestamp(({START} + ms) / 1000.0), actor, reason
         from ({entries}) given (username, ms, actor, reason)"
    )));
    written.bind(app.app.id).execute(&app.db).await.expect("written");
}

/// What is in force in two rooms and in all, as told to the tests below. One mute is of a version that did not keep who and when.
async fn story(app: &TestApp) {
    rooms(app, &["lobby", "attic"]).await;
    write(
        app,
        "mutes",
        "values ('lobby', 'bob', 40, 'mod.ann', null), ('lobby', 'ann', 40, '@ppAdmin', 'spam'),
                ('attic', 'cid', 30, 'mod.ann', 'loud')",
    )
    .await;
    write(
        app,
        "blocks",
        "values ('lobby', 'bob', 40, 'mod.dan', 'spam'), ('attic', 'bob', 40, '@ppAdmin', null),
                ('lobby', 'cid', 20, 'mod.ann', null)",
    )
    .await;
    sqlx::query(
        "insert into mutes (app, chatroom, username, seq, ends_at) values ($1, 'attic', 'ann', 9, '2117-01-01 00:00:00+08')",
    )
    .bind(app.app.id)
    .execute(&app.db)
    .await
    .expect("written");
    write_global(app, "values ('bob', 40, 'mod.ann', 'spam'), ('cid', 30, '@ppAdmin', null)").await;
    // Not in rooms: not on the list.
    let chat = "insert into global_mutes (app, username, chat_ends_at) values ($1, 'ann', '2117-01-01 00:00:00+08')";
    sqlx::query(chat).bind(app.app.id).execute(&app.db).await.expect("written");
    recount(&app.db, app.app.id).await;
}

/// The same, the newest first, as it is shown.
const SHOWN: [&str; 9] = [
    r#"{"kind":"mute","chatroom":"lobby","user":"bob","until":4638873600000,"since":1700000000040,"actor":"mod.ann"}"#,
    r#"{"kind":"block","chatroom":"lobby","user":"bob","until":4638873600000,"since":1700000000040,"actor":"mod.dan","reason":"spam"}"#,
    r#"{"kind":"mute","chatroom":"lobby","user":"ann","until":4638873600000,"since":1700000000040,"actor":"@ppAdmin","reason":"spam"}"#,
    r#"{"kind":"block","chatroom":"attic","user":"bob","until":4638873600000,"since":1700000000040,"actor":"@ppAdmin"}"#,
    r#"{"kind":"global_mute","user":"bob","until":4638873600000,"since":1700000000040,"actor":"mod.ann","reason":"spam"}"#,
    r#"{"kind":"mute","chatroom":"attic","user":"cid","until":4638873600000,"since":1700000000030,"actor":"mod.ann","reason":"loud"}"#,
    r#"{"kind":"global_mute","user":"cid","until":4638873600000,"since":1700000000030,"actor":"@ppAdmin"}"#,
    r#"{"kind":"block","chatroom":"lobby","user":"cid","until":4638873600000,"since":1700000000020,"actor":"mod.ann"}"#,
    r#"{"kind":"mute","chatroom":"attic","user":"ann","until":4638873600000,"since":0,"actor":"@ppAdmin"}"#,
];

/// The entries of a page, and its cursor.
async fn page(app: &TestApp, query: &str) -> (Vec<Value>, Option<String>) {
    app.page(&format!("/restrictions{query}")).await
}

/// All entries by cursor, and on how many pages they were.
async fn all(app: &TestApp, query: &str) -> (Vec<Value>, usize) {
    app.pages(&format!("/restrictions{query}")).await
}

/// A change on behalf of a moderator, for a reason.
async fn change(app: &TestApp, method: Method, path: &str, actor: &str, reason: &str, body: Value) {
    let request = app.request(method, path).header("X-Operator", actor).header("X-Audit-Reason", reason);
    let answer = app.send(request.body(body.to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn what_is_in_force_in_an_app_is_listed_the_newest_first() {
    let app = TestApp::new().await;
    app.get("/restrictions").await.is(
        r#"{"action":"get","application":"APP","uri":"BASE/restrictions","entities":[],"data":[],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":0}"#,
    );
    story(&app).await;
    app.get("/restrictions").await.is(&format!(
        r#"{{"action":"get","application":"APP","uri":"BASE/restrictions","entities":[],"data":[{}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":9}}"#,
        SHOWN.join(",")
    ));
    let first = app.get("/restrictions/?limit=1").await;
    let cursor = first.json()["cursor"].as_str().expect("more").to_owned();
    first.is(&format!(
        r#"{{"action":"get","application":"APP","params":{{"limit":["1"]}},"uri":"BASE/restrictions/","entities":[],"data":[{}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":1,"cursor":"{cursor}"}}"#,
        SHOWN[0]
    ));
    let other = TestApp::new().await;
    assert_eq!(page(&other, "").await, (vec![], None), "apps know nothing of one another");
}

#[tokio::test]
async fn a_mute_or_a_block_tells_who_has_set_it_as_it_is_and_since_when() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    let (mute, block) = (format!("/chatrooms/{room}/mute"), format!("/chatrooms/{room}/blocks/users"));
    let for_ever = json!({"usernames": ["bob"], "mute_duration": -1});
    let entry = |kind: &str, user: &str, since: i64, actor: &str, reason: &str| json!({"kind": kind, "chatroom": room, "user": user, "until": NEVER, "since": since, "actor": actor, "reason": reason});

    change(&app, Method::POST, &mute, "eve", "spam", for_ever.clone()).await;
    let first = app.moments("MUTE/ADD").await[0];
    assert_eq!(all(&app, "").await.0, [entry("mute", "bob", first, "eve", "spam")]);
    // The same again changes nothing, and makes it no other actor's.
    change(&app, Method::POST, &mute, "mia", "spam", for_ever.clone()).await;
    assert_eq!(all(&app, "").await.0, [entry("mute", "bob", first, "eve", "spam")]);
    change(&app, Method::POST, &block, "eve", "spam", json!({"usernames": ["cid"]})).await;
    let blocked = app.moments("BLOCK/ADD").await[0];
    let block_of_cid = entry("block", "cid", blocked, "eve", "spam");
    assert_eq!(all(&app, "?kind=block").await.0, from_ref(&block_of_cid));
    // Another reason makes it the mute of the one who gave that.
    change(&app, Method::POST, &mute, "mia", "insults", for_ever).await;
    let second = app.moments("MUTE/ADD").await[1];
    assert_eq!(all(&app, "?actor=mia").await.0, [entry("mute", "bob", second, "mia", "insults")]);
    assert_eq!(all(&app, "?actor=eve").await.0, from_ref(&block_of_cid));
    // So does another end.
    change(&app, Method::POST, &mute, "eve", "insults", json!({"usernames": ["bob"], "mute_duration": 60_000})).await;
    let (timed, _) = all(&app, "?user=bob").await;
    assert_eq!((&timed[0]["actor"], &timed[0]["since"]), (&json!("eve"), &json!(app.moments("MUTE/ADD").await[2])));
    assert_eq!(timed[0]["until"], app.get(&mute).await.json()["data"][0]["expire"]);
    // What is lifted is in force no more, until that is undone: then it is the mute of the one who did that.
    assert_eq!(app.delete(&format!("{mute}/bob")).await.status, 200);
    assert_eq!(all(&app, "").await.0, from_ref(&block_of_cid));
    let n = app.get("/audit?kind=MUTE/REMOVE").await.json()["data"][0]["n"].as_i64().expect("a number");
    change(&app, Method::POST, "/undo", "mia", "innocent", json!({"room": room, "n": n})).await;
    let (restored, _) = all(&app, "?kind=mute").await;
    assert_eq!(restored[0]["until"], timed[0]["until"]);
    assert_eq!((&restored[0]["actor"], &restored[0]["since"]), (&json!("mia"), &json!(app.moments("MUTE/ADD").await[3])));
    assert_eq!(app.delete(&format!("{mute}/bob")).await.status, 200);
    assert_eq!(all(&app, "").await.0, [block_of_cid]);
    assert_eq!(app.delete(&format!("{block}/cid")).await.status, 200);
    assert_eq!(all(&app, "").await.0, Vec::<Value>::new());
    app.assert_invariants().await;
}

#[tokio::test]
async fn each_combination_of_filters_finds_what_fits_it_on_pages_of_any_size() {
    let app = TestApp::new().await;
    story(&app).await;
    let shown = SHOWN.map(|entry| serde_json::from_str::<Value>(entry).expect("JSON"));
    let kinds = [
        ("", &["mute", "block", "global_mute"][..]),
        ("mute", &["mute"]),
        ("block,mute", &["mute", "block"]),
        ("global_mute", &["global_mute"]),
    ];
    let fits = |entry: &Value, field: &str, value: &str| value.is_empty() || entry[field] == value;
    for (named, kinds) in kinds {
        for room in ["", "lobby", "attic", "Lobby", "%00"] {
            for actor in ["", "mod.ann", "@ppAdmin", "mod", "a%00b"] {
                for user in ["", "bob", "CID", "dan", "a%20b"] {
                    let is_meant = |entry: &&Value| {
                        kinds.iter().any(|kind| entry["kind"] == *kind)
                            && fits(entry, "chatroom", room)
                            && fits(entry, "actor", actor)
                            && fits(entry, "user", &user.to_lowercase())
                    };
                    let expected: Vec<Value> = shown.iter().filter(is_meant).cloned().collect();
                    let query = format!("?kind={named}&room={room}&actor={actor}&user={user}");
                    for limit in [1, 2, 3, 100] {
                        let (entries, pages) = all(&app, &format!("{query}&limit={limit}")).await;
                        assert_eq!(entries, expected, "{query}, by {limit}");
                        assert_eq!(pages, expected.len().div_ceil(limit).max(1), "{query}, by {limit}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn what_has_ended_or_was_in_a_deleted_room_is_out_though_its_rows_are_there() {
    let url = migrated_database().await;
    let mut settings = settings(&url);
    (settings.expiry.every_ms, settings.purge.every_ms) = (3_600_000, 3_600_000);
    let instance = Instance::start(settings);
    let app = TestApp::on(instance.address, &url).await;
    story(&app).await;
    let left = async || {
        for query in ["", "&room=lobby", "&room=attic", "&actor=mod.ann", "&user=bob", "&user=bob&room=lobby", "&user=cid"] {
            let (entries, _) = all(&app, &format!("?limit=1{query}")).await;
            for entry in &entries {
                assert!(entry["chatroom"] != "attic" && entry["user"] != "bob", "{query}: {entry}");
            }
        }
        all(&app, "").await.0.iter().map(|entry| format!("{} {}", entry["kind"], entry["user"])).collect::<Vec<_>>()
    };
    for list in ["mutes", "blocks"] {
        let ended = format!("update {list} set ends_at = now() where app = $1 and username = 'bob'");
        sqlx::query(sqlx::AssertSqlSafe(ended)).bind(app.app.id).execute(&app.db).await.expect("ended");
    }
    let ended = "update global_mutes set chatroom_ends_at = now() where app = $1 and username = 'bob'";
    sqlx::query(ended).bind(app.app.id).execute(&app.db).await.expect("ended");
    let deleted = sqlx::query("update chatrooms set deleted_at = now() where app = $1 and id = 'attic'").bind(app.app.id);
    deleted.execute(&app.db).await.expect("deleted");
    assert_eq!(left().await, [r#""mute" "ann""#, r#""global_mute" "cid""#, r#""block" "cid""#]);
    let rows: i64 =
        sqlx::query_scalar("select (select count(*) from mutes where app = $1) + (select count(*) from blocks where app = $1)")
            .bind(app.app.id)
            .fetch_one(&app.db)
            .await
            .expect("a count");
    assert_eq!(rows, 7, "all rows are there");
}

#[tokio::test]
async fn pages_of_any_size_have_each_entry_once_while_others_are_set() {
    let app = TestApp::new().await;
    let ids = ["r0", "r1", "r2", "r3", "r4", "r5", "r6"];
    rooms(&app, &ids).await;
    // Many of the same moment, in several rooms and on both lists: only all of the order tells them apart.
    for list in ["mutes", "blocks"] {
        let entries =
            "select 'r' || i % 7, 'user' || lpad(i::text, 4, '0'), i / 50, case i % 2 when 0 then 'mod' else '@ppAdmin' end, null
                       from generate_series(1, 700) i";
        write(&app, list, entries).await;
    }
    write_global(
        &app,
        "select 'user' || lpad(i::text, 4, '0'), i / 50, case i % 2 when 0 then 'mod' else '@ppAdmin' end, null
         from generate_series(1, 700) i",
    )
    .await;
    recount(&app.db, app.app.id).await;
    let room = |kind, i| if kind == "global_mute" { String::new() } else { format!("r{}", i % 7) };
    let mut expected: Vec<(i64, String, String, &str)> = ["mute", "block", "global_mute"]
        .iter()
        .flat_map(|kind| (1..=700).map(move |i| (START + i / 50, room(*kind, i), format!("user{i:04}"), *kind)))
        .collect();
    expected.sort_by(|one, other| other.cmp(one));
    let mut newest = 10_000;
    for (query, is_meant) in [
        ("", (|_, _| true) as fn(&str, i64) -> bool),
        ("&room=r3", |room, _| room == "r3"),
        ("&actor=mod", |_, i| i % 2 == 0),
        ("&room=r3&actor=mod", |room, i| room == "r3" && i % 2 == 0),
    ] {
        let number = |user: &str| user[4..].parse::<i64>().expect("a number");
        let expected: Vec<_> = expected.iter().filter(|(_, room, user, _)| is_meant(room, number(user))).collect();
        for limit in [7, 99, 100, 101, 1000] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let (entries, next) = page(&app, &format!("?limit={limit}{query}{cursor}")).await;
                assert!(entries.len() <= limit);
                seen.extend(entries.iter().map(|entry| {
                    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
                    (entry["since"].as_i64().expect("a moment"), text("chatroom"), text("user"), text("kind"))
                }));
                // One that every query means, and that is the newest of all.
                newest += 1;
                write(&app, "mutes", &format!("values ('r3', 'late{newest}', {newest}, 'mod', null)")).await;
                let Some(next) = next else { break };
                cursor = format!("&cursor={next}");
            }
            let known: Vec<_> = seen.iter().filter(|entry| entry.0 < START + 10_000).collect();
            assert!(seen[seen.len() - known.len()..].iter().collect::<Vec<_>>() == known, "{query}, by {limit}");
            let as_expected: Vec<_> = known.iter().map(|e| (e.0, &*e.1, &*e.2, &*e.3)).collect();
            assert_eq!(as_expected, expected.iter().map(|e| (e.0, &*e.1, &*e.2, e.3)).collect::<Vec<_>>(), "{query}, by {limit}");
        }
    }
}

/// A page looks at 10,000 entries of a list, then says how far it has come.
#[tokio::test]
async fn a_search_that_finds_little_goes_on_behind_a_short_page() {
    let app = TestApp::new().await;
    rooms(&app, &["hall", "attic"]).await;
    let numbers = "from generate_series(1, 25000) i";
    let entries = format!("select 'hall', 'user' || i, i, case i when 15001 then '@ppAdmin' else 'mod' end, null {numbers}");
    write(&app, "mutes", &entries).await;
    // Of 25,000 mutes each 9,000th is in force, and the last of the first window.
    let ended = "update mutes set ends_at = now()
                 where app = $1 and substr(username, 5)::integer % 9000 <> 0 and username <> 'user15001'";
    sqlx::query(ended).bind(app.app.id).execute(&app.db).await.expect("ended");
    // Older than all of that but the last window.
    write(&app, "blocks", "values ('hall', 'bob', 10, 'mod', null)").await;
    sqlx::query("update room_counters set mute_count = 25000 where app = $1 and chatroom = 'hall'")
        .bind(app.app.id)
        .execute(&app.db)
        .await
        .expect("counted");
    let pages = async |query: &str| {
        let (mut pages, mut cursor) = (Vec::new(), String::new());
        loop {
            let (entries, next) = page(&app, &format!("?{query}{cursor}")).await;
            pages.push(entries.iter().map(|entry| entry["user"].as_str().expect("a name").to_owned()).collect::<Vec<_>>());
            match next {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return pages,
            }
        }
    };
    let split =
        |text: &str| text.split('|').map(|page| page.split_terminator(' ').map(str::to_owned).collect()).collect::<Vec<Vec<_>>>();
    for (query, expected) in [
        ("", "user18000 user15001|user9000|bob"),
        ("kind=mute", "user18000 user15001|user9000|"),
        ("kind=block", "bob"),
        ("actor=mod", "user18000|user9000|bob"),
        ("actor=@ppAdmin", "user15001||"),
        ("room=hall", "user18000 user15001|user9000|bob"),
        ("room=attic", ""),
        ("room=hall&actor=mod", "user18000|user9000|bob"),
        ("user=user9000", "user9000"),
        ("user=user9000&room=hall", "user9000"),
        ("user=user1", ""),
        ("limit=1", "user18000|user15001|user9000|bob"),
    ] {
        assert_eq!(pages(query).await, split(expected), "{query}");
    }
}

#[tokio::test]
async fn a_user_who_is_blocked_in_more_rooms_than_a_page_looks_at_is_found_in_all() {
    let app = TestApp::new().await;
    let ids: Vec<String> = (0..10_500).map(|n| format!("r{n}")).collect();
    plant_rooms(&app.db, app.app.id, &ids, "owner", &[(1, "owner".into())]).await;
    write(
        &app,
        "blocks",
        "select 'r' || i, 'bob', i, case i % 2 when 0 then 'mod' else 'ann' end, null from generate_series(0, 10499) i",
    )
    .await;
    write(&app, "blocks", "select 'r1', 'cid' || i, i + 20000, 'ann', null from generate_series(1, 700) i").await;
    for (query, expected) in [("?user=bob&limit=1000", 10_500), ("?user=bob&actor=mod&limit=1000", 5_250), ("?user=cid7", 1)] {
        let (entries, pages) = all(&app, query).await;
        assert_eq!(entries.len(), expected, "{query}");
        assert!(pages <= 13, "{query}: {pages} pages");
        assert!(entries.windows(2).all(|pair| pair[0]["since"].as_i64() > pair[1]["since"].as_i64()), "{query}");
    }
    // The oldest block of all, in a room with as many mutes: each list is read in the way that is best for it.
    sqlx::query("update room_counters set mute_count = 10001 where app = $1 and chatroom = 'r0'")
        .bind(app.app.id)
        .execute(&app.db)
        .await
        .expect("counted");
    let (entries, pages) = all(&app, "?room=r0&kind=block").await;
    assert_eq!((entries.len(), pages), (1, 1));
}

#[tokio::test]
async fn a_cursor_is_good_for_the_query_that_it_came_with() {
    let app = TestApp::new().await;
    story(&app).await;
    let (_, cursor) = page(&app, "?user=bob&limit=1").await;
    let cursor = cursor.expect("more");
    assert_eq!(page(&app, &format!("?cursor={cursor}&user=Bob&limit=2")).await.0.len(), 2, "the size may be another");
    for query in
        ["", "&user=cid", "&user=bob&room=lobby", "&user=bob&actor=mod.ann", "&user=bob&kind=mute", "&room=bob", "&actor=bob"]
    {
        app.get(&format!("/restrictions?cursor={cursor}{query}")).await.fails_parameter("cursor is invalid");
    }
    app.get(&format!("/audit?cursor={cursor}&user=bob")).await.fails_parameter("cursor is invalid");
    let other = TestApp::new().await;
    other.get(&format!("/restrictions?user=bob&cursor={cursor}")).await.fails_parameter("cursor is invalid");
    app.get("/restrictions?cursor=x").await.fails_parameter("cursor is invalid");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_what_would() {
    let app = TestApp::new().await;
    for kind in ["MUTE", "mute,", ",", "mutes", "ban", "%00", "mute%20"] {
        let answer = app.get(&format!("/restrictions?kind={kind}")).await;
        answer.fails_parameter("kind is invalid: mute, block, global_mute");
    }
    app.get("/restrictions?usr=bob").await.fails_parameter("unknown parameter usr");
    app.get("/restrictions?chatroom=1").await.fails_parameter("unknown parameter chatroom");
    app.post("/restrictions").await.fails(
        405,
        "unsupported_service_operation",
        "UnsupportedServiceOperationException",
        "Service operation not supported",
    );
    let app = TestApp { token: "x".into(), ..app };
    app.get("/restrictions?usr=bob").await.fails_auth();
}

#[tokio::test]
async fn a_timed_mute_is_out_at_its_end() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    change(
        &app,
        Method::POST,
        &format!("/chatrooms/{room}/mute"),
        "eve",
        "x",
        json!({"usernames": ["bob"], "mute_duration": 300}),
    )
    .await;
    eventually("the mute has ended", async || all(&app, &format!("?room={room}&user=bob")).await.0.is_empty()).await;
    app.assert_invariants().await;
}

#[tokio::test]
async fn a_mute_in_all_rooms_is_on_the_list_as_it_was_set_and_goes_with_its_part_for_rooms() {
    let app = TestApp::new().await;
    app.users(&["bob"]).await;
    let mute = async |actor: &'static str, parts: Value| {
        let mut body = parts;
        body["username"] = json!("bob");
        change(&app, Method::POST, "/mutes", actor, "spam", body).await;
    };
    mute("eve", json!({"chatroom": -1, "chat": -1})).await;
    let since = async || -> i64 {
        sqlx::query_scalar("select (extract(epoch from since) * 1000)::bigint from global_mutes where app = $1")
            .bind(app.app.id)
            .fetch_one(&app.db)
            .await
            .expect("a moment")
    };
    let first = since().await;
    let entry = json!({"kind": "global_mute", "user": "bob", "until": NEVER, "since": first, "actor": "eve", "reason": "spam"});
    assert_eq!(all(&app, "?kind=global_mute").await.0, from_ref(&entry));
    mute("mia", json!({"chat": 0})).await;
    assert_eq!(all(&app, "").await.0, [entry], "the part for rooms is still that of the first actor");
    mute("mia", json!({"chatroom": 3600})).await;
    let (moved, _) = all(&app, "?user=bob").await;
    assert_eq!((&moved[0]["actor"], &moved[0]["since"]), (&json!("mia"), &json!(since().await)));
    mute("mia", json!({"chat": 60, "chatroom": 0})).await;
    assert_eq!(all(&app, "").await.0, Vec::<Value>::new());
    app.assert_invariants().await;
}

/// As for the mutes of rooms, a page looks at 10,000.
#[tokio::test]
async fn mutes_in_all_rooms_that_have_ended_are_passed_by_window_by_window() {
    let app = TestApp::new().await;
    write_global(
        &app,
        "select 'user' || i, i / 100, case i when 2 then 'mod' else '@ppAdmin' end, null from generate_series(1, 10500) i",
    )
    .await;
    let ended = "update global_mutes set chatroom_ends_at = now() where app = $1 and username not in ('user1', 'user2')";
    sqlx::query(ended).bind(app.app.id).execute(&app.db).await.expect("ended");
    for (query, users, pages) in [
        ("?kind=global_mute", &["user2", "user1"][..], 2),
        ("?actor=mod", &["user2"], 1),
        ("?actor=@ppAdmin", &["user1"], 2),
        ("?user=user1", &["user1"], 1),
        ("?user=user3", &[], 1),
    ] {
        let (entries, seen) = all(&app, query).await;
        let found: Vec<_> = entries.iter().map(|entry| entry["user"].as_str().expect("a name")).collect();
        assert_eq!((found.as_slice(), seen), (users, pages), "{query}");
    }
}
