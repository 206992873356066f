-- How many ends of mutes were told in the room, and how late: the median and the latest, in milliseconds.
select count(*), percentile_disc(0.5) within group (order by late), max(late)
from (
    select extract(epoch from happened_at) * 1000 - (before->>username)::bigint as late
    from events, unnest(users) username
    where app = :app and chatroom = :'room' and kind = 'MUTE/EXPIRE'
) told;
