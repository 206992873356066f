//! The stage of a test: an app of its own on a service that all tests share, or on instances of its own.

use roomward::accounts::apps::{self, App, Credentials};
use roomward::db::Db;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use reqwest::Method;
use roomward::auth::{self, Keys, Life, Subject};
use roomward::config::{Settings, Writes};
use roomward::migrations::{self, distribution};
use roomward::rooms::writer::Writer;
use roomward::server::{Service, Stop};
use serde_json::{Value, json};

use crate::citus;
use crate::openapi::forms;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

pub const SECRET: &str = "the secret of all tests, thirty-two bytes";
pub const CLIENT_ID: &str = "client";
pub const CLIENT_SECRET: &str = "client-secret";

/// The server on which tests make their databases.
pub fn server_url() -> String {
    std::env::var("ROOMWARD_TEST_DATABASE_URL").expect("ROOMWARD_TEST_DATABASE_URL; `make test` sets it")
}

/// A new, empty database; returns its URL.
pub async fn new_database() -> String {
    let name = format!("test_{}", Uuid::new_v4().simple());
    if citus::is_cluster().await {
        citus::make_database(&name).await;
    } else {
        let mut connection = PgConnection::connect(&server_url()).await.expect("the test server");
        sqlx::raw_sql(AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await.expect("create database");
    }
    let url = server_url();
    let (server, parameters) = url.split_once('?').map_or((&*url, String::new()), |(url, more)| (url, format!("?{more}")));
    server.rsplit_once('/').map(|(server, _)| format!("{server}/{name}{parameters}")).expect("a URL with a database")
}

/// A new database with the schema of this version, laid out as the server allows; returns its URL.
pub async fn migrated_database() -> String {
    let url = new_database().await;
    migrations::run(&url).await.expect("migrated");
    if citus::is_cluster().await {
        distribution::run(&url).await.expect("distributed");
    }
    url
}

/// Settings for tests on the database at `url`.
pub fn settings(url: &str) -> Settings {
    let mut settings = Settings::load().expect("settings");
    settings.server.port = 0;
    settings.server.workers = 1;
    settings.server.development = true;
    settings.server.shutdown_seconds = 5;
    let pooler = pooler_url(url);
    settings.database.transaction_pooling = pooler.is_some();
    settings.database.url = pooler.unwrap_or_else(|| url.to_owned()).into();
    settings.database.max_connections = 5;
    settings.auth.secret = SECRET.to_owned().into();
    settings.passwords.memory_kib = 8;
    settings.passwords.iterations = 1;
    settings.purge.every_ms = 50;
    settings.expiry.every_ms = 50;
    // Tests write events of any age.
    settings.events.keep_days = 36_500;
    settings.callbacks.keep_days = 36_500;
    settings.callbacks.every_ms = 50;
    settings.callbacks.allow_private_targets = true;
    // A test makes all its calls at once.
    settings.limits.calls_per_second_of_user_token = 0;
    settings.console.enabled = true;
    settings.writes = writes();
    settings
}

/// The same where nothing is given up because the machine is slow.
pub fn patient(url: &str) -> Settings {
    let mut settings = settings(url);
    settings.server.request_timeout_ms = 60_000;
    settings.database.acquire_timeout_ms = 60_000;
    settings.database.statement_timeout_ms = 60_000;
    settings.database.lock_timeout_ms = 60_000;
    settings
}

/// From the moment at which a call came in to that at which it was answered, in Unix milliseconds, by what its answer says.
pub fn time_of(answer: &Value) -> RangeInclusive<i64> {
    let number = |field: &str| answer[field].as_i64().expect("a number");
    // All three are cut to whole milliseconds: both of these, and what is compared.
    number("timestamp") - number("duration") - 2..=number("timestamp")
}

/// The way to the same database through the pooler before the test server, if the tests are to take that.
fn pooler_url(url: &str) -> Option<String> {
    let pooler = std::env::var("ROOMWARD_TEST_POOLER_URL").ok()?;
    let (server, pooler) = (server_url(), pooler.rsplit_once('/').expect("a URL with a database").0.to_owned());
    let database = url.strip_prefix(server.rsplit_once('/').expect("a URL with a database").0)?;
    Some(pooler + database)
}

/// How changes are made: together, unless the tests are told to try how each goes by itself.
pub fn writes() -> Writes {
    let mut writes = Settings::load().expect("settings").writes;
    if let Ok(batch) = std::env::var("ROOMWARD_TEST_WRITES_BATCH") {
        writes.batch = batch.parse().expect("ROOMWARD_TEST_WRITES_BATCH is a number");
    }
    writes
}

/// A way to change rooms beside the service.
pub fn writer(db: &PgPool) -> Writer {
    Writer::new(Db::new(db.clone()), &writes())
}

/// Says in every room of an app when the next mute or block ends, after a test has moved some. A room that the test holds is
/// left out: nothing ends there anyway.
pub async fn find_next_ends(db: &PgPool, app: i32) {
    if citus::is_cluster().await {
        return citus::find_next_ends(db, app).await;
    }
    sqlx::query(
        "update room_counters set next_end = least(
             timestamptz '2117-01-01 00:00:00+08',
             (select mute_ends_at from chatrooms where app = $1 and id = room_counters.chatroom),
             (select min(ends_at) from mutes where app = $1 and chatroom = room_counters.chatroom),
             (select min(ends_at) from blocks where app = $1 and chatroom = room_counters.chatroom))
         where (app, chatroom) in (select app, chatroom from room_counters where app = $1 for update skip locked)",
    )
    .bind(app)
    .execute(db)
    .await
    .expect("ends");
}

/// A running service; stopped when dropped.
pub struct Instance {
    pub address: SocketAddr,
    pub stop: Stop,
    stopped: Option<std::thread::JoinHandle<()>>,
}

impl Instance {
    /// Starts a service on threads of its own, so that it outlives the runtime of the test that started it.
    pub fn start(settings: Settings) -> Self {
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let service = Service::new(settings).expect("a service");
                tell.send((service.address(), service.stop())).expect("a listener");
                service.run().await.expect("served");
            });
        });
        let (address, stop) = told.recv().expect("a started service");
        Self { address, stop, stopped: Some(thread) }
    }

    /// Waits until the service has stopped.
    pub fn join(mut self) {
        self.stopped.take().expect("still running").join().expect("no panic");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(thread) = self.stopped.take() {
            let stop = self.stop.clone();
            let stopper = std::thread::spawn(move || {
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(stop.stop());
            });
            let _ = stopper.join();
            let _ = thread.join();
        }
    }
}

/// The service that most tests share, and its database.
static SHARED: LazyLock<(Instance, String)> = LazyLock::new(|| {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let url = runtime.block_on(migrated_database());
        (Instance::start(settings(&url)), url)
    })
    .join()
    .expect("no panic")
});

/// The database of the shared service.
pub fn shared_database() -> &'static str {
    &SHARED.1
}

/// An app of its own, a client that has its token, and the database behind it.
pub struct TestApp {
    pub app: App,
    pub token: String,
    pub db: PgPool,
    pub client: reqwest::Client,
    pub address: SocketAddr,
}

impl TestApp {
    /// A new app on the shared service.
    pub async fn new() -> Self {
        Self::on(SHARED.0.address, shared_database()).await
    }

    /// A new app on the service at `address`, whose database is at `url`.
    pub async fn on(address: SocketAddr, url: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let org = format!("org{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        Self::named(address, url, &org, "app").await
    }

    /// A new app of that name on the shared service.
    pub async fn of(org: &str, name: &str) -> Self {
        Self::named(SHARED.0.address, shared_database(), org, name).await
    }

    async fn named(address: SocketAddr, url: &str, org: &str, name: &str) -> Self {
        let db = PgPoolOptions::new().max_connections(2).connect(url).await.expect("the database");
        let app = new_app(&db, org, name).await;
        let token = token(&app);
        Self { app, token, db, client: reqwest::Client::new(), address }
    }

    /// Lets the app differ from the service in one setting, and waits until the service has seen it.
    pub async fn set(&mut self, key: &str, value: &str) {
        let mut overrides = self.app.overrides.0.clone();
        overrides.set(key, value).expect("a legal setting");
        apps::set_overrides(&Db::new(self.db.clone()), self.app.id, overrides.clone()).await.expect("stored");
        self.app.overrides.0 = overrides;
        // The service takes an app for granted for a second.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    }

    /// The same app, asked through another instance.
    pub fn through(&self, address: SocketAddr) -> Self {
        Self { app: self.app.clone(), token: self.token.clone(), db: self.db.clone(), client: reqwest::Client::new(), address }
    }

    /// The URL of everything in this app.
    pub fn base(&self) -> String {
        format!("http://{}/{}/{}", self.address, self.app.org, self.app.name)
    }

    /// The URL of a path that belongs to no app.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request to `path`, below the app, with its token.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base())).bearer_auth(&self.token)
    }

    /// A token of that user's.
    pub async fn user_token(&self, name: &str) -> String {
        let answer = self.post_json("/token", json!({"grant_type": "inherit", "username": name})).await;
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    /// A request with another token than the app's.
    pub fn as_user(&self, token: &str, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base())).bearer_auth(token)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// Without a body.
    pub async fn post(&self, path: &str) -> Answer {
        self.send(self.request(Method::POST, path)).await
    }

    /// JSON without a Content-Type, as the Java SDK sends it.
    pub async fn post_json(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).body(body.to_string())).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = self.send_plain(request).await;
        Answer { status: answer.status, text: self.masked(&answer.text) }
    }

    /// The same, and nothing is replaced in the answer. Every answer must be one that the OpenAPI document tells of.
    pub async fn send_plain(&self, request: reqwest::RequestBuilder) -> Answer {
        let request = request.build().expect("a request");
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = self.client.execute(request).await.expect("an answer");
        let status = response.status().as_u16();
        assert_eq!(forms::unknown_header(method.as_str(), &path, status, response.headers()), None);
        let media = response.headers().get("content-type").map(|media| media.to_str().expect("a text").to_owned());
        let text = response.text().await.expect("a body");
        let complaint = forms::complaint(method.as_str(), &path, status, media.as_deref().unwrap_or_default(), &text);
        assert_eq!(complaint, None);
        Answer { status, text }
    }

    /// What differs from run to run is replaced: BASE, APP, ORG, and all times by T.
    fn masked(&self, text: &str) -> String {
        let text = text.replace(&self.base(), "BASE").replace(&self.app.uuid.to_string(), "APP").replace(&self.app.org, "ORG");
        ["\"timestamp\":", "\"duration\":", "\"created\":", "\"modified\":"]
            .into_iter()
            .fold(text, |text, key| mask_number(&text, key))
    }

    /// Registers users, all with the password `password`.
    pub async fn users(&self, names: &[&str]) {
        for chunk in names.chunks(60) {
            let batch: Vec<Value> = chunk.iter().map(|name| json!({"username": name, "password": "password"})).collect();
            let answer = self.post_json("/users", Value::Array(batch)).await;
            assert_eq!((answer.status, &answer.json()["data"]), (200, &json!([])), "{}", answer.text);
        }
    }

    /// Makes a room of registered people; returns its id.
    pub async fn room(&self, owner: &str, members: &[&str]) -> String {
        self.room_of(200, owner, members).await
    }

    /// The same with room for `maxusers`.
    pub async fn room_of(&self, maxusers: u32, owner: &str, members: &[&str]) -> String {
        let body = json!({"name": "room", "description": "a room", "owner": owner, "members": members, "maxusers": maxusers});
        let answer = self.post_json("/chatrooms", body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["data"]["id"].as_str().expect("an id").to_owned()
    }

    /// A room with its people, who are registered before.
    pub async fn room_with(&self, owner: &str, members: &[&str]) -> String {
        self.users(&[&[owner], members].concat()).await;
        self.room(owner, members).await
    }

    /// All members of a room, the owner first.
    pub async fn members(&self, room: &str) -> Vec<String> {
        let answer = self.get(&format!("/chatrooms/{room}/users")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let name = |entry: &Value| {
            entry.as_object().and_then(|entry| entry.values().next()?.as_str().map(str::to_owned)).expect("a name")
        };
        answer.json()["data"].as_array().expect("a list").iter().map(name).collect()
    }

    /// When the events of a kind happened, in Unix milliseconds, in the order of their numbers.
    pub async fn moments(&self, kind: &str) -> Vec<i64> {
        let moments =
            "select (extract(epoch from happened_at) * 1000)::bigint from events where app = $1 and kind = $2 order by n";
        sqlx::query_scalar(moments).bind(self.app.id).bind(kind).fetch_all(&self.db).await.expect("events")
    }

    /// The entries of a page of a list with a count, and its cursor.
    pub async fn page(&self, path: &str) -> (Vec<Value>, Option<String>) {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let body = answer.json();
        let entries = body["data"].as_array().expect("a list").clone();
        assert_eq!(body["count"], entries.len(), "{}", answer.text);
        (entries, body.get("cursor").map(|cursor| cursor.as_str().expect("a text").to_owned()))
    }

    /// All its entries by cursor, and on how many pages they were. `path` has a query.
    pub async fn pages(&self, path: &str) -> (Vec<Value>, usize) {
        let (mut seen, mut pages, mut cursor) = (Vec::new(), 0, String::new());
        loop {
            let (entries, next) = self.page(&format!("{path}{cursor}")).await;
            seen.extend(entries);
            pages += 1;
            match next {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (seen, pages),
            }
        }
    }

    /// Locks a room from a session of its own: no other session changes it until that is over.
    pub async fn lock_room(&self, room: &str) -> Transaction<'static, Postgres> {
        let mut locked = self.db.begin().await.expect("a transaction");
        sqlx::query("select from room_counters where app = $1 and chatroom = $2 for update")
            .bind(self.app.id)
            .bind(room)
            .fetch_one(&mut *locked)
            .await
            .expect("a lock");
        locked
    }

    /// Fails unless every count in the app is the number of rows, no room is overfull, and no list has a stranger.
    pub async fn assert_invariants(&self) {
        let broken = async || -> Vec<String> {
            sqlx::query_scalar(citus::gathered(include_str!("invariants.sql")).await)
                .bind(self.app.id)
                .fetch_all(&self.db)
                .await
                .expect("a query")
        };
        if citus::is_cluster().await {
            // Its nodes are looked at one after the other, while something may be ending in the background.
            eventually("the counts are those of the rows", async || broken().await.is_empty()).await;
        }
        let broken = broken().await;
        assert!(broken.is_empty(), "{broken:?}");
        self.assert_told().await;
    }

    /// Fails unless a reader of only the events of the rooms comes to the same lists. Rooms that a test has made behind
    /// the service's back were never told, and are left out.
    async fn assert_told(&self) {
        let wrong: Vec<String> = sqlx::query_scalar(citus::gathered(
            "with kinds (list, adds, removes) as (values
                 ('members', '{CREATE,JOIN/DIRECT}'::text[], '{LEAVE/KICK,LEAVE/BLOCK,LEAVE/DELETE}'::text[]),
                 ('admins', '{ADMIN/ADD}', '{ADMIN/REMOVE,LEAVE/KICK,LEAVE/BLOCK,LEAVE/DELETE}'),
                 ('whitelist', '{WHITE/ADD}', '{WHITE/REMOVE,LEAVE/KICK,LEAVE/BLOCK,LEAVE/DELETE}'),
                 ('blocks', '{BLOCK/ADD}', '{BLOCK/REMOVE,BLOCK/EXPIRE}'),
                 ('mutes', '{MUTE/ADD}', '{MUTE/REMOVE,MUTE/EXPIRE}')
             ),
             rooms as (
                 select chatrooms.app, id, max(n) as born from chatrooms
                 join events on (events.app, events.chatroom) = (chatrooms.app, id) and kind = 'CREATE'
                 where chatrooms.app = $1 and deleted_at is null group by 1, 2
             ),
             last as (
                 select distinct on (list, chatroom, username) list, chatroom, username, kind = any(adds) as is_on
                 from kinds join events on events.app = $1 and kind = any(adds || removes)
                 join rooms on id = chatroom and n >= born, unnest(users) username
                 order by list, chatroom, username, n desc
             ),
             told as (select list, chatroom, username from last where is_on),
             listed as (
                 select 'members' as list, chatroom, username from members join rooms on (rooms.app, id) = (members.app, chatroom)
                 union all select 'admins', chatroom, username from admins join rooms on (rooms.app, id) = (admins.app, chatroom)
                 union all select 'whitelist', chatroom, username from whitelist join rooms on (rooms.app, id) = (whitelist.app, chatroom)
                 union all select 'blocks', chatroom, username from blocks join rooms on (rooms.app, id) = (blocks.app, chatroom)
                 union all select 'mutes', chatroom, username from mutes join rooms on (rooms.app, id) = (mutes.app, chatroom)
             )
             (select 'told but not listed: ' || told::text from (select * from told except select * from listed) told)
             union all
             (select 'listed but not told: ' || listed::text from (select * from listed except select * from told) listed)
             union all
             select 'numbers of ' || id || ' have gaps' from rooms
             join room_counters on (room_counters.app, room_counters.chatroom) = (rooms.app, id)
             where last_event <> (select count(*) from events where events.app = $1 and events.chatroom = id)
                or last_event <> (select max(n) from events where events.app = $1 and events.chatroom = id)
                or last_event_at < (select max(happened_at) from events where events.app = $1 and events.chatroom = id)",
        ).await)
        .bind(self.app.id)
        .fetch_all(&self.db)
        .await
        .expect("a query");
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

pub fn mask_number(text: &str, key: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(key) {
        let (before, after) = rest.split_at(at + key.len());
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        masked.push_str(before);
        if digits > 0 {
            masked.push('T');
        }
        rest = &after[digits..];
    }
    masked + rest
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    /// The body, as JSON; times are gone.
    pub fn json(&self) -> Value {
        let text = self.text.replace(":T", ":0");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Fails unless this is a success with exactly this body, key order included.
    #[track_caller]
    pub fn is(&self, text: &str) {
        assert_eq!((self.status, &*self.text), (200, text));
    }

    /// A failure with exactly this body.
    pub fn refusal(status: u16, error: &str, exception: &str, description: &str) -> Self {
        let text = format!(
            r#"{{"error":{},"exception":{},"timestamp":T,"duration":T,"error_description":{}}}"#,
            Value::from(error),
            Value::from(exception),
            Value::from(description)
        );
        Self { status, text }
    }

    /// Fails unless this is a failure with exactly this body.
    #[track_caller]
    pub fn fails(&self, status: u16, error: &str, exception: &str, description: &str) {
        let expected = Self::refusal(status, error, exception, description);
        assert_eq!((self.status, &*self.text), (status, &*expected.text));
    }

    /// Rows of the catalogue that many calls share.
    #[track_caller]
    pub fn fails_auth(&self) {
        self.fails(401, "unauthorized", "EasemobSecurityException", "Unable to authenticate (OAuth)");
    }

    #[track_caller]
    pub fn fails_room(&self, room: &str) {
        let description = format!("grpID {room} does not exist!");
        self.fails(404, "resource_not_found", "com.easemob.group.exception.ResourceNotFoundException", &description);
    }

    #[track_caller]
    pub fn fails_user(&self, user: &str) {
        let description = format!("username {user} doesn't exist!");
        self.fails(404, "resource_not_found", "com.easemob.group.exception.ResourceNotFoundException", &description);
    }

    #[track_caller]
    pub fn fails_forbidden(&self, status: u16, description: &str) {
        self.fails(status, "forbidden_op", "com.easemob.group.exception.ForbiddenOpException", description);
    }

    #[track_caller]
    pub fn fails_parameter(&self, description: &str) {
        self.fails(400, "invalid_parameter", "com.easemob.group.exception.InvalidParameterException", description);
    }

    #[track_caller]
    pub fn fails_argument(&self, description: &str) {
        self.fails(400, "illegal_argument", "java.lang.IllegalArgumentException", description);
    }

    #[track_caller]
    pub fn fails_limit(&self, description: &str) {
        self.fails(403, "exceed_limit", "com.easemob.group.exception.ExceedLimitException", description);
    }
}

pub async fn new_app(db: &PgPool, org: &str, name: &str) -> App {
    let uuid = Uuid::new_v4();
    let client_secret_hash = auth::hash_client_secret(uuid, CLIENT_SECRET);
    let credentials = Credentials { client_id: CLIENT_ID.into(), client_secret_hash };
    apps::create(&Db::new(db.clone()), uuid, org, name, &credentials).await.expect("a database").expect("a new name")
}

/// Makes rooms by SQL, far faster than the service does, and without events: all with the same people, each with the
/// number (seq) under which they came; `owner` is one of them. The rooms of one call are made in the same millisecond.
pub async fn plant_rooms(db: &PgPool, app: i32, ids: &[String], owner: &str, people: &[(i64, String)]) {
    let (numbers, names): (Vec<i64>, Vec<String>) = people.iter().cloned().unzip();
    sqlx::query(
        "with room as (
             insert into chatrooms (app, id, name, description, owner) select $1, id, 'n', 'd', $3 from unnest($2::text[]) id
             returning app, id
         ), counters as (
             insert into room_counters (app, chatroom, maxusers, member_count) select app, id, 100000, 0 from room
         )
         insert into members (app, chatroom, username, seq)
         select app, id, username, seq from room, unnest($4::text[], $5::bigint[]) people (username, seq)",
    )
    .bind(app)
    .bind(ids)
    .bind(owner)
    .bind(names)
    .bind(numbers)
    .execute(db)
    .await
    .expect("rooms");
    recount(db, app).await;
}

/// Counts anew what is on the lists of the rooms of an app, after a test has put rows there by SQL.
pub async fn recount(db: &PgPool, app: i32) {
    let is_cluster = citus::is_cluster().await;
    let mut transaction = db.begin().await.expect("a transaction");
    let lock = "select from room_counters where app = $1 order by chatroom for update";
    // A cluster cannot lock rooms together; there the update does.
    let lock = Some(lock).filter(|_| !is_cluster);
    let count = [
        "update room_counters set
             member_count = (select count(*) from members where app = $1 and chatroom = room_counters.chatroom),
             admin_count = (select count(*) from admins where app = $1 and chatroom = room_counters.chatroom),
             mute_count = (select count(*) from mutes where app = $1 and chatroom = room_counters.chatroom),
             block_count = (select count(*) from blocks where app = $1 and chatroom = room_counters.chatroom),
             last_seq = greatest(
                 last_seq,
                 (select max(seq) from members where app = $1 and chatroom = room_counters.chatroom),
                 (select max(seq) from admins where app = $1 and chatroom = room_counters.chatroom),
                 (select max(seq) from whitelist where app = $1 and chatroom = room_counters.chatroom),
                 (select max(seq) from mutes where app = $1 and chatroom = room_counters.chatroom),
                 (select max(seq) from blocks where app = $1 and chatroom = room_counters.chatroom))
         where app = $1",
        "delete from member_counts where app = $1",
        "insert into member_counts (app, chatroom, level, bucket, members)
         select app, chatroom, level, seq >> width, count(*)
         from members cross join (values (0::smallint, 9), (1::smallint, 15)) levels (level, width) where app = $1
         group by 1, 2, 3, 4",
    ];
    for statement in lock.into_iter().chain(count) {
        sqlx::query(statement).bind(app).execute(&mut *transaction).await.expect("counted");
    }
    transaction.commit().await.expect("committed");
    find_next_ends(db, app).await;
}

/// A token of that app, good for an hour.
pub fn token(app: &App) -> String {
    Keys::new(&[SECRET]).issue(app.audience(), &Subject::Client("test"), Life::Seconds(3600)).expect("a token").text
}

/// All members of a room of that many, as `plant_rooms` takes them: `user1` and on.
pub fn crowd(count: i64) -> Vec<(i64, String)> {
    (1..=count).map(|n| (n, format!("user{n}"))).collect()
}

/// Names that differ, `prefix0` and on.
pub fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

/// Tries again until it is so, for ten seconds at most; on a cluster, whose nodes share the machine, for a minute.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let patience = if citus::is_cluster().await { 60 } else { 10 };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(patience);
    while !so().await {
        assert!(std::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Waits until a statement of the database of `db` that looks like this (`%` for anything) waits for a lock.
pub async fn eventually_waits_for_a_lock(db: &PgPool, statement: &str) {
    eventually("a statement waits for a lock", || async {
        sqlx::query_scalar(
            "select exists (select from pg_stat_activity
             where wait_event_type = 'Lock' and datname = current_database() and query like $1)",
        )
        .bind(statement)
        .fetch_one(db)
        .await
        .expect("activity")
    })
    .await;
}
