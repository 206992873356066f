// Who is signed in, and what they may do. The token is in memory only: it is gone with the page.
//
// When the token ends, calls wait in `renewed()` until the viewer has signed in again over what is on the screen, and then
// go on.

import { learnClock } from "./time.js";
import { settings } from "./settings.js";
import { store } from "./store.js";

/**
 * `state`: "out", "in", or "ended" (signed in before, and to sign in again). `app`: "org/app". `kind`: "user" or "app".
 * `name`: the user, or on whose behalf the app acts. `rights`: what `GET /permissions` says of the app as a whole.
 */
export const session = store({ state: "out", app: "", kind: "user", name: "", rights: null });

let token = "";
let waiting = [];

/** The token, for `api.js` and `feed.js` alone. */
export const bearer = () => token;

/** Signs in with `{ app, username, password }` or `{ app, clientId, clientSecret, operator }`. Throws the service's refusal. */
export async function signIn({ app, username, password, clientId, clientSecret, operator = "" }) {
  const asUser = username !== undefined;
  const body = asUser
    ? { grant_type: "password", username, password }
    : { grant_type: "client_credentials", client_id: clientId, client_secret: clientSecret };
  const answer = await send(`/${app}/token`, { method: "POST", body: JSON.stringify(body) });
  const name = asUser ? answer.user?.username ?? username : operator;
  const headers = { Authorization: `Bearer ${answer.access_token}` };
  const { data: rights } = await send(`/${app}/permissions`, { headers });
  const isAnother = session.get().app !== app;
  token = answer.access_token;
  settings.set({ app, name: asUser ? name : "" });
  session.set({ state: "in", app, kind: asUser ? "user" : "app", name, rights });
  const waited = waiting;
  waiting = [];
  // What was begun in another app is not gone on with.
  waited.forEach(({ resolve, reject }) => (isAnother ? reject(new DOMException("another app", "AbortError")) : resolve()));
}

/** Forgets the token, and asks the service to revoke nothing: a user's token cannot do that, and it ends by itself. */
export function signOut() {
  token = "";
  waiting.splice(0).forEach(({ reject }) => reject(new DOMException("signed out", "AbortError")));
  session.set({ state: "out", kind: "user", name: "", rights: null });
}

/** Says that a token is not good any more. Resolves when the viewer has signed in again. */
export function renewed(endedToken) {
  if (token && token !== endedToken) return Promise.resolve();
  if (session.get().state === "out") return Promise.reject(new DOMException("signed out", "AbortError"));
  session.set({ state: "ended" });
  return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
}

/** A refusal of the service, in its own words; `status` 0: it was not reached. */
export class ApiError extends Error {
  constructor(status, { error = "", error_description: description = "" } = {}, retryAfter = 0) {
    super(description || error || `status ${status}`);
    Object.assign(this, { name: "ApiError", status, error, description, retryAfter });
  }
}

/** Sends a request and reads its JSON. Throws an `ApiError`, or an `AbortError` where it was called off. */
export async function send(url, options) {
  let response;
  try {
    response = await fetch(url, { cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { error: "unreachable" });
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, body, Number(response.headers.get("retry-after")) || 0);
  learnClock(body.timestamp);
  return body;
}
