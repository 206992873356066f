// An evening in a lively app, for pictures: a lounge of thousands, moderators at work, and two days behind it.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

const FIRST = "ada alva amal anya bao bela bo cai chen dara dina edda eli emre fay finn gia hana hugo ida iris ivo jana jin juno kai kira lea leo lin lou luca maja mei mika mila nadia nico noor oda olga otto pia quinn rana remy rosa ruth sami sara sena sol suki tara theo tia uma vera vik wen xia yael yara yuki zara zoe".split(" ");
const LAST = ["", ".k", ".w", "_tv", "88", ".live", "2k", ".y", "_x", "07", ".m", "_fm", "99"];

/** Distinct names as users choose them. */
export const names = (count) => Array.from({ length: count }, (_, index) => {
  const round = Math.floor(index / (FIRST.length * LAST.length));
  return `${FIRST[index % FIRST.length]}${LAST[Math.floor(index / FIRST.length) % LAST.length]}${round || ""}`;
});

/** Tells the story in an app; the lounge has `count` members. */
export async function tell(app, count) {
  const people = names(count);
  // The latest come first in the list.
  await app.room("lounge", "mira", [...people].reverse(), { name: "Late Night Lounge", description: "Music and talk until late" });
  await app.room("jazz", "theo.live", [], { name: "Jazz Corner" });
  await app.room("games", "sam", [], { name: "Game Night" });
  await app.call("POST", "/chatrooms/jazz/users", { usernames: people.slice(0, 55) });
  await app.call("POST", "/chatrooms/games/users", { usernames: people.slice(20, 75) });
  for (const name of ["eve", "mia"]) await app.moderator(name);
  await app.moderator("vik.view", { role: "viewer" });
  await app.moderator("noor.mod", { rooms: ["jazz", "games"] });
  for (const name of [people[0], people[3]]) await app.call("POST", "/chatrooms/lounge/admin", { newadmin: name });
  await app.call("POST", "/chatrooms/lounge/white/users", { usernames: [people[5], people[8]] });

  const hour = 3_600_000;
  const muted = [
    ["lounge", people[2], hour / 12, "eve", "spam again"], ["lounge", people[11], hour, "mia", "advertising"], ["lounge", people[17], -1, "eve", "threats"],
    ["lounge", people[23], 24 * hour, "mia", "insults"], ["jazz", people[2], 2 * hour, "mia", "off topic"], ["games", people[30], hour / 2, "eve", "flooding"],
    ["lounge", people[41], 6 * hour, "mia", "刷屏"],
  ];
  for (const [room, user, ms, actor, reason] of muted) await app.mute(room, [user], { ms, actor, reason });
  const blocked = [["lounge", people[29], 24 * hour, "eve", "scam links"], ["lounge", people[37], -1, "mia", "hate speech"], ["games", people[33], 7 * 24 * hour, "eve", "cheating"]];
  for (const [room, user, ms, actor, reason] of blocked) await app.block(room, user, { ms, actor, reason });
  const headers = { "X-Operator": "mia", "X-Audit-Reason": encodeURIComponent("insults in several rooms") };
  await app.call("POST", "/mutes", { username: people[50], chatroom: 48 * 3600 }, headers);
  await app.call("DELETE", `/chatrooms/lounge/mute/${people[23]}`, undefined, { "X-Operator": "eve", "X-Audit-Reason": encodeURIComponent("was not meant so") });
  await app.call("DELETE", `/chatrooms/games/users/${people[40]}`, undefined, { "X-Operator": "eve", "X-Audit-Reason": "flooding" });
}

/** Puts two days behind the story, as no API can: the evening began hours ago, and the hours before were busy as evenings are. */
export async function tellOfBefore(app, psql, url) {
  const statement = `
    -- The members came in the course of hours, the latest a minute ago.
    update members set joined_at = now() - interval '1 minute' - interval '20 seconds' * power(greatest(0, 10000 - seq), 0.8) where chatroom = 'lounge';
    -- What moderators did, in the last hour; restrictions began with it.
    with ranked as (select app, chatroom, n, row_number() over (order by happened_at desc, n desc) as nth from events where kind not like 'JOIN%')
    update events set happened_at = date_trunc('milliseconds', now() - interval '37 seconds' - interval '1 second' * 19 * power(nth, 1.6))
    from ranked where (events.app, events.chatroom, events.n) = (ranked.app, ranked.chatroom, ranked.n);
    update events set happened_at = date_trunc('milliseconds', now() - interval '1 second' * random() * 165000) where kind like 'JOIN%';
    update mutes set since = now() - interval '3 minutes' - interval '2 hours' * random();
    update blocks set since = now() - interval '8 minutes' - interval '3 hours' * random();
    with moments as (
      select now() - interval '1 minute' * i as at from generate_series(30, 2880) i
    ), busy as (
      select at, 3 + 14 * power(greatest(0, sin((extract(epoch from at + interval '8 hours') / 86400 - 0.55) * 2 * pi())), 2) as level from moments
    ), counted as (
      select at, kind, floor(level * share + random())::int as users
      from busy, (values ('JOIN/DIRECT', 1.0), ('LEAVE/KICK', 0.22), ('MUTE/ADD', 0.06), ('BLOCK/ADD', 0.018)) kinds (kind, share)
    )
    insert into events (app, chatroom, n, kind, users, actor, happened_at, xact)
    select apps.id, 'yesterday', row_number() over (order by at), kind, array(select 'u' || g from generate_series(1, users) g),
           '@ppAdmin', date_trunc('milliseconds', at), 1
    from counted, apps where users > 0 and org || '/' || apps.name = '${app.name}'`;
  await promisify(execFile)(psql, [url, "-q", "-v", "ON_ERROR_STOP=1", "-c", statement]);
}
