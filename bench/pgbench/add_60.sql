-- Adds 60 users to a room, all or none: as add.sql does it for one.
\set i :i + 1
\set k :first + :i * :clients + :client_id
\set room :first_room + :k * 7919 % :rooms
\set person :room * 7919 + :base + 60 * (:k / :rooms)
with given as materialized (
    select :app::integer as app, 'r' || :room as chatroom, place,
           'u' || (:person::bigint + place - 1) % :users + 1 as username
    from generate_series(1, 60) place
),
registered as (
    select users.username from given
    join users on users.app = given.app and users.username = given.username and users.deleted_at is null
    order by users.username for key share of users
),
standing as (
    select given.*, member.found is null as is_new, block.found is not null as is_blocked from given
    left join lateral (
        select true as found from members
        where members.app = given.app and members.chatroom = given.chatroom and members.username = given.username limit 1
    ) member on true
    left join lateral (
        select true as found from blocks
        where blocks.app = given.app and blocks.chatroom = given.chatroom and blocks.username = given.username
          and ends_at > now() limit 1
    ) block on true
),
newcomers as (
    select app, chatroom, username, row_number() over (order by place) as place, count(*) over () as number
    from standing
    where is_new and (select count(*) from registered) = 60 and not exists (select from standing where is_blocked)
),
room as (
    update room_counters
    set member_count = member_count + number, last_seq = last_seq + number, last_event = last_event + 1,
        last_xact = greatest(last_xact, pg_current_xact_id()::text::bigint), last_event_at = date_trunc('milliseconds', now())
    from (select app, chatroom, number from newcomers limit 1) newcomers
    join chatrooms on chatrooms.app = newcomers.app and id = newcomers.chatroom and deleted_at is null
    where room_counters.app = newcomers.app and room_counters.chatroom = newcomers.chatroom and member_count + number <= maxusers
    returning room_counters.app, room_counters.chatroom, member_count, last_seq - number as seq_before, last_event, last_xact
),
seated as (
    insert into members (app, chatroom, username, seq)
    select room.app, room.chatroom, username, seq_before + place from room, newcomers
    returning app, chatroom, seq
),
counted as (
    insert into member_counts (app, chatroom, level, bucket, members)
    select app, chatroom, level, seq >> shift, count(*) from seated, (values (0, 9), (1, 15)) levels (level, shift)
    group by app, chatroom, level, seq >> shift
    on conflict (app, chatroom, level, bucket) do update set members = member_counts.members + excluded.members
),
told as (
    insert into events (app, chatroom, n, kind, users, actor, member_count, happened_at, xact)
    select app, chatroom, last_event, 'JOIN/DIRECT', array(select username from newcomers order by place), '@ppAdmin',
           member_count, date_trunc('milliseconds', now()), last_xact
    from room
)
insert into event_users (app, username, happened_at, chatroom, n)
select room.app, username, date_trunc('milliseconds', now()), room.chatroom, last_event from room, newcomers;
