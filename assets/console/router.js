// Where the viewer is: `#/org/app/rooms/lobby/members`. A link may be handed on; who follows it signs in first.

import { store } from "./store.js";
import { session } from "./session.js";

function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [org, app, ...parts] = path.split("/").map(decode);
  return { app: org && app ? `${org}/${app}` : "", parts: parts.filter(Boolean), query: Object.fromEntries(new URLSearchParams(query)) };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** `app` as in the link, `parts` of the path behind it, and the `query`. */
export const route = store(read());

addEventListener("hashchange", () => route.set(read()));

/** A link within the app: `link(["rooms", id], { q: "bo" })`. */
export function link(parts, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const search = given.length ? `?${new URLSearchParams(given)}` : "";
  return `#/${session.get().app || route.get().app}/${parts.map(encodeURIComponent).join("/")}${search}`;
}

/** Goes there; with `replace`, in place of where one is. */
export function go(parts, query, { replace = false } = {}) {
  if (replace) {
    history.replaceState(null, "", link(parts, query));
    route.set(read());
  } else {
    location.hash = link(parts, query);
  }
}
