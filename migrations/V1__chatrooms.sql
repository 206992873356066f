-- Who is in a chatroom, and who may speak there.
--
-- Every key of a room's table starts with the room (app, chatroom), so that a room's rows lie together and the tables
-- can be distributed by room. Usernames and room ids compare byte by byte (collate "C"); usernames are stored folded
-- to lower case. Moments are cut to whole milliseconds when written, since that is what the wire can say.

-- A tenant: `{org}/{name}` on the wire. Apps are never deleted.
create table apps (
    id                 integer generated always as identity primary key,
    uuid               uuid        not null unique default gen_random_uuid(), -- `application` on the wire
    org                text        not null collate "C" check (org ~ '^[A-Za-z0-9_.-]{1,64}$'),
    name               text        not null collate "C" check (name ~ '^[A-Za-z0-9_.-]{1,64}$'),
    client_id          text        not null collate "C",
    client_secret_hash bytea       not null,
    settings           jsonb       not null default '{}', -- what differs from the service's own settings
    created_at         timestamptz not null default date_trunc('milliseconds', now()),
    unique (org, name)
);

-- Registered users. No room's table has a key to this one: users are another dimension than rooms.
--
-- A deleted user's row stays, marked, until every room has forgotten the user; it reserves the name that long.
create table users (
    app           integer     not null references apps,
    username      text        not null collate "C" check (username ~ '^[a-z0-9_.-]{1,64}$'),
    uuid          uuid        not null default gen_random_uuid(),
    password_hash text,                              -- null: no password opens this account
    nickname      text,
    activated     boolean     not null default true, -- may sign in
    token_generation integer  not null default 0,    -- tokens of earlier generations are revoked
    created_at    timestamptz not null default date_trunc('milliseconds', now()),
    modified_at   timestamptz not null default date_trunc('milliseconds', now()),
    deleted_at    timestamptz,
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

-- Chatrooms. Every change of a room locks its row first; what is counted or numbered within a room is counted here.
--
-- A deleted room's row stays, marked, until its members are gone, batch by batch.
create table chatrooms (
    app          integer     not null references apps,
    id           text        not null collate "C" check (id ~ '^[a-z0-9]{1,64}$'),
    name         text        not null,
    description  text        not null,
    custom       text        not null default '',
    announcement text        not null default '',
    owner        text        not null collate "C",
    maxusers     integer     not null,            -- the owner counts
    member_count integer     not null,
    mute_all     boolean     not null default false,
    last_seq     bigint      not null default 0,  -- the last number given out to a row of the five lists
    created_at   timestamptz not null default date_trunc('milliseconds', now()),
    deleted_at   timestamptz,
    primary key (app, id),
    constraint room_is_not_overfull check (member_count between 0 and maxusers)
) with (fillfactor = 50); -- room for the next version of a busy row on its own page
create index chatrooms_by_age on chatrooms (app, created_at, id) where deleted_at is null;
create index chatrooms_deleted on chatrooms (deleted_at) where deleted_at is not null;

-- Ids of rooms whose creator did not choose one: increasing, all of one length, so that they sort as numbers do.
create sequence chatroom_ids start 100000000000000;

-- The members of a room, its owner among them, in the order (seq) in which they came.
create table members (
    app       integer     not null,
    chatroom  text        not null collate "C",
    username  text        not null collate "C",
    seq       bigint      not null,
    joined_at timestamptz not null default date_trunc('milliseconds', now()),
    primary key (app, chatroom, username) include (seq),
    foreign key (app, chatroom) references chatrooms
);
create unique index members_by_seq on members (app, chatroom, seq) include (username);
create index members_by_user on members (app, username, chatroom) include (joined_at);

-- How many members there are in each thousand of seq, empty ones left out: finds the page of any number without
-- counting the members before it.
create table member_counts (
    app      integer not null,
    chatroom text    not null collate "C",
    thousand bigint  not null, -- seq / 1000
    members  integer not null check (members > 0),
    primary key (app, chatroom, thousand),
    foreign key (app, chatroom) references chatrooms on delete cascade
) with (fillfactor = 50);

-- A room keeps its owner: nobody can remove that row.
alter table chatrooms add constraint owner_is_member
    foreign key (app, id, owner) references members (app, chatroom, username);

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

-- Blocked users are not members; the room's lock keeps the two apart.
create table blocks (
    app      integer not null,
    chatroom text    not null collate "C",
    username text    not null collate "C",
    seq      bigint  not null,
    primary key (app, chatroom, username),
    foreign key (app, chatroom) references chatrooms
);
create unique index blocks_by_seq on blocks (app, chatroom, seq) include (username);
create index blocks_by_user on blocks (app, username, chatroom);

-- Timed mutes. No key to members: a mute outlives leaving and joining again. `ends_at` is the truth, whether or not
-- the row has been swept since; a permanent mute ends at 2117-01-01 00:00 +08:00.
create table mutes (
    app      integer     not null,
    chatroom text        not null collate "C",
    username text        not null collate "C",
    seq      bigint      not null,
    ends_at  timestamptz not null,
    primary key (app, chatroom, username),
    foreign key (app, chatroom) references chatrooms
);
create unique index mutes_by_seq on mutes (app, chatroom, seq) include (username, ends_at);
create index mutes_by_user on mutes (app, username, chatroom);
-- Which rooms have ended mutes, and which mutes of a room have ended.
create index mutes_by_end on mutes (ends_at) include (app, chatroom);
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
    foreign key (app, chatroom) references chatrooms on delete cascade,
    constraint attribute_leaves_with_its_setter
        foreign key (app, chatroom, leaves_with) references members on delete cascade
);
create index attributes_by_setter on attributes (app, setter, chatroom);
create index attributes_by_leaver on attributes (app, chatroom, leaves_with) where leaves_with is not null;

-- Most rooms are small, and a few are very large. The planner knows only the average, and would take a large room for
-- one of three members: then reading all of it looks as cheap as looking a few up. These make it expect the worst: one
-- app, and few rooms that share all the rows.
alter table members       alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50);
alter table member_counts alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50);
alter table whitelist     alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50);
alter table blocks        alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50);
alter table mutes         alter app set (n_distinct = 1), alter chatroom set (n_distinct = 50);
