// What the viewer may do: what `GET /permissions` says, for the app and for a room. The server decides all the same.

import { call } from "./api.js";
import { session } from "./session.js";

/**
 * Whether `rights` let one do `action` ("mute", "read_audit", …) to a `target`: "oneself", "ordinary", "admin" or "owner".
 * What is done to nobody goes by "ordinary".
 */
export const may = (rights, action, target = "ordinary") => rights?.permissions[action]?.includes(target) ?? false;

/** The same in the app as a whole. */
export const mayInApp = (action) => may(session.get().rights, action);

/** The rights in a room. */
export const rightsIn = async (room, signal) => (await call("GET", "/permissions", { query: { room }, signal })).data;

/**
 * Where the viewer may read what was done: `null` in the whole app, else the rooms that the viewer moderates, which may be
 * none.
 */
export const auditedRooms = (rights = session.get().rights) => (may(rights, "read_audit") ? null : rights?.moderates?.rooms ?? []);

/** Whether that is anywhere at all. */
export const mayAudit = (rights) => auditedRooms(rights)?.length !== 0;

/**
 * Whether the viewer may do `action` in a room, as far as one knows without asking: by a right in the whole app, or as a
 * moderator of that room. Admins of rooms ask `rightsIn`.
 */
export function mayIn(room, action) {
  const { rights } = session.get();
  const { role, rooms } = rights?.moderates ?? {};
  return may(rights, action) || (role === "moderator" && MODERATOR.includes(action) && Boolean(rooms?.includes(room)));
}

const MODERATOR = ["mute", "block", "remove", "whitelist", "mute_all"];
