//! Who did what to whom, when and why? `/audit`: the events of the app, page by page, or all of them as NDJSON.

use actix_web::HttpResponse;
use actix_web::guard::GuardContext;
use actix_web::http::header::Accept;
use actix_web::web::{self, Bytes, ServiceConfig};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Serialize;
use tracing::Instrument as _;

use super::call::Call;
use super::events::kinds;
use super::idempotent_resource;
use super::openapi::form;
use super::openapi::operation::{self, Operation};
use super::paging::{self, Params};
use super::reply::Reply;
use crate::db::Db;
use crate::error::{Causes, Error};
use crate::events::audit::{self, Filter, Span};
use crate::events::cursor::EventCursor;
use crate::events::log::Event;
use crate::names::Order;

const NDJSON: &str = "application/x-ndjson";

/// Events on a page where no limit is named.
const DEFAULT_LIMIT: i64 = 100;

/// What may be asked for.
const PARAMS: [&str; 8] = ["user", "actor", "room", "kind", "from", "to", "limit", "cursor"];

/// Events that are read at once for an export: all that it ever holds.
const EXPORTED_AT_ONCE: i64 = 1000;

pub fn routes(config: &mut ServiceConfig) {
    // The export before the list, which takes every other request.
    config.service(idempotent_resource("/audit").route(web::get().guard(wants_ndjson).to(export)).route(web::get().to(list)));
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/audit", "audit", "List what was done, the newest first")
            .says(
                "A page may be short, or empty, and have a cursor all the same: only the last one has none. As \
                `application/x-ndjson`, all of it, the oldest first, with `{\"end\":true,…}` as the last line.",
            )
            .query("user", form::text("Whom it is about."))
            .query("actor", form::text("Who has done it."))
            .query("room", form::text("In which room."))
            .query("kind", form::text("Kinds with commas between them, each whole or without what follows its stroke."))
            .query("from", form::integer("Not before that moment, in Unix milliseconds."))
            .query("to", form::integer("Before that moment, in Unix milliseconds."))
            .by_cursor()
            .answers::<Vec<Event>>()
            .counted()
            .gives_text(NDJSON),
    ]
}

/// Only where it is named: a client that accepts anything gets JSON.
fn wants_ndjson(request: &GuardContext<'_>) -> bool {
    request.header::<Accept>().is_some_and(|accept| accept.iter().any(|range| range.item.essence_str() == NDJSON))
}

/// The newest first. A page may be short, or empty, and have a cursor all the same: only the last one has none.
async fn list(call: Call) -> Result<Reply<Vec<Event>>, Error> {
    let params = call.params().only(&PARAMS)?;
    let (filter, mut span) = asked(&call, &params)?;
    let scope = scope(&filter, &span);
    if let Some(cursor) = call.state.cursors.read(&scope, &params)? {
        span.to = cursor;
    }
    let limit = paging::limit(&params, DEFAULT_LIMIT, paging::MAX_LIMIT);
    let page = audit::read(&call.state.db.for_lists(), &filter, span, Order::NewestFirst, limit).await?;
    let cursor = page.rest.map(|rest| call.state.cursors.write(&scope, &rest.to));
    let count = page.events.len();
    Ok(call.reply(page.events).count(count).cursor(cursor))
}

/// What a cursor is bound to: everything that is asked for.
fn scope(filter: &Filter, span: &Span) -> String {
    let Filter { app, user, room, actor, kinds } = filter;
    let Span { from, to } = span;
    format!("audit/{app}/{user:?}/{room:?}/{actor:?}/{kinds:?}/{from}/{to}")
}

/// The events that the query string asks for. What is empty counts as absent.
fn asked(call: &Call, params: &Params) -> Result<(Filter, Span), Error> {
    let given = |key| params.first(key).filter(|value| !value.is_empty());
    let at = |key, ms: &str| ms.parse().map(EventCursor::at_unix_ms).map_err(|_| Error::not_among(key, &["Unix milliseconds"]));
    let moment = |key| given(key).map(|ms| at(key, ms)).transpose();
    let filter = Filter {
        app: call.app.id,
        user: given("user").map(str::to_ascii_lowercase),
        room: given("room").map(str::to_owned),
        actor: given("actor").map(str::to_owned),
        kinds: kinds(params)?,
    };
    let (from, to) = (moment("from")?.unwrap_or(EventCursor::START), moment("to")?.unwrap_or(EventCursor::END));
    Ok((filter, Span { from, to }))
}

/// All of them up to now, the oldest first, an event on each line, and a last line that tells that nothing is missing.
///
/// They are read as fast as they are taken, and no connection waits for the reader. The status is long sent when the
/// database fails in the middle: the answer breaks off then, and the reader does not see that last line.
async fn export(call: Call) -> Result<HttpResponse, Error> {
    let params = call.params().only(&PARAMS)?;
    let (filter, span) = asked(&call, &params)?;
    // An export has no pages; but what is no cursor of this audit is a mistake all the same.
    call.state.cursors.read::<EventCursor>(&scope(&filter, &span), &params)?;
    let db = call.state.db.clone();
    let beginning = Export { left: Some(span.until_now(&db).await?), db, filter, count: 0 };
    let request = tracing::Span::current();
    let pages = stream::try_unfold(beginning, move |export| export.page().instrument(request.clone()));
    Ok(HttpResponse::Ok().content_type(NDJSON).streaming(pages))
}

/// An export under way.
struct Export {
    db: Db,
    filter: Filter,
    left: Option<Span>,
    count: usize,
}

/// The last line of an export.
#[derive(Serialize, JsonSchema)]
struct End {
    end: bool,
    count: usize,
}

impl Export {
    /// The next lines, and what comes behind them. The cause of a failure is for the log, not for the framework.
    async fn page(mut self) -> Result<Option<(Bytes, Self)>, &'static str> {
        let Some(span) = self.left.take() else { return Ok(None) };
        match self.lines(span).await {
            Ok(lines) => Ok(Some((lines, self))),
            Err(error) => {
                tracing::error!(error = %Causes(&error), count = self.count, "the export breaks off");
                Err("the export broke off")
            }
        }
    }

    async fn lines(&mut self, span: Span) -> Result<Bytes, Error> {
        let page = audit::read(&self.db, &self.filter, span, Order::OldestFirst, EXPORTED_AT_ONCE).await?;
        self.count += page.events.len();
        self.left = page.rest;
        let mut lines = Vec::new();
        for event in &page.events {
            write_line(&mut lines, event)?;
        }
        if self.left.is_none() {
            write_line(&mut lines, &End { end: true, count: self.count })?;
        }
        Ok(lines.into())
    }
}

fn write_line(lines: &mut Vec<u8>, line: &impl Serialize) -> Result<(), Error> {
    serde_json::to_writer(&mut *lines, line).map_err(|error| Error::Internal(error.into()))?;
    lines.push(b'\n');
    Ok(())
}
