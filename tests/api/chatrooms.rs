//! Chatrooms themselves: made, shown, deleted.

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, Instance, TestApp, crowd, eventually, numbered, plant_rooms, recount, settings, shared_database};

fn lobby() -> Value {
    json!({"name": "lobby", "description": "for all", "owner": "ann"})
}

fn with(field: &str, value: Value) -> Value {
    let mut body = lobby();
    body[field] = value;
    body
}

fn without(field: &str) -> Value {
    let mut body = lobby();
    body.as_object_mut().expect("an object").remove(field);
    body
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["data"]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_new_room_is_answered_with_its_id_and_shown_whole() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob"]).await;
    let body = json!({"name": "Lobby 张", "description": "for all", "owner": "Ann", "members": ["BOB", "ann"], "maxusers": "200",
        "custom": "{\"k\":1}", "scale": "large", "need_verify": true});
    let answer = app.post_json("/chatrooms", body).await;
    let room = id(&answer);
    answer.is(&format!(
        r#"{{"action":"post","application":"APP","uri":"BASE/chatrooms","entities":[],"data":{{"id":"{room}"}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    app.get(&format!("/chatrooms/{room}")).await.is(&format!(
        r#"{{"action":"get","application":"APP","uri":"BASE/chatrooms/{room}","entities":[],"data":[{{"id":"{room}","name":"Lobby 张","description":"for all","membersonly":false,"allowinvites":false,"maxusers":200,"owner":"ann","created":T,"custom":"{{\"k\":1}}","mute":false,"affiliations_count":2,"affiliations":[{{"owner":"ann"}},{{"member":"bob"}}],"public":true,"disabled":false}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":1}}"#
    ));
}

#[tokio::test]
async fn ids_are_increasing_decimal_texts_of_at_least_twelve_digits() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    let mut last = String::new();
    for _ in 0..5 {
        let room = id(&app.post_json("/chatrooms", lobby()).await);
        assert!(room.len() >= 12 && room.bytes().all(|byte| byte.is_ascii_digit()) && room > last, "{last} {room}");
        last = room;
    }
}

#[tokio::test]
async fn what_is_left_out_has_a_default() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    for body in [with("members", json!([])), with("maxusers", json!(0)), with("maxusers", json!("0"))] {
        let room = id(&app.post_json("/chatrooms", body).await);
        let detail = app.get(&format!("/chatrooms/{room}")).await.json()["data"][0].clone();
        assert_eq!(
            (&detail["maxusers"], &detail["custom"], &detail["affiliations_count"]),
            (&json!(1000), &json!(""), &json!(1))
        );
    }
}

#[tokio::test]
async fn a_room_that_cannot_be_is_told_why() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob"]).await;
    let title = "chatroom must contain title/name field!";
    for (body, text) in [
        (without("name"), title),
        (with("name", json!("")), title),
        (json!([]), title),
        (without("description"), "description must be provided"),
        (without("owner"), "owner must be provided"),
        (with("owner", json!("")), "owner must be provided"),
        (with("name", json!(7)), "name is invalid"),
        (with("name", json!("a\u{0}")), "name is invalid"),
        (with("description", json!("a\u{0}")), "description is invalid"),
        (with("custom", json!({"a": 1})), "custom is invalid"),
        (with("members", json!("bob")), "members must be provided"),
        (with("members", json!([7])), "members must be strings"),
        (with("maxusers", json!("many")), "maxusers is invalid"),
        (with("maxusers", json!("-0.5")), "maxusers is invalid"),
        (with("maxusers", json!(-5)), "maxusers is invalid"),
        (with("roomid", json!("Room 1")), "roomid is invalid"),
        (with("roomid", json!("x".repeat(65))), "roomid is invalid"),
    ] {
        app.post_json("/chatrooms", body).await.fails_parameter(text);
    }
    for (body, text) in [
        (with("name", json!("张".repeat(129))), "title cannot exceed to 128"),
        (with("description", json!("x".repeat(513))), "desc cannot exceed to 512"),
        (with("custom", json!("x".repeat(8193))), "custom cannot exceed to 8192"),
        (with("maxusers", json!(10001)), "maxUsers cannot exceed 10000"),
        (with("maxusers", json!(99_999_999_999_i64)), "maxUsers cannot exceed 10000"),
    ] {
        app.post_json("/chatrooms", body).await.fails_limit(text);
    }
    let mut crowded = with("members", json!(["bob"]));
    crowded["maxusers"] = json!(1);
    app.post_json("/chatrooms", crowded).await.fails_limit("members size is greater than max user size !");
    app.post_json("/chatrooms", with("owner", json!("Nobody"))).await.fails_user("nobody");
    app.post_json("/chatrooms", with("members", json!(["bob", "noone", "nobody"]))).await.fails_user("noone");
    let at_the_limit = json!({"name": "张".repeat(128), "description": "描".repeat(512), "owner": "ann", "maxusers": 10000, "custom": "x".repeat(8192)});
    id(&app.post_json("/chatrooms", at_the_limit).await);
}

#[tokio::test]
async fn a_creator_may_choose_the_id_of_a_room_once() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    let room = "x".repeat(64);
    assert_eq!(id(&app.post_json("/chatrooms", with("roomid", json!(room))).await), room);
    app.post_json("/chatrooms", with("roomid", json!(room))).await.fails_argument(&format!("group ID {room} already exists!"));
    assert_eq!(app.delete(&format!("/chatrooms/{room}")).await.status, 200);
    assert_eq!(id(&app.post_json("/chatrooms", with("roomid", json!(room))).await), room, "a deleted room's id is free");
    assert_eq!(app.members(&room).await, ["ann"]);
}

#[tokio::test]
async fn a_generated_id_goes_round_one_that_a_creator_chose() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    // Other tests take numbers meanwhile: choose some ahead of the next ones.
    let next: i64 = id(&app.post_json("/chatrooms", lobby()).await).parse().expect("a number");
    for ahead in 1..4 {
        let chosen = app.post_json("/chatrooms", with("roomid", json!((next + ahead).to_string()))).await;
        assert_eq!(chosen.status, 200, "{}", chosen.text);
    }
    for _ in 0..4 {
        id(&app.post_json("/chatrooms", lobby()).await);
    }
}

#[tokio::test]
async fn several_rooms_are_shown_in_the_order_asked_for_and_missing_ones_left_out() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    let (one, two) = (app.room("ann", &[]).await, app.room("ann", &[]).await);
    let answer = app.get(&format!("/chatrooms/{two},123%2C{one},,{two}")).await;
    let ids: Vec<Value> = answer.json()["data"].as_array().expect("a list").iter().map(|room| room["id"].clone()).collect();
    assert_eq!((ids, &answer.json()["count"]), (vec![json!(two), json!(one)], &json!(2)));
    for missing in ["123", "123,124", "a%00b", "A"] {
        let text = format!("do not find this group:{}", missing.replace("%00", "\0"));
        app.get(&format!("/chatrooms/{missing}")).await.fails(
            404,
            "service_resource_not_found",
            "com.easemob.group.exception.ServiceResourceNotFoundException",
            &text,
        );
    }
    app.get("/chatrooms/,").await.fails_parameter("chatroom_id must be provided");
    let many = numbered("1", 101).join(",");
    app.get(&format!("/chatrooms/{many}")).await.fails_parameter("chatroom ids size is more than max limit : 100");
}

#[tokio::test]
async fn the_detail_of_a_large_room_shows_the_first_members_and_counts_all() {
    let mut small = settings(shared_database());
    small.limits.affiliations_in_detail = 3;
    let instance = Instance::start(small);
    let app = TestApp::on(instance.address, shared_database()).await;
    let room = app.room_with("ann", &["bob", "cid", "dan"]).await;
    let detail = app.get(&format!("/chatrooms/{room}")).await.json()["data"][0].clone();
    assert_eq!(detail["affiliations"], json!([{"owner": "ann"}, {"member": "bob"}, {"member": "cid"}]));
    assert_eq!(detail["affiliations_count"], 4);
}

#[tokio::test]
async fn details_show_as_few_people_as_are_asked_for_and_tell_of_the_mute_of_the_room_if_asked_to() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    let detail = async |query: &str| app.get(&format!("/chatrooms/{room}{query}")).await.json()["data"][0].clone();
    for (query, people) in [
        ("?affiliations=0", json!([])),
        ("?affiliations=2", json!([{"owner": "ann"}, {"member": "bob"}])),
        ("?affiliations=99999999999", json!([{"owner": "ann"}, {"member": "bob"}, {"member": "cid"}])),
        ("?affiliations=x", json!([{"owner": "ann"}, {"member": "bob"}, {"member": "cid"}])),
    ] {
        let shown = detail(query).await;
        assert_eq!((&shown["affiliations"], &shown["affiliations_count"]), (&people, &json!(3)), "{query}");
    }
    let told = |detail: &Value| {
        let field = |name| detail.get(name).cloned();
        (detail["mute"].clone(), field("mute_expire"), field("mute_reason"))
    };
    assert_eq!(told(&detail("?detail=true").await), (json!(false), None, None));
    let mute = app.request(Method::POST, &format!("/chatrooms/{room}/ban")).header("X-Audit-Reason", "too%20loud");
    let end = app.send(mute.body(r#"{"mute_duration":60000}"#)).await.json()["data"]["expire"].clone();
    assert_eq!(told(&detail("?detail=true").await), (json!(true), Some(end), Some(json!("too loud"))));
    assert_eq!(told(&detail("").await), (json!(true), None, None), "the hosted service tells no more");
    app.delete(&format!("/chatrooms/{room}/ban")).await;
    assert_eq!(told(&detail("?detail=true").await), (json!(false), None, None));
}

#[tokio::test]
async fn the_details_of_many_rooms_show_no_more_people_than_one_answer_may_have() {
    let mut small = settings(shared_database());
    small.limits.affiliations_in_detail = 5;
    let instance = Instance::start(small);
    let app = TestApp::on(instance.address, shared_database()).await;
    let one = app.room_with("ann", &["bob", "cid"]).await;
    let (two, three, four) =
        (app.room("bob", &["ann", "cid"]).await, app.room("cid", &[]).await, app.room("ann", &["bob"]).await);
    let shown = async |ids: &[&str]| -> Vec<(Value, Value)> {
        let answer = app.get(&format!("/chatrooms/{}", ids.join(","))).await.json();
        let rooms = answer["data"].as_array().expect("a list");
        rooms.iter().map(|room| (room["affiliations"].clone(), room["affiliations_count"].clone())).collect()
    };
    let whole = json!([{"owner": "ann"}, {"member": "bob"}, {"member": "cid"}]);
    assert_eq!(
        shown(&[&one, &two, &three]).await,
        [(whole.clone(), json!(3)), (json!([{"owner": "bob"}, {"member": "ann"}]), json!(3)), (json!([]), json!(1))]
    );
    // In the order asked for; who is named twice, or is not there, takes nothing away.
    assert_eq!(
        shown(&[&four, "123", &four, &two]).await,
        [
            (json!([{"owner": "ann"}, {"member": "bob"}]), json!(2)),
            (json!([{"owner": "bob"}, {"member": "ann"}, {"member": "cid"}]), json!(3))
        ]
    );
}

#[tokio::test]
async fn a_deleted_room_is_gone_at_once_and_its_rows_soon() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    app.delete(&format!("/chatrooms/{room}")).await.is(&format!(
        r#"{{"action":"delete","application":"APP","uri":"BASE/chatrooms/{room}","entities":[],"data":{{"success":true,"id":"{room}"}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    app.delete(&format!("/chatrooms/{room}")).await.fails_room(&room);
    app.post(&format!("/chatrooms/{room}/users/bob")).await.fails_room(&room);
    app.delete(&format!("/chatrooms/{room}/users/bob")).await.fails_room(&room);
    assert_eq!(app.get(&format!("/chatrooms/{room}/users")).await.status, 404);
    assert_eq!(app.get(&format!("/chatrooms/{room}")).await.status, 404);
    eventually("its rows are gone", || async {
        let rows: i64 = sqlx::query_scalar(
            "select (select count(*) from members where app = $1) + (select count(*) from chatrooms where app = $1)
                  + (select count(*) from room_counters where app = $1) + (select count(*) from member_counts where app = $1)",
        )
        .bind(app.app.id)
        .fetch_one(&app.db)
        .await
        .expect("a row");
        rows == 0
    })
    .await;
}

#[tokio::test]
async fn a_large_deleted_room_goes_batch_by_batch_while_its_id_is_used_again() {
    let mut slow = settings(shared_database());
    slow.purge.batch = 7;
    let instance = Instance::start(slow);
    let app = TestApp::on(instance.address, shared_database()).await;
    app.users(&["ann"]).await;
    plant_rooms(&app.db, app.app.id, &["large".into()], "user1", &crowd(8000)).await;
    sqlx::query(
        "insert into mutes (app, chatroom, username, seq, ends_at)
         select $1, 'large', 'user' || n, 8000 + n, now() + interval '1 hour' from generate_series(1, 100) n",
    )
    .bind(app.app.id)
    .execute(&app.db)
    .await
    .expect("mutes");
    recount(&app.db, app.app.id).await;
    assert_eq!(app.delete("/chatrooms/large").await.status, 200);
    eventually("the id is free", || async {
        let answer = app.post_json("/chatrooms", with("roomid", json!("large"))).await;
        assert!(matches!(answer.status, 200 | 409), "{}", answer.text);
        answer.status == 200
    })
    .await;
    assert_eq!(app.members("large").await, ["ann"]);
    app.assert_invariants().await;
}

#[tokio::test]
async fn a_user_can_be_in_so_many_rooms_and_no_more() {
    let mut strict = settings(shared_database());
    strict.limits.rooms_per_user = 2;
    let instance = Instance::start(strict);
    let app = TestApp::on(instance.address, shared_database()).await;
    app.users(&["ann", "bob", "cid", "dan"]).await;
    let (one, two) = (app.room("ann", &["bob"]).await, app.room("cid", &["bob"]).await);
    let refusal = "can not join this group, reason:user bob has joined too many chatrooms!";
    let three = app.room("dan", &[]).await;
    app.post(&format!("/chatrooms/{three}/users/bob")).await.fails_forbidden(403, refusal);
    app.post_json(&format!("/chatrooms/{three}/users"), json!({"usernames": ["ann", "bob"]})).await.fails_forbidden(403, refusal);
    assert_eq!(app.members(&three).await, ["dan"], "nothing is applied");
    let again = app.post_json(&format!("/chatrooms/{one}/users"), json!({"usernames": ["bob"]})).await;
    assert_eq!(again.status, 200, "who is in already does not join");
    app.post_json("/chatrooms", with("owner", json!("bob"))).await.fails_limit("user bob has joined too many chatrooms!");
    app.post_json("/chatrooms", with("members", json!(["bob"]))).await.fails_limit("user bob has joined too many chatrooms!");
    assert_eq!(app.delete(&format!("/chatrooms/{two}")).await.status, 200);
    assert_eq!(app.post(&format!("/chatrooms/{three}/users/bob")).await.status, 200, "a deleted room does not count");
}

#[tokio::test]
async fn an_app_can_have_so_many_rooms_and_no_more() {
    let mut strict = settings(shared_database());
    strict.limits.rooms_per_app = 2;
    let instance = Instance::start(strict);
    let app = TestApp::on(instance.address, shared_database()).await;
    app.users(&["ann"]).await;
    let one = app.room("ann", &[]).await;
    app.room("ann", &[]).await;
    app.post_json("/chatrooms", lobby()).await.fails_limit("appKey:ORG#app has create too many chatrooms!");
    app.delete(&format!("/chatrooms/{one}")).await;
    app.room("ann", &[]).await;
}

#[tokio::test]
async fn another_member_becomes_the_owner_and_the_former_one_a_plain_member() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob", "cid"]).await;
    app.post_json(&format!("/chatrooms/{room}/admin"), json!({"newadmin": "bob"})).await;
    app.post(&format!("/chatrooms/{room}/white/users/bob")).await;
    let transfer =
        async |body: Value| app.send(app.request(Method::PUT, &format!("/chatrooms/{room}")).body(body.to_string())).await;
    transfer(json!({"newowner": "BOB"})).await.is(&format!(
        r#"{{"action":"put","application":"APP","uri":"BASE/chatrooms/{room}","entities":[],"data":{{"newowner":true}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    assert_eq!(app.members(&room).await, ["bob", "ann", "cid"]);
    assert_eq!(app.get(&format!("/chatrooms/{room}/admin")).await.json()["data"], json!([]));
    assert_eq!(app.get(&format!("/chatrooms/{room}/white/users")).await.json()["data"], json!([]));
    app.users(&["dan"]).await;
    transfer(json!({"newowner": "bob"})).await.fails_forbidden(403, "new owner and old owner are the same");
    transfer(json!({"newowner": "dan"})).await.fails_forbidden(403, &format!("user: dan doesn't exist in group: {room}"));
    transfer(json!({"newowner": "nobody"})).await.fails_user("nobody");
    transfer(json!({"newowner": ""})).await.fails_parameter("newowner must be provided");
    let missing = app.send(app.request(Method::PUT, "/chatrooms/123").body(r#"{"newowner":"nobody"}"#)).await;
    missing.fails_room("123");
    assert_eq!(app.delete(&format!("/chatrooms/{room}/users/ann")).await.status, 200, "the former owner may go");
}

async fn update(app: &TestApp, room: &str, body: Value) -> Answer {
    app.send(app.request(Method::PUT, &format!("/chatrooms/{room}")).body(body.to_string())).await
}

#[tokio::test]
async fn an_update_changes_what_is_sent_and_says_so() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    update(&app, &room, json!({"name": "new name", "description": "new text", "maxusers": "300"})).await.is(&format!(
        r#"{{"action":"put","application":"APP","uri":"BASE/chatrooms/{room}","entities":[],"data":{{"groupname":true,"description":true,"maxusers":true}},"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app"}}"#
    ));
    let answer = update(&app, &room, json!({"custom": "extra", "need_verify": true})).await;
    assert_eq!(answer.json()["data"], json!({"custom": true}));
    let detail = app.get(&format!("/chatrooms/{room}")).await.json()["data"][0].clone();
    assert_eq!(
        (&detail["name"], &detail["description"], &detail["maxusers"], &detail["custom"]),
        (&json!("new name"), &json!("new text"), &json!(300), &json!("extra"))
    );
    assert_eq!(update(&app, &room, json!({"need_verify": false})).await.json()["data"], json!({}));
}

#[tokio::test]
async fn an_update_that_cannot_be_changes_nothing() {
    let app = TestApp::new().await;
    let room = app.room_with("ann", &["bob"]).await;
    for (body, text) in [
        (json!({"title": "x", "name": "y", "color": 1}), "some of [color, title] are not valid fields"),
        (json!({}), "name, description, maxusers, custom or newowner must be provided"),
        (json!({"name": ""}), "name must be provided"),
        (json!({"name": 7}), "name is invalid"),
        (json!({"maxusers": 0}), "maxusers is invalid"),
        (json!({"maxusers": "x"}), "maxusers is invalid"),
    ] {
        update(&app, &room, body).await.fails_parameter(text);
    }
    for (body, text) in [
        (json!({"name": "x".repeat(129)}), "title cannot exceed to 128"),
        (json!({"description": "x".repeat(513)}), "desc cannot exceed to 512"),
        (json!({"custom": "x".repeat(8193)}), "custom cannot exceed to 8192"),
        (json!({"maxusers": 10_001}), "maxUsers cannot exceed 10000"),
    ] {
        update(&app, &room, body).await.fails_limit(text);
    }
    let fewer = "current user count is larger than the maxUsers that you want to update !";
    update(&app, &room, json!({"name": "other", "maxusers": 1})).await.fails_forbidden(403, fewer);
    update(&app, &room, json!({"name": "other", "newowner": "nobody"})).await.fails_user("nobody");
    update(&app, "123", json!({"name": "other"})).await.fails_room("123");
    assert_eq!(app.get(&format!("/chatrooms/{room}")).await.json()["data"][0]["name"], "room");
    assert_eq!(update(&app, &room, json!({"maxusers": 2})).await.status, 200);
}

#[tokio::test]
async fn rooms_are_listed_the_newest_first_by_cursor_and_by_number() {
    let app = TestApp::new().await;
    app.users(&["ann", "bob"]).await;
    let one = app.room("ann", &["bob"]).await;
    let two = app.room("ann", &[]).await;
    let three = app.room("bob", &[]).await;
    let first = app.get("/chatrooms?limit=2").await;
    let cursor = first.json()["cursor"].as_str().expect("more").to_owned();
    first.is(&format!(
        r#"{{"action":"get","application":"APP","params":{{"limit":["2"]}},"uri":"BASE/chatrooms","entities":[],"data":[{{"id":"{three}","name":"room","owner":"bob","affiliations_count":1}},{{"id":"{two}","name":"room","owner":"ann","affiliations_count":1}}],"timestamp":T,"duration":T,"organization":"ORG","applicationName":"app","count":2,"cursor":"{cursor}"}}"#
    ));
    app.room("ann", &[]).await;
    app.delete(&format!("/chatrooms/{two}")).await;
    let second = app.get(&format!("/chatrooms?limit=2&cursor={cursor}")).await.json();
    assert_eq!(
        (&second["data"], second.get("cursor")),
        (&json!([{"id": one, "name": "room", "owner": "ann", "affiliations_count": 2}]), None)
    );
    let by_number = app.get("/chatrooms?pagenum=2&pagesize=1").await.json();
    assert_eq!((&by_number["data"][0]["id"], by_number.get("cursor")), (&json!(three), None));
    app.get("/chatrooms?cursor=nonsense").await.fails_parameter("cursor is invalid");
}

#[tokio::test]
async fn rooms_made_in_the_same_millisecond_are_each_listed_once() {
    let app = TestApp::new().await;
    app.users(&["ann"]).await;
    plant_rooms(&app.db, app.app.id, &numbered("same", 25), "ann", &[(1, "ann".into())]).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/chatrooms?limit=7{cursor}")).await.json();
        seen.extend(page["data"].as_array().expect("a list").iter().map(|room| room["id"].as_str().expect("an id").to_owned()));
        match page.get("cursor") {
            Some(next) => cursor = format!("&cursor={}", next.as_str().expect("a text")),
            None => break,
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 25);
}
