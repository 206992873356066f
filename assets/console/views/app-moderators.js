// Who reads or moderates the rooms of the app, with a token of their own.

import { call, path } from "../api.js";
import { actorName } from "../events.js";
import { explain } from "../failure.js";
import { html, useState } from "../html.js";
import { useLoad } from "../load.js";
import { Choices } from "../parts/choices.js";
import { FormDialog } from "../parts/form-dialog.js";
import { Icon } from "../parts/icon.js";
import { Rows } from "../parts/rows.js";
import { toast } from "../parts/toast.js";
import { link } from "../router.js";
import { exact } from "../time.js";
import { t } from "../words.js";

/** So many rooms are named in a row; the rest is a number. */
const NAMED = 4;

export function Moderators() {
  const { data, error, loading, reload } = useLoad(async (signal) => (await call("GET", "/moderators", { signal })).data, []);
  const [edited, setEdited] = useState(null);
  const add = async ({ username, role, rooms }) => {
    await call("POST", "/moderators", { body: { username, role, ...(rooms && { rooms }) } });
    setEdited(null);
    reload();
  };
  const remove = async (moderator) => {
    try {
      await call("DELETE", path`/moderators/${moderator.username}`);
      toast(t("moderators.removed", { name: moderator.username }), { action: { label: t("undo"), run: () => add(moderator).catch(fail) } });
      reload();
    } catch (refusal) {
      fail(refusal);
    }
  };
  const row = (moderator) => html`
    <a class="cell grow moderator" role="gridcell" tabindex="-1" href=${link(["users", moderator.username])}><${Icon} name="person" /><strong>${moderator.username}</strong></a>
    <span class="cell role" role="gridcell"><span class="badge">${t(`viewer.${moderator.role}`)}</span></span>
    <span class="cell grow rooms-named" role="gridcell"><${RoomNames} rooms=${moderator.rooms} /></span>
    <span class="cell faint added wide-only" role="gridcell" title=${exact(moderator.created)}>${t("moderators.addedBy", { name: actorName(moderator.added_by) })}</span>
    <span class="cell" role="gridcell">
      <button type="button" class="button quiet small" tabindex="-1" onClick=${() => setEdited(moderator)}>${t("edit")}</button>
      <button type="button" class="button quiet small danger" tabindex="-1" onClick=${() => remove(moderator)}>${t("remove")}</button>
    </span>`;
  return html`
    <div class="bar"><p class="hint">${t("moderators.hint")}</p>
      <button type="button" class="button primary" onClick=${() => setEdited({ role: "moderator" })}><${Icon} name="add" />${t("moderators.add")}</button></div>
    <${Rows} label=${t("app.moderators")} list=${{ rows: data ?? [], more: false, loading, error, next: reload, reload }} row=${row} keyOf=${({ username }) => username}
      onOpen=${setEdited} onKey=${({ key }, moderator) => key === "Delete" && (remove(moderator), true)} empty=${{ icon: "person", title: t("moderators.empty"), text: t("moderators.hint") }} />
    ${edited && html`<${Edit} moderator=${edited} onClose=${() => setEdited(null)} onSave=${add} />`}`;
}

const fail = (refusal) => refusal.name === "AbortError" || toast(explain(refusal), { kind: "failed" });

const RoomNames = ({ rooms }) => (rooms
  ? html`${rooms.slice(0, NAMED).map((room) => html`<a key=${room} class="badge" tabindex="-1" href=${link(["rooms", room])}>${room}</a>`)}
      ${rooms.length > NAMED && html`<span class="faint" title=${rooms.slice(NAMED).join(", ")}>${t("more", { n: rooms.length - NAMED })}</span>`}`
  : html`<span>${t("moderators.allRooms")}</span>`);

function Edit({ moderator, onClose, onSave }) {
  const isNew = !moderator.username;
  const [username, setUsername] = useState(moderator.username ?? "");
  const [role, setRole] = useState(moderator.role);
  const [everywhere, setEverywhere] = useState(!moderator.rooms);
  const [rooms, setRooms] = useState((moderator.rooms ?? []).join(" "));
  const save = () => onSave({ username: username.trim(), role, rooms: everywhere ? undefined : rooms.split(/[\s,]+/).filter(Boolean) });
  return html`
    <${FormDialog} title=${t(isNew ? "moderators.add" : "moderators.edit", { name: username })} send=${save} onClose=${onClose}>
      ${isNew && html`
        <label class="field"><span>${t("signIn.username")}</span>
          <input class="input" required autofocus value=${username} onInput=${(event) => setUsername(event.currentTarget.value)} spellcheck=${false} autocapitalize="none" autocomplete="off" /></label>`}
      <${Choices} label=${t("moderators.role")} wide value=${role} onChange=${setRole}
        choices=${["moderator", "viewer"].map((each) => [each, t(`viewer.${each}`)])} />
      <p class="hint">${t(`moderators.may.${role}`)}</p>
      <${Choices} label=${t("nav.rooms")} wide value=${everywhere ? "all" : "some"} onChange=${(each) => setEverywhere(each === "all")}
        choices=${[["all", t("moderators.allRooms")], ["some", t("moderators.someRooms")]]} />
      ${!everywhere && html`
        <label class="field"><span>${t("moderators.rooms")}</span>
          <textarea class="input" rows="3" required value=${rooms} onInput=${(event) => setRooms(event.currentTarget.value)} spellcheck=${false} autocapitalize="none"></textarea></label>`}
    <//>`;
}
