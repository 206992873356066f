-- Rooms r:first to r:last, each with :members members. The person at place j of a room is the user
-- u((room * 7919 + j) % users + 1); the one at place 0 owns it. Who stands at a later place is not in the room.
--
-- No keys are checked while loading: it takes half the time, and the rows are right.
set session_replication_role = replica;

insert into chatrooms (app, id, name, description, owner)
select :app, 'r' || room, 'room ' || room, 'made for measuring', 'u' || (room * 7919) % :users + 1
from generate_series(:first::bigint, :last) room;

insert into room_counters (app, chatroom, maxusers, member_count, last_seq)
select :app, 'r' || room, 2000000, :members, :members from generate_series(:first::bigint, :last) room;

insert into members (app, chatroom, username, seq)
select :app, 'r' || room, 'u' || (room * 7919 + place) % :users + 1, place + 1
from generate_series(:first::bigint, :last) room, generate_series(0, :members - 1) place;

insert into member_counts (app, chatroom, level, bucket, members)
select :app, 'r' || room, level, bucket, least(((bucket + 1) << shift) - 1, :members) - greatest(bucket << shift, 1) + 1
from generate_series(:first::bigint, :last) room, (values (0, 9), (1, 15)) levels (level, shift),
     lateral generate_series(0::bigint, :members::bigint >> shift) bucket;
