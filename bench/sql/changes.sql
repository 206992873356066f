-- How many events there have been: each change leaves its own.
select sum(last_event) from room_counters where app = :app;
