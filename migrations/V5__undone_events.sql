-- Which earlier event of the same room an event has undone. Null in all that were written before: nothing is rewritten.
alter table events add column undoes bigint;
