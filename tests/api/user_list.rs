//! The list of users, as clients see it who follow it by cursor while others register.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{join, join_all};
use serde_json::json;
use sqlx::{PgConnection, Postgres, Transaction};

use crate::app::{TestApp, eventually};
use crate::citus::skipped_on_cluster;

/// A page of at most `limit` names behind a cursor (empty: the first page), and the cursor of the next one.
async fn page(app: &TestApp, limit: usize, cursor: &str) -> (Vec<String>, Option<String>) {
    let answer = app.get(&format!("/users?limit={limit}&cursor={cursor}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    let users = body["entities"].as_array().expect("a list");
    let names = users.iter().map(|user| user["username"].as_str().expect("a name").to_owned()).collect();
    (names, body["cursor"].as_str().map(str::to_owned))
}

/// The first page, of one name, which is asked for while `other` holds what it needs, and which `other` then lets go.
async fn page_that_waits_for(app: &TestApp, mut other: Transaction<'static, Postgres>) -> (Vec<String>, Option<String>) {
    let holder: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *other).await.expect("a number");
    let let_go = async {
        eventually("the list waits", || async {
            let waiting = sqlx::query_scalar("select count(*) from pg_stat_activity where $1 = any(pg_blocking_pids(pid))");
            let waiting: i64 = waiting.bind(holder).fetch_one(&app.db).await.expect("a number");
            waiting == 1
        })
        .await;
        other.commit().await.expect("committed");
    };
    join(page(app, 1, ""), let_go).await.0
}

/// Takes the lock under which places are given.
async fn lock_app(app: &TestApp, transaction: &mut PgConnection) {
    let lock = sqlx::query("select from apps where id = $1 for no key update").bind(app.app.id);
    lock.execute(transaction).await.expect("locked");
}

#[tokio::test]
async fn who_is_committed_late_comes_behind_what_was_seen_and_hides_no_one() {
    if skipped_on_cluster("it watches who waits for a lock, and there that is on another node").await {
        return;
    }
    let app = TestApp::new().await;
    let mut transaction = app.db.begin().await.expect("a transaction");
    let insert = sqlx::query("insert into users (app, username) values ($1, 'late')").bind(app.app.id);
    insert.execute(&mut *transaction).await.expect("inserted");
    app.users(&["one", "two", "three"]).await;

    let (first, cursor) = page(&app, 2, "").await;
    assert_eq!(first, ["one", "two"]);
    let cursor = cursor.expect("more");
    assert_eq!(page(&app, 2, &cursor).await, (vec!["three".to_owned()], None), "registered, and so listed");
    transaction.commit().await.expect("committed");
    assert_eq!(page(&app, 2, &cursor).await.0, ["three", "late"]);
    assert_eq!(page(&app, 10, "").await.0, ["one", "two", "three", "late"]);
}

#[tokio::test]
async fn who_was_not_seen_by_anyone_is_listed_in_the_order_of_registration() {
    let app = TestApp::new().await;
    app.users(&["zoe", "bob"]).await;
    app.users(&["yan"]).await;
    app.users(&["ann"]).await;
    // A page gives places to as many as it shows, and looks one further.
    assert_eq!(page(&app, 1, "").await.0, ["zoe"]);
    app.users(&["eve"]).await;
    assert_eq!(page(&app, 10, "").await.0, ["zoe", "bob", "yan", "ann", "eve"]);
}

#[tokio::test]
async fn who_comes_again_under_a_name_of_before_comes_last() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob", "cid"]).await;
    let (_, cursor) = page(&app, 1, "").await;
    app.delete("/users/ann").await;
    app.users(&["ann"]).await;
    assert_eq!(page(&app, 10, &cursor.expect("more")).await.0, ["bob", "cid", "ann"]);
    assert_eq!(page(&app, 10, "").await.0, ["bob", "cid", "ann"]);
}

#[tokio::test]
async fn who_is_deleted_while_being_listed_hides_no_one() {
    if skipped_on_cluster("it watches who waits for a lock, and there that is on another node").await {
        return;
    }
    let app = TestApp::new().await;
    app.users(&["ann", "bob", "cid"]).await;
    let mut deletion = app.db.begin().await.expect("a transaction");
    let delete = sqlx::query("update users set deleted_at = now() where app = $1 and username = 'ann'").bind(app.app.id);
    delete.execute(&mut *deletion).await.expect("marked");

    let (names, cursor) = page_that_waits_for(&app, deletion).await;
    assert_eq!(names, ["bob"]);
    assert_eq!(page(&app, 1, &cursor.expect("more")).await, (vec!["cid".to_owned()], None));
}

#[tokio::test]
async fn no_place_is_behind_what_was_seen_though_another_listing_gave_it_before() {
    if skipped_on_cluster("it watches who waits for a lock, and there that is on another node").await {
        return;
    }
    let app = TestApp::new().await;
    app.users(&["ann", "bob", "cid"]).await;
    // As a listing does that knows of none but cid.
    let mut listing = app.db.begin().await.expect("a transaction");
    lock_app(&app, &mut listing).await;
    let place =
        sqlx::query("update users set seq = nextval('user_numbers') where app = $1 and username = 'cid'").bind(app.app.id);
    place.execute(&mut *listing).await.expect("a place");

    let (names, cursor) = page_that_waits_for(&app, listing).await;
    assert_eq!(names, ["cid"]);
    assert_eq!(page(&app, 10, &cursor.expect("more")).await, (vec!["ann".to_owned(), "bob".to_owned()], None));
}

#[tokio::test]
async fn registering_waits_for_no_listing() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    // As a listing does that is about to give places.
    let mut listing = app.db.begin().await.expect("a transaction");
    lock_app(&app, &mut listing).await;
    app.users(&["bob"]).await;
    listing.rollback().await.expect("rolled back");
    assert_eq!(page(&app, 10, "").await.0, ["ann", "bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_finds_every_user_once_and_in_one_order_while_many_register() {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    let app = TestApp::new().await;
    let (app, registered) = (&app, &AtomicUsize::new(0));
    let write = |writer: usize| async move {
        for n in 0..EACH {
            // Names that do not ascend.
            app.users(&[&format!("w{writer}-{:02}", EACH - n)]).await;
            registered.fetch_add(1, Ordering::SeqCst);
        }
    };
    let follow = |limit: usize| async move {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let all = registered.load(Ordering::SeqCst) == WRITERS * EACH;
            let (names, next) = page(app, limit, &cursor).await;
            match next {
                Some(next) => {
                    seen.extend(names);
                    cursor = next;
                }
                // The last page so far: the same cursor leads on from here.
                None if all => {
                    seen.extend(names);
                    return seen;
                }
                None => {}
            }
        }
    };
    let (_, seen) = join(join_all((0..WRITERS).map(write)), join_all([1, 3, 7, 100].map(follow))).await;

    let [one, rest @ ..] = &seen[..] else { unreachable!() };
    assert_eq!((one.len(), one.iter().collect::<HashSet<_>>().len()), (WRITERS * EACH, WRITERS * EACH));
    assert!(rest.iter().all(|other| other == one), "all clients see one order");
    for writer in 0..WRITERS {
        let prefix = format!("w{writer}-");
        let own: Vec<&String> = one.iter().filter(|name| name.starts_with(&prefix)).collect();
        assert!(own.is_sorted_by(|before, after| before > after), "who registered later comes later: {own:?}");
    }
    let answer = app.delete("/users?limit=100").await;
    assert_eq!(answer.json()["entities"].as_array().map(Vec::len), Some(100));
    assert_eq!(page(app, 100, "").await.0, one[100..]);
    assert_eq!(app.get("/users?limit=1").await.json()["params"], json!({"limit": ["1"]}));
}
