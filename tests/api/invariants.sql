-- What is wrong in an app ($1), whatever has happened: a line for each; nothing if all rules hold.
with rooms as (
    select id, maxusers, member_count, admin_count, mute_count, block_count, next_end from chatrooms
    left join room_counters on (room_counters.app, room_counters.chatroom) = (chatrooms.app, id)
    where chatrooms.app = $1 and deleted_at is null
),
widths (level, width) as (values (0::smallint, 9), (1::smallint, 15)),
kept as (select chatroom, level, bucket, members::bigint from member_counts where app = $1),
counted as (
    select chatroom, level, seq >> width, count(*) from members cross join widths where app = $1 group by 1, 2, 3
)
select id || ' counts ' || counts::text || ' of ' || maxusers || ', has ' || rows::text from (
    select id, maxusers, row(member_count, admin_count, mute_count, block_count)::text as counts, row(
        (select count(*) from members where app = $1 and members.chatroom = id),
        (select count(*) from admins where app = $1 and admins.chatroom = id),
        (select count(*) from mutes where app = $1 and mutes.chatroom = id),
        (select count(*) from blocks where app = $1 and blocks.chatroom = id)
    )::text as rows
    from rooms
) compared
where counts is distinct from rows
union all
select id || ' is overfull' from rooms where member_count > maxusers
union all
select 'stretch ' || wrong::text || ' is not what it counts' from (
    (select * from kept except select * from counted) union all (select * from counted except select * from kept)
) wrong
join rooms on id = wrong.chatroom
union all
select chatroom || ' blocks its member ' || username from members join blocks using (app, chatroom, username) where app = $1
union all
select known.chatroom || ' knows the stranger ' || username from (
    select app, chatroom, username from members union all select app, chatroom, username from admins
    union all select app, chatroom, username from whitelist union all select app, chatroom, username from blocks
    union all select app, chatroom, username from mutes
) known
join rooms on id = known.chatroom
where known.app = $1
  and not exists (select from users where (users.app, users.username) = (known.app, known.username))
union all
select id || ' would not see the end of ' || username from rooms
join (select chatroom, username, ends_at from mutes where app = $1
      union all select chatroom, username, ends_at from blocks where app = $1) ends on ends.chatroom = id
where ends_at < next_end
union all
select chatroom || ' has too many admins' from admins where app = $1 group by chatroom having count(*) > 99
union all
select 'the app would not see the end of ' || username from global_mutes join apps on apps.id = global_mutes.app
where global_mutes.app = $1 and global_mutes.next_end < apps.next_end
