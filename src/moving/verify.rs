//! Compares what was to be brought in with what is there, list by list, and tells each difference.
//!
//! Where one side goes on changing, its changes are differences, too. The names of all users and rooms are in memory, and one
//! room at a time with all its rows.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use futures_util::TryStreamExt as _;

use super::export::{read_above_rooms, read_room};
use super::format::{GlobalMute, Line, Moderator, Restriction, RoomPart, SuperAdmin, User};
use super::report::{Count, Kind, Refusal, Report};
use super::room::{differences, fold};
use super::store;
use crate::db::Db;
use crate::error::Error;
use crate::names::RoomKey;

/// How far apart two ends may be, in milliseconds, to be the same: some are told in seconds.
const CLOSE_MS: u64 = 2000;

/// Compares an app with another, piece by piece.
pub struct Verifier {
    db: Db,
    app: i32,
    /// What differs, and how much is the same.
    pub report: Arc<Report>,
    users: HashSet<String>,
    rooms: HashSet<String>,
    super_admins: BTreeSet<String>,
    moderators: BTreeMap<String, Moderator>,
    global_mutes: BTreeMap<String, GlobalMute>,
}

impl Verifier {
    /// Compares with `app`.
    pub fn new(db: Db, app: i32, report: Arc<Report>) -> Self {
        Self {
            db,
            app,
            report,
            users: HashSet::new(),
            rooms: HashSet::new(),
            super_admins: BTreeSet::new(),
            moderators: BTreeMap::new(),
            global_mutes: BTreeMap::new(),
        }
    }

    fn differ(&self, kind: Kind, room: Option<&str>, name: &str, why: &str) {
        self.report.refuse(Refusal { kind, room: room.map(str::to_owned), name: name.into(), why: why.into() });
    }

    fn same(&self, kind: Kind, rows: usize) {
        self.report.count(kind, Count { present: u64::try_from(rows).unwrap_or(u64::MAX), ..Count::default() });
    }

    /// Compares users.
    pub async fn users(&mut self, mut users: Vec<User>) -> Result<(), Error> {
        for user in &mut users {
            user.name.make_ascii_lowercase();
        }
        let names: Vec<String> = users.iter().map(|user| user.name.clone()).collect();
        let mut transaction = self.db.begin().await?;
        let there = store::users_there(&mut transaction, self.app, &names).await;
        let there = transaction.end(there).await?;
        let there: BTreeMap<&str, _> = there.iter().filter(|user| !user.is_deleted).map(|user| (&*user.username, user)).collect();
        let mut same = 0;
        for user in users {
            match there.get(&*user.name) {
                None => self.differ(Kind::User, None, &user.name, MISSING),
                Some(there) if (&there.nickname, there.activated) != (&user.nickname, user.activated) => {
                    self.differ(Kind::User, None, &user.name, OTHER);
                }
                Some(_) => same += 1,
            }
            self.users.insert(user.name);
        }
        self.same(Kind::User, same);
        Ok(())
    }

    /// Compares a whole room.
    pub async fn room(&mut self, mut theirs: RoomPart) -> Result<(), Error> {
        fold(&mut theirs);
        let id = theirs.room.id.clone();
        self.rooms.insert(id.clone());
        let ours = match RoomKey::parse(self.app, &id) {
            Some(key) => read_room(&self.db, &key).await?,
            None => None,
        };
        let Some(ours) = ours else {
            self.differ(Kind::Room, None, &id, MISSING);
            return Ok(());
        };
        let differences = differences(&theirs.room, &ours.room);
        for why in &differences {
            self.differ(Kind::Room, None, &id, why);
        }
        self.same(Kind::Room, usize::from(differences.is_empty()));
        let names = |list: &[super::format::Listed]| list.iter().map(|listed| (listed.user.clone(), true)).collect();
        let members = |part: &RoomPart| part.members.iter().map(|member| (member.user.clone(), true)).collect();
        self.list(Kind::Member, Some(&id), &members(&theirs), &members(&ours), bool::eq);
        self.list(Kind::Admin, Some(&id), &names(&theirs.admins), &names(&ours.admins), bool::eq);
        self.list(Kind::Whitelist, Some(&id), &names(&theirs.whitelist), &names(&ours.whitelist), bool::eq);
        let ends = |list: &[Restriction]| list.iter().map(|entry| (entry.user.clone(), entry.until)).collect();
        self.list(Kind::Block, Some(&id), &ends(&theirs.blocks), &ends(&ours.blocks), |left, right| are_close(*left, *right));
        self.list(Kind::Mute, Some(&id), &ends(&theirs.mutes), &ends(&ours.mutes), |left, right| are_close(*left, *right));
        let texts =
            |part: &RoomPart| part.attributes.iter().map(|attribute| (attribute.key.clone(), attribute.value.clone())).collect();
        self.list(Kind::Attribute, Some(&id), &texts(&theirs), &texts(&ours), |left: &String, right| left == right);
        Ok(())
    }

    /// Compares a list, of a room or of the app, by names.
    fn list<V>(
        &self,
        kind: Kind,
        room: Option<&str>,
        theirs: &BTreeMap<String, V>,
        ours: &BTreeMap<String, V>,
        is_same: impl Fn(&V, &V) -> bool,
    ) {
        let mut same = 0;
        for (name, theirs) in theirs {
            match ours.get(name) {
                None => self.differ(kind, room, name, MISSING),
                Some(ours) if !is_same(theirs, ours) => self.differ(kind, room, name, OTHER),
                Some(_) => same += 1,
            }
        }
        for name in ours.keys().filter(|name| !theirs.contains_key(*name)) {
            self.differ(kind, room, name, ONLY_HERE);
        }
        self.same(kind, same);
    }

    /// Notes a super admin; see [`Self::finish`].
    pub fn super_admin(&mut self, admin: &SuperAdmin) {
        self.super_admins.insert(admin.user.to_ascii_lowercase());
    }

    /// Notes a moderator; see [`Self::finish`].
    pub fn moderator(&mut self, moderator: Moderator) {
        self.moderators.insert(moderator.user.to_ascii_lowercase(), moderator);
    }

    /// Notes a global mute; see [`Self::finish`].
    pub fn global_mute(&mut self, mute: GlobalMute) {
        self.global_mutes.insert(mute.user.to_ascii_lowercase(), mute);
    }

    /// Compares what stands above rooms, and finds users and rooms that are only here. `with_moderators`: those were told.
    pub async fn finish(&mut self, with_moderators: bool) -> Result<(), Error> {
        self.only_here().await?;
        let (mut admins, mut moderators, mut mutes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for line in read_above_rooms(&self.db, self.app).await? {
            match line {
                Line::SuperAdmin(admin) => drop(admins.insert(admin.user, true)),
                Line::Moderator(moderator) => drop(moderators.insert(moderator.user.clone(), moderator)),
                Line::GlobalMute(mute) => drop(mutes.insert(mute.user.clone(), mute)),
                _ => {}
            }
        }
        let theirs = self.super_admins.iter().map(|name| (name.clone(), true)).collect();
        self.list(Kind::SuperAdmin, None, &theirs, &admins, bool::eq);
        if with_moderators {
            let is_same = |left: &Moderator, right: &Moderator| (&left.role, &left.rooms) == (&right.role, &right.rooms);
            self.list(Kind::Moderator, None, &self.moderators, &moderators, is_same);
        }
        self.list(Kind::GlobalMute, None, &self.global_mutes, &mutes, |left, right| {
            let parts = [(left.chat, right.chat), (left.groupchat, right.groupchat), (left.chatroom, right.chatroom)];
            parts.iter().all(|(left, right)| match (left, right) {
                (Some(left), Some(right)) => are_close(*left, *right),
                (left, right) => left == right,
            })
        });
        Ok(())
    }

    async fn only_here(&self) -> Result<(), Error> {
        let mut transaction = self.db.begin().await?;
        let done = async {
            let users = sqlx::query_scalar!("select username from users where app = $1 and deleted_at is null", self.app);
            let mut users = users.fetch(&mut *transaction);
            while let Some(user) = users.try_next().await? {
                if !self.users.contains(&user) {
                    self.differ(Kind::User, None, &user, ONLY_HERE);
                }
            }
            drop(users);
            let rooms = sqlx::query_scalar!("select id from chatrooms where app = $1 and deleted_at is null", self.app);
            let mut rooms = rooms.fetch(&mut *transaction);
            while let Some(room) = rooms.try_next().await? {
                if !self.rooms.contains(&room) {
                    self.differ(Kind::Room, None, &room, ONLY_HERE);
                }
            }
            Ok(())
        }
        .await;
        transaction.end(done).await
    }
}

const MISSING: &str = "is not here";
const OTHER: &str = "is another one here";
const ONLY_HERE: &str = "is only here";

fn are_close(left: i64, right: i64) -> bool {
    left.abs_diff(right) < CLOSE_MS
}
