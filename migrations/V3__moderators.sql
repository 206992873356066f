-- Who moderates an app, and which tokens are revoked.
--
-- Adding a column with a constant default rewrites nothing; the lock on apps is held for a moment.
alter table apps add column token_generation integer not null default 0; -- tokens of earlier ones are revoked

-- Users who read or moderate the rooms of their app, all or those that are named.
create table moderators (
    app        integer     not null,
    username   text        not null collate "C",
    role       text        not null check (role in ('viewer', 'moderator')),
    rooms      text[],                              -- null: all
    added_by   text        not null,
    created_at timestamptz not null default date_trunc('milliseconds', now()),
    primary key (app, username)
);
create index moderators_by_age on moderators (app, created_at, username);

-- Single tokens that are no good any more, until they would have ended by themselves.
create table revoked_tokens (
    app        integer     not null,
    jti        uuid        not null,
    revoked_at timestamptz not null default now(),
    ends_at    timestamptz not null,
    primary key (app, jti)
);
create index revoked_tokens_by_end on revoked_tokens (ends_at);
