// The rooms of one who may not read across rooms: those that they moderate, and those in which they are.

import { ApiError, call, path } from "./api.js";
import { session } from "./session.js";

/** As many as one call tells the details of. */
const PAGE = 100;

/** A page of them, each `{ id, name, owner, count, role }`; those that are moderated come first, on the first page. */
export async function ownRooms(cursor, signal) {
  const { name, rights } = session.get();
  const page = await call("GET", path`/users/${name}/standing`, { query: { limit: PAGE, cursor }, signal });
  const { role, rooms = [] } = cursor ? {} : rights.moderates ?? {};
  const moderated = rooms.map((id) => ({ id, role }));
  const known = new Set(rights.moderates?.rooms);
  const own = page.data.filter(({ id, role }) => role !== "none" && !known.has(id));
  const rows = [...moderated, ...own].map(({ id, role }) => ({ id, role }));
  const told = await details(rows.map(({ id }) => id), signal);
  return { rows: rows.map((row) => ({ name: row.id, ...row, ...told.get(row.id) })), cursor: page.cursor };
}

/** What is told of rooms by their ids. Those that are gone are not in it. */
async function details(ids, signal) {
  const told = new Map();
  for (let from = 0; from < ids.length; from += PAGE) {
    try {
      const { data } = await call("GET", path`/chatrooms/${ids.slice(from, from + PAGE).join()}`, { query: { affiliations: 0 }, signal });
      data.forEach(({ id, name, owner, affiliations_count: count }) => told.set(id, { name, owner, count }));
    } catch (refusal) {
      // Names are a kindness: without them there are the ids.
      if (!(refusal instanceof ApiError)) throw refusal;
    }
  }
  return told;
}
