-- Users who may not speak in any room of their app.
--
-- The row of the app is locked by all who change its global mutes, and says when the next of them ends: the task that
-- tells of ends finds each app by that, however many ends it has. No global mute ends before; it is the first end, or
-- earlier if that one was lifted since. Adding the column rewrites nothing, and there is one row for each tenant: the lock
-- on apps is held for a moment.
alter table apps add column next_end timestamptz not null default '2117-01-01 00:00:00+08';
create index apps_due on apps (next_end) where next_end < '2117-01-01 00:00:00+08';

-- A mute has three parts, each with its own end: single chats, groups, and rooms. Null: not muted there. `…_ends_at` is
-- the truth, whether or not the row has been swept since; a part without an end ends at 2117-01-01 00:00 +08:00. A row has
-- one part at least.
create table global_mutes (
    app               integer     not null,
    username          text        not null collate "C",
    chat_ends_at      timestamptz,
    groupchat_ends_at timestamptz,
    chatroom_ends_at  timestamptz,
    actor             text        collate "C", -- who has set the part for rooms as it is now, why, and when
    reason            text,
    since             timestamptz,
    next_end          timestamptz not null
        generated always as (least(chat_ends_at, groupchat_ends_at, chatroom_ends_at)) stored,
    primary key (app, username),
    constraint part_for_rooms_has_its_actor check (
        num_nulls(chatroom_ends_at, actor, since) in (0, 3) and (actor is not null or reason is null)
    )
);
-- Which of an app have ended.
create index global_mutes_by_end on global_mutes (app, next_end, username) where next_end < '2117-01-01 00:00:00+08';
alter table global_mutes alter app set (n_distinct = 1);
