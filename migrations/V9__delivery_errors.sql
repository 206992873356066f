-- Why the last attempt of a callback brought no answer. A column without a default rewrites nothing.
alter table deliveries add column error text;
