// What may be done to users of a room, to one or to many: with what it takes, what came of it for each, and the way back.

import { ApiError, call, path } from "./api.js";
import { explain } from "./failure.js";
import { toast } from "./parts/toast.js";
import { session } from "./session.js";
import { duration } from "./time.js";
import { t } from "./words.js";

/** The most names in a call of the service, and the most events in a page. */
const BATCH = 60;
const EVENTS = 1000;

const lists = (room, list, users) => path`/chatrooms/${room}/` + list + path`/${users.join(",")}`;

/** The results that an answer tells one by one, be it about one or several. */
const each = ({ data }) => [data].flat().map(({ user, result, reason }) => ({ user, ok: result !== false, why: reason }));

/** That all has worked, where an answer says no more. */
const all = (users) => () => users.map((user) => ({ user, ok: true }));

/** A batch by path has a comma, also of one name, so that each has a result and none fails the whole. */
const batch = (users) => (users.length === 1 ? [...users, ""] : users);

/**
 * By name: the right that it takes, the events that come of it (the last is undone first), the icon, whether it `lasts` for
 * a time, whether it is `drastic`, whether one call is about `one` user, and the call.
 */
export const CHANGES = {
  mute: { right: "mute", kinds: ["MUTE/ADD"], icon: "mute", lasts: true, make: (room, usernames, { ms, reason }) =>
    call("POST", path`/chatrooms/${room}/mute`, { body: { usernames, mute_duration: ms }, reason }).then(each) },
  unmute: { right: "mute", kinds: ["MUTE/REMOVE"], icon: "unmute", make: (room, users, { reason }) =>
    call("DELETE", lists(room, "mute", users), { reason }).then(each) },
  block: { right: "block", kinds: ["LEAVE/BLOCK", "BLOCK/ADD"], icon: "block", lasts: true, drastic: true, make: (room, usernames, { ms, reason }) =>
    call("POST", path`/chatrooms/${room}/blocks/users`, { body: { usernames, block_duration: ms, allow_non_member: true }, reason }).then(each) },
  unblock: { right: "block", kinds: ["BLOCK/REMOVE"], icon: "check", make: (room, users, { reason }) =>
    call("DELETE", lists(room, "blocks/users", batch(users)), { reason }).then(each) },
  remove: { right: "remove", kinds: ["LEAVE/KICK"], icon: "remove", drastic: true, make: (room, users, { reason }) =>
    call("DELETE", lists(room, "users", batch(users)), { reason }).then(each) },
  whitelist: { right: "whitelist", kinds: ["WHITE/ADD"], icon: "whitelist", make: (room, usernames, { reason }) =>
    call("POST", path`/chatrooms/${room}/white/users`, { body: { usernames }, reason }).then(each) },
  unwhitelist: { right: "whitelist", kinds: ["WHITE/REMOVE"], icon: "close", make: (room, users, { reason }) =>
    call("DELETE", lists(room, "white/users", users), { reason }).then(each) },
  promote: { right: "manage_admins", kinds: ["ADMIN/ADD"], icon: "admin", drastic: true, one: true, make: (room, [newadmin], { reason }) =>
    call("POST", path`/chatrooms/${room}/admin`, { body: { newadmin }, reason }).then(all([newadmin])) },
  demote: { right: "manage_admins", kinds: ["ADMIN/REMOVE"], icon: "person", drastic: true, one: true, make: (room, [user], { reason }) =>
    call("DELETE", lists(room, "admin", [user]), { reason }).then(all([user])) },
};

/**
 * Makes a change for all of `users`, in as many calls as it takes, for `ms` (-1: for ever) because of `reason`. `progress(n)`
 * hears how many are done. Returns for each `{ user, ok, why }`, and the `events` that came of it, which `undoAll` undoes.
 */
export async function makeAll(name, room, users, options = {}, progress = () => {}) {
  const { make: send, one, kinds } = CHANGES[name];
  const before = await lastEvent(room);
  const outcomes = [];
  for (let from = 0; from < users.length; from += one ? 1 : BATCH) {
    outcomes.push(...(await makeApart(send, room, users.slice(from, from + (one ? 1 : BATCH)), options)));
    progress(outcomes.length);
  }
  const made = new Set(outcomes.filter(({ ok }) => ok).map(({ user }) => user));
  const events = before === null || made.size === 0 ? [] : await ownEvents(room, before, kinds, made);
  return { outcomes, events };
}

/** A call that is refused as a whole for what one of its names is, is made for its halves. */
async function makeApart(send, room, users, options) {
  try {
    return await send(room, users, options);
  } catch (refusal) {
    const isAboutNames = refusal instanceof ApiError && [400, 401, 403, 404].includes(refusal.status);
    if (!isAboutNames || users.length === 1) {
      if (!(refusal instanceof ApiError)) throw refusal;
      return users.map((user) => ({ user, ok: false, why: refusal }));
    }
    const half = users.length >> 1;
    const first = await makeApart(send, room, users.slice(0, half), options);
    return [...first, ...(await makeApart(send, room, users.slice(half), options))];
  }
}

/** The number of a room's last event; `null` for one who may not read them, and has no way back then. */
async function lastEvent(room) {
  try {
    return (await call("GET", path`/chatrooms/${room}/events`, { query: { limit: 1 } })).last;
  } catch (refusal) {
    if (refusal.status === 401) return null;
    throw refusal;
  }
}

/** The events of the viewer behind a number that are of these kinds and about these users. */
async function ownEvents(room, since, kinds, users) {
  const { kind, name } = session.get();
  const actor = kind === "app" && !name ? "@ppAdmin" : name;
  try {
    const { data } = await call("GET", path`/chatrooms/${room}/events`, { query: { since, limit: EVENTS, kind: kinds.join() } });
    return data.filter((event) => event.actor === actor && !event.undoes && event.users?.some((user) => users.has(user)));
  } catch (refusal) {
    if (refusal instanceof ApiError) return [];
    throw refusal;
  }
}

/** Undoes events, the last first. Returns whether all are undone; says why not. */
export async function undoAll(events) {
  for (const event of [...events].reverse()) {
    if (!(await undo(event, { quiet: true }))) return false;
  }
  toast(t("undone"));
  return true;
}

/** Undoes an event. Returns whether it was undone. */
export async function undo({ chatroom, n }, { quiet = false } = {}) {
  try {
    await call("POST", "/undo", { body: { room: chatroom, n } });
    if (!quiet) toast(t("undone"));
    return true;
  } catch (refusal) {
    return complain(refusal);
  }
}

/** What has been done, in words: "Muted 3 members for 5 min". */
export const doneWords = (name, users, ms) =>
  t(users.length === 1 ? `done.${name}` : `done.${name}.several`, { user: users[0], n: users.length, for: ms === undefined ? "" : forWords(ms) });

/** "for 5 min", "for ever". */
export const forWords = (ms) => (ms < 0 ? t("for.ever") : t("for.time", { time: duration(ms) }));

/** Makes a change for one user and says so, with the way back. Returns whether it was made; `after(isUndone)` is called then, and again after an undo. */
export async function make(name, room, user, { ms, reason } = {}, after = () => {}) {
  try {
    const { outcomes: [{ ok, why }], events } = await makeAll(name, room, [user], { ms, reason });
    if (!ok) return complain(why);
    const run = async () => {
      if (await undoAll(events)) after(true);
    };
    toast(doneWords(name, [user], CHANGES[name].lasts ? ms : undefined), { action: events.length > 0 ? { label: t("undo"), run } : undefined });
    after(false);
    return true;
  } catch (refusal) {
    return complain(refusal);
  }
}

/** Mutes a user in all rooms for so many milliseconds, -1 for ever, 0 not any more. */
export async function muteGlobally(user, ms, reason) {
  try {
    await call("POST", "/mutes", { body: { username: user, chatroom: ms < 0 ? -1 : Math.ceil(ms / 1000) }, reason });
    return true;
  } catch (refusal) {
    return complain(refusal);
  }
}

/** Says why something was not done. A call that was called off needs no words. */
export function complain(refusal) {
  if (refusal?.name !== "AbortError") toast(explain(refusal), { kind: "failed" });
  return false;
}
