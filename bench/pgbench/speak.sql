-- Whether a member of a room may speak: everything that the answer hangs on, in one statement.
\set room :first_room + random(0, :rooms - 1)
\set person (:room * 7919 + random(0, :people - 1)) % :users + 1
with given as materialized (
    select :app::integer as app, 'r' || :room as chatroom, 'u' || :person as username
)
select owner = given.username, mute_all, mute_reason, members.username is not null, admins.username is not null,
       whitelist.username is not null, blocks.ends_at, blocks.reason, mutes.ends_at, mutes.reason
from given
join chatrooms on chatrooms.app = given.app and id = chatroom and deleted_at is null
left join members on (members.app, members.chatroom, members.username) = (given.app, given.chatroom, given.username)
left join admins on (admins.app, admins.chatroom, admins.username) = (given.app, given.chatroom, given.username)
left join whitelist on (whitelist.app, whitelist.chatroom, whitelist.username) = (given.app, given.chatroom, given.username)
left join blocks on (blocks.app, blocks.chatroom, blocks.username) = (given.app, given.chatroom, given.username)
    and blocks.ends_at > now()
left join mutes on (mutes.app, mutes.chatroom, mutes.username) = (given.app, given.chatroom, given.username)
    and mutes.ends_at > now();
