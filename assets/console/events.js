// What has happened, in the viewer's words; and what of it can be undone by whom.

import { html } from "./html.js";
import { Sentence, User, Users } from "./parts/sentence.js";
import { clock, exact, FOR_EVER } from "./time.js";
import { has, t } from "./words.js";

/** The operations by which events are filtered. */
export const OPERATIONS = ["MUTE", "BLOCK", "GLOBAL_MUTE", "LEAVE", "JOIN", "WHITE", "ADMIN", "UPDATE", "CREATE", "DELETE", "MODERATOR", "ROOM_SUPER_ADMIN"];

const ICONS = {
  MUTE: "mute", GLOBAL_MUTE: "mute", BLOCK: "block", LEAVE: "leave", JOIN: "join", WHITE: "whitelist", ADMIN: "admin", MODERATOR: "admin",
  ROOM_SUPER_ADMIN: "admin", UPDATE: "settings", CREATE: "add", DELETE: "close",
};

/** The icon of an event: what lifts a restriction has another than what lays it on. */
export function iconOf({ kind }) {
  const [operation, type] = kind.split("/");
  if (operation.endsWith("MUTE") && type !== "ADD") return "unmute";
  return operation === "BLOCK" && type !== "ADD" ? "check" : ICONS[operation] ?? "audit";
}

/** The right that it takes to undo an event, and none where it cannot be undone. */
export function rightToUndo({ kind, before }) {
  const wasAdmin = Object.values(before ?? {}).some((lists) => Array.isArray(lists) && lists.includes("admin"));
  if (kind.startsWith("LEAVE/") && wasAdmin) return "manage_admins";
  return {
    "MUTE/ADD": "mute", "MUTE/REMOVE": "mute", "BLOCK/ADD": "block", "BLOCK/REMOVE": "block", "WHITE/ADD": "whitelist", "WHITE/REMOVE": "whitelist",
    "LEAVE/KICK": "remove", "LEAVE/BLOCK": "remove", "ADMIN/ADD": "manage_admins", "ADMIN/REMOVE": "manage_admins", "UPDATE/MUTE": "mute_all",
  }[kind];
}

/** "until 14:05", or "for ever". */
export const untilWords = (ms) => (ms >= FOR_EVER ? t("until.forever") : t("until.moment", { when: clock(ms) }));

function until({ users = [], after }) {
  const end = after?.until ?? after?.[users[0]];
  return typeof end === "number" ? html`<span title=${exact(end)}>${untilWords(end)}</span>` : "";
}

/** What an actor is called, also one who is no user. */
export const actorName = (actor) => (has(`actor.${actor}`) ? t(`actor.${actor}`) : actor);

/** Which words tell an event: of a mute of the whole room those for what it is now. */
function wordsOf({ kind, after }) {
  const words = kind === "UPDATE/MUTE" ? `event.UPDATE/MUTE/${after?.mute ? "ON" : "OFF"}` : `event.${kind}`;
  return has(words) ? words : "event.other";
}

/** Who did what to whom. */
export function Happened({ event }) {
  const { actor, users, chatroom, kind, after } = event;
  const parts = {
    actor: actor.startsWith("@") ? html`<em>${actorName(actor)}</em>` : html`<${User} name=${actor} />`,
    users: html`<${Users} names=${users} room=${chatroom} />`,
    until: until(event),
    kind,
    owner: html`<${User} name=${after?.owner ?? ""} room=${chatroom} />`,
    role: after?.role ? t(`viewer.${after.role}`) : "",
  };
  return html`<${Sentence} words=${wordsOf(event)} values=${{ n: users?.length ?? 0 }} parts=${parts} />`;
}
