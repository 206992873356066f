//! How much has happened: the events of an app or of one of its rooms, counted by kind and by stretch of time.
//!
//! Nothing is counted beforehand, so that a change costs no more for it. A page counts a bounded number of events, the newest
//! first, and says where the next one goes on: the pages of a span add up to the whole of it.

use time::OffsetDateTime;

use crate::db::Db;
use crate::error::Error;
use crate::events::audit::Span;
use crate::events::cursor::EventCursor;
use crate::names::is_room_id;

/// How many events are counted for one page.
const WINDOW: i64 = 50_000;

/// Which events are counted.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The app, by its key in the database.
    pub app: i32,
    /// The room in which they happened.
    pub room: Option<String>,
    /// What has happened, one of these.
    pub kinds: Option<Vec<String>>,
}

/// The events of one kind in one stretch of time, as far as a page has counted them.
#[derive(Debug)]
pub struct Count {
    /// When the stretch begins.
    pub start: OffsetDateTime,
    /// What has happened.
    pub kind: String,
    /// How often.
    pub events: i64,
    /// To how many users, who count each time.
    pub users: i64,
}

/// Some of the events of a span, counted.
#[derive(Debug, Default)]
pub struct CountsPage {
    /// The newest first.
    pub counts: Vec<Count>,
    /// Before which events there may be more.
    pub rest: Option<EventCursor>,
}

/// Counts the newest events of a span in the stretches that begin at `starts`, which rise and begin with the span's own start.
pub async fn read(db: &Db, filter: &Filter, span: Span, starts: &[OffsetDateTime]) -> Result<CountsPage, Error> {
    let mut page = match &filter.room {
        Some(room) if !is_room_id(room) => CountsPage::default(),
        Some(room) => of_room(db, filter, room, span, starts).await?,
        None => of_app(db, filter, span, starts).await?,
    };
    // Here, since a statement that says an order would sort all the events for it.
    page.counts.sort_by(|one, other| other.start.cmp(&one.start).then_with(|| one.kind.cmp(&other.kind)));
    Ok(page)
}

/// The numbers of a room have no gaps: a page's worth of them needs no search.
async fn of_room(db: &Db, filter: &Filter, room: &str, span: Span, starts: &[OffsetDateTime]) -> Result<CountsPage, Error> {
    let Span { from, to } = span.in_room(db, filter.app, room).await?;
    let begin = from.n.max(to.n - WINDOW);
    let counts = sqlx::query_as!(
        Count,
        r#"
        select ($5::timestamptz[])[width_bucket(happened_at, $5)] as "start!", kind, count(*) as "events!",
               sum(cardinality(users)) as "users!"
        from events
        where app = $1 and chatroom = $2 and n >= $3 and n < $4 and ($6::text[] is null or kind = any($6))
        group by 1, kind
        "#,
        filter.app,
        room,
        begin,
        to.n,
        starts,
        filter.kinds.as_deref(),
    )
    .fetch_all(db.pool())
    .await?;
    Ok(CountsPage { counts, rest: (begin > from.n).then_some(EventCursor { n: begin, ..to }) })
}

async fn of_app(db: &Db, filter: &Filter, span: Span, starts: &[OffsetDateTime]) -> Result<CountsPage, Error> {
    let Span { from, to } = span;
    // Of an index alone: what the page does not come to is not looked at.
    let rest = sqlx::query_as!(
        EventCursor,
        r#"
        select happened_at, chatroom, n from events
        where app = $1 and (happened_at, chatroom, n) >= ($2, $3, $4) and (happened_at, chatroom, n) < ($5, $6, $7)
        order by happened_at desc, chatroom desc, n desc offset $8 limit 1
        "#,
        filter.app,
        from.happened_at,
        from.chatroom,
        from.n,
        to.happened_at,
        to.chatroom,
        to.n,
        WINDOW - 1,
    )
    .fetch_optional(db.pool())
    .await?;
    let begin = rest.as_ref().unwrap_or(&from);
    let counts = sqlx::query_as!(
        Count,
        r#"
        select ($8::timestamptz[])[width_bucket(happened_at, $8)] as "start!", kind, count(*) as "events!",
               sum(cardinality(users)) as "users!"
        from events
        where app = $1 and (happened_at, chatroom, n) >= ($2, $3, $4) and (happened_at, chatroom, n) < ($5, $6, $7)
          and ($9::text[] is null or kind = any($9))
        group by 1, kind
        "#,
        filter.app,
        begin.happened_at,
        begin.chatroom,
        begin.n,
        to.happened_at,
        to.chatroom,
        to.n,
        starts,
        filter.kinds.as_deref(),
    )
    .fetch_all(db.pool())
    .await?;
    Ok(CountsPage { counts, rest })
}
