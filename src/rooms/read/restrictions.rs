//! Reads what is in force in an app: the mutes and blocks of its rooms, and the mutes in all of them, by room, user and actor,
//! the newest first.
//!
//! A page begins at a position in an index and reads on from there, so that its depth costs nothing. It looks at a window of
//! entries of each list at most, says how far it has come, and may go on from there.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, Row as _};
use time::{Date, OffsetDateTime, Time};

use crate::db::{Db, Layout};
use crate::error::Error;
use crate::events::log::CLIENT;
use crate::names::{CursorPage, RoomKey, Seen, WindowPage, is_room_id, is_username};

/// How many entries of each list are looked at for one page.
const WINDOW: i64 = 10_000;

/// What may be in force, as it is called.
pub const KINDS: [&str; 3] = ["mute", "block", "global_mute"];

/// A list of what is in force.
struct List {
    /// What its entries are, one of [`KINDS`].
    kind: &'static str,
    /// Where they are: rows with `app`, `chatroom`, `username`, `ends_at`, `since`, `actor` and `reason`, and indexes as the
    /// [ways](Way) need them. A chatroom of '' is the app as a whole.
    rows: &'static str,
    /// The key of a row within the app.
    key: &'static [&'static str],
}

const LISTS: [List; 3] = [
    List { kind: "mute", rows: "mutes", key: &["chatroom", "username"] },
    List { kind: "block", rows: "blocks", key: &["chatroom", "username"] },
    List {
        kind: "global_mute",
        rows: "(select app, ''::text collate \"C\" as chatroom, username, chatroom_ends_at as ends_at, since, actor, reason
                from global_mutes where chatroom_ends_at is not null) muted",
        key: &["username"],
    },
];

/// What is asked for: what fits all that is named.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The app, by its key in the database.
    pub app: i32,
    /// What it is, one of these.
    pub kinds: Vec<&'static str>,
    /// The room in which it is in force.
    pub room: Option<String>,
    /// Who has set it so.
    pub actor: Option<String>,
    /// Whom it keeps out or silent.
    pub user: Option<String>,
}

/// What is in force for a user, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestrictionEntry {
    /// Who is kept out or silent.
    pub username: String,
    /// Until when.
    pub ends_at: OffsetDateTime,
    /// Since when it is as it is now; the epoch if that is not known.
    pub since: OffsetDateTime,
    /// Who has set it so.
    pub actor: String,
    /// Why, in the words of the actor.
    pub reason: Option<String>,
}

/// The same where it may be any kind, in any room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppEntry {
    /// What it is, one of [`KINDS`].
    pub kind: String,
    /// The room in which it is in force, if not in all.
    pub chatroom: Option<String>,
    /// Whom it concerns, and how.
    pub entry: RestrictionEntry,
}

/// A position in the order of what is in force: by the moment since when it is so, then room, user and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestrictionCursor {
    since: OffsetDateTime,
    chatroom: String,
    username: String,
    kind: String,
}

impl RestrictionCursor {
    /// Behind everything.
    const END: Self = Self {
        since: OffsetDateTime::new_utc(Date::MAX, Time::MIDNIGHT),
        chatroom: String::new(),
        username: String::new(),
        kind: String::new(),
    };
}

/// As cursors on the wire hold it.
impl fmt::Display for RestrictionCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}/{}", self.since.unix_timestamp_nanos(), self.kind, self.chatroom, self.username)
    }
}

impl FromStr for RestrictionCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(4, '/');
        let mut part = || parts.next().ok_or(());
        let since = OffsetDateTime::from_unix_timestamp_nanos(part()?.parse().map_err(drop)?).map_err(drop)?;
        Ok(Self { since, kind: part()?.into(), chatroom: part()?.into(), username: part()?.into() })
    }
}

/// The newest first.
const ORDER: &str = "since desc, chatroom desc, username desc";

/// A way to the entries of a list that fit a filter.
///
/// In all of them `$1` is the app, `$2` to `$4` the moment, the room and the user at which the page begins, `$5` the kind
/// there, `$6` the user, `$7` the room, `$8` the actor, and `$9` how many.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// By an index that has them in order.
    All,
    /// The same, of an actor with a name.
    OfActor,
    /// All of a room, which are few, sorted.
    OfRoom,
    /// All of a user, which are few, sorted.
    OfUser,
    /// The one of a user in a room.
    OfUserInRoom,
}

impl Way {
    /// The way that leads past the fewest entries of a list in vain. A room or a user may have more than a window of them,
    /// which are not `few`; then they are not rare either among those of the app.
    fn of(filter: &Filter, few: bool) -> Self {
        match (&filter.user, &filter.room, &filter.actor) {
            (Some(_), Some(_), _) => Self::OfUserInRoom,
            (Some(_), None, _) if few => Self::OfUser,
            (None, Some(_), _) if few => Self::OfRoom,
            (_, _, Some(actor)) if actor != CLIENT => Self::OfActor,
            _ => Self::All,
        }
    }

    fn entries(self, rows: &str) -> String {
        // `offset 0`: first these are found, then they are sorted. The planner cannot search for them in order.
        let sorted = |which: &str| {
            format!("(select since, chatroom, username from {rows} where app = $1 and {which} offset 0) few where true")
        };
        match self {
            Self::All => format!("{rows} where app = $1"),
            Self::OfActor => format!("{rows} where app = $1 and actor = $8 and actor <> '{CLIENT}'"),
            Self::OfRoom => sorted("chatroom = $7"),
            Self::OfUser => sorted("username = $6"),
            Self::OfUserInRoom => sorted("chatroom = $7 and username = $6"),
        }
    }

    /// The part of the statement about one list: a window of entries, and the row of each until there are enough. The last
    /// entry of a full window comes in any case: it tells that more may follow, and where.
    ///
    /// As in the audit, the limits stand where they do so that there is only one way to do it: walk the index, and look up
    /// each row and its room by their keys. The first key that is not before the entry's is the entry's: asked for so, even a
    /// planner without statistics finds the row by its key, and not among all rows of its room.
    ///
    /// That they are not newer than `$2` is said twice: no index knows of the room that is all rooms.
    fn part(self, list: &List, layout: Layout) -> String {
        if layout.is_distributed() {
            return self.part_on_nodes(list);
        }
        let List { kind, rows, key } = list;
        let entries = self.entries(rows);
        let (key, of_entry) = (key.join(", "), format!("entry.{}", key.join(", entry.")));
        format!(
            "(select '{kind}' collate \"C\" as kind, entry.*, ends_at, actor, reason, is_meant
              from (
                  select since, chatroom, username, row_number() over (order by {ORDER}) = {WINDOW} as ends_window
                  from {entries} and since <= $2 and (since, chatroom, username) <= ($2, $3, $4)
                  order by {ORDER} limit {WINDOW}
              ) entry
              cross join lateral (
                  select ends_at, actor, reason from {rows}
                  where app = $1 and ({key}) >= ({of_entry}) order by {key} limit 1
              ) found
              left join lateral (
                  select deleted_at is null as is_live from chatrooms where app = $1 and id = entry.chatroom limit 1
              ) room on true
              cross join lateral (
                  select ends_at > now()
                     and (room.is_live is true or chatroom = '')
                     and ((since, chatroom, username) <> ($2, $3, $4) or '{kind}' < $5 collate \"C\")
                     and ($6::text is null or username = $6)
                     and ($7::text is null or chatroom = $7)
                     and ($8::text is null or actor = $8) as is_meant
              ) judged
              where is_meant or ends_window
              order by {ORDER} limit $9)"
        )
    }
}

impl Way {
    /// The same on a cluster: each node gives its window of rows, with their rooms, which lie beside them.
    fn part_on_nodes(self, List { kind, rows, .. }: &List) -> String {
        let entries = match self {
            Self::All => String::new(),
            Self::OfActor => format!("and actor = $8 and actor <> '{CLIENT}'"),
            Self::OfRoom => "and chatroom = $7".into(),
            Self::OfUser => "and username = $6".into(),
            Self::OfUserInRoom => "and chatroom = $7 and username = $6".into(),
        };
        let is_live = match *kind {
            "global_mute" => "true".into(),
            _ => {
                format!("exists (select from chatrooms where chatrooms.app = $1 and id = {rows}.chatroom and deleted_at is null)")
            }
        };
        format!(
            "(select '{kind}'::text collate \"C\" as kind, since, chatroom, username, nth = {WINDOW} as ends_window, ends_at, actor,
                     reason, is_meant
              from (
                  select *, row_number() over (order by {ORDER}) as nth,
                         is_in_force and ((since, chatroom, username) <> ($2, $3, $4) or '{kind}'::text < $5 collate \"C\")
                         and ($6::text is null or username = $6)
                         and ($7::text is null or chatroom = $7)
                         and ($8::text is null or actor = $8) as is_meant
                  from (
                      select since, chatroom, username, ends_at, actor, reason, ends_at > now() and {is_live} as is_in_force
                      from {rows}
                      where app = $1 {entries} and since <= $2 and (since, chatroom, username) <= ($2, $3, $4)
                      order by {ORDER} limit {WINDOW}
                  ) entry
              ) judged
              where is_meant or nth = {WINDOW}
              order by {ORDER} limit $9)"
        )
    }
}

/// The statement that reads all lists that are asked for, each in its way. `None`: there is none of that kind.
fn statement(filter: &Filter, few: &[bool], layout: Layout) -> Option<String> {
    let asked = LISTS.iter().zip(few).filter(|(list, _)| filter.kinds.contains(&list.kind));
    let parts: Vec<String> = asked.map(|(list, few)| Way::of(filter, *few).part(list, layout)).collect();
    (!parts.is_empty()).then(|| {
        let parts = parts.join(" union all ");
        format!("select * from ({parts}) found order by since desc, chatroom desc, username desc, kind desc limit $9")
    })
}

/// Whether the user or the room that is named has no more entries than fit a window, on each of the [`LISTS`].
async fn few(db: &Db, filter: &Filter) -> Result<Vec<bool>, Error> {
    Ok(match (&filter.user, &filter.room) {
        (Some(user), None) => few_of_user(db, filter.app, user).await?,
        (None, Some(room)) => few_in_room(db, filter.app, room).await?,
        _ => LISTS.map(|_| false).to_vec(),
    })
}

async fn few_of_user(db: &Db, app: i32, user: &str) -> Result<Vec<bool>, Error> {
    Ok(sqlx::query_scalar!(
        r#"
        select array[
            (select count(*) from (
                select 1 from mutes where app = $1 and username = $2 order by chatroom limit $3::bigint + 1
            ) muted) <= $3,
            (select count(*) from (
                select 1 from blocks where app = $1 and username = $2 order by chatroom limit $3::bigint + 1
            ) blocked) <= $3,
            true
        ] as "few!"
        "#,
        app,
        user,
        WINDOW,
    )
    .fetch_one(db.pool())
    .await?)
}

async fn few_in_room(db: &Db, app: i32, room: &str) -> Result<Vec<bool>, Error> {
    let few = sqlx::query_scalar!(
        r#"
        select array[mute_count <= $3::bigint, block_count <= $3::bigint, true] as "few!"
        from room_counters where app = $1 and chatroom = $2
        "#,
        app,
        room,
        WINDOW,
    );
    Ok(few.fetch_optional(db.pool()).await?.unwrap_or_else(|| LISTS.map(|_| true).to_vec()))
}

/// What the statement finds.
struct Found(Seen<AppEntry, RestrictionCursor>);

impl FromRow<'_, PgRow> for Found {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let kind: String = row.try_get("kind")?;
        let (since, chatroom, username) = (row.try_get("since")?, row.try_get("chatroom")?, row.try_get("username")?);
        let cursor = RestrictionCursor { since, chatroom, username, kind };
        let entry = || {
            let RestrictionCursor { since, chatroom, username, kind } = cursor.clone();
            let (ends_at, actor, reason) = (row.try_get("ends_at")?, row.try_get("actor")?, row.try_get("reason")?);
            let entry = RestrictionEntry { username, ends_at, since, actor, reason };
            Ok::<_, sqlx::Error>(AppEntry { kind, chatroom: Some(chatroom).filter(|id| !id.is_empty()), entry })
        };
        let entry = if row.try_get("is_meant")? { Some(entry()?) } else { None };
        Ok(Self(Seen { cursor, entry, ends_window: row.try_get("ends_window")? }))
    }
}

impl Filter {
    /// Whether it names what cannot exist. That never reaches SQL.
    fn is_hopeless(&self) -> bool {
        self.user.as_deref().is_some_and(|user| !is_username(user))
            || self.room.as_deref().is_some_and(|room| !is_room_id(room))
            || self.actor.as_deref().is_some_and(|actor| actor.contains('\0'))
    }
}

/// Reads up to `limit` of what is in force and fits the filter, from the newest or behind a position. What is set anew
/// between two pages is the newest from then on.
pub async fn read(
    db: &Db,
    filter: &Filter,
    after: Option<RestrictionCursor>,
    limit: i64,
) -> Result<WindowPage<AppEntry, RestrictionCursor>, Error> {
    if filter.is_hopeless() {
        return Ok(WindowPage::default());
    }
    let few = few(db, filter).await?;
    let Some(statement) = statement(filter, &few, db.layout().await?) else { return Ok(WindowPage::default()) };
    let after = after.unwrap_or(RestrictionCursor::END);
    #[expect(clippy::disallowed_methods, reason = "put together from fixed pieces; tests run every combination")]
    let statement = sqlx::query_as(AssertSqlSafe(statement));
    // Planned for each reading: a plan that was made when there was hardly an entry is no good among millions.
    let found: Vec<Found> = statement
        .persistent(false)
        .bind(filter.app)
        .bind(after.since)
        .bind(&after.chatroom)
        .bind(&after.username)
        .bind(&after.kind)
        .bind(&filter.user)
        .bind(&filter.room)
        .bind(&filter.actor)
        .bind(limit + 1)
        .fetch_all(db.pool())
        .await?;
    Ok(WindowPage::new(found.into_iter().map(|found| found.0).collect(), limit))
}

/// A function that reads `size` entries of a list of a room behind the number `after`, with all that is known of them.
/// However far that is, the cost is the same.
macro_rules! list_after {
    ($(#[$doc:meta])* $function:ident, $statement:literal) => {
        $(#[$doc])*
        pub async fn $function(
            db: &Db,
            key: &RoomKey,
            after: Option<i64>,
            size: i64,
        ) -> Result<CursorPage<RestrictionEntry>, Error> {
            let rows = sqlx::query!($statement, key.app, key.id(), after.unwrap_or(0), size + 1).fetch_all(db.pool()).await?;
            let rows = rows.into_iter().map(|row| {
                let entry = || {
                    let (username, ends_at, since, actor) = (row.username?, row.ends_at?, row.since?, row.actor?);
                    Some(RestrictionEntry { username, ends_at, since, actor, reason: row.reason })
                };
                (row.seq, entry())
            });
            CursorPage::new(rows.collect(), size).ok_or_else(|| key.not_found())
        }
    };
}

list_after!(
    /// Reads mutes of a room.
    mutes_after,
    r#"
    select page.seq as "seq?", page.username as "username?", page.ends_at as "ends_at?", page.since as "since?",
           page.actor as "actor?", page.reason
    from chatrooms left join lateral (
        select seq, username, ends_at, since, actor, reason from mutes
        where mutes.app = $1 and mutes.chatroom = $2 and seq > $3 and ends_at > now()
        order by seq limit $4
    ) page on true
    where app = $1 and id = $2 and deleted_at is null
    order by page.seq
    "#
);
list_after!(
    /// Reads blocks of a room.
    blocks_after,
    r#"
    select page.seq as "seq?", page.username as "username?", page.ends_at as "ends_at?", page.since as "since?",
           page.actor as "actor?", page.reason
    from chatrooms left join lateral (
        select seq, username, ends_at, since, actor, reason from blocks
        where blocks.app = $1 and blocks.chatroom = $2 and seq > $3 and ends_at > now()
        order by seq limit $4
    ) page on true
    where app = $1 and id = $2 and deleted_at is null
    order by page.seq
    "#
);
