//! Random sequences of all 22 calls (and the transfer of a room) against a small model in memory: every answer and all
//! five lists must be the model's, and a reader of only the events of the room must come to the same lists. A sequence
//! that fails is shrunk to a short one.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};

const SEQUENCES: u32 = 300;

/// The owner, five more users, and one who is not registered. Few, so that they meet often.
const REGISTERED: [&str; 6] = ["ann", "bob", "cid", "dan", "eve", "fay"];
const NAMES: [&str; 8] = ["ann", "bob", "cid", "dan", "eve", "fay", "BOB", "zed"];

/// Fewer seats than users.
const MAXUSERS: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Members(usize, usize),
    AddOne(String),
    Add(Vec<String>),
    RemoveOne(String),
    Remove(Vec<String>),
    Admins,
    Promote(String),
    Demote(String),
    Blocks,
    BlockOne(String),
    Block(Vec<String>),
    /// Any registered user, in the room or not, for so long.
    Shut(Vec<String>, i64),
    UnblockOne(String),
    Unblock(Vec<String>),
    Whitelist,
    WhitelistOne(String),
    Whiten(Vec<String>),
    Unwhiten(Vec<String>),
    Mutes,
    Mute(Vec<String>, i64),
    MuteAll,
    Unmute(Vec<String>),
    UnmuteAll,
    Transfer(String),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || select(&NAMES[..]).prop_map(str::to_owned);
    let names = || vec(name(), 1..4);
    prop_oneof![
        1 => (1usize..4, 0usize..4).prop_map(|(page, size)| Step::Members(page, size)),
        4 => name().prop_map(Step::AddOne),
        4 => names().prop_map(Step::Add),
        2 => name().prop_map(Step::RemoveOne),
        2 => names().prop_map(Step::Remove),
        1 => Just(Step::Admins),
        3 => name().prop_map(Step::Promote),
        2 => name().prop_map(Step::Demote),
        1 => Just(Step::Blocks),
        2 => name().prop_map(Step::BlockOne),
        2 => names().prop_map(Step::Block),
        2 => (names(), select(vec![-1i64, 3_600_000])).prop_map(|(names, duration)| Step::Shut(names, duration)),
        2 => name().prop_map(Step::UnblockOne),
        2 => names().prop_map(Step::Unblock),
        1 => Just(Step::Whitelist),
        2 => name().prop_map(Step::WhitelistOne),
        2 => names().prop_map(Step::Whiten),
        2 => names().prop_map(Step::Unwhiten),
        1 => Just(Step::Mutes),
        3 => (names(), select(vec![-1i64, 3_600_000, 0])).prop_map(|(names, duration)| Step::Mute(names, duration)),
        1 => Just(Step::MuteAll),
        2 => names().prop_map(Step::Unmute),
        1 => Just(Step::UnmuteAll),
        1 => name().prop_map(Step::Transfer),
    ]
}

/// What a call should be answered: `data`, or status and text of a refusal.
type Expected = Result<Value, (u16, String)>;

struct Model {
    room: String,
    owner: String,
    /// In the order in which they came, the owner among them.
    members: Vec<String>,
    admins: Vec<String>,
    blocks: Vec<String>,
    whitelist: Vec<String>,
    mutes: Vec<String>,
    mute_all: bool,
}

impl Model {
    fn new(room: String) -> Self {
        let owner = "ann".to_owned();
        let members = vec![owner.clone()];
        Self { room, owner, members, admins: vec![], blocks: vec![], whitelist: vec![], mutes: vec![], mute_all: false }
    }

    fn is_member(&self, name: &String) -> bool {
        self.members.contains(name)
    }

    fn leave(&mut self, name: &str) {
        for list in [&mut self.members, &mut self.admins, &mut self.whitelist] {
            list.retain(|known| known != name);
        }
    }

    /// The owner first, then everyone else.
    fn affiliations(&self) -> Vec<Value> {
        let others = self.members.iter().filter(|name| **name != self.owner).map(|name| json!({"member": name}));
        std::iter::once(json!({"owner": self.owner})).chain(others).collect()
    }

    fn registered(name: &str) -> Result<(), (u16, String)> {
        if REGISTERED.contains(&name) { Ok(()) } else { Err((404, format!("username {name} doesn't exist!"))) }
    }

    fn add(&mut self, names: &[String]) -> Result<Vec<bool>, (u16, String)> {
        let mut seats = MAXUSERS - self.members.len();
        let mut new = vec![];
        for name in names {
            Self::registered(name)?;
            if self.blocks.contains(name) {
                return Err((
                    403,
                    format!("can not join this group, reason:user {name} is in the blacklist of group {}", self.room),
                ));
            }
            new.push(!self.is_member(name));
            if new.last() == Some(&true) {
                if seats == 0 {
                    return Err((403, "can not join this group, reason:member list is full!".into()));
                }
                seats -= 1;
            }
        }
        self.members.extend(names.iter().zip(&new).filter(|(_, new)| **new).map(|(name, _)| name.clone()));
        Ok(new)
    }

    /// For each name, whether it can be acted on, and if not, why; if on none, the refusal of the call.
    fn each(names: &[String], reason: impl Fn(&str) -> Option<String>) -> Result<Vec<Option<String>>, (u16, String)> {
        let fates: Vec<Option<String>> = names.iter().map(|name| reason(name)).collect();
        if fates.iter().all(Option::is_some) {
            return Err(if fates.iter().any(|fate| fate.as_deref() == Some(OWNER)) {
                (403, OWNER.into())
            } else {
                (400, format!("users [{}] are not members of this group!", names.join(", ")))
            });
        }
        Ok(fates)
    }

    fn remove(&mut self, names: &[String]) -> Result<Vec<Value>, (u16, String)> {
        for name in names {
            Self::registered(name)?;
        }
        let fates = Self::each(names, |name| match () {
            () if name == self.owner => Some(OWNER.into()),
            () if !self.members.iter().any(|member| member == name) => {
                Some(format!("user: {name} doesn't exist in group: {}", self.room))
            }
            () => None,
        })?;
        Ok(self.act(names, &fates, "remove_member", "id", true, Self::leave))
    }

    fn block(&mut self, names: &[String]) -> Result<Vec<Value>, (u16, String)> {
        let fates = Self::each(names, |name| match () {
            () if name == self.owner => Some(OWNER.into()),
            () if !self.members.iter().any(|member| member == name) => {
                Some(format!("user: {name} doesn't exist in chatroom: {}", self.room))
            }
            () => None,
        })?;
        Ok(self.act(names, &fates, "add_blocks", "chatroomid", true, |model, name| {
            model.leave(name);
            model.blocks.push(name.into());
        }))
    }

    fn shut(&mut self, names: &[String]) -> Result<Vec<Value>, (u16, String)> {
        let fates = Self::each(names, |name| match () {
            () if name == self.owner => Some(OWNER.into()),
            () if Self::registered(name).is_err() => Some(format!("user: {name} doesn't exist in chatroom: {}", self.room)),
            () => None,
        })?;
        Ok(self.act(names, &fates, "add_blocks", "chatroomid", true, |model, name| {
            model.leave(name);
            if !model.blocks.iter().any(|blocked| blocked == name) {
                model.blocks.push(name.into());
            }
        }))
    }

    fn unblock(&mut self, names: &[String]) -> Result<Vec<Value>, (u16, String)> {
        let fates = Self::each(names, |name| (!self.blocks.iter().any(|blocked| blocked == name)).then(String::new))?;
        Ok(self.act(names, &fates, "remove_blocks", "chatroomid", false, |model, name| {
            model.blocks.retain(|blocked| blocked != name);
        }))
    }

    fn whiten(&mut self, names: &[String]) -> Result<Vec<Value>, (u16, String)> {
        let fates = Self::each(names, |name| {
            let stranger = !self.members.iter().any(|member| member == name);
            stranger.then(|| format!("user: {name} doesn't exist in chatroom: {}", self.room))
        })?;
        Ok(self.act(names, &fates, "add_user_whitelist", "chatroomid", true, |model, name| {
            if !model.whitelist.iter().any(|known| known == name) {
                model.whitelist.push(name.into());
            }
        }))
    }

    fn unwhiten(&mut self, names: &[String]) -> Result<Vec<Value>, (u16, String)> {
        let fates = Self::each(names, |name| (!self.members.iter().any(|member| member == name)).then(String::new))?;
        Ok(self.act(names, &fates, "remove_user_whitelist", "chatroomid", false, |model, name| {
            model.whitelist.retain(|known| known != name);
        }))
    }

    fn act(
        &mut self,
        names: &[String],
        fates: &[Option<String>],
        action: &str,
        id: &str,
        reasons: bool,
        apply: impl Fn(&mut Self, &str),
    ) -> Vec<Value> {
        let mut results = vec![];
        for (name, fate) in names.iter().zip(fates) {
            let mut result = json!({"result": fate.is_none(), "action": action, "user": name, id: self.room});
            match fate {
                None => apply(self, name),
                Some(reason) if reasons => result["reason"] = json!(reason),
                Some(_) => {}
            }
            results.push(result);
        }
        results
    }

    /// The answer to a step, and what it does.
    fn apply(&mut self, step: &Step) -> Expected {
        let fold = |name: &String| name.to_ascii_lowercase();
        let distinct = |names: &[String]| {
            let mut distinct: Vec<String> = vec![];
            for name in names.iter().map(fold) {
                if !distinct.contains(&name) {
                    distinct.push(name);
                }
            }
            distinct
        };
        let one = |results: Vec<Value>| results.into_iter().next().unwrap_or_default();
        Ok(match step {
            Step::Members(page, size) => self.affiliations().into_iter().skip((page - 1) * size).take(*size).collect(),
            Step::AddOne(name) => {
                let name = fold(name);
                if self.add(std::slice::from_ref(&name))? == [false] {
                    return Err((400, format!("can not join this group, reason:user: {name} already in group: {}", self.room)));
                }
                json!({"result": true, "action": "add_member", "id": self.room, "user": name})
            }
            Step::Add(names) => {
                let names = distinct(names);
                self.add(&names)?;
                json!({"newmembers": names, "action": "add_member", "id": self.room})
            }
            Step::RemoveOne(name) => one(self.remove(&[fold(name)])?),
            Step::Remove(names) => self.remove(&distinct(names))?.into(),
            Step::Admins => json!(self.admins),
            Step::Promote(name) => {
                let name = fold(name);
                Self::registered(&name)?;
                if !self.is_member(&name) {
                    return Err((404, format!("user: {name} doesn't exist in group: {}", self.room)));
                }
                if name != self.owner && !self.admins.contains(&name) {
                    self.admins.push(name.clone());
                }
                json!({"result": "success", "newadmin": name})
            }
            Step::Demote(name) => {
                let name = fold(name);
                Self::registered(&name)?;
                if !self.admins.contains(&name) {
                    return Err((403, format!("user:{name} is not admin of group:{}", self.room)));
                }
                self.admins.retain(|admin| *admin != name);
                json!({"result": "success", "oldadmin": name})
            }
            Step::Blocks => json!(self.blocks),
            Step::BlockOne(name) => one(self.block(&[fold(name)])?),
            Step::Block(names) => self.block(&distinct(names))?.into(),
            Step::Shut(names, _) => self.shut(&distinct(names))?.into(),
            Step::UnblockOne(name) => one(self.unblock(&[fold(name)])?),
            Step::Unblock(names) => self.unblock(&distinct(names))?.into(),
            Step::Whitelist => json!(self.whitelist),
            Step::WhitelistOne(name) => one(self.whiten(&[fold(name)])?),
            Step::Whiten(names) => self.whiten(&distinct(names))?.into(),
            Step::Unwhiten(names) => self.unwhiten(&distinct(names))?.into(),
            Step::Mutes => self.mutes.iter().map(|name| json!({"user": name})).collect(),
            Step::Mute(names, duration) => {
                let names = distinct(names);
                let non_members: Vec<String> = names.iter().filter(|name| !self.is_member(name)).cloned().collect();
                if !non_members.is_empty() {
                    return Err((400, format!("users [{}] are not members of this group!", non_members.join(", "))));
                }
                for name in &names {
                    if *duration == 0 {
                        self.mutes.retain(|muted| muted != name);
                    } else if !self.mutes.contains(name) {
                        self.mutes.push(name.clone());
                    }
                }
                names.iter().map(|name| json!({"result": true, "user": name})).collect()
            }
            Step::MuteAll | Step::UnmuteAll => {
                self.mute_all = matches!(step, Step::MuteAll);
                json!({"mute": self.mute_all})
            }
            Step::Unmute(names) => {
                let names = distinct(names);
                self.mutes.retain(|muted| !names.contains(muted));
                names.iter().map(|name| json!({"result": REGISTERED.contains(&name.as_str()), "user": name})).collect()
            }
            Step::Transfer(name) => {
                let name = fold(name);
                Self::registered(&name)?;
                if name == self.owner {
                    return Err((403, "new owner and old owner are the same".into()));
                }
                if !self.is_member(&name) {
                    return Err((403, format!("user: {name} doesn't exist in group: {}", self.room)));
                }
                self.admins.retain(|admin| *admin != name);
                self.whitelist.retain(|known| *known != name);
                self.owner = name;
                json!({"newowner": true})
            }
        })
    }
}

const OWNER: &str = "forbidden operation on group owner!";

/// The request of a step.
async fn call(app: &TestApp, room: &str, step: &Step) -> Answer {
    let at = |path: &str| format!("/chatrooms/{room}{path}");
    // Two names or more, or one and a comma: always several.
    let several = |path: &str, names: &[String]| at(&format!("{path}/{},", names.join("%2C")));
    let names = |names: &[String]| json!({"usernames": names});
    match step {
        Step::Members(page, size) => app.get(&at(&format!("/users?pagenum={page}&pagesize={size}"))).await,
        Step::AddOne(name) => app.post(&at(&format!("/users/{name}"))).await,
        Step::Add(list) => app.post_json(&at("/users"), names(list)).await,
        Step::RemoveOne(name) => app.delete(&at(&format!("/users/{name}"))).await,
        Step::Remove(list) => app.delete(&several("/users", list)).await,
        Step::Admins => app.get(&at("/admin")).await,
        Step::Promote(name) => app.post_json(&at("/admin"), json!({"newadmin": name})).await,
        Step::Demote(name) => app.delete(&at(&format!("/admin/{name}"))).await,
        Step::Blocks => app.get(&at("/blocks/users")).await,
        Step::BlockOne(name) => app.post(&at(&format!("/blocks/users/{name}"))).await,
        Step::Block(list) => app.post_json(&at("/blocks/users"), names(list)).await,
        Step::Shut(list, duration) => {
            let body = json!({"usernames": list, "allow_non_member": true, "block_duration": duration});
            app.post_json(&at("/blocks/users"), body).await
        }
        Step::UnblockOne(name) => app.delete(&at(&format!("/blocks/users/{name}"))).await,
        Step::Unblock(list) => app.delete(&several("/blocks/users", list)).await,
        Step::Whitelist => app.get(&at("/white/users")).await,
        Step::WhitelistOne(name) => app.post(&at(&format!("/white/users/{name}"))).await,
        Step::Whiten(list) => app.post_json(&at("/white/users"), names(list)).await,
        Step::Unwhiten(list) => app.delete(&several("/white/users", list)).await,
        Step::Mutes => app.get(&at("/mute")).await,
        Step::Mute(list, duration) => app.post_json(&at("/mute"), json!({"usernames": list, "mute_duration": duration})).await,
        Step::MuteAll => app.post(&at("/ban")).await,
        Step::Unmute(list) => app.delete(&several("/mute", list)).await,
        Step::UnmuteAll => app.delete(&at("/ban")).await,
        Step::Transfer(name) => app.send(app.request(Method::PUT, &at("")).body(json!({"newowner": name}).to_string())).await,
    }
}

/// `data`, without the moments at which mutes end; or the refusal.
fn actual(answer: &Answer) -> Expected {
    let mut body = answer.json();
    if answer.status != 200 {
        return Err((answer.status, body["error_description"].as_str().unwrap_or_default().into()));
    }
    for entry in body["data"].as_array_mut().into_iter().flatten() {
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("expire");
        }
    }
    Ok(body["data"].take())
}

async fn check(app: &TestApp, room: &str, model: &mut Model, step: &Step) -> Result<(), TestCaseError> {
    let expected = model.apply(step);
    let actual = actual(&call(app, room, step).await);
    if actual == expected {
        return Ok(());
    }
    Err(TestCaseError::fail(format!("{step:?}\n  expected {expected:?}\n  answered {actual:?}")))
}

async fn check_lists(app: &TestApp, room: &str, model: &mut Model) -> Result<(), TestCaseError> {
    for list in [Step::Members(1, 1000), Step::Admins, Step::Blocks, Step::Whitelist, Step::Mutes] {
        check(app, room, model, &list).await?;
    }
    let detail = app.get(&format!("/chatrooms/{room}")).await.json()["data"][0].clone();
    let shown = (&detail["affiliations_count"], &detail["affiliations"], &detail["mute"], &detail["owner"]);
    let (count, people) = (json!(model.members.len()), Value::from(model.affiliations()));
    if shown == (&count, &people, &json!(model.mute_all), &json!(model.owner)) {
        return check_events(app, room, model).await;
    }
    Err(TestCaseError::fail(format!("the room shows {shown:?}, not {count} {people} {} {}", model.mute_all, model.owner)))
}

/// What the events of a room say of its lists.
fn told(room: &str, events: &[Value]) -> Result<Model, String> {
    let mut told = Model::new(room.into());
    told.members.clear();
    for (index, event) in events.iter().enumerate() {
        if event["n"] != index + 1 {
            return Err(format!("{event} at index {index}"));
        }
        let users: Vec<String> =
            event["users"].as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect();
        let (adds, list) = match event["kind"].as_str().unwrap_or_default() {
            "CREATE" | "JOIN/DIRECT" => (true, &mut told.members),
            "LEAVE/KICK" | "LEAVE/BLOCK" => {
                for name in &users {
                    let lists = [("admin", &told.admins), ("whitelist", &told.whitelist)];
                    let lost: Vec<&str> =
                        lists.into_iter().filter(|(_, list)| list.contains(name)).map(|(list, _)| list).collect();
                    let said = &event["before"][name];
                    if (lost.is_empty() && !said.is_null()) || (!lost.is_empty() && *said != json!(lost)) {
                        return Err(format!("{event}, but {name} lost {lost:?}"));
                    }
                    told.leave(name);
                }
                continue;
            }
            "ADMIN/ADD" => (true, &mut told.admins),
            "ADMIN/REMOVE" => (false, &mut told.admins),
            "WHITE/ADD" => (true, &mut told.whitelist),
            "WHITE/REMOVE" => (false, &mut told.whitelist),
            "BLOCK/REMOVE" => (false, &mut told.blocks),
            kind @ ("BLOCK/ADD" | "MUTE/ADD") => {
                let list = if kind == "BLOCK/ADD" { &mut told.blocks } else { &mut told.mutes };
                for name in users {
                    let is_moved = !event["before"][&name].is_null();
                    if is_moved != list.contains(&name) {
                        return Err(format!("{event}, but {name} is among {list:?}"));
                    }
                    if !is_moved {
                        list.push(name);
                    }
                }
                continue;
            }
            "MUTE/REMOVE" => (false, &mut told.mutes),
            "UPDATE/MUTE" => {
                told.mute_all = event["after"]["mute"] == true;
                continue;
            }
            "UPDATE/OWNER" => {
                told.owner = event["after"]["owner"].as_str().unwrap_or_default().into();
                continue;
            }
            _ => return Err(format!("{event} is unexpected")),
        };
        for name in users {
            if adds == list.contains(&name) {
                return Err(format!("{event} changes nothing for {name}"));
            }
            if adds {
                list.push(name);
            } else {
                list.retain(|known| *known != name);
            }
        }
    }
    Ok(told)
}

async fn check_events(app: &TestApp, room: &str, model: &Model) -> Result<(), TestCaseError> {
    let answer = app.get(&format!("/chatrooms/{room}/events?limit=1000")).await.json();
    let events = answer["data"].as_array().cloned().unwrap_or_default();
    let told = told(room, &events).map_err(TestCaseError::fail)?;
    let lists = |model: &Model| {
        let Model { owner, members, admins, blocks, whitelist, mutes, mute_all, .. } = model;
        json!([owner, members, admins, blocks, whitelist, mutes, mute_all])
    };
    if lists(&told) == lists(model) {
        return Ok(());
    }
    Err(TestCaseError::fail(format!("the events tell {}, not {}", lists(&told), lists(model))))
}

#[test]
fn any_sequence_of_calls_is_answered_as_the_model_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let app = runtime.block_on(async {
        let app = TestApp::new().await;
        app.users(&REGISTERED).await;
        app
    });
    let mut runner = TestRunner::new(Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() });
    let result = runner.run(&vec(step(), 1..25), |steps| {
        runtime.block_on(async {
            let room = app.room_of(u32::try_from(MAXUSERS).expect("small"), "ann", &[]).await;
            let mut model = Model::new(room.clone());
            for (number, step) in steps.iter().enumerate() {
                check(&app, &room, &mut model, step).await?;
                if number % 5 == 4 {
                    check_lists(&app, &room, &mut model).await?;
                }
            }
            check_lists(&app, &room, &mut model).await
        })
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    runtime.block_on(app.assert_invariants());
}
