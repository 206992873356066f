//! What is too old goes: how much of it, in which order, and what is held back.

use std::collections::BTreeMap;

use roomward::config::Settings;
use roomward::db::Db;
use roomward::events::cursor::EventCursor;
use roomward::events::retention as rows;
use roomward::events::retention::RetentionPeriod;
use roomward::tasks::retention::{self, Removed, Unfinished};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::{Instance, TestApp, eventually, migrated_database, new_app, settings};

/// A database in which nothing happens by itself: events are kept for 30 days, undelivered ones for 60.
struct Stage {
    db: PgPool,
    app: i32,
    settings: Settings,
}

/// A room and a number in it.
/// Settings under which events age as they do by default.
fn aging(url: &str) -> Settings {
    let mut settings = settings(url);
    settings.events.keep_days = 30;
    settings.callbacks.keep_days = 60;
    settings
}

type Event = (String, i64);

fn event(chatroom: &str, n: i64) -> Event {
    (chatroom.to_owned(), n)
}

impl Stage {
    async fn new(batch: u32) -> Self {
        let url = migrated_database().await;
        let db = PgPoolOptions::new().max_connections(8).connect(&url).await.expect("the database");
        let mut settings = aging(&url);
        settings.purge.batch = batch;
        Self { app: new_app(&db, "org", "app").await.id, db, settings }
    }

    /// Lets something have happened to these users so long ago; the transaction's number is the number of the event.
    async fn event(&self, chatroom: &str, n: i64, age: &str, users: &[&str]) {
        sqlx::query(
            "with event as (
                 insert into events (app, chatroom, n, kind, users, actor, happened_at, xact)
                 values ($1, $2, $3, 'JOIN/DIRECT', $5, '@ppAdmin', now() - $4::text::interval, $3) returning *
             )
             insert into event_users (app, username, happened_at, chatroom, n)
             select app, unnest(users), happened_at, chatroom, n from event",
        )
        .bind(self.app)
        .bind(chatroom)
        .bind(n)
        .bind(age)
        .bind(users)
        .execute(&self.db)
        .await
        .expect("an event");
    }

    /// Sends an event to a rule; `ended` is how long ago that ended, if it did.
    async fn delivery(&self, rule: Uuid, (chatroom, n): &Event, state: &str, ended: Option<&str>) {
        sqlx::query(
            "insert into deliveries (rule, app, chatroom, n, state, ended_at)
             values ($1, $2, $3, $4, $5, now() - $6::text::interval)",
        )
        .bind(rule)
        .bind(self.app)
        .bind(chatroom)
        .bind(n)
        .bind(state)
        .bind(ended)
        .execute(&self.db)
        .await
        .expect("a delivery");
    }

    async fn pass(&self, unfinished: &mut Unfinished) -> Removed {
        retention::pass(&Db::new(self.db.clone()), &self.settings, unfinished, &CancellationToken::new()).await.expect("a pass")
    }

    async fn only_pass(&self) -> Removed {
        self.pass(&mut Unfinished::default()).await
    }

    /// The events that are left.
    async fn events(&self) -> Vec<Event> {
        sqlx::query_as("select chatroom, n from events order by chatroom, n").fetch_all(&self.db).await.expect("rows")
    }

    /// The rows by which events are found by their users.
    async fn found_by_user(&self) -> Vec<(String, String, i64)> {
        sqlx::query_as("select username, chatroom, n from event_users order by 1, 2, 3").fetch_all(&self.db).await.expect("rows")
    }

    async fn deliveries(&self) -> Vec<(String, i64, String, bool)> {
        sqlx::query_as(
            "select chatroom, n, state, ended_at > now() - interval '1 minute' is true from deliveries order by 1, 2, 3",
        )
        .fetch_all(&self.db)
        .await
        .expect("rows")
    }

    /// The position in the app's feed up to which some events are missing.
    async fn gone(&self) -> (i64, String, i64) {
        sqlx::query_as("select gone_xact, gone_chatroom, gone_n from apps where id = $1")
            .bind(self.app)
            .fetch_one(&self.db)
            .await
            .expect("a row")
    }

    async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.db).await.expect("done");
    }
}

const PERIOD: RetentionPeriod = RetentionPeriod { keep: 30, keep_undelivered: 60 };

#[tokio::test]
async fn old_events_go_with_their_users_and_the_app_says_up_to_where() {
    let stage = Stage::new(100).await;
    stage.event("a", 1, "40 days", &["ann", "bob"]).await;
    stage.event("a", 2, "30 days 1 minute", &["ann"]).await;
    stage.event("a", 3, "29 days 23 hours", &["ann"]).await;
    stage.event("b", 1, "50 days", &[]).await;
    stage.event("", 7, "31 days", &["bob"]).await;
    stage.event("", 8, "1 day", &["bob"]).await;
    assert_eq!(stage.only_pass().await, Removed { events: 4, ..Removed::default() });
    assert_eq!(stage.events().await, [event("", 8), event("a", 3)]);
    let found = |username: &str, chatroom: &str, n| (username.to_owned(), chatroom.to_owned(), n);
    assert_eq!(stage.found_by_user().await, [found("ann", "a", 3), found("bob", "", 8)]);
    assert_eq!(stage.gone().await, (7, String::new(), 7));
    assert_eq!(stage.only_pass().await, Removed::default());
}

#[tokio::test]
async fn up_to_where_events_are_gone_is_never_taken_back() {
    let stage = Stage::new(100).await;
    stage.execute("update apps set gone_xact = 5, gone_chatroom = 'b', gone_n = 9").await;
    stage.event("c", 4, "40 days", &[]).await;
    assert_eq!(stage.only_pass().await.events, 1);
    assert_eq!(stage.gone().await, (5, "b".into(), 9));
    stage.event("c", 5, "40 days", &[]).await;
    assert_eq!(stage.only_pass().await.events, 1);
    assert_eq!(stage.gone().await, (5, "c".into(), 5));
}

#[tokio::test]
async fn what_is_not_delivered_holds_back_its_event_and_the_later_ones_of_its_room() {
    let stage = Stage::new(100).await;
    let rule = Uuid::new_v4();
    for n in 1..=4 {
        stage.event("a", n, "40 days", &["ann"]).await;
        stage.event("b", n, "40 days", &["ann"]).await;
    }
    stage.delivery(rule, &event("a", 1), "done", Some("1 day")).await;
    stage.delivery(rule, &event("a", 2), "dead", Some("1 day")).await;
    stage.delivery(rule, &event("a", 3), "pending", None).await;
    assert_eq!(stage.only_pass().await.events, 6);
    assert_eq!(stage.events().await, [event("a", 3), event("a", 4)]);
    assert_eq!(stage.only_pass().await, Removed::default());
    stage.execute("update deliveries set state = 'done', ended_at = now() where state = 'pending'").await;
    assert_eq!(stage.only_pass().await, Removed { events: 2, ..Removed::default() });
    assert_eq!(stage.deliveries().await.len(), 3, "deliveries are remembered longer");
}

#[tokio::test]
async fn nothing_waits_for_its_delivery_for_ever() {
    let stage = Stage::new(100).await;
    let rule = Uuid::new_v4();
    stage.event("a", 1, "61 days", &["ann"]).await;
    stage.event("a", 2, "59 days", &["ann"]).await;
    stage.event("a", 3, "58 days", &["ann"]).await;
    for n in 1..=2 {
        stage.delivery(rule, &event("a", n), "pending", None).await;
    }
    assert_eq!(stage.only_pass().await, Removed { events: 1, ..Removed::default() });
    assert_eq!(stage.events().await, [event("a", 2), event("a", 3)]);
    assert_eq!(stage.deliveries().await, [("a".into(), 1, "dead".into(), true), ("a".into(), 2, "pending".into(), false)]);
    assert_eq!(stage.gone().await, (1, "a".into(), 1));
}

#[tokio::test]
async fn a_batch_is_so_many_rows_and_a_pass_so_many_batches() {
    let stage = Stage::new(20).await;
    for room in 0..5 {
        for n in 1..=500 {
            stage.event(&format!("room{room}"), n, &format!("{} minutes", 100_000 - n), &["ann", "bob", "cem"]).await;
        }
    }
    let db = Db::new(stage.db.clone());
    let look = rows::prune(&db, stage.app, &EventCursor::at(OffsetDateTime::UNIX_EPOCH), PERIOD, 20).await.expect("a look");
    assert_eq!(look.removed, 5, "five events with three users each are twenty rows");
    let after = look.next.expect("more");
    assert_eq!(rows::prune(&db, stage.app, &after, PERIOD, 1).await.expect("a look").removed, 1, "always one at least");

    let mut unfinished = Unfinished::default();
    assert_eq!(stage.pass(&mut unfinished).await.events, 500);
    let mut passes = 1;
    while stage.pass(&mut unfinished).await.events > 0 {
        passes += 1;
    }
    assert_eq!(passes, 5);
    assert_eq!((stage.events().await.len(), stage.found_by_user().await.len()), (0, 0));
    assert_eq!(stage.gone().await, (500, "room4".into(), 500));
}

#[tokio::test]
async fn what_is_held_back_is_passed_over_a_piece_at_a_time() {
    let stage = Stage::new(10).await;
    let rule = Uuid::new_v4();
    for n in 1..=250 {
        stage.event("held", n, "50 days", &[]).await;
    }
    stage.delivery(rule, &event("held", 1), "pending", None).await;
    for n in 1..=30 {
        stage.event("free", n, "40 days", &[]).await;
    }
    let mut unfinished = Unfinished::default();
    // Ten looks of ten events each.
    assert_eq!(stage.pass(&mut unfinished).await.events, 0);
    assert_eq!(stage.pass(&mut unfinished).await.events, 0);
    assert_eq!(stage.pass(&mut unfinished).await.events, 30);
    assert_eq!(stage.events().await.len(), 250);
    // And back to the beginning, where something may have been delivered meanwhile.
    stage.execute("update deliveries set state = 'done', ended_at = now()").await;
    while stage.pass(&mut unfinished).await.events > 0 {}
    assert_eq!(stage.events().await, []);
}

#[tokio::test]
async fn one_instance_at_a_time_prunes_an_app_and_the_others_do_not_wait() {
    let stage = Stage::new(10).await;
    stage.event("a", 1, "40 days", &[]).await;
    let mut other = stage.db.begin().await.expect("a transaction");
    let ours: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock($1, $2)")
        .bind(0x726f_6f6d)
        .bind(stage.app)
        .fetch_one(&mut *other)
        .await
        .expect("a row");
    assert!(ours);
    assert_eq!(stage.only_pass().await, Removed::default());
    other.rollback().await.expect("unlocked");
    assert_eq!(stage.only_pass().await.events, 1);
}

/// Numbers that look random, and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Rooms with events of all ages, nearly in order, some of them not delivered: what two instances take away, and
/// however often one looks, what is left of a room is an unbroken end; and at last it is what the rules say.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_room_is_always_an_unbroken_end() {
    let stage = Stage::new(7).await;
    let mut dice = Dice(1);
    let mut expected = Vec::new();
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for room in 0..12 {
        let chatroom = format!("room{room:02}");
        let mut hours = 24 * (25 + dice.roll(60));
        let mut goes = true;
        for n in 1..=40 {
            hours = hours.saturating_sub(dice.roll(40));
            // Now and then a change has waited for the lock, and seems older than the one before it.
            let age = hours + if dice.roll(4) == 0 { dice.roll(30) } else { 0 };
            let names: Vec<String> = (0..dice.roll(4)).map(|number| format!("user{number}")).collect();
            stage
                .event(&chatroom, n, &format!("{age} hours 30 minutes"), &names.iter().map(String::as_str).collect::<Vec<_>>())
                .await;
            let waits = dice.roll(25) == 0;
            if waits {
                stage.delivery(Uuid::new_v4(), &event(&chatroom, n), "pending", None).await;
            }
            goes &= age >= 24 * 30 && !(waits && age < 24 * 60);
            if !goes {
                expected.push(event(&chatroom, n));
            }
            last.insert(chatroom.clone(), n);
        }
    }
    let instance = async || {
        let mut unfinished = Unfinished::default();
        for _ in 0..60 {
            stage.pass(&mut unfinished).await;
        }
    };
    let watch = async {
        for _ in 0..200 {
            let mut left: BTreeMap<String, Vec<i64>> = BTreeMap::new();
            for (chatroom, n) in stage.events().await {
                left.entry(chatroom).or_default().push(n);
            }
            for (chatroom, numbers) in left {
                let unbroken: Vec<i64> = (numbers[0]..=last[&chatroom]).collect();
                assert_eq!(numbers, unbroken, "{chatroom}");
            }
        }
    };
    tokio::join!(instance(), instance(), watch);
    // Each may have found the other at it, time and again.
    instance().await;
    assert!(expected.len() > 100 && expected.len() < 400, "{}", expected.len());
    assert_eq!(stage.events().await, expected);
    let names: Vec<(String, i64)> = sqlx::query_as("select chatroom, n from events cross join unnest(users) order by 1, 2")
        .fetch_all(&stage.db)
        .await
        .expect("rows");
    let mut found: Vec<(String, i64)> = stage.found_by_user().await.into_iter().map(|(_, chatroom, n)| (chatroom, n)).collect();
    found.sort();
    assert_eq!(found, names);
}

#[tokio::test]
async fn deliveries_are_remembered_for_sixty_days_after_they_ended() {
    let stage = Stage::new(2).await;
    let rule = Uuid::new_v4();
    for n in 1..=5 {
        stage.delivery(rule, &event("old", n), "done", Some("61 days")).await;
        stage.delivery(rule, &event("old", n), "dead", Some("61 days")).await;
    }
    stage.delivery(rule, &event("young", 1), "done", Some("59 days")).await;
    stage.delivery(rule, &event("young", 2), "pending", None).await;
    assert_eq!(stage.only_pass().await, Removed { deliveries: 10, ..Removed::default() });
    assert_eq!(
        stage.deliveries().await,
        [("young".into(), 1, "done".into(), false), ("young".into(), 2, "pending".into(), false)]
    );
}

#[tokio::test]
async fn a_deleted_rule_goes_last_after_its_lines_and_its_deliveries() {
    let stage = Stage::new(2).await;
    let mut rules = Vec::new();
    for deleted in [Some("61 seconds"), Some("50 seconds"), None] {
        let rule: Uuid = sqlx::query_scalar(
            "insert into callback_rules (app, url, secret, kinds, deleted_at)
             values ($1, 'http://x', '', '{*}', now() - $2::text::interval) returning id",
        )
        .bind(stage.app)
        .bind(deleted)
        .fetch_one(&stage.db)
        .await
        .expect("a rule");
        for n in 1..=5_i64 {
            stage.delivery(rule, &event("a", n), "pending", None).await;
            sqlx::query("insert into callback_lines (rule, app, chatroom) values ($1, $2, $3)")
                .bind(rule)
                .bind(stage.app)
                .bind(format!("room{n}"))
                .execute(&stage.db)
                .await
                .expect("a line");
        }
        rules.push(rule);
    }
    let db = Db::new(stage.db.clone());
    let count = async |statement: &'static str| -> i64 {
        sqlx::query_scalar(statement).bind(rules[0]).fetch_one(&stage.db).await.expect("a row")
    };
    for left in [(3, 5), (1, 5), (0, 5), (0, 3), (0, 1), (0, 0)] {
        assert!(rows::forget_rule(&db, rules[0], 2).await.expect("removed") > 0);
        let lines = count("select count(*) from callback_lines where rule = $1").await;
        let deliveries = count("select count(*) from deliveries where rule = $1").await;
        assert_eq!((lines, deliveries), left);
        assert_eq!(count("select count(*) from callback_rules where id = $1").await, 1);
    }
    assert_eq!(stage.only_pass().await, Removed { rules: 1, ..Removed::default() });
    let left: Vec<Uuid> = sqlx::query_scalar(
        "select id from callback_rules join (select distinct rule from callback_lines) lines on rule = id
         join (select rule, count(*) from deliveries group by 1) deliveries on deliveries.rule = id and count = 5 order by deleted_at",
    )
    .fetch_all(&stage.db)
    .await
    .expect("rows");
    assert_eq!(left, rules[1..]);
}

#[tokio::test]
async fn answers_are_kept_for_a_day() {
    let stage = Stage::new(2).await;
    for (key, age, status) in [
        ("a", "24 hours 1 minute", Some(200_i16)),
        ("b", "3 days", Some(400)),
        ("c", "2 days", None),
        ("d", "23 hours", Some(200)),
        ("e", "2 minutes", None),
    ] {
        sqlx::query(
            "insert into idempotency_keys (app, scope, key, print, claim, claimed_at, status, body)
             values ($1, '', $2, '', gen_random_uuid(), now() - $3::text::interval, $4, '')",
        )
        .bind(stage.app)
        .bind(key)
        .bind(age)
        .bind(status)
        .execute(&stage.db)
        .await
        .expect("a key");
    }
    assert_eq!(stage.only_pass().await, Removed { answers: 3, ..Removed::default() });
    let left: Vec<String> =
        sqlx::query_scalar("select key from idempotency_keys order by key").fetch_all(&stage.db).await.expect("rows");
    assert_eq!(left, ["d", "e"]);
}

#[tokio::test]
async fn a_pass_that_is_to_stop_begins_no_batch() {
    let stage = Stage::new(10).await;
    stage.event("a", 1, "40 days", &[]).await;
    stage.delivery(Uuid::new_v4(), &event("a", 0), "done", Some("61 days")).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let removed = retention::pass(&Db::new(stage.db.clone()), &stage.settings, &mut Unfinished::default(), &stop).await;
    assert_eq!(removed.expect("a pass"), Removed::default());
    assert_eq!((stage.events().await.len(), stage.deliveries().await.len()), (1, 1));
}

#[tokio::test]
async fn even_what_is_kept_for_ever_can_be_counted_back() {
    let mut stage = Stage::new(10).await;
    stage.settings.events.keep_days = u32::MAX;
    stage.settings.callbacks.keep_days = u32::MAX;
    stage.settings.idempotency.keep_hours = u32::MAX;
    stage.event("a", 1, "10000 days", &[]).await;
    assert_eq!(stage.only_pass().await, Removed::default());
}

#[tokio::test]
async fn a_running_service_removes_what_is_too_old() {
    let url = migrated_database().await;
    let instance = Instance::start(aging(&url));
    let app = TestApp::on(instance.address, &url).await;
    let stage = Stage { db: app.db.clone(), app: app.app.id, settings: aging(&url) };
    stage.event("old", 1, "31 days", &["ann"]).await;
    let left = async || -> i64 {
        sqlx::query_scalar("select count(*) from events where app = $1 and chatroom = 'old'")
            .bind(stage.app)
            .fetch_one(&stage.db)
            .await
            .expect("a row")
    };
    eventually("the event is gone", || async { left().await == 0 }).await;
}
