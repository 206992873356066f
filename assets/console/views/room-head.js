// The head of a room: what it is called, whose it is, how many are in it, and whether all of them are muted.

import { call, path } from "../api.js";
import { complain, forWords } from "../changes.js";
import { explain } from "../failure.js";
import { html, useState } from "../html.js";
import { Countdown } from "../parts/countdown.js";
import { Dialog } from "../parts/dialog.js";
import { Duration, USUAL } from "../parts/duration.js";
import { Icon } from "../parts/icon.js";
import { Reason } from "../parts/reason.js";
import { User } from "../parts/sentence.js";
import { toast } from "../parts/toast.js";
import { may } from "../rights.js";
import { session } from "../session.js";
import { isPinned, settings, togglePin } from "../settings.js";
import { useStore } from "../store.js";
import { FOR_EVER } from "../time.js";
import { t } from "../words.js";

export function RoomHead({ room, reload }) {
  const [asks, setAsks] = useState(false);
  useStore(settings);
  const { app } = session.get();
  const { id, name, owner, affiliations_count: n, mute, mute_expire: until = FOR_EVER, mute_reason: reason, rights } = room;
  const pinned = isPinned(app, id);
  const mayMuteAll = may(rights, "mute_all");
  const lift = async () => {
    try {
      await call("DELETE", path`/chatrooms/${id}/ban`);
      toast(t("muteAll.lifted"));
      reload();
    } catch (refusal) {
      complain(refusal);
    }
  };
  return html`
    <header class="room-head">
      <div class="room-title">
        <h1 title=${name}>${name}</h1>
        <button type="button" class=${`button quiet square small pin ${pinned ? "on" : ""}`} aria-pressed=${pinned} aria-label=${t(pinned ? "unpin" : "pin", { room: name })}
          title=${t(pinned ? "unpin" : "pin", { room: name })} onClick=${() => togglePin(app, { id, name })}><${Icon} name="pin" /></button>
      </div>
      <p class="room-facts faint"><span class="number">${t("room.members", { n })}</span><span>${t("room.owner")} <${User} name=${owner} room=${id} /></span><span class="room-id">${id}</span></p>
      ${mayMuteAll && !mute && html`<button type="button" class="button mute-all" onClick=${() => setAsks(true)}><${Icon} name="mute" />${t("muteAll")}</button>`}
    </header>
    ${mute && html`
      <div class="muted-all">
        <${Icon} name="mute" />
        <p><strong>${t("muteAll.on")}</strong> ${until < FOR_EVER && html`<${Countdown} until=${until} onEnd=${reload} />`}${reason && html` <q>${reason}</q>`}</p>
        ${mayMuteAll && html`<button type="button" class="button small" onClick=${lift}>${t("muteAll.lift")}</button>`}
      </div>`}
    ${asks && html`<${MuteAll} room=${room} reload=${reload} onClose=${() => setAsks(false)} />`}`;
}

function MuteAll({ room: { id, name, affiliations_count: n }, reload, onClose }) {
  const [ms, setMs] = useState(USUAL[0]);
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await call("POST", path`/chatrooms/${id}/ban`, { body: { mute_duration: ms }, reason: reason.trim() });
      toast(t("muteAll.done", { for: forWords(ms) }));
      reload();
      onClose();
    } catch (refusal) {
      setBusy(false);
      setError(refusal);
    }
  };
  return html`
    <${Dialog} title=${t("muteAll.title", { room: name })} onClose=${onClose} className="change">
      <form class="form" onSubmit=${submit}>
        <p class="notice warn"><${Icon} name="warning" /><span>${t("muteAll.hint", { n })}</span></p>
        <${Duration} label=${t("duration")} value=${ms} onChange=${setMs} />
        <${Reason} value=${reason} onChange=${setReason} />
        ${error && html`<p class="notice failed" role="alert"><${Icon} name="warning" /><span>${explain(error)}</span></p>`}
        <div class="form-foot">
          <button type="button" class="button" onClick=${onClose}>${t("cancel")}</button>
          <button class="button danger" disabled=${busy || ms === undefined}><${Icon} name="mute" />${t("muteAll.do", { for: ms === undefined ? "" : forWords(ms) })}</button>
        </div>
      </form>
    <//>`;
}
