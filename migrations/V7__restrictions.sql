-- Who has set a mute or a block as it is now, and since when it is so.

-- No change of a room is under way from here on, so that the locks below wait for reads alone.
lock table room_counters in exclusive mode;

-- Who has set a mute or a block as it is now, and when. Rows from before do not know: a change without a name is
-- '@ppAdmin', and a beginning that is not known is the epoch, so that those rows come last. (Some of it could be found in
-- the events, but those of the oldest, which have no end, are the first to be gone.)
alter table blocks
    add column if not exists actor text        not null default '@ppAdmin' collate "C",
    add column if not exists since timestamptz not null default 'epoch';
alter table mutes
    add column if not exists actor text        not null default '@ppAdmin' collate "C",
    add column if not exists since timestamptz not null default 'epoch';
