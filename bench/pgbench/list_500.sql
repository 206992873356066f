-- The first 500 members of a room, the owner first, as one array.
\set room :first_room + random(0, :rooms - 1)
with given as materialized (
    select :app::integer as app, 'r' || :room as chatroom
)
select owner, array(
    select username from members
    where members.app = given.app and members.chatroom = given.chatroom and username <> owner
    order by seq limit 499
)
from given join chatrooms on chatrooms.app = given.app and id = chatroom and deleted_at is null;
