// A change that is about to be made: to whom, for how long and why. It is made in here, and what came of it is told for each.

import { CHANGES, doneWords, forWords, makeAll, undoAll } from "../changes.js";
import { explain } from "../failure.js";
import { html, useState } from "../html.js";
import { number, t } from "../words.js";
import { Dialog } from "./dialog.js";
import { Duration, USUAL } from "./duration.js";
import { Icon } from "./icon.js";
import { Reason } from "./reason.js";
import { toast } from "./toast.js";

const SHOWN = 12;

/** `name` of the change; `ms`: for how long at first. `onDone({ done, left })`: of whom it is done, and of whom not. */
export function ChangeDialog({ name, room, users, ms: first = USUAL[name === "block" ? 2 : 0], onDone, onClose }) {
  const { lasts, drastic, icon } = CHANGES[name];
  const [ms, setMs] = useState(first);
  const [reason, setReason] = useState("");
  const [progress, setProgress] = useState(null);
  const [result, setResult] = useState(null);
  const [error, setError] = useState(null);

  const submit = async (event) => {
    event.preventDefault();
    if (progress !== null || (lasts && ms === undefined)) return;
    setProgress(0);
    setError(null);
    try {
      const made = await makeAll(name, room, users, { ms, reason: reason.trim() }, setProgress);
      const done = made.outcomes.filter(({ ok }) => ok).map(({ user }) => user);
      onDone({ done, left: users.filter((user) => !done.includes(user)) });
      if (done.length < users.length) return setResult(made);
      toast(doneWords(name, done, lasts ? ms : undefined), undoAction(made.events));
      return onClose();
    } catch (failure) {
      setProgress(null);
      return setError(failure);
    }
  };
  if (result) return html`<${Outcomes} name=${name} result=${result} onClose=${onClose} />`;
  const n = users.length;
  const words = t(n === 1 ? `change.${name}.one` : `change.${name}.several`, { user: users[0], n });
  return html`
    <${Dialog} title=${words} onClose=${progress === null ? onClose : undefined} className="change">
      <form class="form" onSubmit=${submit}>
        ${n > 1 && html`
          <p class="names">${users.slice(0, SHOWN).map((user) => html`<span key=${user} class="badge">${user}</span>`)}
            ${n > SHOWN && html`<span class="faint">${t("more", { n: n - SHOWN })}</span>`}</p>`}
        ${lasts && html`<${Duration} label=${t("duration")} value=${ms} onChange=${setMs} />`}
        <${Reason} value=${reason} onChange=${setReason} />
        ${(drastic || (lasts && ms < 0)) && html`<p class="notice warn"><${Icon} name="warning" /><span>${t(`warning.${drastic ? name : "ever"}`, { n })}</span></p>`}
        ${error && error.name !== "AbortError" && html`<p class="notice failed" role="alert"><${Icon} name="warning" /><span>${explain(error)}</span></p>`}
        <div class="form-foot">
          ${progress !== null && n > 1 && html`<progress max=${n} value=${progress} aria-label=${t("progress")}></progress><span class="faint number">${number(progress)} / ${number(n)}</span>`}
          <button type="button" class="button" disabled=${progress !== null} onClick=${onClose}>${t("cancel")}</button>
          <button class=${`button ${drastic ? "danger" : "primary"}`} disabled=${progress !== null || (lasts && ms === undefined)}>
            ${progress === null ? html`<${Icon} name=${icon} />` : html`<span class="spinner"></span>`}
            ${t(`do.${name}`, { for: lasts && ms !== undefined ? forWords(ms) : "" })}</button>
        </div>
      </form>
    <//>`;
}

const undoAction = (events) => (events.length > 0 ? { action: { label: t("undo"), run: () => undoAll(events) } } : {});

/** What came of it for each name, the refused first. */
export function Outcomes({ name, result: { outcomes, events }, onClose }) {
  const [busy, setBusy] = useState(false);
  const refused = outcomes.filter(({ ok }) => !ok);
  const done = outcomes.length - refused.length;
  const undo = async () => {
    setBusy(true);
    if (await undoAll(events)) onClose();
    setBusy(false);
  };
  return html`
    <${Dialog} title=${t("outcome.title", { n: done, of: outcomes.length })} onClose=${onClose} className="outcomes" footer=${html`
      ${events.length > 0 && html`<button type="button" class="button" disabled=${busy} onClick=${undo}><${Icon} name="undo" />${t("outcome.undo", { n: done })}</button>`}
      <button type="button" class="button primary" autofocus onClick=${onClose}>${t("close")}</button>`}>
      <ul class="outcome-list" aria-label=${t("outcome.list")} tabindex="0">
        ${[...refused, ...outcomes.filter(({ ok }) => ok)].map(({ user, ok, why }) => html`
          <li key=${user} class=${ok ? "done" : "refused"}>
            <${Icon} name=${ok ? "check" : "close"} /><strong>${user}</strong><span>${ok ? t(`outcome.${name}`) : explain(why)}</span>
          </li>`)}
      </ul>
    <//>`;
}
