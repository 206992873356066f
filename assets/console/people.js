// The lists of a room: how each is read, and what an event makes of it.
//
// A row is what is known of a user: `{ user, role, whitelisted, joined, mute, global_mute, block }`; a mute or a block is
// `{ until, since, actor, reason }`.

import { call, path } from "./api.js";
import { may } from "./rights.js";

const PAGE = 100;

const rowOf = (user) => ({ user });
const inForce = (key) => ({ user, ...entry }) => ({ user, [key]: entry });

/** A page of a list by its path, with what makes rows of its entries. */
const page = (list, query, row) => async (room, cursor, signal) => {
  const answer = await call("GET", path`/chatrooms/${room}/` + list, { query: { limit: PAGE, cursor, ...query }, signal });
  return { rows: answer.data.map(row), cursor: answer.cursor };
};

/** Every tab, what it takes to see it, how its pages are read (`q`: what names begin with), and what it becomes by an event. */
export const LISTS = {
  members: {
    right: "read_room",
    icon: "person",
    searches: true,
    read: (room, cursor, signal, { q, rights }) =>
      may(rights, "read_lists")
        ? page("standing", { q }, (row) => row)(room, cursor, signal)
        : page("users", { version: "v3" }, rowOf)(room, cursor, signal),
    apply: (rows, event, { q }) => {
      if (event.kind.startsWith("JOIN/")) return [...newcomers(rows, event, q), ...rows];
      if (event.kind.startsWith("LEAVE/")) return without(rows, event.users);
      return changed(rows, event);
    },
  },
  muted: {
    right: "read_lists",
    icon: "mute",
    read: page("mute", { detail: true }, inForce("mute")),
    apply: (rows, event) => listed(rows, event, "MUTE", "mute"),
  },
  blocked: {
    right: "read_lists",
    icon: "block",
    read: page("blocks/users", { detail: true }, inForce("block")),
    apply: (rows, event) => listed(rows, event, "BLOCK", "block"),
  },
  whitelist: {
    right: "read_lists",
    icon: "star",
    read: page("white/users", {}, (user) => ({ user, whitelisted: true })),
    apply: (rows, event) => onList(rows, event, "WHITE", { whitelisted: true }),
  },
  admins: {
    right: "read_room",
    icon: "admin",
    read: page("admin", {}, (user) => ({ user, role: "admin" })),
    apply: (rows, event) => onList(rows, event, "ADMIN", { role: "admin" }),
  },
};

const without = (rows, users = []) => {
  const gone = new Set(users);
  return rows.some(({ user }) => gone.has(user)) ? rows.filter(({ user }) => !gone.has(user)) : rows;
};

function newcomers(rows, { users = [], timestamp }, q) {
  const known = new Set(rows.map(({ user }) => user));
  return users
    .filter((user) => !known.has(user) && user.startsWith((q ?? "").toLowerCase()))
    .map((user) => ({ user, role: "member", whitelisted: false, joined: timestamp }))
    .reverse();
}

/** The restriction that an event has laid on a user. */
const laidOn = ({ after, actor, reason, timestamp }, user) => ({ until: after[user], since: timestamp, actor, reason });

/** What an event makes of those rows whose users it is about. */
function changed(rows, event) {
  const about = new Set(event.users);
  const change = {
    "MUTE/ADD": (row) => ({ ...row, mute: laidOn(event, row.user) }),
    "MUTE/REMOVE": ({ mute, ...row }) => row,
    "MUTE/EXPIRE": ({ mute, ...row }) => row,
    "WHITE/ADD": (row) => ({ ...row, whitelisted: true }),
    "WHITE/REMOVE": (row) => ({ ...row, whitelisted: false }),
    "ADMIN/ADD": (row) => ({ ...row, role: "admin" }),
    "ADMIN/REMOVE": (row) => ({ ...row, role: "member" }),
  }[event.kind];
  if (event.kind === "UPDATE/OWNER") {
    const owner = event.after?.owner;
    return rows.map((row) => (row.user === owner ? { ...row, role: "owner" } : row.role === "owner" ? { ...row, role: "member" } : row));
  }
  return change && rows.some(({ user }) => about.has(user)) ? rows.map((row) => (about.has(row.user) ? change(row) : row)) : rows;
}

/** A list of what is in force: what is laid on or moved comes first, what is lifted or over goes. */
function listed(rows, event, operation, key) {
  const [kind, type] = event.kind.split("/");
  if (kind !== operation) return rows;
  const rest = without(rows, event.users);
  return type === "ADD" ? [...event.users.map((user) => ({ user, [key]: laidOn(event, user) })), ...rest] : rest;
}

/** A list that one is on or not; who leaves the room is off it. */
function onList(rows, event, operation, row) {
  if (event.kind.startsWith("LEAVE/")) return without(rows, event.users);
  if (!event.kind.startsWith(`${operation}/`)) return rows;
  const rest = without(rows, event.users);
  return event.kind.endsWith("/ADD") ? [...rest, ...event.users.map((user) => ({ user, ...row }))] : rest;
}
