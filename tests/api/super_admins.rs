//! Super admins of an app.

use serde_json::json;

use crate::app::{TestApp, eventually_waits_for_a_lock};
use crate::citus::skipped_on_cluster;

const PATH: &str = "/chatrooms/super_admin";

#[tokio::test]
async fn super_admins_are_made_listed_and_unmade() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob", "cid"]).await;
    app.post_json(PATH, json!({"superadmin": "BOB"})).await.is(
        r#"{"action":"post","application":"APP","uri":"BASE/chatrooms/super_admin","entities":[],"data":{"result":"success","resource":""},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}"#,
    );
    for name in ["ann", "bob", "cid"] {
        assert_eq!(app.post_json(PATH, json!({"superadmin": name})).await.status, 200);
    }
    app.get("/chatrooms/super_admin?pagenum=2&pagesize=1").await.is(
        r#"{"action":"get","application":"APP","params":{"pagesize":["1"],"pagenum":["2"]},"uri":"BASE/chatrooms/super_admin","entities":[],"data":["ann"],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":1}"#,
    );
    assert_eq!(app.get("/chatrooms/super_admin/").await.json()["data"], json!(["bob", "ann", "cid"]));
    assert_eq!(app.get("/chatrooms/super_admin?pagenum=4&pagesize=1").await.json()["data"], json!([]));
    app.delete("/chatrooms/super_admin/Ann").await.is(
        r#"{"action":"delete","application":"APP","uri":"BASE/chatrooms/super_admin/Ann","entities":[],"data":{"newSuperAdmin":"ann","resource":""},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}"#,
    );
    assert_eq!(app.delete("/chatrooms/super_admin/ann").await.status, 200, "also one who is none");
    app.delete("/users/bob").await;
    assert_eq!(app.get(PATH).await.json()["data"], json!(["cid"]));
}

#[tokio::test]
async fn a_page_of_super_admins_has_ten_where_no_size_is_named() {
    let app = TestApp::new().await;
    let names = crate::app::numbered("user", 12);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for name in &names {
        app.post_json(PATH, json!({"superadmin": name})).await;
    }
    for (query, count) in
        [("", 10), ("?pagenum=2", 2), ("?pagesize=0", 10), ("?pagesize=5000", 12), ("?pagenum=x&pagesize=-1", 10)]
    {
        assert_eq!(app.get(&format!("{PATH}{query}")).await.json()["count"], count, "{query}");
    }
}

#[tokio::test]
async fn only_users_become_super_admins() {
    let app = TestApp::new().await;
    app.post_json(PATH, json!({"superadmin": "nobody"})).await.fails_user("nobody");
    app.delete("/chatrooms/super_admin/nobody").await.fails_user("nobody");
    app.post_json(PATH, json!({"superadmin": 7})).await.fails_parameter("superadmin must be provided");
}

#[tokio::test]
async fn a_user_who_is_deleted_while_being_promoted_is_no_super_admin() {
    if skipped_on_cluster("it watches who waits for a lock, and there that is on another node").await {
        return;
    }
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    // A promotion under way: the user is held, and the row not yet committed.
    let mut promotion = app.db.begin().await.expect("a transaction");
    sqlx::query("select from users where app = $1 for key share")
        .bind(app.app.id)
        .fetch_one(&mut *promotion)
        .await
        .expect("held");
    sqlx::query("insert into super_admins (app, username) values ($1, 'ann')")
        .bind(app.app.id)
        .execute(&mut *promotion)
        .await
        .expect("promoted");
    let deletion = tokio::spawn(app.request(reqwest::Method::DELETE, "/users/ann").send());
    eventually_waits_for_a_lock(&app.db, "%update users set deleted_at%").await;
    promotion.commit().await.expect("committed");
    assert_eq!(deletion.await.expect("no panic").expect("an answer").status(), 200);
    app.users(&["ann"]).await;
    assert_eq!(app.get(PATH).await.json()["data"], json!([]));
}
