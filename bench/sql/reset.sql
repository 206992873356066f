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
    insert into member_counts (app, chatroom, level, bucket, members)
    select :app, chatroom, level, seq >> shift, count(*) from back, (values (0, 9), (1, 15)) levels (level, shift)
    group by chatroom, level, seq >> shift
    on conflict (app, chatroom, level, bucket) do update set members = member_counts.members + excluded.members
)
update room_counters
set member_count = room_counters.member_count + coalesce(number, 0), admin_count = 0, mute_count = 0, block_count = 0,
    next_end = '2117-01-01 00:00:00+08'
from room_counters counters
left join (select chatroom, count(*) as number from back group by chatroom) back using (chatroom)
where room_counters.app = :app and counters.app = :app and room_counters.chatroom = counters.chatroom;
