//! What is in force, until when, by whom and why? `/restrictions`: the mutes and blocks of an app.

use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;

use super::call::Call;
use super::idempotent_resource;
use super::openapi::form;
use super::openapi::operation::{self, Operation};
use super::paging;
use super::reply::Reply;
use crate::error::Error;
use crate::names::unix_ms;
use crate::rooms::read::restrictions::{self, AppEntry, Filter, KINDS, RestrictionEntry};

/// Entries on a page where no limit is named.
const DEFAULT_LIMIT: i64 = 100;

pub fn routes(config: &mut ServiceConfig) {
    config.service(idempotent_resource("/restrictions").route(web::get().to(list)));
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/restrictions", "listRestrictions", "List the mutes and blocks in force, the newest first")
            .says("A page may be short, or empty, and have a cursor all the same: only the last one has none.")
            .query("kind", form::text(&format!("{}, with commas between them; all where none is named.", KINDS.join(", "))))
            .query("room", form::text("In which room."))
            .query("actor", form::text("Who has set them."))
            .query("user", form::text("Whom they are about."))
            .by_cursor()
            .answers::<Vec<AppRestriction>>()
            .counted(),
    ]
}

/// Moments are Unix milliseconds.
#[derive(Serialize, JsonSchema)]
pub(super) struct Restriction {
    user: String,
    until: i64,
    since: i64,
    actor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<RestrictionEntry> for Restriction {
    fn from(entry: RestrictionEntry) -> Self {
        let RestrictionEntry { username, ends_at, since, actor, reason } = entry;
        Self { user: username, until: unix_ms(ends_at), since: unix_ms(since), actor, reason }
    }
}

#[derive(Serialize, JsonSchema)]
struct AppRestriction {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    chatroom: Option<String>,
    #[serde(flatten)]
    restriction: Restriction,
}

impl From<AppEntry> for AppRestriction {
    fn from(AppEntry { kind, chatroom, entry }: AppEntry) -> Self {
        Self { kind, chatroom, restriction: entry.into() }
    }
}

/// The newest first. A page may be short, or empty, and have a cursor all the same: only the last one has none.
async fn list(call: Call) -> Result<Reply<Vec<AppRestriction>>, Error> {
    let params = call.params().only(&["kind", "room", "actor", "user", "limit", "cursor"])?;
    let given = |key| params.first(key).filter(|value| !value.is_empty());
    let filter = Filter {
        app: call.app.id,
        kinds: kinds(given("kind"))?,
        room: given("room").map(str::to_owned),
        actor: given("actor").map(str::to_owned),
        user: given("user").map(str::to_ascii_lowercase),
    };
    let Filter { app, kinds, room, actor, user } = &filter;
    let scope = format!("restrictions/{app}/{kinds:?}/{room:?}/{actor:?}/{user:?}");
    let after = call.state.cursors.read(&scope, &params)?;
    let limit = paging::limit(&params, DEFAULT_LIMIT, paging::MAX_LIMIT);
    let page = restrictions::read(&call.state.db.for_lists(), &filter, after, limit).await?;
    let cursor = page.next.map(|next| call.state.cursors.write(&scope, &next));
    let count = page.entries.len();
    Ok(call.reply(page.entries.into_iter().map(AppRestriction::from).collect()).count(count).cursor(cursor))
}

/// The kinds that `kind` names, with commas between them, in an order of their own; all where none is named.
fn kinds(named: Option<&str>) -> Result<Vec<&'static str>, Error> {
    let Some(named) = named else { return Ok(KINDS.to_vec()) };
    let named: Vec<&str> = named.split(',').collect();
    if named.iter().any(|kind| !KINDS.contains(kind)) {
        return Err(Error::not_among("kind", &KINDS));
    }
    Ok(KINDS.into_iter().filter(|kind| named.contains(kind)).collect())
}
