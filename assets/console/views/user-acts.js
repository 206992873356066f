// What may be done to a user with one click: in a room, or in all of them.

import { call, path } from "../api.js";
import { CHANGES, make, muteGlobally } from "../changes.js";
import { html, useId, useState } from "../html.js";
import { useLoad } from "../load.js";
import { USUAL } from "../parts/duration.js";
import { Icon } from "../parts/icon.js";
import { templates } from "../parts/reason.js";
import { toast } from "../parts/toast.js";
import { may, rightsIn } from "../rights.js";
import { session } from "../session.js";
import { duration } from "../time.js";
import { t } from "../words.js";

export function Acts({ user, room, restrictions, round, onChange }) {
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const listId = useId();
  const possible = useLoad((signal) => (room ? actsIn(room, user, signal) : Promise.resolve(["mute"])), [user, room, round]);
  if (!possible.data?.length) return null;
  const run = async (act) => {
    setBusy(true);
    await act();
    setBusy(false);
  };
  const change = (name, ms) => run(() => make(name, room, user, { ms, reason: reason.trim() }, onChange));
  const muteAll = (ms) => run(async () => {
    if (!(await muteGlobally(user, ms, reason.trim()))) return;
    toast(t("changed.globalMute", { user }), { action: { label: t("undo"), run: async () => (await muteGlobally(user, 0)) && onChange() } });
    onChange();
  });
  const isMuted = restrictions.some(({ kind, chatroom }) => kind === "mute" && chatroom === room);
  return html`
    <div class="acts" role="group" aria-label=${t(room ? "acts.in" : "acts.everywhere", { room })}>
      <label class="filter-field reason"><span>${t("reason")}</span>
        <input class="input" list=${listId} maxlength="512" value=${reason} onInput=${(event) => setReason(event.currentTarget.value)} />
        <datalist id=${listId}>${templates().map((each) => html`<option key=${each} value=${each} />`)}</datalist></label>
      ${possible.data.includes("mute") && html`
        <span class="acts-label">${t(room ? (isMuted ? "acts.muteAnew" : "acts.mute") : "acts.muteEverywhere")}</span>
        <span class="button-group">${USUAL.map((ms) => html`
          <button key=${ms} type="button" class="button small" disabled=${busy} onClick=${() => (room ? change("mute", ms) : muteAll(ms))}>${duration(ms)}</button>`)}</span>`}
      ${possible.data.filter((name) => name !== "mute").map((name) => html`
        <button key=${name} type="button" class="button small" disabled=${busy} onClick=${() => change(name, -1)}><${Icon} name=${CHANGES[name].icon} />${t(`do.${name}`, { for: "" })}</button>`)}
    </div>`;
}

/** What makes sense to one who is in a room, and to one who is not. */
const IN_ROOM = ["mute", "block", "remove", "whitelist"];
const OUTSIDE = { not_member: ["block"], blocked: [] };

/** What lifts what is in force; where that can be read, each has a button of its own. */
const LIFTS = { muted: "unmute", blocked: "unblock" };

/** The changes that the viewer may make of a user in a room, by what the user is there. */
async function actsIn(room, user, signal) {
  const [rights, { data: admins }, { data: { layer } }] = await Promise.all([
    rightsIn(room, signal),
    call("GET", path`/chatrooms/${room}/admin`, { signal }),
    call("GET", path`/chatrooms/${room}/users/${user}/speak`, { signal }),
  ]);
  const target = user === session.get().name ? "oneself" : layer === "owner" ? "owner" : admins.includes(user) ? "admin" : "ordinary";
  const possible = (OUTSIDE[layer] ?? IN_ROOM).map((name) => (name === "whitelist" && layer === "whitelist" ? "unwhitelist" : name));
  if (LIFTS[layer] && !may(rights, "read_audit")) possible.unshift(LIFTS[layer]);
  return possible.filter((name) => may(rights, CHANGES[name].right, target));
}
