-- Adds one user to a room: registered, not blocked, not in yet, a seat left; the row, the counters, the event.
-- What is given is materialized, so that plans cannot hang on it: PostgreSQL plans once and keeps the plan.
\set i :i + 1
\set k :first + :i * :clients + :client_id
\set room :first_room + :k * 7919 % :rooms
\set person (:room * 7919 + :base + :k / :rooms) % :users + 1
with given as materialized (
    select :app::integer as app, 'r' || :room as chatroom, 'u' || :person as username
),
welcome as (
    select given.* from given
    join users on users.app = given.app and users.username = given.username and users.deleted_at is null
    left join lateral (
        select true as found from members
        where members.app = given.app and members.chatroom = given.chatroom and members.username = given.username limit 1
    ) member on true
    left join lateral (
        select true as found from blocks
        where blocks.app = given.app and blocks.chatroom = given.chatroom and blocks.username = given.username
          and ends_at > now() limit 1
    ) block on true
    where member.found is null and block.found is null
    for key share of users
),
room as (
    update room_counters
    set member_count = member_count + 1, last_seq = last_seq + 1, last_event = last_event + 1,
        last_xact = greatest(last_xact, pg_current_xact_id()::text::bigint), last_event_at = date_trunc('milliseconds', now())
    from welcome
    join chatrooms on chatrooms.app = welcome.app and id = welcome.chatroom and deleted_at is null
    where room_counters.app = welcome.app and room_counters.chatroom = welcome.chatroom and member_count < maxusers
    returning room_counters.app, room_counters.chatroom, username, member_count, last_seq, last_event, last_xact
),
seated as (
    insert into members (app, chatroom, username, seq) select app, chatroom, username, last_seq from room
),
counted as (
    insert into member_counts (app, chatroom, level, bucket, members)
    select app, chatroom, level, last_seq >> shift, 1 from room, (values (0, 9), (1, 15)) levels (level, shift)
    on conflict (app, chatroom, level, bucket) do update set members = member_counts.members + 1
),
told as (
    insert into events (app, chatroom, n, kind, users, actor, member_count, happened_at, xact)
    select app, chatroom, last_event, 'JOIN/DIRECT', array[username], '@ppAdmin', member_count,
           date_trunc('milliseconds', now()), last_xact
    from room
)
insert into event_users (app, username, happened_at, chatroom, n)
select app, username, date_trunc('milliseconds', now()), chatroom, last_event from room;
