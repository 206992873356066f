-- Mutes people 1 to :members - 1 of rooms r1 to r:rooms for a day.
set session_replication_role = replica;
insert into mutes (app, chatroom, username, seq, ends_at)
select :app, id, 'u' || (substr(id, 2)::bigint * 7919 + place) % :users + 1, last_seq + place, now() + interval '1 day'
from chatrooms, generate_series(1, :members - 1) place
where app = :app and substr(id, 2)::bigint <= :rooms;
update chatrooms set last_seq = last_seq + :members where app = :app and substr(id, 2)::bigint <= :rooms;
