-- Brings the first :members people of rooms r1 to r:rooms back in, and empties all other lists.
set session_replication_role = replica;
truncate admins, whitelist, mutes, blocks;

with missing as (
    select 'r' || room as chatroom, 'u' || (room * 7919 + place) % :users + 1 as username, place + 1 as seq
    from generate_series(1::bigint, :rooms) room, generate_series(0, :members - 1) place
),
back as (
    insert into members (app, chatroom, username, seq)
    select :app, chatroom, username, seq from missing on conflict do nothing
    returning chatroom, seq
),
counted as (
    insert into member_counts (app, chatroom, thousand, members)
    select :app, chatroom, seq / 1000, count(*) from back group by chatroom, seq / 1000
    on conflict (app, chatroom, thousand) do update set members = member_counts.members + excluded.members
)
update chatrooms set member_count = member_count + number
from (select chatroom, count(*) as number from back group by chatroom) back
where app = :app and id = chatroom;
