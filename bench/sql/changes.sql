-- How many events there have been: each change leaves its own.
select sum(last_event) from chatrooms where app = :app;
