-- Blocks in rooms r1 to r:rooms the people at the :members - 1 places from :base on, who are not in.
set session_replication_role = replica;
insert into blocks (app, chatroom, username, seq)
select :app, id, 'u' || (substr(id, 2)::bigint * 7919 + :base + place) % :users + 1, last_seq + 1 + place
from chatrooms, generate_series(0, :members - 2) place
where app = :app and substr(id, 2)::bigint <= :rooms;
update chatrooms set last_seq = last_seq + :members where app = :app and substr(id, 2)::bigint <= :rooms;
