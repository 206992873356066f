//! How much happens? `/audit/counts`: the events of the app, or of a room, counted by kind and by stretch of time.

use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::call::Call;
use super::events::kinds;
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::paging::Params;
use super::reply::Reply;
use crate::error::Error;
use crate::events::audit::Span;
use crate::events::counts::{self, Count, Filter};
use crate::events::cursor::EventCursor;
use crate::names::unix_ms;

/// The most stretches of time in one question.
const MAX_STRETCHES: usize = 1000;

pub fn routes(config: &mut ServiceConfig) {
    config.service(idempotent_resource("/audit/counts").route(web::get().to(list)));
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/audit/counts", "countEvents", "Count what was done, by kind and by stretch of time, the newest first")
            .says(
                "A page counts 50,000 events at most, so that a stretch may be in two of them: the pages add up. Stretches in \
                which nothing has happened are left out.",
            )
            .needs_query("from", form::integer("Not before that moment, in Unix milliseconds."))
            .needs_query("to", form::integer("Before that moment, in Unix milliseconds."))
            .needs_query("every", form::integer("How long a stretch is, in milliseconds; 1,000 stretches at most."))
            .query("room", form::text("In which room."))
            .query("kind", form::text("Kinds with commas between them, each whole or without what follows its stroke."))
            .with(&["cursor"])
            .answers::<Vec<EventCount>>()
            .counted()
            .fails(&[fails::INVALID_PARAMETER]),
    ]
}

/// `since` is when the stretch begins, in Unix milliseconds. A user counts in each event.
#[derive(Serialize, JsonSchema)]
struct EventCount {
    since: i64,
    kind: String,
    events: i64,
    users: i64,
}

async fn list(call: Call) -> Result<Reply<Vec<EventCount>>, Error> {
    let params = call.params().only(&["room", "kind", "from", "to", "every", "cursor"])?;
    let [from, to] = [moment(&params, "from")?, moment(&params, "to")?];
    let starts = starts(from, to, milliseconds(&params, "every")?)?;
    let room = params.first("room").filter(|room| !room.is_empty()).map(str::to_owned);
    let filter = Filter { app: call.app.id, room, kinds: kinds(&params)? };
    let Filter { app, room, kinds } = &filter;
    let scope = format!("counts/{app}/{room:?}/{kinds:?}/{from}/{to}");
    let end = call.state.cursors.read(&scope, &params)?.unwrap_or_else(|| EventCursor::at(to));
    let page = counts::read(&call.state.db, &filter, Span { from: EventCursor::at(from), to: end }, &starts).await?;
    let cursor = page.rest.map(|rest| call.state.cursors.write(&scope, &rest));
    let shown = |Count { start, kind, events, users }| EventCount { since: unix_ms(start), kind, events, users };
    let counts: Vec<EventCount> = page.counts.into_iter().map(shown).collect();
    let count = counts.len();
    Ok(call.reply(counts).count(count).cursor(cursor))
}

/// When the stretches between two moments begin. There is none where the second is not behind the first.
fn starts(from: OffsetDateTime, to: OffsetDateTime, every: i64) -> Result<Vec<OffsetDateTime>, Error> {
    let every = Some(every).filter(|every| *every > 0).ok_or_else(|| Error::not_among("every", &["milliseconds"]))?;
    let starts = std::iter::successors(Some(from), |start| start.checked_add(Duration::milliseconds(every)));
    let starts: Vec<OffsetDateTime> = starts.take_while(|start| *start < to).take(MAX_STRETCHES + 1).collect();
    if starts.len() > MAX_STRETCHES {
        return Err(Error::InvalidParameter(format!(
            "every is invalid: more than {MAX_STRETCHES} of it are between from and to"
        )));
    }
    Ok(starts)
}

fn moment(params: &Params, key: &str) -> Result<OffsetDateTime, Error> {
    Ok(EventCursor::at_unix_ms(milliseconds(params, key)?).happened_at)
}

fn milliseconds(params: &Params, key: &str) -> Result<i64, Error> {
    let text = params.first(key).filter(|text| !text.is_empty()).ok_or_else(|| Error::missing(key))?;
    text.parse().map_err(|_| Error::not_among(key, &["milliseconds"]))
}
