-- When the mute of a whole room ends by itself; as with mutes and blocks, 2117-01-01 00:00 +08:00 is never.
--
-- Adding a column with a constant default rewrites nothing; the lock on chatrooms is held for a moment.
alter table chatrooms add column mute_ends_at timestamptz not null default '2117-01-01 00:00:00+08';
