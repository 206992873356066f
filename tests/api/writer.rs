//! Changes that are made together, each as if it were alone.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use roomward::accounts::apps::App;
use roomward::config::Settings;
use roomward::db::{Db, Transaction};
use roomward::error::Error;
use roomward::events::log::Actor;
use roomward::names::{Names, PERMANENT_MS, RoomKey};
use roomward::rooms::expiry::end_what_has_ended;
use roomward::rooms::operation::{Operation, make};
use roomward::rooms::state::{Ended, Facts, Needs, State};
use roomward::rooms::store::load::{self, Held};
use roomward::rooms::store::save;
use roomward::rooms::writer::Writer;
use roomward::rooms::{admins, attributes, blocks, details, members, mutes, whitelist};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;

use crate::app::{
    Instance, TestApp, eventually, find_next_ends, migrated_database, new_app, numbered, patient, plant_rooms, settings,
    shared_database,
};
use crate::citus::{is_cluster, skipped_on_cluster};

const ROOMS: [&str; 3] = ["1", "2", "3"];
/// All but the last are registered.
const USERS: [&str; 7] = ["u0", "u1", "u2", "u3", "u4", "u5", "u6"];

/// A new database with what the service needs, and a way to it.
async fn database() -> (String, PgPool) {
    let url = migrated_database().await;
    let db = PgPoolOptions::new().max_connections(5).connect(&url).await.expect("the database");
    (url, db)
}

/// An app with three rooms of six seats, in which the first three users are.
async fn stage(db: &PgPool, org: &str) -> App {
    let app = new_app(db, org, "app").await;
    sqlx::query("insert into users (app, username) select $1, unnest($2::text[])")
        .bind(app.id)
        .bind(&USERS[..6])
        .execute(db)
        .await
        .expect("users");
    let people: Vec<(i64, String)> = (1..).zip(USERS[..3].iter().map(|name| (*name).to_owned())).collect();
    plant_rooms(db, app.id, &ROOMS.map(str::to_owned), "u0", &people).await;
    sqlx::query("update room_counters set maxusers = 5 where app = $1").bind(app.id).execute(db).await.expect("seats");
    app
}

fn writer(db: &PgPool, batch: usize) -> Writer {
    let mut writes = Settings::load().expect("settings").writes;
    writes.batch = batch;
    Writer::new(Db::new(db.clone()), &writes)
}

fn room_key(app: i32, id: &str) -> RoomKey {
    RoomKey::parse(app, id).expect("an id")
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).expect("31 bits") % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }

    fn one(&mut self) -> Names {
        Names::new([self.pick(&USERS)])
    }

    fn some(&mut self) -> Names {
        let count = 1 + self.roll(3);
        Names::new((0..count).map(|_| self.pick(&USERS)).collect::<Vec<_>>())
    }
}

/// A change of any kind.
trait Step {
    /// Makes it in memory.
    fn make(&self, state: &mut State, key: &RoomKey, actor: &Actor);
    /// Has it made; the outcome in words.
    fn submit<'a>(self: Box<Self>, writer: &'a Writer, key: &'a RoomKey, actor: &'a Actor) -> Outcome<'a>;
}

/// What a change comes to, in words.
type Outcome<'a> = Pin<Box<dyn Future<Output = String> + 'a>>;

impl<O: Operation<Outcome: Debug>> Step for O {
    fn make(&self, state: &mut State, key: &RoomKey, actor: &Actor) {
        // A refusal is as good as anything else.
        let _ = make(state, key, actor, self);
    }

    fn submit<'a>(self: Box<Self>, writer: &'a Writer, key: &'a RoomKey, actor: &'a Actor) -> Outcome<'a> {
        Box::pin(async move {
            let outcome = format!("{:?}", writer.submit(key, actor, *self).await);
            // Where mutes are lifted, that is the moment of the transaction.
            if outcome.starts_with("Ok(Ok(") && !outcome.contains("2116-12-31") { "lifted".into() } else { outcome }
        })
    }
}

/// A change, of which room, and in whose name.
type Call = (RoomKey, Actor, Box<dyn Step>);

/// The batches that a random one seldom is: who goes and comes again, with and without what hangs on it; an owner who gives
/// the room away and goes; who is blocked and let in again; and the last room that a user may be in.
fn hard_calls(round: usize, app: i32, rooms_per_user: u32) -> Option<Vec<Call>> {
    let name = |name: &str| Names::new([name]);
    let come = |user: &str| Box::new(members::Add { names: name(user), rooms_per_user });
    let go = |user: &str| Box::new(members::Remove { names: name(user) });
    let set = |user: &str, key: &str| {
        let operator = attributes::Operator { name: name(user), forced: true };
        Box::new(attributes::Set { operator, attributes: vec![(key.into(), "a".into())], leaves_with_setter: true })
    };
    let give = |user: &str| Box::new(details::Update { new_owner: Some(name(user)), ..details::Update::default() });
    let block = |user: &str| {
        let (names, duration_ms) = (name(user), PERMANENT_MS);
        Box::new(blocks::Block { names, duration_ms, include_non_members: true, move_end: true, limit: 0 })
    };
    let promote = |user: &str| Box::new(admins::Promote { name: name(user) });
    let whiten = |user: &str| Box::new(whitelist::Add { names: name(user) });
    let steps: Vec<(&str, Box<dyn Step>)> = match round {
        0 => vec![("1", set("u1", "color")), ("1", set("u2", "size")), ("1", promote("u1")), ("1", whiten("u1"))],
        1 => vec![("1", go("u1")), ("1", come("u1")), ("1", set("u1", "color")), ("1", go("u2")), ("1", come("u2"))],
        2 => vec![("1", promote("u1")), ("1", go("u1")), ("1", come("u1")), ("1", promote("u1")), ("1", whiten("u1"))],
        3 => vec![("1", give("u1")), ("1", go("u0")), ("2", give("u2")), ("2", go("u0")), ("2", come("u0")), ("2", give("u0"))],
        4 => vec![
            ("2", block("u1")),
            ("2", come("u1")),
            ("2", Box::new(blocks::Unblock { names: name("u1") })),
            ("2", come("u1")),
            ("2", block("u1")),
            ("2", Box::new(blocks::Unblock { names: name("u1") })),
            ("2", block("u1")),
        ],
        5 => vec![("1", come("u4")), ("2", come("u4")), ("2", come("u5")), ("3", come("u4")), ("3", come("u5"))],
        6 => vec![("1", go("u4")), ("3", come("u4")), ("3", go("u5")), ("3", come("u5"))],
        _ => return None,
    };
    Some(steps.into_iter().map(|(id, step)| (room_key(app, id), Actor::client(), step)).collect())
}

/// Changes of any rooms, in the order in which a batch makes them.
fn calls(dice: &mut Dice, app: i32, rooms_per_user: u32) -> Vec<Call> {
    let mut calls: Vec<_> = (0..2 + dice.roll(12)).map(|_| call(dice, app, rooms_per_user)).collect();
    calls.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    calls
}

fn call(dice: &mut Dice, app: i32, rooms_per_user: u32) -> Call {
    let (limit, duration_ms) = (0, PERMANENT_MS);
    let operator = |dice: &mut Dice| attributes::Operator { name: dice.one(), forced: dice.roll(2) == 0 };
    let step: Box<dyn Step> = match dice.roll(22) {
        0..4 => Box::new(members::Add { names: dice.some(), rooms_per_user }),
        4..7 => Box::new(members::Remove { names: dice.some() }),
        7..9 => Box::new(admins::Promote { name: dice.one() }),
        9 => Box::new(admins::Demote { name: dice.one() }),
        10 => Box::new(blocks::Block {
            names: dice.some(),
            duration_ms,
            include_non_members: dice.roll(2) == 0,
            move_end: dice.roll(2) == 0,
            limit,
        }),
        11..13 => Box::new(blocks::Unblock { names: dice.some() }),
        13 => Box::new(whitelist::Add { names: dice.some() }),
        14 => Box::new(whitelist::Remove { names: dice.some() }),
        15 => Box::new(mutes::Mute { names: dice.some(), duration_ms: dice.pick(&[0, PERMANENT_MS]), limit }),
        16 => Box::new(mutes::Unmute { names: dice.some() }),
        17 => Box::new(details::SetMuteAll { mute_all: dice.roll(2) == 0, duration_ms }),
        18..20 => Box::new(details::Update {
            description: (dice.roll(2) == 0).then(|| dice.pick(&["a", "b"]).to_owned()),
            maxusers: (dice.roll(3) == 0).then(|| dice.pick(&[4, 5, 6])),
            new_owner: Some(dice.one()),
            ..details::Update::default()
        }),
        20 => Box::new(attributes::Set {
            operator: operator(dice),
            attributes: vec![(dice.pick(&["color", "size"]).to_owned(), dice.pick(&["a", "b"]).to_owned())],
            leaves_with_setter: dice.roll(3) > 0,
        }),
        _ => Box::new(attributes::Delete { operator: operator(dice), keys: vec![dice.pick(&["color", "size"]).to_owned()] }),
    };
    let reason = (dice.roll(3) == 0).then(|| dice.pick(&["a", "b"]).to_owned());
    (room_key(app, dice.pick(&ROOMS)), Actor { reason, ..Actor::client() }, step)
}

/// All that the database knows of the rooms of an app, but for moments.
async fn rows(db: &PgPool, app: i32) -> Vec<String> {
    sqlx::query_scalar(
        "select 'member ' || t::text from (select chatroom, username, seq from members where app = $1) t
         union all select 'admin ' || t::text from (select chatroom, username, seq from admins where app = $1) t
         union all select 'white ' || t::text from (select chatroom, username, seq from whitelist where app = $1) t
         union all select 'block ' || t::text from (select chatroom, username, seq, reason from blocks where app = $1) t
         union all select 'mute ' || t::text from (select chatroom, username, seq, reason from mutes where app = $1) t
         union all select 'attribute ' || t::text from (select chatroom, key, value, setter, leaves_with from attributes where app = $1) t
         union all select 'stretch ' || t::text from (select chatroom, level, bucket, members from member_counts where app = $1) t
         union all select 'room ' || t::text from (
             select id, name, description, owner, mute_all, mute_reason from chatrooms where app = $1
         ) t
         union all select 'counters ' || t::text from (
             select chatroom, maxusers, member_count, admin_count, mute_count, block_count, last_seq, last_event
             from room_counters where app = $1
         ) t
         union all select 'event ' || t::text from (
             select chatroom, n, kind, users, before::text, after::text, actor, reason, member_count from events where app = $1
         ) t
         order by 1",
    )
    .bind(app)
    .fetch_all(db)
    .await
    .expect("rows")
}

/// On one thread: all changes of a batch wait before the writer has a look.
#[tokio::test]
async fn a_batch_answers_and_leaves_what_its_changes_do_one_by_one() {
    let (_, db) = database().await;
    for seed in 1..=4_u64 {
        // On a cluster, what counts over several rooms may count in another order.
        let rooms_per_user = if is_cluster().await { 0 } else { [0, 2][usize::from(seed % 2 == 0)] };
        let (together, alone) = (stage(&db, &format!("together{seed}")).await, stage(&db, &format!("alone{seed}")).await);
        let (many, one) = (writer(&db, 256), writer(&db, 1));
        let (mut dice, mut same_dice) = (Dice(seed * 0x9e37_79b9), Dice(seed * 0x9e37_79b9));
        for round in 0..40 {
            let next =
                |dice: &mut Dice, app| hard_calls(round, app, rooms_per_user).unwrap_or_else(|| calls(dice, app, rooms_per_user));
            let batch = next(&mut dice, together.id);
            let callers: Vec<(RoomKey, Actor)> = batch.iter().map(|(key, actor, _)| (key.clone(), actor.clone())).collect();
            let steps = batch.into_iter().map(|(.., step)| step);
            let in_batch = join_all(steps.zip(&callers).map(|(step, (key, actor))| step.submit(&many, key, actor))).await;
            let mut one_by_one = Vec::new();
            for (key, actor, step) in next(&mut same_dice, alone.id) {
                one_by_one.push(step.submit(&one, &key, &actor).await);
            }
            assert_eq!(in_batch, one_by_one, "seed {seed}, round {round}");
            assert_eq!(rows(&db, together.id).await, rows(&db, alone.id).await, "seed {seed}, round {round}");
        }
        let transactions: Vec<i64> =
            sqlx::query_scalar("select count(distinct xact) from events where app = any($1) group by app order by app = $2")
                .bind([together.id, alone.id])
                .bind(alone.id)
                .fetch_all(&db)
                .await
                .expect("figures");
        if is_cluster().await {
            // There a batch is about one room.
            continue;
        }
        assert!(transactions[0] <= 40 && transactions[1] > transactions[0], "these were batches: {transactions:?}");
    }
}

/// What is loaded of the rooms when everything is asked for.
async fn load_all(transaction: &mut Transaction, app: i32) -> State {
    let mut needs = Needs { texts: true, attributes: true, ended: 1000, ..Needs::default() };
    needs.users(&Names::new(USERS), Facts(255));
    let needs: BTreeMap<RoomKey, Needs> = ROOMS.iter().map(|id| (room_key(app, id), needs.clone())).collect();
    let keys: Vec<RoomKey> = needs.keys().cloned().collect();
    let locks = load::lock(transaction, &keys, Held::Wait).await.expect("locked");
    load::load(transaction, &needs, &locks).await.expect("loaded").state
}

/// The same without what belongs to a transaction, or may come too early.
fn lasting(mut state: State) -> State {
    let moment = time::OffsetDateTime::UNIX_EPOCH;
    for room in state.rooms.values_mut() {
        (room.now, room.xact, room.is_due, room.ended) = (moment, 0, false, Ended::default());
        room.events.clear();
        room.counters.next_end = moment;
    }
    state
}

#[tokio::test]
async fn what_was_saved_is_what_is_loaded() {
    if skipped_on_cluster("there a batch is about one room").await {
        return;
    }
    let (_, db) = database().await;
    let service = Db::new(db.clone());
    let app = stage(&db, "org").await;
    let mut dice = Dice(0x2545_f491);
    for round in 0..120 {
        let mut transaction = service.begin().await.expect("a transaction");
        let before = load_all(&mut transaction, app.id).await;
        let mut after = before.clone();
        for id in ROOMS {
            let key = room_key(app.id, id);
            let changes = end_what_has_ended(after.rooms.get_mut(&key).expect("loaded"));
            after.apply(&key, changes);
        }
        let rooms_per_user = if round < 60 { 0 } else { 2 };
        let calls = hard_calls(round, app.id, rooms_per_user).unwrap_or_else(|| calls(&mut dice, app.id, rooms_per_user));
        for (key, actor, step) in calls {
            step.make(&mut after, &key, &actor);
        }
        save::save(&mut transaction, &before, &after).await.expect("saved");
        transaction.commit().await.ok().expect("committed");
        let mut transaction = service.begin().await.expect("a transaction");
        let loaded = load_all(&mut transaction, app.id).await;
        for room in loaded.rooms.values() {
            for end in room.people.values().flat_map(|user| [&user.mute, &user.block]).flatten() {
                assert!(room.counters.next_end <= end.ends_at, "round {round}: an end would not be seen");
            }
        }
        assert_eq!(lasting(loaded), lasting(after), "round {round}");
        transaction.undo().await;
        if round % 5 == 0 {
            for table in [
                "update mutes set ends_at = date_trunc('milliseconds', now()) where app = $1",
                "update blocks set ends_at = date_trunc('milliseconds', now()) where app = $1",
            ] {
                sqlx::query(table).bind(app.id).execute(&db).await.expect("aged");
            }
            find_next_ends(&db, app.id).await;
        }
    }
    let kinds: i64 = sqlx::query_scalar("select count(distinct kind) from events").fetch_one(&db).await.expect("figures");
    assert!(kinds >= 15, "only {kinds} kinds of events have come");
}

fn add(name: &str) -> members::Add {
    members::Add { names: Names::new([name]), rooms_per_user: 0 }
}

/// A database that refuses one user as a member.
async fn refuse_u5(db: &PgPool) {
    sqlx::query("alter table members add constraint refuse check (username <> 'u5')").execute(db).await.expect("a constraint");
}

#[tokio::test]
async fn a_change_that_the_database_refuses_fails_alone() {
    let (_, db) = database().await;
    let app = stage(&db, "org").await;
    refuse_u5(&db).await;
    let (writer, actor) = (writer(&db, 256), Actor::client());
    let rooms = ROOMS.map(|id| room_key(app.id, id));
    let calls = [(&rooms[0], "u3"), (&rooms[0], "u5"), (&rooms[0], "u4"), (&rooms[1], "u3"), (&rooms[2], "u4")];
    let outcomes = join_all(calls.map(|(room, name)| writer.submit(room, &actor, add(name)))).await;
    assert!(matches!(outcomes[1], Err(Error::Internal(_))), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 4, "{outcomes:?}");
    let members: i64 = sqlx::query_scalar("select sum(member_count) from room_counters").fetch_one(&db).await.expect("a sum");
    assert_eq!(members, 9 + 4);
}

#[tokio::test]
async fn a_bad_change_among_sixty_costs_a_few_transactions_and_not_sixty() {
    let (_, db) = database().await;
    let app = stage(&db, "org").await;
    refuse_u5(&db).await;
    let names = numbered("more", 59);
    sqlx::query("insert into users (app, username) select $1, unnest($2::text[])")
        .bind(app.id)
        .bind(&names)
        .execute(&db)
        .await
        .expect("users");
    sqlx::query("update room_counters set maxusers = 100 where app = $1").bind(app.id).execute(&db).await.expect("seats");
    let (writer, actor, room) = (writer(&db, 256), Actor::client(), room_key(app.id, ROOMS[0]));
    let names: Vec<&str> =
        names[..30].iter().map(String::as_str).chain(["u5"]).chain(names[30..].iter().map(String::as_str)).collect();
    let outcomes = join_all(names.iter().map(|name| writer.submit(&room, &actor, add(name)))).await;
    for (name, outcome) in names.iter().zip(&outcomes) {
        assert_eq!(outcome.is_ok(), *name != "u5", "{name}: {outcome:?}");
    }
    let told: Vec<Vec<String>> = sqlx::query_scalar("select users from events where app = $1 order by n")
        .bind(app.id)
        .fetch_all(&db)
        .await
        .expect("events");
    let expected: Vec<Vec<String>> = names.iter().filter(|name| **name != "u5").map(|name| vec![(*name).to_owned()]).collect();
    assert_eq!(told, expected, "in the order of the calls");
    let transactions: i64 = sqlx::query_scalar("select count(distinct xact) from events where app = $1")
        .bind(app.id)
        .fetch_one(&db)
        .await
        .expect("a count");
    assert!(transactions <= 6, "{transactions} transactions were committed");
}

#[tokio::test]
async fn a_room_that_is_held_is_answered_for_although_the_rest_of_its_batch_fails() {
    let (_, db) = database().await;
    let app = stage(&db, "org").await;
    refuse_u5(&db).await;
    let (writer, actor) = (writer(&db, 256), Actor::client());
    let rooms = ROOMS.map(|id| room_key(app.id, id));
    let mut busy = db.begin().await.expect("a transaction");
    sqlx::query("select from room_counters where chatroom = '2' for update").execute(&mut *busy).await.expect("locked");
    let release = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        busy.rollback().await.expect("unlocked");
    };
    let calls = [(&rooms[0], "u5"), (&rooms[1], "u3"), (&rooms[2], "u4")];
    let calls = join_all(calls.map(|(room, name)| writer.submit(room, &actor, add(name))));
    let (outcomes, ()) = tokio::join!(calls, release);
    assert!(outcomes[0].is_err() && outcomes[1].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_changes_than_may_wait_are_refused_at_once() {
    let mut short = patient(shared_database());
    short.writes.queue = 3;
    let instance = Instance::start(short);
    let app = TestApp::new().await.through(instance.address);
    let names = numbered("user", 12);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let room = app.room_with("ann", &[]).await;
    let busy = app.lock_room(&room).await;
    let add = |name: &str| {
        let request = app.request(reqwest::Method::POST, &format!("/chatrooms/{room}/users/{name}"));
        async move { request.send().await.expect("an answer").status().as_u16() }
    };
    let mut calls = JoinSet::new();
    // The first is taken, and waits for the room; the others wait behind it.
    calls.spawn(add(&names[0]));
    tokio::time::sleep(Duration::from_millis(200)).await;
    names[1..11].iter().for_each(|name| drop(calls.spawn(add(name))));
    for _ in 0..7 {
        assert_eq!(calls.join_next().await.expect("a call").expect("no panic"), 503);
    }
    busy.rollback().await.expect("unlocked");
    assert!(calls.join_all().await.iter().all(|status| *status == 200), "those who waited are served");
    assert_eq!(add(&names[11]).await, 200);
    assert_eq!(app.members(&room).await.len(), 6);
    app.assert_invariants().await;
}

/// Reads of a room must not have to walk the versions that its changes leave behind under a long snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_and_goes_leaves_no_version_of_the_row_that_every_read_looks_at() {
    if skipped_on_cluster("the figures that it looks at are those of the nodes").await {
        return;
    }
    let (url, db) = database().await;
    let instance = Instance::start(settings(&url));
    let app = TestApp::on(instance.address, &url).await;
    let names = numbered("user", 100);
    app.users(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let room = app.room_with("ann", &[]).await;
    let versions = async |table: &str| -> i64 {
        let statement = "select n_tup_upd from pg_stat_user_tables where relname = $1";
        sqlx::query_scalar(statement).bind(table).fetch_one(&db).await.expect("figures")
    };
    let before = versions("chatrooms").await;
    for name in &names {
        assert_eq!(app.post(&format!("/chatrooms/{room}/users/{name}")).await.status, 200);
    }
    let path = format!("/chatrooms/{room}/users/{}", names[0]);
    eventually("the figures count the changes", || async {
        app.delete(&path).await;
        versions("room_counters").await >= 100
    })
    .await;
    assert_eq!(versions("chatrooms").await, before);
}
