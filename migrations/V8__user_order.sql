-- Users are listed in the order in which they came.
--
-- Online: `roomward migrate` runs each statement by itself and builds the index concurrently, so that nothing waits for more
-- than a moment on a table of any size. In one transaction (refinery's own command line) the index holds users for about a
-- second for each million rows.
--
-- A user's place in the list is `seq`. It is given when the user is first listed, under the lock of the app's row: behind
-- all that any client has seen, and among those whom none has seen in the order in which they registered. A number given at
-- registration would not do: one with a smaller number may be committed later, behind a client's cursor.
create sequence if not exists user_numbers;
alter table users
    add column if not exists registered bigint not null default 0, -- users from before this column are in order of created_at
    add column if not exists seq bigint not null default 0;        -- 0: not listed yet
alter table users alter column registered set default nextval('user_numbers');

-- Not unique, so that giving a place waits for no change that holds the user: to PostgreSQL `seq` would be a key.
create index if not exists users_in_order on users (app, seq, registered, created_at, username) where deleted_at is null;
