// The public API, as the viewer's token opens it: `call("GET", path`/chatrooms/${room}/users`, { query: { limit: 100 } })`.

import { ApiError, bearer, renewed, send, session } from "./session.js";

export { ApiError };

/** A path whose parts are encoded. */
export const path = (texts, ...parts) =>
  texts.reduce((whole, text, index) => whole + encodeURIComponent(parts[index - 1]) + text);

/**
 * Makes a call of the app that the viewer is signed in to, and returns its answer. `query` leaves out what is undefined;
 * `reason` is told as why. A call whose token has ended waits for the viewer to sign in again; one that is too many in a
 * second comes again when it may, three times at most.
 */
export async function call(method, to, { query, body, reason, signal } = {}) {
  for (let attempt = 0; ; attempt++) {
    const { app, kind, name } = session.get();
    const token = bearer();
    const headers = { Authorization: `Bearer ${token}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (reason) headers["X-Audit-Reason"] = encodeURIComponent(reason);
    if (kind === "app" && name && method !== "GET") headers["X-Operator"] = encodeURIComponent(name);
    try {
      return await send(`/${app}${to}${search(query)}`, { method, headers, signal, body: body && JSON.stringify(body) });
    } catch (error) {
      if (await hasEnded(error, token, app)) await renewed(token);
      else if (error.status === 429 && attempt < 3) await pause((error.retryAfter || 1) * 1000, signal);
      else throw error;
    }
  }
}

/** The pages of a list, one after another, until the last or until one stops asking. */
export async function* pages(to, { query, signal } = {}) {
  let cursor;
  do {
    const page = await call("GET", to, { query: { ...query, cursor }, signal });
    yield page;
    cursor = page.cursor;
  } while (cursor);
}

/**
 * Whether a refusal means that the token is not good any more. "unauthorized" does; in the edition `present` of the service
 * a token that does not go so far is refused in the same words, and then what it may tells the two apart.
 */
export async function hasEnded(error, token, app = session.get().app) {
  if (!(error instanceof ApiError) || error.status !== 401) return false;
  if (error.error === "unauthorized") return true;
  if (error.error !== "auth_bad_access_token") return false;
  const headers = { Authorization: `Bearer ${token}` };
  return send(`/${app}/permissions`, { headers }).then(() => false, (refusal) => refusal.status === 401);
}

function search(query) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== "" && value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

/** Waits, unless called off. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
