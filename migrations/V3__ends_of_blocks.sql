-- Which blocks have ended, and in which rooms. Nearly all blocks have no end and are not in here; but all are looked at
-- once, and nobody blocks or unblocks meanwhile (some 250 ms for a million). Reading goes on.
set lock_timeout = '5s';
create index blocks_by_end on blocks (ends_at) include (app, chatroom) where ends_at < '2117-01-01 00:00:00+08';
create index blocks_by_room_end on blocks (app, chatroom, ends_at) where ends_at < '2117-01-01 00:00:00+08';
reset lock_timeout;
