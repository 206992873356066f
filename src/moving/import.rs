//! Brings rows into an app, beside its live traffic: what is new is written, what is there is left, and what cannot be is
//! refused, row by row.
//!
//! A part of a room is a transaction: it locks the room and then the users it names, as every change does, and decides with
//! what it finds under the lock. A room comes with one event, whatever its size: [`Kind::CreateImport`] names the owner and
//! tells how many rows came, [`Kind::UpdateImport`] how many came later. An event for each member would double what is written,
//! and flood the callbacks of an app with what its backend knows already; a plain `CREATE` would make readers believe that the
//! room is empty. What stands above rooms is few, and is told in the usual events.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use time::OffsetDateTime;

use super::format::{GlobalMute, Moderator, RoomPart, SuperAdmin, User};
use super::report::{self, Count, Refusal, Report};
use super::room::{self, Known, Plan, bounded, flaw, fold};
use super::store::{self, Numbers, moment};
use crate::accounts::global_mutes::{self, BroughtIn, Parts};
use crate::accounts::moderators::{self, ModeratorRole};
use crate::accounts::super_admins;
use crate::db::Transaction;
use crate::db::{self, Db};
use crate::error::Error;
use crate::events::log::{self, Actor, Kind, NewEvent};
use crate::names::{Names, RoomKey, Scope, is_username};
use crate::rooms::read;
use crate::rooms::store::create::{set_last, take_former};

/// The most rows in one transaction. None holds a room, or holds up the feeds of events, for more than a moment.
pub const BATCH: usize = 5000;

/// The longest nickname, in characters.
const MAX_NICKNAME: usize = 100;

/// How often a transaction that PostgreSQL has broken off because of another one is tried.
const ATTEMPTS: u32 = 5;

/// Brings rows into an app. Any number of tasks may use it at once, but the parts of a room come one after another.
pub struct Importer {
    db: Db,
    app: i32,
    actor: Actor,
    members_per_room: u32,
    /// Users and rows of rooms that were written.
    written: [AtomicU64; 2],
    /// What would be there by now, in a trial that writes nothing.
    trial: Option<Mutex<Trial>>,
    /// What comes of it.
    pub report: Arc<Report>,
}

#[derive(Default)]
struct Trial {
    users: HashSet<String>,
    /// Of rooms that come in several parts: the members so far.
    members: HashMap<String, HashSet<String>>,
    rooms: HashSet<String>,
}

impl Importer {
    /// Brings rows into `app`, whose rooms may have up to `members_per_room` members. `is_trial`: decides and reports, but writes
    /// nothing; then it keeps the names of all new users in memory.
    pub fn new(db: Db, app: i32, members_per_room: u32, is_trial: bool, report: Arc<Report>) -> Self {
        let trial = is_trial.then(Mutex::default);
        let written = [AtomicU64::new(0), AtomicU64::new(0)];
        Self { db, app, actor: Actor::operator(), members_per_room, written, trial, report }
    }

    /// Whether nothing is written.
    pub fn is_trial(&self) -> bool {
        self.trial.is_some()
    }

    fn trial(&self) -> Option<MutexGuard<'_, Trial>> {
        self.trial.as_ref().map(|trial| trial.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn refuse(&self, kind: report::Kind, name: &str, why: impl Into<String>) {
        self.report.refuse(Refusal { kind, room: None, name: name.into(), why: why.into() });
    }

    /// Lets PostgreSQL look anew at tables that have grown tenfold: it plans with what it knows of them, and a table that was
    /// empty a moment ago looks as if any index were as good as any other.
    async fn note_written(&self, tables: Tables, rows: usize) -> Result<(), Error> {
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        let before = self.written[tables as usize].fetch_add(rows, Ordering::Relaxed);
        let digits = |rows: u64| rows.checked_ilog10().unwrap_or(0).max(2);
        if digits(before + rows) > digits(before) {
            store::analyze(&self.db, tables == Tables::Users).await?;
        }
        Ok(())
    }

    /// Registers users.
    pub async fn users(&self, mut users: Vec<User>) -> Result<(), Error> {
        let mut seen = HashSet::new();
        let mut count = Count::default();
        users.retain_mut(|user| {
            user.name.make_ascii_lowercase();
            user.created = user.created.map(bounded);
            if let Some(why) = flaw_of_user(user) {
                self.refuse(report::Kind::User, &user.name, why);
                return false;
            }
            let is_first = seen.insert(user.name.clone());
            count.present += u64::from(!is_first);
            is_first
        });
        let names: Vec<String> = users.iter().map(|user| user.name.clone()).collect();
        let new = match self.trial() {
            Some(_) => None,
            None => Some(
                self.with_retries(async |connection| {
                    let now = store::now(connection).await?;
                    store::register(connection, self.app, &users, now).await
                })
                .await?,
            ),
        };
        self.note_written(Tables::Users, new.as_ref().map_or(0, HashSet::len)).await?;
        let there = self.read(async |connection| store::users_there(connection, self.app, &names).await).await?;
        let there: HashMap<&str, &store::Registered> = there.iter().map(|user| (&*user.username, user)).collect();
        for user in &users {
            if new.as_ref().is_some_and(|new| new.contains(&user.name)) {
                count.new += 1;
                continue;
            }
            match there.get(&*user.name) {
                None => {
                    let is_new = self.trial().is_none_or(|mut trial| trial.users.insert(user.name.clone()));
                    if is_new { count.new += 1 } else { count.present += 1 }
                }
                Some(there) if there.is_deleted => {
                    self.refuse(report::Kind::User, &user.name, "a user of that name is being deleted");
                }

                Some(there) if there.nickname != user.nickname => {
                    self.refuse(report::Kind::User, &user.name, "the nickname is another one here");
                }
                Some(there) if there.activated != user.activated => {
                    self.refuse(report::Kind::User, &user.name, "whether the user may sign in is different here");
                }
                Some(_) => count.present += 1,
            }
        }
        self.report.count(report::Kind::User, count);
        Ok(())
    }

    /// Brings in a part of a room, the first of which makes the room if there is none.
    pub async fn room(&self, mut part: RoomPart) -> Result<(), Error> {
        fold(&mut part);
        let outcome = self.room_or_flaw(&part).await?;
        if let Err(why) = outcome
            && !part.continues
        {
            self.refuse(report::Kind::Room, &part.room.id, why);
        }
        Ok(())
    }

    /// Whether a room of the source needs no reading: it is here with as many members, and so few that it came in one piece.
    pub async fn passes_over(&self, id: &str, member_count: Option<i64>) -> Result<bool, Error> {
        let (Some(key), Some(theirs)) = (RoomKey::parse(self.app, id), member_count) else { return Ok(false) };
        let ours = store::member_count(&self.db, &key).await?;
        let is_whole = ours == Some(theirs) && usize::try_from(theirs).is_ok_and(|members| members <= BATCH);
        if is_whole {
            self.report.count(report::Kind::Room, Count { present: 1, ..Count::default() });
        }
        Ok(is_whole)
    }

    /// `Err` inside: why the room as a whole is refused.
    async fn room_or_flaw(&self, part: &RoomPart) -> Result<Result<(), String>, Error> {
        if let Some(why) = flaw(&part.room, self.members_per_room) {
            return Ok(Err(why));
        }
        let Some(key) = RoomKey::parse(self.app, &part.room.id) else { return Ok(Err("no room may have this id".into())) };
        let plan = if self.is_trial() {
            self.read(async |connection| {
                let known = self.known(connection, &key, part).await?;
                Ok(known.map(|known| room::plan(part, &known)))
            })
            .await?
        } else {
            self.with_retries(async |connection| self.write_room(connection, &key, part).await).await?
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(why) => return Ok(Err(why)),
        };
        if let Some(mut trial) = self.trial() {
            trial.keep(part, &plan);
        }
        if !self.is_trial() {
            self.note_written(Tables::Rooms, plan.sizes().map(|(_, rows)| rows).sum()).await?;
        }
        for (kind, count) in plan.counts {
            if count != Count::default() {
                self.report.count(kind, count);
            }
        }
        plan.refusals.into_iter().for_each(|refusal| self.report.refuse(refusal));
        Ok(Ok(()))
    }

    async fn write_room(
        &self,
        connection: &mut Transaction,
        key: &RoomKey,
        part: &RoomPart,
    ) -> Result<Result<Plan, String>, Error> {
        let locked = store::lock(connection, key).await?;
        if locked.is_none() && part.continues {
            return Ok(Err("the room was deleted meanwhile".into()));
        }
        let mut known = match self.known(connection, key, part).await? {
            Ok(known) => known,
            Err(why) => return Ok(Err(why)),
        };
        // Without the lock of a room that was there, one that shows itself here has come since.
        let is_new = locked.is_none();
        if is_new && (known.room.is_some() || !store::create(connection, key, &part.room, known.now).await?) {
            return Ok(Err("a room of that id was made at the same moment: import again".into()));
        }
        let Numbers { last_seq, mut last } = match locked {
            Some(numbers) => numbers,
            None => Numbers { last_seq: 1, last: take_former(connection, key).await? },
        };
        known.member_count = known.member_count.max(1);
        let plan = room::plan(part, &known);
        if !plan.is_empty() {
            store::write(connection, key, &plan, last_seq, known.now).await?;
        }
        if is_new || !plan.is_empty() {
            last = log::append(connection, &Scope::Room(key.clone()), last, vec![self.event(part, &plan, is_new)]).await?;
            set_last(connection, key, last).await?;
        }
        Ok(Ok(plan))
    }

    fn event(&self, part: &RoomPart, plan: &Plan, is_new: bool) -> NewEvent {
        let sizes = plan.sizes().map(|(list, rows)| (list, Value::from(rows)));
        if !is_new {
            return NewEvent::new(Kind::UpdateImport, &self.actor).after(sizes);
        }
        let room = &part.room;
        let fields = [
            ("name", Value::from(&*room.name)),
            ("description", Value::from(&*room.description)),
            ("custom", Value::from(&*room.custom)),
            ("owner", Value::from(&*room.owner)),
            ("maxusers", Value::from(room.maxusers)),
        ];
        NewEvent::new(Kind::CreateImport, &self.actor).users([&room.owner]).after(fields.into_iter().chain(sizes))
    }

    /// What is there of a room. `Err` inside: why it cannot be brought in.
    async fn known(&self, connection: &mut Transaction, key: &RoomKey, part: &RoomPart) -> Result<Result<Known, String>, Error> {
        let names = names_in(part);
        let Some(mut known) = store::known(connection, key, &names).await? else {
            return Ok(Err("a room of that id is being removed: import again".into()));
        };
        known.registered = store::registered(connection, self.app, &names, !self.is_trial()).await?;
        if let Some(trial) = self.trial() {
            known.registered.extend(names.iter().filter(|name| trial.users.contains(*name)).cloned());
            if let Some(members) = trial.members.get(key.id()) {
                known.member_count += i64::try_from(members.len()).unwrap_or(i64::MAX);
                known.members.extend(names.iter().filter(|name| members.contains(*name)).cloned());
            }
        }
        if known.room.is_none() && !known.registered.contains(&part.room.owner) {
            return Ok(Err(format!("its owner {} is not registered", part.room.owner)));
        }
        Ok(Ok(known))
    }

    /// Promotes super admins.
    pub async fn super_admins(&self, given: Vec<SuperAdmin>) -> Result<(), Error> {
        let mut since: Vec<(String, Option<i64>)> = Vec::new();
        for admin in given {
            since.push((admin.user.to_ascii_lowercase(), admin.since.map(bounded)));
        }
        let names = Names::new(since.iter().map(|(name, _)| name.clone()));
        let (registered, there) = self.standing(&names).await?;
        let is_registered = |name: &str| registered.contains(name);
        let mut count = Count::default();
        for name in names.given().iter().filter(|name| !is_registered(name)) {
            self.refuse(report::Kind::SuperAdmin, name, "the user is not registered");
        }
        count.present += u64::try_from(names.given().iter().filter(|name| there.contains(*name)).count()).unwrap_or(0);
        since.retain(|(name, _)| is_registered(name) && !there.contains(name));
        let mut seen = HashSet::new();
        since.retain(|(name, _)| seen.insert(name.clone()));
        count.new += u64::try_from(since.len()).unwrap_or(0);
        if !self.is_trial() && !since.is_empty() {
            self.with_retries(async |connection| self.write_super_admins(connection, &since).await).await?;
        }
        self.report.count(report::Kind::SuperAdmin, count);
        Ok(())
    }

    async fn write_super_admins(&self, transaction: &mut Transaction, since: &[(String, Option<i64>)]) -> Result<(), Error> {
        let mut last = super_admins::lock(transaction, self.app).await?;
        let now = store::now(transaction).await?;
        let names: Vec<String> = since.iter().map(|(name, _)| name.clone()).collect();
        let held = store::registered(transaction, self.app, &names, true).await?;
        let (names, moments): (Vec<String>, Vec<OffsetDateTime>) = since
            .iter()
            .filter(|(name, _)| held.contains(name))
            .map(|(name, since)| (name.clone(), moment(since.unwrap_or(now))))
            .unzip();
        let promoted = store::promote(transaction, self.app, &names, &moments).await?;
        let promoted: Vec<&String> = names.iter().filter(|name| promoted.contains(*name)).collect();
        for users in promoted.chunks(NewEvent::MOST_USERS) {
            last =
                super_admins::record(transaction, self.app, last, NewEvent::new(Kind::SuperAdminAdd, &self.actor).users(users))
                    .await?;
        }
        Ok(())
    }

    /// Those of `names` who are registered, or would be, and those who are super admins.
    async fn standing(&self, names: &Names) -> Result<(HashSet<String>, HashSet<String>), Error> {
        let (mut registered, there) = self
            .read(async |connection| {
                let registered = store::registered(connection, self.app, names.usernames(), false).await?;
                Ok((registered, store::super_admins(connection, self.app, names.usernames()).await?))
            })
            .await?;
        if let Some(trial) = self.trial() {
            registered.extend(names.usernames().iter().filter(|name| trial.users.contains(*name)).cloned());
        }
        Ok((registered, there))
    }

    /// Makes a moderator.
    pub async fn moderator(&self, moderator: Moderator) -> Result<(), Error> {
        let names = Names::new([moderator.user.clone()]);
        let outcome = self.add_moderator(&moderator, &names).await?;
        self.conclude(report::Kind::Moderator, &names.given()[0], outcome);
        Ok(())
    }

    async fn add_moderator(&self, given: &Moderator, names: &Names) -> Result<Result<BroughtIn, String>, Error> {
        let Some(role) = ModeratorRole::parse(&given.role) else { return Ok(Err("the role is viewer or moderator".into())) };
        let rooms = given.rooms.as_deref();
        let there = moderators::list(&self.db, self.app).await?;
        if let Some(there) = there.iter().find(|there| there.username == names.given()[0]) {
            let is_same = (there.role, there.rooms.as_deref()) == (role, rooms);
            return Ok(if is_same { Ok(BroughtIn::Present) } else { Err("the role or the rooms are others here".into()) });
        }
        if !self.standing(names).await?.0.contains(&names.given()[0]) {
            return Ok(Err("the user is not registered".into()));
        }
        if let Err(why) = self.rooms_are_there(rooms).await? {
            return Ok(Err(why));
        }
        if self.is_trial() {
            return Ok(Ok(BroughtIn::New));
        }
        match moderators::add(&self.db, self.app, &self.actor, names, role, rooms).await {
            Ok(added) => added.commit().await.map(|_| Ok(BroughtIn::New)),
            Err(error @ (Error::ExceedLimit(_) | Error::UserNotFound { .. })) => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Tells what came of a single row.
    fn conclude(&self, kind: report::Kind, name: &str, outcome: Result<BroughtIn, String>) {
        let mut count = Count::default();
        match outcome {
            Ok(BroughtIn::New) => count.new = 1,
            Ok(BroughtIn::Present) => count.present = 1,
            Ok(BroughtIn::Ended) => count.ended = 1,
            Ok(BroughtIn::Different) => self.refuse(kind, name, "another one is here"),
            Err(why) => self.refuse(kind, name, why),
        }
        self.report.count(kind, count);
    }

    /// `Err` inside: which room of a moderator is not there.
    async fn rooms_are_there(&self, rooms: Option<&[String]>) -> Result<Result<(), String>, Error> {
        let rooms = rooms.unwrap_or_default();
        if rooms.len() > moderators::MAX_ROOMS {
            return Ok(Err(format!("there are more than {} rooms", moderators::MAX_ROOMS)));
        }
        let mut keys = Vec::new();
        for room in rooms {
            if self.trial().is_some_and(|trial| trial.rooms.contains(room)) {
                continue;
            }
            match RoomKey::parse(self.app, room) {
                Some(key) => keys.push(key),
                None => return Ok(Err(format!("room {room} is not here"))),
            }
        }
        match read::details::require_all(&self.db, self.app, &keys).await {
            Ok(()) => Ok(Ok(())),
            Err(Error::RoomNotFound { room }) => Ok(Err(format!("room {room} is not here"))),
            Err(error) => Err(error),
        }
    }

    /// Mutes a user in the whole app.
    pub async fn global_mute(&self, mute: GlobalMute) -> Result<(), Error> {
        let names = Names::new([mute.user.clone()]);
        let name = &names.given()[0];
        let ends = Parts { chat: mute.chat, groupchat: mute.groupchat, chatroom: mute.chatroom };
        let ends = ends.map(|end| end.map(|ms| moment(bounded(ms))));
        let actor = Actor { reason: mute.reason.filter(|reason| room::is_reason(reason)), ..self.actor.clone() };
        let outcome = if self.standing(&names).await?.0.contains(name) {
            Ok(global_mutes::bring_in(&self.db, self.app, &actor, &names, ends, self.is_trial()).await?)
        } else {
            Err("the user is not registered".into())
        };
        self.conclude(report::Kind::GlobalMute, name, outcome);
        Ok(())
    }

    /// Reads, in a transaction that is undone.
    async fn read<T>(&self, read: impl AsyncFnOnce(&mut Transaction) -> Result<T, Error>) -> Result<T, Error> {
        let mut transaction = self.db.begin().await?;
        let done = read(&mut transaction).await;
        transaction.undo().await;
        done
    }

    /// Writes in a transaction, and again if PostgreSQL has broken it off because of another one. What was refused as a whole is
    /// undone.
    async fn with_retries<T: Written>(&self, write: impl AsyncFn(&mut Transaction) -> Result<T, Error>) -> Result<T, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut transaction = self.db.begin().await?;
            let done = write(&mut transaction).await;
            if done.as_ref().is_ok_and(|done| !done.is_to_be_kept()) {
                transaction.undo().await;
                return done;
            }
            match transaction.end(done).await {
                Err(error) if db::is_conflict(&error) && attempts < ATTEMPTS => {}
                other => return other,
            }
        }
    }
}

/// What has grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tables {
    Users,
    Rooms,
}

/// What a transaction came to, and whether it is to be kept.
trait Written {
    fn is_to_be_kept(&self) -> bool {
        true
    }
}

impl Written for () {}

impl Written for HashSet<String> {}

impl Written for Result<Plan, String> {
    fn is_to_be_kept(&self) -> bool {
        self.is_ok()
    }
}

impl Trial {
    /// Remembers what a part would have brought.
    fn keep(&mut self, part: &RoomPart, plan: &Plan) {
        let id = &part.room.id;
        self.rooms.insert(id.clone());
        if part.is_last {
            self.members.remove(id);
        } else {
            self.members.entry(id.clone()).or_default().extend(plan.members.iter().map(|member| member.user.clone()));
        }
    }
}

/// All users whom a part names, each once.
fn names_in(part: &RoomPart) -> Vec<String> {
    let members = part.members.iter().map(|member| &member.user);
    let listed = part.admins.iter().chain(&part.whitelist).map(|listed| &listed.user);
    let restricted = part.blocks.iter().chain(&part.mutes).map(|entry| &entry.user);
    let setters = part.attributes.iter().filter_map(|attribute| attribute.setter.as_ref());
    let names = std::iter::once(&part.room.owner).chain(members).chain(listed).chain(restricted).chain(setters);
    let mut seen = HashSet::new();
    names.filter(|name| is_username(name) && seen.insert(*name)).cloned().collect()
}

/// Why a user cannot be as described.
fn flaw_of_user(user: &User) -> Option<&'static str> {
    let nickname = user.nickname.as_deref().unwrap_or_default();
    match user {
        user if !is_username(&user.name) => Some("no user may be called so: 1 to 64 of a-z 0-9 _ . -"),
        _ if nickname.chars().count() > MAX_NICKNAME => Some("the nickname is longer than 100 characters"),
        _ if nickname.contains('\0') => Some("the nickname cannot be stored"),
        user if user.password_hash.as_deref().is_some_and(|hash| !hash.starts_with("$argon2")) => {
            Some("the password hash is none of argon2")
        }
        _ => None,
    }
}
