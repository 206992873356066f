-- Nothing happens unseen: every change of a room is an event, written in the same transaction.
--
-- Safe on a live, large database: new columns have constant defaults, so no table is rewritten. Whoever holds a table for
-- long makes this fail rather than everybody else wait behind it: run it again then.
set lock_timeout = '5s';

-- Numbers of events are counted on the row of the room, as everything is that its lock protects.
alter table users
    add column deleted_by     text,
    add column deleted_reason text;
alter table mutes
    add column reason text;
alter table chatrooms
    add column last_event     bigint not null default 0,  -- the number of the room's last event
    add column last_xact      bigint not null default 0,  -- its place in the feed of the app; see events
    add column mute_reason    text,                       -- why the whole room is muted
    add column deleted_by     text,                       -- who deleted it, and why: its last events say so
    add column deleted_reason text;

-- What happens to an app as a whole counts as the events of a room without a name.
--
-- Events go when they are old; `gone_*` is the place in the app's feed up to which some are missing.
alter table apps
    add column last_event    bigint not null default 0,
    add column last_xact     bigint not null default 0,
    add column gone_xact     bigint not null default 0,
    add column gone_chatroom text   not null default '' collate "C",
    add column gone_n        bigint not null default 0;

-- What has happened, never changed once written.
--
-- `n` counts a room's events without gaps. A feed of a whole app is read in the order of (xact, chatroom, n): `xact` is
-- the transaction that wrote the event, or that of the room's event before if that has the greater number (a transaction
-- may be given its number while it waits for the room). So this order is the order of n within a room, and below the
-- oldest transaction that is still running nothing is added any more: none writes a number below its own.
create table events (
    app          integer     not null,
    chatroom     text        not null collate "C", -- '' = the app as a whole
    n            bigint      not null,
    kind         text        not null collate "C", -- OPERATION or OPERATION/TYPE
    users        text[]      not null,             -- in the order of the request
    before       json,                             -- json, not jsonb: the order of its keys is the order of `users`
    after        json,
    actor        text        not null,
    reason       text,
    member_count integer,                          -- after it, where members came or went
    happened_at  timestamptz not null,
    xact         bigint      not null,
    primary key (app, chatroom, n)
);
create index events_by_commit on events (app, xact, chatroom, n);
create index events_by_age on events (app, happened_at, chatroom, n);
-- Nearly all events are the client's own; what moderators did is found by their names.
create index events_by_actor on events (app, actor, happened_at, chatroom, n) where actor <> '@ppAdmin';

-- Which events a user occurs in.
create table event_users (
    app         integer     not null,
    username    text        not null collate "C",
    happened_at timestamptz not null,
    chatroom    text        not null collate "C",
    n           bigint      not null,
    primary key (app, username, happened_at, chatroom, n)
);

-- Rooms that are no more: one that takes up their id goes on with their numbers.
create table retired_rooms (
    app        integer not null,
    id         text    not null collate "C",
    last_event bigint  not null,
    last_xact  bigint  not null,
    primary key (app, id)
);

-- A database that was restored into another cluster begins to count its transactions anew. `roomward migrate` sees to it
-- that the numbers of events go on.
create table event_clock (
    only_row    boolean primary key default true check (only_row),
    xact_offset bigint  not null default 0
);
insert into event_clock default values;

-- Where events are sent: at most four URLs for an app.
create table callback_rules (
    id            uuid        primary key default gen_random_uuid(),
    app           integer     not null references apps,
    url           text        not null,
    secret        bytea       not null,               -- sealed with a key derived from auth.secret
    kinds         text[]      not null,               -- operations, or operation/type, or '*'
    paused        boolean     not null default false,
    failing_since timestamptz,
    created_at    timestamptz not null default date_trunc('milliseconds', now()),
    deleted_at    timestamptz                         -- its deliveries go first, batch by batch
);
create index callback_rules_by_app on callback_rules (app, created_at);

-- What is sent where, written together with the event: nothing that a rule asks for is ever missed.
create table deliveries (
    id         bigint      generated always as identity primary key,
    rule       uuid        not null,
    app        integer     not null,
    chatroom   text        not null collate "C",
    n          bigint      not null,
    call_id    uuid        not null default gen_random_uuid(), -- the same for every attempt
    state      text        not null default 'pending' check (state in ('pending', 'done', 'dead')),
    attempts   integer     not null default 0,
    status     integer,                             -- the HTTP status of the last attempt, if an answer came
    latency_ms integer,                             -- how long the last attempt took
    first_at   timestamptz,                         -- when the first attempt was made
    ended_at   timestamptz                          -- when it was done, or given up
);
create index deliveries_in_line on deliveries (rule, chatroom, n, id) where state = 'pending';
create index deliveries_by_state on deliveries (rule, state, id);
create index deliveries_by_room on deliveries (app, chatroom, n) where state = 'pending';
create index deliveries_by_end on deliveries (ended_at) where ended_at is not null;

-- A line for each rule and room in which deliveries wait: the first of them is made, then the next.
--
-- Whoever works on a line holds its `claim` until `next_at`; one who dies loses it by that.
create table callback_lines (
    rule     uuid        not null,
    app      integer     not null,
    chatroom text        not null collate "C",
    next_at  timestamptz not null default now(),
    claim    uuid,
    primary key (rule, chatroom)
) with (fillfactor = 50);
create index callback_lines_due on callback_lines (rule, next_at);

-- Answers to calls that carried an Idempotency-Key.
create table idempotency_keys (
    app        integer     not null,
    scope      text        not null collate "C", -- the room, or '' for calls that name none
    key        text        not null collate "C",
    print      bytea       not null,             -- SHA-256 of the request
    claim      uuid        not null,             -- who works on it
    claimed_at timestamptz not null default now(),
    status     smallint,                         -- null: still being worked on
    body       bytea,
    primary key (app, scope, key)
);
create index idempotency_keys_by_age on idempotency_keys (claimed_at);

-- As for the lists of rooms: expect the worst, one app with few rooms that share all the rows.
alter table events           alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50);
alter table event_users      alter app set (n_distinct = 1), alter username set (n_distinct = 50);
alter table deliveries       alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50), alter rule set (n_distinct = 4);
alter table callback_lines   alter rule set (n_distinct = 4);
reset lock_timeout;
