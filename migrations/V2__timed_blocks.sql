-- Blocks may end. One without an end ends at 2117-01-01 00:00 +08:00, as mutes do; `ends_at` is the truth, whether or not
-- the row has been swept since.
--
-- Safe on a live, large table: the defaults are constant, so no row is written.
set lock_timeout = '5s';
alter table blocks
    add column ends_at timestamptz not null default '2117-01-01 00:00:00+08',
    add column reason  text;
reset lock_timeout;
