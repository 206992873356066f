// Where the events of the app are sent, and how far that is.

import { call, path } from "../api.js";
import { explain } from "../failure.js";
import { html, useEffect, useState } from "../html.js";
import { useLoad } from "../load.js";
import { fromInput, roughly, toInput } from "../moments.js";
import { Choices } from "../parts/choices.js";
import { Dialog } from "../parts/dialog.js";
import { FormDialog } from "../parts/form-dialog.js";
import { Icon } from "../parts/icon.js";
import { Empty, Failed, Loading } from "../parts/states.js";
import { toast } from "../parts/toast.js";
import { link } from "../router.js";
import { clock, exact } from "../time.js";
import { t } from "../words.js";

/** The most rules of an app. */
const MOST_RULES = 4;

/** How often the lag is read anew. */
const EVERY_MS = 5000;

export const useRules = () => {
  const rules = useLoad(async (signal) => (await call("GET", "/callbacks/rules", { signal })).data, []);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || rules.reload(), EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  return rules;
};

export function Rules() {
  const { data: rules, error, reload } = useRules();
  const [edited, setEdited] = useState(null);
  if (error && !rules) return html`<${Failed} error=${error} onRetry=${reload} />`;
  if (!rules) return html`<${Loading} />`;
  const saved = () => {
    setEdited(null);
    reload();
  };
  return html`
    <div class="scroll">
      <div class="bar"><p class="hint">${t("rules.hint", { n: MOST_RULES })}</p>
        ${rules.length < MOST_RULES && html`
          <button type="button" class="button primary" onClick=${() => setEdited({ kinds: ["*"] })}><${Icon} name="add" />${t("rules.add")}</button>`}</div>
      ${rules.length === 0 && html`<${Empty} icon="feed" title=${t("rules.empty")}>${t("rules.emptyHint")}<//>`}
      ${rules.map((rule) => html`<${Rule} key=${rule.id} rule=${rule} onChange=${reload} onEdit=${() => setEdited(rule)} />`)}
    </div>
    ${edited && html`<${Edit} rule=${edited} onClose=${() => setEdited(null)} onSaved=${saved} />`}`;
}

/** How a rule does, as a tone and a sentence. */
export function health({ paused, failing_since: failing, lag }) {
  if (paused) return ["warn", lag ? t("rules.pausedLag", { lag: roughly(lag) }) : t("rules.paused")];
  if (failing) return ["bad", t("rules.failing", { when: clock(failing), lag: roughly(lag) })];
  return lag > EVERY_MS ? ["warn", t("rules.behind", { lag: roughly(lag) })] : ["good", t("rules.upToDate")];
}

export const Health = ({ rule }) => {
  const [tone, words] = health(rule);
  return html`<span class=${`health ${tone}`} title=${rule.failing_since ? exact(rule.failing_since) : undefined}><span class="dot"></span>${words}</span>`;
};

function Rule({ rule, onChange, onEdit }) {
  const [asked, setAsked] = useState("");
  const [busy, setBusy] = useState(false);
  /** Makes a call, says what came of it, and reads the rules anew. */
  const run = async (make, say) => {
    setBusy(true);
    try {
      const answer = await make();
      say?.(answer);
      onChange();
    } catch (refusal) {
      if (refusal.name !== "AbortError") toast(explain(refusal), { kind: "failed" });
    } finally {
      setBusy(false);
    }
  };
  const test = () => run(
    () => call("POST", path`/callbacks/rules/${rule.id}/test`),
    ({ data: { status, latency, error } }) => toast(
      error ? t("rules.testFailed", { error }) : t("rules.tested", { status, ms: latency }), { kind: status === 200 ? "done" : "failed" }));
  const pause = () => run(() => call("PUT", path`/callbacks/rules/${rule.id}`, { body: { paused: !rule.paused } }));
  const remove = () => run(() => call("DELETE", path`/callbacks/rules/${rule.id}`));
  return html`
    <article class="card rule" aria-label=${rule.url}>
      <header class="rule-head"><strong class="rule-url">${rule.url}</strong><${Health} rule=${rule} /></header>
      <p class="tags" aria-label=${t("rules.kinds")}>${rule.kinds.map((kind) => html`<span key=${kind} class="badge">${kind === "*" ? t("rules.everything") : kind}</span>`)}</p>
      <footer class="rule-actions">
        <a class="button small" href=${link(["app", "callbacks", rule.id])}>${t("rules.deliveries")}</a>
        <button type="button" class="button small" disabled=${busy} onClick=${test}>${t("rules.test")}</button>
        <button type="button" class="button small" onClick=${() => setAsked("replay")}>${t("rules.replay")}</button>
        <span class="grow"></span>
        <button type="button" class="button quiet small" disabled=${busy} onClick=${pause}>${t(rule.paused ? "rules.resume" : "rules.pause")}</button>
        <button type="button" class="button quiet small" onClick=${onEdit}>${t("edit")}</button>
        <button type="button" class="button quiet small danger" onClick=${() => setAsked("delete")}>${t("delete")}</button>
      </footer>
      ${asked === "replay" && html`<${Replay} rule=${rule} onClose=${() => setAsked("")} onDone=${onChange} />`}
      ${asked === "delete" && html`
        <${Dialog} title=${t("rules.deleteTitle")} onClose=${() => setAsked("")}>
          <p>${t("rules.deleteText", { url: rule.url })}</p>
          <div class="form-foot"><button type="button" class="button" autofocus onClick=${() => setAsked("")}>${t("cancel")}</button>
            <button type="button" class="button primary danger" onClick=${remove}>${t("delete")}</button></div>
        <//>`}
    </article>`;
}

/** A rule that is new or is to be another. A secret that was given before is never shown; it stays where none is typed. */
function Edit({ rule, onClose, onSaved }) {
  const isNew = !rule.id;
  const [url, setUrl] = useState(rule.url ?? "");
  const [secret, setSecret] = useState("");
  const [kinds, setKinds] = useState(rule.kinds.join(" "));
  const save = async () => {
    const body = { url: url.trim(), kinds: kinds.split(/[\s,]+/).filter(Boolean), ...(secret && { secret }) };
    await (isNew ? call("POST", "/callbacks/rules", { body }) : call("PUT", path`/callbacks/rules/${rule.id}`, { body }));
    onSaved();
  };
  return html`
    <${FormDialog} title=${t(isNew ? "rules.add" : "rules.edit")} send=${save} onClose=${onClose}>
      <label class="field"><span>${t("rules.url")}</span>
        <input class="input" type="url" required autofocus value=${url} onInput=${(event) => setUrl(event.currentTarget.value)} /></label>
      <label class="field"><span>${t(isNew ? "rules.secret" : "rules.newSecret")}</span>
        <input class="input" type="password" required=${isNew} autocomplete="new-password" value=${secret} onInput=${(event) => setSecret(event.currentTarget.value)} /></label>
      <label class="field"><span>${t("rules.kinds")}</span>
        <input class="input" required spellcheck=${false} value=${kinds} onInput=${(event) => setKinds(event.currentTarget.value)} />
        <span class="hint">${t("rules.kindsHint")}</span></label>
    <//>`;
}

const HOUR = 3_600_000;

/** Sends events again: those of a time, or those of a room by their numbers. */
function Replay({ rule, onClose, onDone }) {
  const [by, setBy] = useState("time");
  const [from, setFrom] = useState(toInput(Date.now() - HOUR));
  const [to, setTo] = useState(toInput(Date.now() + 60_000));
  const [room, setRoom] = useState("");
  const [first, setFirst] = useState("1");
  const [last, setLast] = useState("");
  const send = async () => {
    const body = by === "time"
      ? { from_ms: fromInput(from), to_ms: fromInput(to) }
      : { room: room.trim(), from: Number(first), ...(last && { to: Number(last) }) };
    const { data: { events } } = await call("POST", path`/callbacks/rules/${rule.id}/replay`, { body });
    toast(t("rules.replayed", { n: events }));
    onClose();
    onDone();
  };
  const field = (label, value, set, more) => html`
    <label class="field"><span>${label}</span><input class="input" value=${value} onInput=${(event) => set(event.currentTarget.value)} ...${more} /></label>`;
  return html`
    <${FormDialog} title=${t("rules.replay")} label=${t("rules.send")} send=${send} onClose=${onClose}>
      <p class="hint">${t("rules.replayHint")}</p>
      <${Choices} label=${t("rules.replayBy")} wide value=${by} onChange=${setBy} choices=${[["time", t("rules.byTime")], ["room", t("rules.byRoom")]]} />
      ${by === "time"
        ? html`${field(t("filter.from"), from, setFrom, { key: "from", type: "datetime-local", required: true })}
            ${field(t("filter.to"), to, setTo, { key: "to", type: "datetime-local", required: true })}`
        : html`${field(t("filter.room"), room, setRoom, { key: "room", required: true, spellcheck: false, autocapitalize: "none" })}
            <div class="field-row">${field(t("rules.firstEvent"), first, setFirst, { type: "number", min: 1, required: true })}
              ${field(t("rules.lastEvent"), last, setLast, { type: "number", min: 1 })}</div>`}
    <//>`;
}
