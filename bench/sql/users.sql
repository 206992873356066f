-- Users u1 to u:users.
insert into users (app, username) select :app, 'u' || n from generate_series(1, :users) n;
