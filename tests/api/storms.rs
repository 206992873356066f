//! Storms: everything at once through three instances on one database, while other sessions lock rooms and users again and
//! again. Users and rooms go and come back meanwhile, and every event is asked for by a callback rule whose target is down.
//!
//! Afterwards the lists keep their rules, the events of each room lead to them, and PostgreSQL has met no deadlock: one that
//! is made good by a repetition counts, too.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::app::{Answer, Instance, TestApp, eventually, find_next_ends, migrated_database, settings};
use crate::citus::gathered;

const TROUBLE: Duration = Duration::from_secs(6);
const INSTANCES: usize = 3;
const CALLERS: usize = 100;
const SEATS: u32 = 9;
/// A limit makes those who add the same user to different rooms take turns.
const ROOMS_PER_USER: u32 = 3;
const ROOMS: [&str; 6] = ["storm1", "storm2", "storm3", "storm4", "storm5", "storm6"];
/// They stay registered.
const USERS: [&str; 8] = ["user0", "user1", "user2", "user3", "user4", "user5", "user6", "user7"];
/// They are deleted and registered again.
const DOOMED: [&str; 3] = ["doomed0", "doomed1", "doomed2"];

/// A number below `end` that cannot be foreseen.
fn chance(end: u64) -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one(COUNT.fetch_add(1, Ordering::Relaxed)) % end
}

fn pick<T: Copy>(from: &[T]) -> T {
    from[usize::try_from(chance(from.len() as u64)).expect("small")]
}

/// Anyone, mostly one who stays.
fn any_user() -> &'static str {
    if chance(5) == 0 { pick(&DOOMED) } else { pick(&USERS) }
}

fn few_users() -> Vec<&'static str> {
    let mut users: Vec<_> = (0..=chance(5)).map(|_| any_user()).collect();
    // A call collapses names that come twice, and so do its refusals.
    let mut seen = BTreeSet::new();
    users.retain(|user| seen.insert(*user));
    users
}

/// The storm as long as there is trouble; all tasks share it.
struct Storm {
    apps: Vec<TestApp>,
    trouble: AtomicBool,
}

impl Storm {
    fn goes_on(&self) -> bool {
        self.trouble.load(Ordering::Relaxed)
    }

    /// Any instance.
    fn app(&self) -> &TestApp {
        &self.apps[usize::try_from(chance(INSTANCES as u64)).expect("small")]
    }
}

/// Every refusal that the contract has for a change of a room about these users, whole, and that of a room that is held.
fn refusals(room: &str, users: &[&str]) -> Vec<Answer> {
    let forbidden =
        |status, text: String| Answer::refusal(status, "forbidden_op", "com.easemob.group.exception.ForbiddenOpException", &text);
    let missing =
        |text: String| Answer::refusal(404, "resource_not_found", "com.easemob.group.exception.ResourceNotFoundException", &text);
    let mut all = vec![
        missing(format!("grpID {room} does not exist!")),
        forbidden(403, "can not join this group, reason:member list is full!".into()),
        forbidden(403, "forbidden operation on group owner!".into()),
        forbidden(403, "new owner and old owner are the same".into()),
        Answer::refusal(503, "service_unavailable", "ServiceUnavailableException", "Service Unavailable"),
    ];
    for some in 1..1 << users.len() {
        let named: Vec<&str> = users.iter().enumerate().filter(|(at, _)| some >> at & 1 == 1).map(|(_, user)| *user).collect();
        all.push(forbidden(400, format!("users [{}] are not members of this group!", named.join(", "))));
    }
    for user in users {
        all.extend([
            missing(format!("username {user} doesn't exist!")),
            missing(format!("user: {user} doesn't exist in group: {room}")),
            forbidden(403, format!("user: {user} doesn't exist in group: {room}")),
            forbidden(403, format!("user:{user} is not admin of group:{room}")),
            forbidden(403, format!("can not join this group, reason:user {user} has joined too many chatrooms!")),
            forbidden(400, format!("can not join this group, reason:user: {user} already in group: {room}")),
            forbidden(403, format!("can not join this group, reason:user {user} is in the blacklist of group {room}")),
        ]);
    }
    all
}

/// Makes one change of any kind, and returns its kind and whether it was made.
async fn change(app: &TestApp) -> (&'static str, bool) {
    let (room, one, few) = (pick(&ROOMS), [any_user()], few_users());
    let at = |path: &str| format!("/chatrooms/{room}{path}");
    let (user, names) = (one[0], few.join(","));
    let mute = |duration: u64| json!({"usernames": few, "mute_duration": duration});
    let (kind, users, answer): (_, &[&str], Answer) = match chance(24) {
        0..3 => ("add", &one, app.post(&at(&format!("/users/{user}"))).await),
        3..6 => ("add some", &few, app.post_json(&at("/users"), json!({"usernames": few})).await),
        6 => ("remove", &one, app.delete(&at(&format!("/users/{user}"))).await),
        7 => ("remove some", &few, app.delete(&at(&format!("/users/{names},"))).await),
        8..10 => ("promote", &one, app.post_json(&at("/admin"), json!({"newadmin": user})).await),
        10..13 => ("demote", &one, app.delete(&at(&format!("/admin/{user}"))).await),
        13 => {
            let block = json!({"block_duration": 20 + chance(800)});
            ("block for a while", &one, app.post_json(&at(&format!("/blocks/users/{user}")), block).await)
        }
        14 => ("block some", &few, app.post_json(&at("/blocks/users"), json!({"usernames": few})).await),
        15..17 => ("unblock some", &few, app.delete(&at(&format!("/blocks/users/{names},"))).await),
        17 => ("whitelist some", &few, app.post_json(&at("/white/users"), json!({"usernames": few})).await),
        18 => ("off the whitelist", &one, app.delete(&at(&format!("/white/users/{user}"))).await),
        19..21 => ("mute some for a while", &few, app.post_json(&at("/mute"), mute(20 + chance(800))).await),
        21 => ("mute some", &few, app.post_json(&at("/mute"), mute(3_600_000)).await),
        22 => ("unmute some", &few, app.delete(&at(&format!("/mute/{names}"))).await),
        _ => {
            let transfer = app.request(Method::PUT, &at("")).body(json!({"newowner": user}).to_string());
            ("transfer", &one, app.send(transfer).await)
        }
    };
    assert!(answer.status == 200 || refusals(room, users).contains(&answer), "{kind}, {users:?}: {answer:?}");
    (kind, answer.status == 200)
}

/// Reads of a room that is there are answered whatever holds it, and never show it overfull.
async fn read(app: &TestApp) {
    let room = pick(&ROOMS);
    let answer = app.get(&format!("/chatrooms/{room}/users")).await;
    let gone = Answer::refusal(
        404,
        "service_resource_not_found",
        "com.easemob.group.exception.ServiceResourceNotFoundException",
        &format!("do not find this group:{room}"),
    );
    if answer != gone {
        assert_eq!(answer.status, 200, "{}", answer.text);
        let count = answer.json()["count"].as_u64();
        assert!(count.is_some_and(|count| (1..=SEATS.into()).contains(&count)), "{count:?}");
    }
}

/// Changes and reads, and returns how often each kind of change was made.
async fn call(storm: Arc<Storm>) -> BTreeMap<&'static str, u32> {
    let mut made = BTreeMap::new();
    while storm.goes_on() {
        let (kind, is_made) = change(storm.app()).await;
        *made.entry(kind).or_default() += u32::from(is_made);
        if chance(4) == 0 {
            read(storm.app()).await;
        }
    }
    made
}

/// Locks rows from a session of its own, again and again for so many milliseconds, and returns how often.
async fn hold(
    storm: Arc<Storm>,
    url: String,
    lock: &'static str,
    keys: impl Fn() -> Vec<&'static str>,
    times: Range<u64>,
) -> u32 {
    let mut session = PgConnection::connect(&url).await.expect("the database");
    let mut holds = 0;
    while storm.goes_on() {
        let mut locked = session.begin().await.expect("a transaction");
        let mut keys = keys();
        keys.sort_unstable();
        for key in keys {
            sqlx::query(lock).bind(storm.apps[0].app.id).bind(key).execute(&mut *locked).await.expect("locks");
        }
        sleep(Duration::from_millis(times.start + chance(times.end - times.start))).await;
        locked.rollback().await.expect("unlocked");
        holds += 1;
        sleep(Duration::from_millis(chance(50))).await;
    }
    session.close().await.expect("closed");
    holds
}

/// Deletes users, sometimes with the rooms that they own, and returns how many.
async fn delete_users(storm: Arc<Storm>) -> u32 {
    let mut deleted = 0;
    while storm.goes_on() {
        let user = pick(&DOOMED);
        let answer = storm.app().delete(&format!("/users/{user}")).await;
        let gone = Answer::refusal(404, "service_resource_not_found", "UserNotFoundException", "Service resource not found");
        assert!(answer.status == 200 || answer == gone, "{answer:?}");
        deleted += u32::from(answer.status == 200);
        sleep(Duration::from_millis(chance(200))).await;
    }
    deleted
}

async fn register(app: &TestApp, users: &[&str]) {
    let batch: Vec<Value> = users.iter().map(|user| json!({"username": user, "password": "password"})).collect();
    let answer = app.post_json("/users", Value::Array(batch)).await;
    // Names that are taken are told in it.
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// Registers users who may be there, in any order.
async fn register_again(storm: Arc<Storm>) {
    while storm.goes_on() {
        let mut users = [pick(&DOOMED), pick(&DOOMED), pick(&USERS)].to_vec();
        users.dedup();
        register(storm.app(), &users).await;
        sleep(Duration::from_millis(chance(100))).await;
    }
}

/// Deletes rooms now and then, and returns how many.
async fn delete_rooms(storm: Arc<Storm>) -> u32 {
    let mut deleted = 0;
    while storm.goes_on() {
        sleep(Duration::from_millis(600 + chance(800))).await;
        let room = pick(&ROOMS);
        let answer = storm.app().delete(&format!("/chatrooms/{room}")).await;
        assert!(answer.status == 200 || refusals(room, &[]).contains(&answer), "{answer:?}");
        deleted += u32::from(answer.status == 200);
    }
    deleted
}

/// Who makes a room. An owner of two rooms might be in too many.
fn owner_of(room: &str) -> String {
    format!("owner-of-{room}")
}

/// Makes a room under its old id; without effect if it is there.
async fn make_room(app: &TestApp, room: &str) -> bool {
    let body = json!({"roomid": room, "name": "n", "description": "d", "owner": owner_of(room), "maxusers": SEATS});
    let answer = app.post_json("/chatrooms", body).await;
    let taken = format!("group ID {room} already exists!");
    let busy = format!("group ID {room} is being removed, try again!");
    let refusals = [
        Answer::refusal(400, "illegal_argument", "java.lang.IllegalArgumentException", &taken),
        Answer::refusal(409, "concurrent_operation_error", "ConcurrentOperationException", &busy),
    ];
    assert!(answer.status == 200 || refusals.contains(&answer), "{answer:?}");
    answer.status == 200 || answer == refusals[0]
}

/// Makes rooms that are gone anew.
async fn make_rooms(storm: Arc<Storm>) {
    while storm.goes_on() {
        make_room(storm.app(), pick(&ROOMS)).await;
        sleep(Duration::from_millis(chance(60))).await;
    }
}

/// The events of a room, all of them; fails if a number is missing.
async fn events(app: &TestApp, room: &str) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    loop {
        let page = app.get(&format!("/chatrooms/{room}/events?since={}&limit=1000", events.len())).await.json();
        let page = page["data"].as_array().expect("events").clone();
        if page.is_empty() {
            break;
        }
        events.extend(page);
    }
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["n"], index + 1);
    }
    events
}

/// What a reader of only the events knows of a room.
#[derive(Default)]
struct Told {
    owner: String,
    lists: BTreeMap<&'static str, BTreeSet<String>>,
    kinds: BTreeSet<String>,
}

impl Told {
    /// Fails if an event tells what cannot be after those before it.
    fn hear(&mut self, event: &Value) {
        let kind = event["kind"].as_str().expect("a kind");
        self.kinds.insert(kind.into());
        let users = event["users"].as_array().into_iter().flatten().map(|user| user.as_str().expect("a name"));
        match kind {
            "CREATE" => {
                assert!(self.list("members").is_empty(), "{event}: {:?}", self.lists);
                self.lists.clear();
                self.owner = event["after"]["owner"].as_str().expect("a name").into();
            }
            "DELETE" => assert!(self.list("members").is_empty(), "{event}: {:?}", self.lists),
            "UPDATE/OWNER" => {
                assert_eq!(event["before"]["owner"], self.owner);
                self.owner = event["after"]["owner"].as_str().expect("a name").into();
                let owner = self.owner.clone();
                assert!(self.list("members").contains(&owner), "{event}: {:?}", self.lists);
            }
            _ => {}
        }
        for user in users {
            let (list, is_on) = match kind {
                "CREATE" | "JOIN/DIRECT" => ("members", true),
                "LEAVE/KICK" | "LEAVE/BLOCK" | "LEAVE/DELETE" => {
                    assert!(user != self.owner || kind == "LEAVE/DELETE", "{event}");
                    self.list("admins").remove(user);
                    self.list("whitelist").remove(user);
                    ("members", false)
                }
                "ADMIN/ADD" => ("admins", true),
                "ADMIN/REMOVE" => ("admins", false),
                "WHITE/ADD" => ("whitelist", true),
                "WHITE/REMOVE" => ("whitelist", false),
                // An end that moves changes no list.
                "BLOCK/ADD" | "MUTE/ADD" if !event["before"][user].is_null() => {
                    let list = if kind == "BLOCK/ADD" { "blocks" } else { "mutes" };
                    assert!(self.list(list).contains(user), "{event}: {:?}", self.lists);
                    continue;
                }
                "BLOCK/ADD" => ("blocks", true),
                "BLOCK/REMOVE" | "BLOCK/EXPIRE" => ("blocks", false),
                "MUTE/ADD" => ("mutes", true),
                "MUTE/REMOVE" | "MUTE/EXPIRE" => ("mutes", false),
                "UPDATE/OWNER" => continue,
                _ => panic!("{event} is unexpected"),
            };
            let changes = if is_on { self.list(list).insert(user.into()) } else { self.list(list).remove(user) };
            assert!(changes, "{event} changes nothing: {:?}", self.lists);
            let blocked = self.list("blocks").clone();
            assert!(self.list("members").is_disjoint(&blocked), "{event}: {:?}", self.lists);
        }
    }

    fn list(&mut self, list: &'static str) -> &mut BTreeSet<String> {
        self.lists.entry(list).or_default()
    }
}

/// The lists of a room, each asked through any instance.
async fn listed(storm: &Storm, room: &str) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut lists = BTreeMap::from([("members", storm.app().members(room).await.into_iter().collect())]);
    for (list, path) in [("admins", "admin"), ("whitelist", "white/users"), ("blocks", "blocks/users"), ("mutes", "mute")] {
        let answer = storm.app().get(&format!("/chatrooms/{room}/{path}")).await.json();
        let name = |entry: &Value| entry.as_str().or_else(|| entry["user"].as_str()).expect("a name").to_owned();
        lists.insert(list, answer["data"].as_array().expect("a list").iter().map(name).collect());
    }
    lists
}

/// Whether nothing is left to be done in the background, and nothing is about to end.
async fn is_calm(app: &TestApp) -> bool {
    sqlx::query_scalar(
        gathered(
            "select not exists (select from users where deleted_at is not null)
            and not exists (select from chatrooms where deleted_at is not null)
            and not exists (select from mutes where ends_at <= now() + interval '1 minute')
            and not exists (select from blocks where ends_at <= now() + interval '1 minute')",
        )
        .await,
    )
    .fetch_one(&app.db)
    .await
    .expect("a row")
}

/// Fails unless the events of each room lead to its lists, and its counts are those of its events. Returns the kinds that
/// have come.
async fn assert_replay(storm: &Storm) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    for room in ROOMS {
        let counts: BTreeMap<i64, i32> =
            sqlx::query_as("select n, member_count from events where app = $1 and chatroom = $2 and member_count is not null")
                .bind(storm.apps[0].app.id)
                .bind(room)
                .fetch_all(&storm.apps[0].db)
                .await
                .expect("events")
                .into_iter()
                .collect();
        let mut told = Told::default();
        for event in events(storm.app(), room).await {
            told.hear(&event);
            if let Some(count) = counts.get(&event["n"].as_i64().expect("a number")) {
                let members = told.list("members").len();
                assert_eq!(usize::try_from(*count), Ok(members), "{room}: {event}");
            }
        }
        for list in ["members", "admins", "whitelist", "blocks", "mutes"] {
            told.list(list);
        }
        assert_eq!(told.lists, listed(storm, room).await, "{room}");
        let detail = storm.app().get(&format!("/chatrooms/{room}")).await.json();
        assert_eq!(detail["data"][0]["owner"], told.owner, "{room}");
        kinds.append(&mut told.kinds);
    }
    kinds
}

/// Lets everything happen at once as long as there is trouble.
async fn rage(storm: &Arc<Storm>, url: &str) {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(call(storm.clone()));
    }
    let mut makers = JoinSet::new();
    for _ in 0..2 {
        makers.spawn(register_again(storm.clone()));
        makers.spawn(make_rooms(storm.clone()));
    }
    let rooms = "select from room_counters where app = $1 and chatroom = $2 for update";
    let users = "select from users where app = $1 and username = $2 for update";
    let others = [
        tokio::spawn(hold(storm.clone(), url.into(), rooms, || vec![pick(&ROOMS), pick(&ROOMS)], 50..401)),
        tokio::spawn(hold(storm.clone(), url.into(), users, || vec![any_user()], 10..81)),
        tokio::spawn(delete_rooms(storm.clone())),
        tokio::spawn(delete_users(storm.clone())),
    ];
    sleep(TROUBLE).await;
    storm.trouble.store(false, Ordering::Relaxed);

    let mut made: BTreeMap<&str, u32> = BTreeMap::new();
    for changes in callers.join_all().await {
        for (kind, times) in changes {
            *made.entry(kind).or_default() += times;
        }
    }
    makers.join_all().await;
    let mut done = Vec::new();
    for other in others {
        done.push(other.await.expect("no panic"));
    }
    println!("changes: {made:?}; rooms and users held, rooms and users deleted: {done:?}");
    assert!(made.values().sum::<u32>() >= 100 && done.iter().all(|times| *times >= 1), "a storm: {made:?} {done:?}");
}

/// How often PostgreSQL has ended a transaction that waited for itself. Sessions tell when they are over, if not before.
async fn deadlocks(url: &str) -> i64 {
    let mut session = PgConnection::connect(url).await.expect("the database");
    sqlx::query_scalar("select deadlocks from pg_stat_database where datname = current_database()")
        .fetch_one(&mut session)
        .await
        .expect("figures")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_through_three_instances_breaks_no_rule_and_meets_no_deadlock() {
    let url = migrated_database().await;
    let mut strict = settings(&url);
    strict.limits.rooms_per_user = ROOMS_PER_USER;
    let instances: Vec<Instance> = (0..INSTANCES).map(|_| Instance::start(strict.clone())).collect();
    let app = TestApp::on(instances[0].address, &url).await;
    let apps = instances.iter().map(|instance| app.through(instance.address)).collect();
    let storm = Arc::new(Storm { apps, trouble: AtomicBool::new(true) });
    app.users(&[&USERS[..], &DOOMED[..]].concat()).await;
    app.users(&ROOMS.map(owner_of).each_ref().map(String::as_str)).await;
    // A port that nothing listens on: it was free a moment ago.
    let down = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let rule = app.post_json("/callbacks/rules", json!({"url": format!("http://{down}/"), "secret": "s"})).await;
    assert_eq!(rule.status, 200, "{}", rule.text);
    for room in ROOMS {
        assert!(make_room(&app, room).await);
    }
    rage(&storm, &url).await;

    // What was deleted is forgotten, and what has ended is told.
    eventually("all is calm", || is_calm(&app)).await;
    for room in ROOMS {
        eventually("the room is there", || make_room(&app, room)).await;
    }
    app.assert_invariants().await;
    let rooms_of_each = "select username::text, count(*) from members group by 1 having count(*) > $1";
    let too_many: Vec<(String, i64)> =
        sqlx::query_as(rooms_of_each).bind(i64::from(ROOMS_PER_USER)).fetch_all(&app.db).await.expect("members");
    assert!(too_many.is_empty(), "{too_many:?}");
    assert_replay(&storm).await;

    // What is left ends now; every end is found.
    for table in [
        "update mutes set ends_at = date_trunc('milliseconds', now())",
        "update blocks set ends_at = date_trunc('milliseconds', now())",
    ] {
        sqlx::query(table).execute(&app.db).await.expect("aged");
    }
    find_next_ends(&app.db, app.app.id).await;
    eventually("all is over", || async {
        let left = "select (select count(*) from mutes) + (select count(*) from blocks)";
        sqlx::query_scalar::<_, i64>(left).fetch_one(&app.db).await.expect("a count") == 0
    })
    .await;
    app.assert_invariants().await;
    let kinds = assert_replay(&storm).await;
    assert!(kinds.len() >= 15, "everything has happened: {kinds:?}");

    drop((storm, instances));
    app.db.close().await;
    assert_eq!(deadlocks(&url).await, 0);
}
