//! How much happens: `/audit/counts`, by kind and by stretch of time.

use serde_json::Value;

use crate::app::TestApp;
use crate::audit::{START, write};

/// What happened in two rooms and to the app within three seconds, as told to the tests below.
async fn story(app: &TestApp) {
    write(
        app,
        "values
        ('', 1, 'GLOBAL_MUTE/ADD', '{ann}', null, null, 'mod.ann', null, 0),
        ('lobby', 1, 'JOIN/DIRECT', '{ann,bob,cid}', null, null, '@ppAdmin', null, 10),
        ('lobby', 2, 'JOIN/DIRECT', '{dan}', null, null, '@ppAdmin', null, 20),
        ('attic', 1, 'JOIN/DIRECT', '{ann}', null, null, '@ppAdmin', null, 999),
        ('lobby', 3, 'MUTE/ADD', '{bob,cid}', null, null, 'mod.ann', 'spam', 1000),
        ('lobby', 4, 'UPDATE/MUTE', '{}', null, null, 'mod.ann', null, 1001),
        ('attic', 2, 'LEAVE/KICK', '{ann}', null, null, 'mod.ann', null, 2500)",
    )
    .await;
}

/// The entry for a kind in the stretch that begins so many milliseconds after [`START`].
fn count(ms: i64, kind: &str, events: i64, users: i64) -> String {
    format!(r#"{{"since":{},"kind":"{kind}","events":{events},"users":{users}}}"#, START + ms)
}

/// The counts of the time from so many milliseconds after [`START`] to so many, every so many.
async fn counts(app: &TestApp, (from, to, every): (i64, i64, i64), query: &str) -> Vec<Value> {
    app.pages(&format!("/audit/counts?from={}&to={}&every={every}{query}", START + from, START + to)).await.0
}

#[tokio::test]
async fn events_are_counted_by_kind_and_stretch_the_newest_first() {
    let app = TestApp::new().await;
    let query = format!("/audit/counts?from={START}&to={}&every=2000", START + 3000);
    let envelope = |data: &str, count: i64| {
        format!(
            r#"{{"action":"get","application":"APP","params":{{"from":["{START}"],"to":["{}"],"every":["2000"]}},"uri":"BASE/audit/counts","entities":[],"data":[{data}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":{count}}}"#,
            START + 3000
        )
    };
    app.get(&query).await.is(&envelope("", 0));
    story(&app).await;
    let expected = [
        count(2000, "LEAVE/KICK", 1, 1),
        count(0, "GLOBAL_MUTE/ADD", 1, 1),
        count(0, "JOIN/DIRECT", 3, 5),
        count(0, "MUTE/ADD", 1, 2),
        count(0, "UPDATE/MUTE", 1, 0),
    ];
    app.get(&query).await.is(&envelope(&expected.join(","), 5));
}

#[tokio::test]
async fn a_room_a_kind_and_a_span_narrow_the_counts_down() {
    let app = TestApp::new().await;
    story(&app).await;
    let whole = (0, 3000, 1000);
    for (span, query, expected) in [
        (
            whole,
            "&room=lobby",
            vec![count(1000, "MUTE/ADD", 1, 2), count(1000, "UPDATE/MUTE", 1, 0), count(0, "JOIN/DIRECT", 2, 4)],
        ),
        (whole, "&room=attic", vec![count(2000, "LEAVE/KICK", 1, 1), count(0, "JOIN/DIRECT", 1, 1)]),
        (whole, "&kind=JOIN,LEAVE", vec![count(2000, "LEAVE/KICK", 1, 1), count(0, "JOIN/DIRECT", 3, 5)]),
        (whole, "&room=lobby&kind=MUTE/ADD", vec![count(1000, "MUTE/ADD", 1, 2)]),
        (whole, "&room=cellar", vec![]),
        (whole, "&room=%00", vec![]),
        // The span has its first moment, and not its last; stretches begin with it.
        ((10, 1000, 990), "", vec![count(10, "JOIN/DIRECT", 3, 5)]),
        ((11, 1001, 989), "&room=lobby", vec![count(1000, "MUTE/ADD", 1, 2), count(11, "JOIN/DIRECT", 1, 1)]),
        ((1001, 2500, 5000), "", vec![count(1001, "UPDATE/MUTE", 1, 0)]),
        ((500, 500, 1), "", vec![]),
        ((3000, 0, 1), "&room=lobby", vec![]),
        ((-10, 990, 1000), "&kind=GLOBAL_MUTE", vec![count(-10, "GLOBAL_MUTE/ADD", 1, 1)]),
    ] {
        let expected: Vec<Value> = expected.iter().map(|entry| serde_json::from_str(entry).expect("JSON")).collect();
        assert_eq!(counts(&app, span, query).await, expected, "{span:?}{query}");
    }
    let other = TestApp::new().await;
    assert_eq!(counts(&other, whole, "").await, Vec::<Value>::new(), "of another app");
}

/// A page counts 50,000 events.
#[tokio::test]
async fn the_pages_of_a_busy_time_add_up() {
    let app = TestApp::new().await;
    // Eight at the same moment, so that only all of the order tells them apart.
    write(
        &app,
        "select 'lobby', i, case i % 4 when 0 then 'LEAVE/KICK' else 'JOIN/DIRECT' end, '{}', null, null, '@ppAdmin', null, i / 8
         from generate_series(1, 130000) i",
    )
    .await;
    for room in ["", "&room=lobby"] {
        let query = format!("/audit/counts?from={START}&to={}&every=6000{room}", START + 18_000);
        let (entries, pages) = app.pages(&query).await;
        let sum = |ms: i64, kind: &str| {
            let of_it = |entry: &&Value| entry["since"] == START + ms && entry["kind"] == kind;
            entries.iter().filter(of_it).filter_map(|entry| entry["events"].as_i64()).sum::<i64>()
        };
        assert_eq!(pages, 3, "{room}");
        assert_eq!(
            [0, 6_000, 12_000].map(|ms| (sum(ms, "LEAVE/KICK"), sum(ms, "JOIN/DIRECT"))),
            [(11_999, 36_000), (12_000, 36_000), (8_501, 25_500)],
            "{room}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_counted_is_refused_with_what_would_be() {
    let app = TestApp::new().await;
    for (query, complaint) in [
        ("", "from must be provided"),
        ("from=0&every=1", "to must be provided"),
        ("from=0&to=1", "every must be provided"),
        ("from=x&to=1&every=1", "from is invalid: milliseconds"),
        ("from=0&to=1&every=0", "every is invalid: milliseconds"),
        ("from=0&to=1&every=-1", "every is invalid: milliseconds"),
        ("from=0&to=1001&every=1", "every is invalid: more than 1000 of it are between from and to"),
        ("from=0&to=9223372036854775807&every=1", "every is invalid: more than 1000 of it are between from and to"),
        ("from=0&to=1&every=1&user=bob", "unknown parameter user"),
        ("from=0&to=1&every=1&cursor=x", "cursor is invalid"),
    ] {
        app.get(&format!("/audit/counts?{query}")).await.fails_parameter(complaint);
    }
    for query in [
        "from=0&to=1000&every=1",
        "from=-9223372036854775808&to=9223372036854775807&every=9223372036854775807",
        "from=9223372036854775807&to=-9223372036854775808&every=1",
    ] {
        assert_eq!(app.page(&format!("/audit/counts?{query}")).await, (vec![], None), "{query}");
    }
}
