-- What is in force in an app is listed by room, user and actor, the newest first; rooms and users are searched by the
-- beginning of their names.
--
-- Online: `roomward migrate` runs each statement by itself and builds the indexes concurrently, so that nothing waits for more
-- than a moment on tables of any size. In one transaction (refinery's own command line) they hold their tables for about a
-- second for each million rows.

-- Who has set a mute or a block as it is now, and when. Rows from before do not know: a change without a name is
-- '@ppAdmin', and a beginning that is not known is the epoch, so that those rows come last. (Some of it could be found in
-- the events, but those of the oldest, which have no end, are the first to be gone.)
alter table blocks
    add column if not exists actor text        not null default '@ppAdmin' collate "C",
    add column if not exists since timestamptz not null default 'epoch';
alter table mutes
    add column if not exists actor text        not null default '@ppAdmin' collate "C",
    add column if not exists since timestamptz not null default 'epoch';

-- Those of an app, the newest first, and of one actor: nearly all are the client's own, and are not in the second index.
-- Those of a room or of a user are few enough to be read by the indexes that are there, and sorted.
create index if not exists blocks_by_since on blocks (app, since, chatroom, username);
create index if not exists mutes_by_since on mutes (app, since, chatroom, username);
create index if not exists blocks_by_actor on blocks (app, actor, since, chatroom, username) where actor <> '@ppAdmin';
create index if not exists mutes_by_actor on mutes (app, actor, since, chatroom, username) where actor <> '@ppAdmin';
create index if not exists global_mutes_by_since on global_mutes (app, since, username) where chatroom_ends_at is not null;
create index if not exists global_mutes_by_actor on global_mutes (app, actor, since, username)
    where chatroom_ends_at is not null and actor <> '@ppAdmin';

-- Names as searches read them: ASCII letters in lower case, compared byte by byte.
create index if not exists chatrooms_by_name on chatrooms (app, lower(name collate "C"), id) where deleted_at is null;
create index if not exists users_by_nickname on users (app, lower(nickname collate "C"), username)
    where nickname is not null and deleted_at is null;
