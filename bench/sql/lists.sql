-- Puts users on each list of rooms r:first to r:last, so that no table is empty and the planner knows how they look:
-- the last member is an admin, the one before whitelisted, :muted people from the place :muted_from on are muted for a
-- day, :blocked people from the place :outsiders on are blocked.
set session_replication_role = replica;
create temporary table room as
select app, chatroom, substr(chatroom, 2)::bigint * 7919 as person, last_seq
from room_counters where app = :app and substr(chatroom, 2)::bigint between :first and :last;

insert into admins (app, chatroom, username, seq)
select app, chatroom, 'u' || (person + :members - 1) % :users + 1, last_seq + 1 from room;

insert into whitelist (app, chatroom, username, seq)
select app, chatroom, 'u' || (person + :members - 2) % :users + 1, last_seq + 2 from room;

insert into mutes (app, chatroom, username, seq, ends_at)
select app, chatroom, 'u' || (person + :muted_from + n) % :users + 1, last_seq + 3 + n, now() + interval '1 day'
from room, generate_series(0, :muted - 1) n;

insert into blocks (app, chatroom, username, seq)
select app, chatroom, 'u' || (person + :outsiders + n) % :users + 1, last_seq + 3 + :muted + n
from room, generate_series(0, :blocked - 1) n;

update room_counters
set last_seq = room.last_seq + 3 + :muted + :blocked, admin_count = 1, mute_count = :muted, block_count = :blocked,
    next_end = now() + interval '1 day'
from room where room_counters.app = room.app and room_counters.chatroom = room.chatroom;
