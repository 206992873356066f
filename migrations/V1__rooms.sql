-- Who is in a chatroom, who may speak there, and what has happened.
--
-- Every key of a room's table starts with the room (app, chatroom), so that a room's rows lie together and the tables
-- can be distributed by room. Usernames and room ids compare byte by byte (collate "C"); usernames are stored folded
-- to lower case. Moments are cut to whole milliseconds when written, since that is what the wire can say.
--
-- Locks are taken in one order everywhere: apps, then room_counters by key, then users by name.

-- A tenant: `{org}/{name}` on the wire. Apps are never deleted.
--
-- What happens to an app as a whole counts as the events of a room without a name: `last_*` number them. Events go when
-- they are old; `gone_*` is the place in the app's feed up to which some are missing.
create table apps (
    id                 integer generated always as identity primary key,
    uuid               uuid        not null unique default gen_random_uuid(), -- `application` on the wire
    org                text        not null collate "C" check (org ~ '^[A-Za-z0-9_.-]{1,64}$'),
    name               text        not null collate "C" check (name ~ '^[A-Za-z0-9_.-]{1,64}$'),
    client_id          text        not null collate "C",
    client_secret_hash bytea       not null,
    settings           jsonb       not null default '{}', -- what differs from the service's own settings
    created_at         timestamptz not null default date_trunc('milliseconds', now()),
    last_event         bigint      not null default 0,
    last_xact          bigint      not null default 0,
    gone_xact          bigint      not null default 0,
    gone_chatroom      text        not null default '' collate "C",
    gone_n             bigint      not null default 0,
    unique (org, name)
);

-- Registered users. No room's table has a key to this one: users are another dimension than rooms.
--
-- A deleted user's row stays, marked, until every room has forgotten the user; it reserves the name that long.
create table users (
    app              integer     not null references apps,
    username         text        not null collate "C" check (username ~ '^[a-z0-9_.-]{1,64}$'),
    uuid             uuid        not null default gen_random_uuid(),
    password_hash    text,                              -- null: no password opens this account
    nickname         text,
    activated        boolean     not null default true, -- may sign in
    token_generation integer     not null default 0,    -- tokens of earlier generations are revoked
    created_at       timestamptz not null default date_trunc('milliseconds', now()),
    modified_at      timestamptz not null default date_trunc('milliseconds', now()),
    deleted_at       timestamptz,
    deleted_by       text,                              -- who deleted the user, and why: the rooms' events say so
    deleted_reason   text,
    primary key (app, username)
);
create index users_deleted on users (deleted_at) where deleted_at is not null;

-- Users who may make rooms from their clients, app-wide.
create table super_admins (
    app         integer     not null,
    username    text        not null collate "C",
    promoted_at timestamptz not null default now(),
    primary key (app, username)
);
create index super_admins_by_age on super_admins (app, promoted_at, username);

-- Chatrooms, as far as every read of a room needs them: this row is written only when the room itself changes, not when
-- people come and go. What is counted is in room_counters, which is what changes lock.
--
-- A deleted room's row stays, marked, until its members are gone, batch by batch.
create table chatrooms (
    app            integer     not null references apps,
    id             text        not null collate "C" check (id ~ '^[a-z0-9]{1,64}$'),
    name           text        not null,
    description    text        not null,
    custom         text        not null default '',
    announcement   text        not null default '',
    owner          text        not null collate "C",
    mute_all       boolean     not null default false,
    mute_reason    text,                              -- why the whole room is muted
    created_at     timestamptz not null default date_trunc('milliseconds', now()),
    deleted_at     timestamptz,
    deleted_by     text,                              -- who deleted it, and why: its last events say so
    deleted_reason text,
    primary key (app, id)
);
create index chatrooms_by_age on chatrooms (app, created_at, id) where deleted_at is null;
create index chatrooms_deleted on chatrooms (deleted_at) where deleted_at is not null;

-- Ids of rooms whose creator did not choose one: increasing, all of one length, so that they sort as numbers do.
create sequence chatroom_ids start 100000000000000;

-- What is counted and numbered in a room. Every change of a room locks this row first, so that a change sees all that
-- earlier ones have committed, and numbers are in the order of commits.
--
-- A busy room leaves many versions of this row behind, above all under a long transaction elsewhere; reads of lists do not
-- touch it.
create table room_counters (
    app           integer     not null,
    chatroom      text        not null collate "C",
    maxusers      integer     not null,           -- the owner counts
    member_count  integer     not null,
    admin_count   integer     not null default 0 check (admin_count between 0 and 99),
    mute_count    integer     not null default 0, -- rows of mutes, those that have ended but were not swept among them
    block_count   integer     not null default 0, -- the same for blocks
    last_seq      bigint      not null default 0, -- the last number given out to a row of the five lists
    last_event    bigint      not null default 0, -- the number of the room's last event
    last_xact     bigint      not null default 0, -- its place in the feed of the app; see events
    last_event_at timestamptz not null default 'epoch', -- its moment: those of later events are not before it
    -- No mute or block ends before: it is the first end, or earlier if that one was lifted since. The task that tells of
    -- ends finds rooms by it, each once, however many ends a room has.
    next_end      timestamptz not null default '2117-01-01 00:00:00+08',
    primary key (app, chatroom),
    foreign key (app, chatroom) references chatrooms on delete cascade,
    constraint room_is_not_overfull check (member_count between 0 and maxusers)
) with (fillfactor = 50); -- room for the next version of a busy row on its own page

create index room_counters_due on room_counters (next_end, app, chatroom) where next_end < '2117-01-01 00:00:00+08';

-- The members of a room, its owner among them, in the order (seq) in which they came.
create table members (
    app       integer     not null,
    chatroom  text        not null collate "C",
    username  text        not null collate "C",
    seq       bigint      not null,
    joined_at timestamptz not null default date_trunc('milliseconds', now()),
    primary key (app, chatroom, username) include (seq),
    -- Not to chatrooms: the row that a change has locked anyway needs no second lock.
    foreign key (app, chatroom) references room_counters
);
create unique index members_by_seq on members (app, chatroom, seq) include (username);
create index members_by_user on members (app, username, chatroom) include (joined_at);

-- How many members there are in each stretch of seq, empty ones left out: finds the page of any number without counting
-- the members before it. Two levels, so that a room of a million sums some sixty rows: stretches of 512 (level 0, bucket =
-- seq >> 9) and of 32768 (level 1, bucket = seq >> 15).
create table member_counts (
    app      integer  not null,
    chatroom text     not null collate "C",
    level    smallint not null,
    bucket   bigint   not null,
    members  integer  not null check (members > 0),
    primary key (app, chatroom, level, bucket),
    foreign key (app, chatroom) references room_counters on delete cascade
) with (fillfactor = 50);

-- A room keeps its owner: nobody can remove that row. Deferrable, since a batch may change the owner and let the former one go.
alter table chatrooms add constraint owner_is_member
    foreign key (app, id, owner) references members (app, chatroom, username) deferrable;

-- Admins and whitelist are members; their standing goes with their membership.
create table admins (
    app      integer not null,
    chatroom text    not null collate "C",
    username text    not null collate "C",
    seq      bigint  not null,
    primary key (app, chatroom, username),
    constraint admin_is_member
        foreign key (app, chatroom, username) references members on delete cascade
);

create table whitelist (
    app      integer not null,
    chatroom text    not null collate "C",
    username text    not null collate "C",
    seq      bigint  not null,
    primary key (app, chatroom, username),
    constraint whitelisted_is_member
        foreign key (app, chatroom, username) references members on delete cascade
);
create unique index whitelist_by_seq on whitelist (app, chatroom, seq) include (username);

-- Blocked users are not members; the room's lock keeps the two apart. `ends_at` is the truth, whether or not the row has
-- been swept since; a block without an end ends at 2117-01-01 00:00 +08:00.
create table blocks (
    app      integer     not null,
    chatroom text        not null collate "C",
    username text        not null collate "C",
    seq      bigint      not null,
    ends_at  timestamptz not null default '2117-01-01 00:00:00+08',
    reason   text,
    primary key (app, chatroom, username),
    foreign key (app, chatroom) references room_counters
);
create unique index blocks_by_seq on blocks (app, chatroom, seq) include (username);
create index blocks_by_user on blocks (app, username, chatroom);
-- Which blocks of a room have ended. Nearly all blocks have no end and are not in here.
create index blocks_by_room_end on blocks (app, chatroom, ends_at) where ends_at < '2117-01-01 00:00:00+08';

-- Timed mutes, with ends as blocks have them. No key to members: a mute outlives leaving and joining again.
create table mutes (
    app      integer     not null,
    chatroom text        not null collate "C",
    username text        not null collate "C",
    seq      bigint      not null,
    ends_at  timestamptz not null,
    reason   text,
    primary key (app, chatroom, username),
    foreign key (app, chatroom) references room_counters
);
create unique index mutes_by_seq on mutes (app, chatroom, seq) include (username, ends_at);
create index mutes_by_user on mutes (app, username, chatroom);
-- Which mutes of a room have ended.
create index mutes_by_room_end on mutes (app, chatroom, ends_at);

-- What a room's people attach to it: at most 100 texts by name.
create table attributes (
    app         integer not null,
    chatroom    text    not null collate "C",
    key         text    not null collate "C",
    value       text    not null,
    setter      text    not null collate "C",
    leaves_with text    collate "C", -- the setter, if the attribute goes when the setter leaves
    primary key (app, chatroom, key),
    foreign key (app, chatroom) references room_counters on delete cascade,
    constraint attribute_leaves_with_its_setter
        foreign key (app, chatroom, leaves_with) references members on delete cascade
);
create index attributes_by_setter on attributes (app, setter, chatroom);
create index attributes_by_leaver on attributes (app, chatroom, leaves_with) where leaves_with is not null;

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

-- Most rooms are small, and a few are very large. The planner knows only the average, and would take a large room for
-- one of three members: then reading all of it looks as cheap as looking a few up. These make it expect the worst: one
-- app, and few rooms that share all the rows.
alter table members        alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50);
alter table member_counts  alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50);
alter table whitelist      alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50);
alter table blocks         alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50);
alter table mutes          alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50);
alter table events         alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50);
alter table event_users    alter app set (n_distinct = 1), alter username set (n_distinct = 50);
alter table deliveries     alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50), alter rule set (n_distinct = 4);
alter table callback_lines alter rule set (n_distinct = 4);
