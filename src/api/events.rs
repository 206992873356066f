//! What has happened: `/chatrooms/{chatroom_id}/events` for a room, `/events` for the app; page by page, or as a stream
//! of server-sent events that goes on with what happens.

use std::collections::VecDeque;
use std::time::Duration;

use actix_web::http::header::{Accept, CACHE_CONTROL, Header as _, Quality};
use actix_web::web::{self, Bytes, ServiceConfig};
use actix_web::{HttpResponse, Responder as _};
use futures_util::stream;
use tokio::time::{Instant, Interval, interval_at};

use super::call::Call;
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::paging::{self, Params};
use super::reply::FeedEnds;
use crate::error::{Causes, Error};
use crate::events::feeds::{self, FeedEvent, Position};
use crate::events::log::{Event, Kind};
use crate::events::subscriptions::Subscription;
use crate::names::Scope;

const EVENT_STREAM: &str = "text/event-stream";

/// Events on a page where no limit is named, and at most.
const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1000;

/// What may be asked for, of a room and of an app.
const PARAMS: [&str; 3] = ["since", "limit", "kind"];

/// Events that a stream reads at once while it catches up. Each may be about a thousand users.
const CAUGHT_UP_AT_ONCE: i64 = 100;

/// How long a stream goes on whose token was revoked, or whose user may not read it any more, besides what is remembered of
/// both.
const RECHECKED_EVERY: Duration = Duration::from_millis(400);

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(idempotent_resource("/chatrooms/{chatroom_id}/events").route(web::get().to(of_room)))
        .service(idempotent_resource("/events").route(web::get().to(of_app)));
}

pub fn operations() -> Vec<Operation> {
    let feed = |path: &str, id, summary| {
        operation::get(path, id, summary)
            .query("kind", form::text("Kinds with commas between them, each whole or without what follows its stroke."))
            .query("limit", form::integer("How many events a page has at most, 1 to 1000; 100 where none is named."))
            .header("Last-Event-ID", form::text("The last event that was seen on a stream that broke off."))
            .answers::<Vec<Event>>()
            .has(&["count", "oldest", "last"])
            .gives_text(EVENT_STREAM)
            .fails(&[fails::INVALID_PARAMETER, fails::EVENTS_GONE, fails::EXCEED_LIMIT])
    };
    vec![
        feed("/chatrooms/{chatroom_id}/events", "listEvents", "List the events of a room, or follow them")
            .says("The oldest first. As `text/event-stream`, it goes on with what happens.")
            .query("since", form::integer("Behind which event the page begins.")),
        feed("/events", "listEventsOfApp", "List the events of all rooms, or follow them")
            .says(
                "In an order in which none is missed: `next` is what to ask for `since` then. As `text/event-stream`, it goes \
                on with what happens.",
            )
            .query("since", form::text("The `next`, `oldest` or `last` of an answer.")),
    ]
}

/// The events of a room behind the number `since`.
async fn of_room(call: Call) -> Result<HttpResponse, Error> {
    let (http, params) = (call.http().clone(), call.params().only(&PARAMS)?);
    let since = params.first("since").filter(|since| !since.is_empty()).map(number).transpose()?;
    let kinds = kinds(&params)?;
    if wants_stream(&call) {
        let last_id = last_event_id(&call).map(number).transpose()?;
        let scope = Scope::Room(call.room()?);
        return Stream::open(call, scope, last_id.or(since).map(|n| Position { n, ..Position::default() }), kinds).await;
    }
    let limit = paging::limit(&params, DEFAULT_LIMIT, MAX_LIMIT);
    let page = feeds::of_room(&call.state.db, &call.room()?, since, limit, kinds.as_deref()).await?;
    let count = page.events.len();
    // Without kinds the last event of the page tells it.
    let next = kinds.map(|_| page.next.into());
    let ends = FeedEnds { oldest: page.oldest.into(), last: page.last.into(), next };
    Ok(call.reply(page.events).count(count).feed(ends).respond_to(&http))
}

/// The events of the app behind the cursor `since`.
async fn of_app(call: Call) -> Result<HttpResponse, Error> {
    let (http, params, scope) = (call.http().clone(), call.params().only(&PARAMS)?, app_scope(call.app.id));
    let since = params.first("since").filter(|since| !since.is_empty());
    let since = since.map(|since| call.state.cursors.open(&scope, since)).transpose()?;
    let kinds = kinds(&params)?;
    if wants_stream(&call) {
        let last_id = last_event_id(&call).map(|id| call.state.cursors.open(&scope, id)).transpose()?;
        let scope = Scope::App(call.app.id);
        return Stream::open(call, scope, last_id.or(since), kinds).await;
    }
    let limit = paging::limit(&params, DEFAULT_LIMIT, MAX_LIMIT);
    let page = feeds::of_app(&call.state.db, call.app.id, since.as_ref(), limit, kinds.as_deref()).await?;
    let cursor = |position| call.state.cursors.write(&scope, position);
    let (oldest, last) = (cursor(&page.oldest).into(), cursor(&page.last).into());
    let ends = FeedEnds { oldest, last, next: Some(cursor(&page.next).into()) };
    let events: Vec<Event> = page.events.into_iter().map(|listed| listed.event).collect();
    let count = events.len();
    Ok(call.reply(events).count(count).feed(ends).respond_to(&http))
}

fn app_scope(app: i32) -> String {
    format!("events/{app}")
}

fn number(text: &str) -> Result<i64, Error> {
    text.parse().ok().filter(|number| *number >= 0).ok_or_else(|| Error::not_among("since", &["the number of an event"]))
}

/// The kinds that `kind` names: operations, or operations with a type, with commas between them.
pub(super) fn kinds(params: &Params) -> Result<Option<Vec<String>>, Error> {
    let Some(patterns) = params.first("kind").filter(|kind| !kind.is_empty()) else { return Ok(None) };
    let mut kinds = Vec::new();
    for pattern in patterns.split(',') {
        let named = Kind::named(pattern);
        if named.is_empty() {
            return Err(Error::not_among("kind", &Kind::names()));
        }
        kinds.extend(named.into_iter().map(|kind| kind.text().to_owned()));
    }
    Ok(Some(kinds))
}

fn wants_stream(call: &Call) -> bool {
    let names_it =
        |accept: Accept| accept.iter().any(|range| range.item.essence_str() == EVENT_STREAM && range.quality > Quality::ZERO);
    Accept::parse(call.http()).is_ok_and(names_it)
}

/// The last event that the client has seen on a stream that broke off.
fn last_event_id(call: &Call) -> Option<&str> {
    let id = call.http().headers().get("last-event-id").and_then(|id| id.to_str().ok());
    id.filter(|id| !id.is_empty())
}

/// A stream under way: first what has happened since its start, page by page, then what happens.
struct Stream {
    call: Call,
    scope: Scope,
    kinds: Option<Vec<String>>,
    /// Behind what was sent last.
    position: Position,
    has_caught_up: bool,
    is_over: bool,
    written: VecDeque<Bytes>,
    subscription: Subscription,
    heartbeat: Interval,
    /// The end of the token.
    ends_at: Instant,
    /// When to ask whether the token still opens this.
    rechecks: Interval,
}

impl Stream {
    /// Answers with a stream from `start` on, or from now on. What is wrong with the start is found before the answer.
    async fn open(call: Call, scope: Scope, start: Option<Position>, kinds: Option<Vec<String>>) -> Result<HttpResponse, Error> {
        let (db, following) = (&call.state.db, &call.state.following);
        let last = match &scope {
            Scope::Room(key) => {
                let last = feeds::of_room(db, key, start.as_ref().map(|start| start.n), 0, None).await?.last;
                Position { n: last, ..Position::default() }
            }
            Scope::App(app) => feeds::of_app(db, *app, start.as_ref(), 0, None).await?.last,
        };
        let stream = Self {
            subscription: following.subscribe(scope.clone(), last.clone())?,
            // A position ahead of the last event is from before the database was put back to an earlier state.
            position: start.map_or_else(|| last.clone(), |start| start.min(last.clone())),
            kinds,
            has_caught_up: false,
            is_over: false,
            written: VecDeque::from([Bytes::from_static(b"retry: 1000\n\n")]),
            heartbeat: {
                let every = Duration::from_secs(call.state.settings.events.heartbeat_seconds);
                interval_at(Instant::now() + every, every)
            },
            ends_at: Instant::now() + call.token_life(),
            rechecks: interval_at(Instant::now() + RECHECKED_EVERY, RECHECKED_EVERY),
            call,
            scope,
        };
        let chunks = stream::unfold(stream, |mut stream| async {
            let chunk = stream.next().await?;
            Some((Ok::<_, actix_web::Error>(chunk), stream))
        });
        Ok(HttpResponse::Ok()
            .content_type(EVENT_STREAM)
            .insert_header((CACHE_CONTROL, "no-store"))
            // Proxies that gather answers before they pass them on must not do so here.
            .insert_header(("x-accel-buffering", "no"))
            .streaming(chunks))
    }

    /// The next piece of the stream; `None` at its end: the client comes back with the last id that it has seen.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.written.pop_front() {
                return Some(chunk);
            }
            if self.is_over {
                return None;
            }
            if !self.has_caught_up {
                if let Err(error) = self.catch_up().await {
                    tracing::warn!(error = %Causes(&error), "a stream broke off");
                    return None;
                }
                continue;
            }
            let stop = self.call.state.stop.clone();
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.ends_at) => return None,
                _ = self.rechecks.tick() => self.is_over = !self.call.is_still_permitted().await,
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(b": alive\n\n")),
                event = self.subscription.next() => self.write(&*event?),
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), Error> {
        let (db, kinds) = (&self.call.state.db, self.kinds.as_deref());
        match &self.scope {
            Scope::Room(key) => {
                let page = feeds::of_room(db, key, Some(self.position.n), CAUGHT_UP_AT_ONCE, kinds).await?;
                self.has_caught_up = page.next >= page.last;
                for event in page.events {
                    let position = Position { xact: 0, chatroom: event.chatroom.clone(), n: event.n };
                    self.write(&FeedEvent { position, event });
                }
                self.position.n = self.position.n.max(page.next);
            }
            Scope::App(app) => {
                let page = feeds::of_app(db, *app, Some(&self.position), CAUGHT_UP_AT_ONCE, kinds).await?;
                self.has_caught_up = page.next == self.position;
                for event in page.events {
                    self.write(&event);
                }
                self.position = page.next;
            }
        }
        Ok(())
    }

    /// Writes an event, unless it has been written or is not asked for.
    fn write(&mut self, FeedEvent { position, event }: &FeedEvent) {
        let (is_new, id) = match &self.scope {
            Scope::Room(_) => (position.n > self.position.n, position.n.to_string()),
            Scope::App(app) => (*position > self.position, self.call.state.cursors.write(&app_scope(*app), position)),
        };
        if !is_new {
            return;
        }
        self.position.clone_from(position);
        // Nothing follows the end of a room.
        self.is_over = matches!(self.scope, Scope::Room(_)) && event.kind == Kind::Delete.text();
        if self.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&event.kind)) {
            return;
        }
        let data = serde_json::to_string(event).unwrap_or_default();
        self.written.push_back(Bytes::from(format!("id: {id}\nevent: {}\ndata: {data}\n\n", event.kind)));
    }
}
