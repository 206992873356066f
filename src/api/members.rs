//! Members of a chatroom: `/chatrooms/{chatroom_id}/users`, calls 1 to 5.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Responder as _};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::call::Call;
use super::change::OneOrAll;
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{
    failures::{self as fails, Failure},
    form,
};
use super::paging::{self, Page};
use super::reply::Reply;
use crate::config::{AddExistingMember, ListCall};
use crate::error::Error;
use crate::names::{CursorPage, NameList, Order};
use crate::rooms::members::{self, Added, Removed};
use crate::rooms::read;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            idempotent_resource("/chatrooms/{chatroom_id}/users").route(web::get().to(list)).route(web::post().to(add_several)),
        )
        .service(
            idempotent_resource("/chatrooms/{chatroom_id}/users/{usernames}")
                .route(web::post().to(add_one))
                .route(web::delete().to(remove)),
        );
}

/// Why users are not let in.
const REFUSED_ADDITION: &[Failure] = &[fails::USER_NOT_FOUND, fails::BLOCKED, fails::ROOM_FULL, fails::TOO_MANY_ROOMS];

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/chatrooms/{chatroom_id}/users", "listMembers", "List the members")
            .says(
                "Page by page, the owner first. With a `limit` or a `cursor`, or `version=v3`: names only, without the owner, \
                the latest first.",
            )
            .by_number()
            .by_cursor()
            .query("version", form::one_of("Names only, page by page by cursor.", &["v3"]))
            .query("sort", form::one_of("Names only, the earliest first.", &["asc"]))
            .answers::<MemberList>()
            .counted()
            .fails(&[fails::ROOM_NOT_FOUND_ON_READ]),
        operation::post("/chatrooms/{chatroom_id}/users/{usernames}", "addMember", "Add a member")
            .answers::<AddedOne>()
            .fails(REFUSED_ADDITION)
            .fails(&[fails::ALREADY_MEMBER]),
        operation::post("/chatrooms/{chatroom_id}/users", "addMembers", "Add members, all or none")
            .says("Who is in already counts as added.")
            .takes("usernames", form::texts("Registered users, at most 60."))
            .answers::<AddedSeveral>()
            .fails(REFUSED_ADDITION)
            .fails(&[fails::TOO_MANY_NAMES]),
        operation::delete("/chatrooms/{chatroom_id}/users/{usernames}", "removeMembers", "Remove members")
            .says(
                "One, answered with an object; or up to 60 with commas between them, answered with an array. It fails if none \
                was removed.",
            )
            .answers::<OneOrAll<Removal>>()
            .fails(&[fails::TOO_MANY_NAMES, fails::NOT_MEMBERS, fails::NOT_MEMBERS_TODAY, fails::OWNER_IS_PROTECTED]),
    ]
}

/// People of a room: `{"owner": name}`, then `{"member": name}` for each of the others; admins are members here.
pub struct Affiliations {
    pub owner: Option<String>,
    pub members: NameList,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Affiliation<'a> {
    Owner(&'a str),
    Member(&'a str),
}

/// What the list is, in its two forms.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "tells the form of the answer")]
enum MemberList {
    ByNumber(Vec<Affiliation<'static>>),
    ByCursor(Vec<String>),
}

impl Affiliations {
    fn len(&self) -> usize {
        usize::from(self.owner.is_some()) + self.members.len()
    }
}

impl Serialize for Affiliations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let owner = self.owner.as_deref().map(Affiliation::Owner);
        serializer.collect_seq(owner.into_iter().chain(self.members.iter().map(Affiliation::Member)))
    }
}

/// E1: the members, page by page. The same path has a second form, told by its query.
async fn list(call: Call) -> Result<HttpResponse, Error> {
    let http = call.http().clone();
    let params = call.params();
    let by_number = params.first("pagenum").is_some() || params.first("pagesize").is_some();
    if params.first("version") == Some("v3") || (paging::is_by_cursor(&params) && !by_number) {
        return Ok(list_by_cursor(call).await?.respond_to(&http));
    }
    let page = Page::of(&params);
    let read::members::MemberPage { owner, members } =
        read::members::page(&call.state.db.for_lists(), &call.room_on_read()?, page.skip, page.size).await?;
    let affiliations = Affiliations { owner, members };
    let count = affiliations.len();
    Ok(call.reply(affiliations).count(count).respond_to(&http))
}

/// The second form: names only, the owner left out, the latest first unless `sort=asc`.
async fn list_by_cursor(call: Call) -> Result<Reply<Vec<String>>, Error> {
    let order = if call.params().first("sort") == Some("asc") { Order::OldestFirst } else { Order::NewestFirst };
    let asked = call.cursor_request(if order == Order::OldestFirst { "members" } else { "members/newest" })?;
    let CursorPage { entries, next } =
        read::members::list_after(&call.state.db.for_lists(), &call.room_on_read()?, order, asked.after, asked.limit).await?;
    let count = entries.len();
    Ok(call.reply(entries).count(count).next(&asked, next))
}

#[derive(Serialize, JsonSchema)]
struct AddedOne {
    result: bool,
    action: &'static str,
    id: String,
    user: String,
}

/// E2: adds one user, who must not be in yet.
async fn add_one(call: Call) -> Result<HttpResponse, Error> {
    let (room, names) = (call.room_segment().to_owned(), call.single_user()?);
    let (user, must_be_new) = (names.given()[0].clone(), call.rules.compat.add_existing_member() == AddExistingMember::Error);
    let add = members::Add { names, rooms_per_user: call.rules.rooms_per_user };
    let data = move |added: Vec<Added>| {
        let (user, room) = (user.clone(), room.clone());
        if added == [Added::Already] && must_be_new {
            return Err(Error::AlreadyMember { user, room });
        }
        Ok(AddedOne { result: true, action: "add_member", id: room, user })
    };
    call.change(add, data).await
}

#[derive(Serialize, JsonSchema)]
struct AddedSeveral {
    newmembers: Vec<String>,
    action: &'static str,
    id: String,
}

/// E3: adds all of up to 60 users, or none. Those who are in already count as added.
async fn add_several(call: Call) -> Result<HttpResponse, Error> {
    let names = call.users_in_body(ListCall::Add, "addMembers: addMembers number more than maxSize").await?;
    let (room, newmembers) = (call.room_segment().to_owned(), names.given().to_vec());
    let add = members::Add { names, rooms_per_user: call.rules.rooms_per_user };
    let data = move |_| Ok(AddedSeveral { newmembers: newmembers.clone(), action: "add_member", id: room.clone() });
    call.change(add, data).await
}

#[derive(Serialize, JsonSchema)]
struct Removal {
    result: bool,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    user: String,
    id: String,
}

/// E4 and E5 share their path: a comma in it asks for several users, and is answered with an array.
///
/// One result for each name; but if no user was removed, the call fails.
async fn remove(call: Call) -> Result<HttpResponse, Error> {
    let are_several = call.names_several_users();
    let names = if are_several {
        call.users(ListCall::Remove, "kickMember: kickMembers number more than maxSize").await?
    } else {
        call.user()
    };
    let (room, given, not_members) = (call.room_segment().to_owned(), names.given().to_vec(), call.not_members(ListCall::Remove));
    let data = move |removed: Vec<Removed>| {
        if !removed.contains(&Removed::Out) {
            return Err(if removed.contains(&Removed::Owner) { Error::OwnerIsProtected } else { not_members(given.clone()) });
        }
        let removal = |(user, removed): (&String, Removed)| Removal {
            result: removed == Removed::Out,
            action: "remove_member",
            reason: match removed {
                Removed::Out => None,
                Removed::NotMember => Some(format!("user: {user} doesn't exist in group: {room}")),
                Removed::Owner => Some(Error::OwnerIsProtected.to_string()),
            },
            user: user.clone(),
            id: room.clone(),
        };
        Ok(OneOrAll::of(given.iter().zip(removed).map(removal).collect(), are_several))
    };
    call.change(members::Remove { names }, data).await
}
