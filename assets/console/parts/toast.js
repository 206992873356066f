// Short messages at the edge of the screen: what has been done, with a way back, and what has failed.

import { html, useEffect } from "../html.js";
import { store, useStore } from "../store.js";
import { t } from "../words.js";
import { Icon } from "./icon.js";

/** With a way back it stays longer. */
const STAYS_MS = 3000;
const STAYS_WITH_ACTION_MS = 10_000;

const toasts = store({ list: [] });
let number = 0;

/** Shows `text`; `kind` is "done" or "failed", `action` `{ label, run }`. Returns a function that takes it away. */
export function toast(text, { kind = "done", action, stays = kind === "failed" ? 0 : action ? STAYS_WITH_ACTION_MS : STAYS_MS } = {}) {
  const id = ++number;
  const close = () => toasts.set({ list: toasts.get().list.filter((each) => each.id !== id) });
  toasts.set({ list: [...toasts.get().list.slice(-3), { id, text, kind, action, stays, close }] });
  return close;
}

export function Toasts() {
  const { list } = useStore(toasts);
  return html`<div class="toasts" role="status" aria-live="polite">${list.map((each) => html`<${Toast} key=${each.id} ...${each} />`)}</div>`;
}

function Toast({ text, kind, action, stays, close }) {
  useEffect(() => {
    if (!stays) return undefined;
    const timer = setTimeout(close, stays);
    return () => clearTimeout(timer);
  }, []);
  const act = () => {
    close();
    action.run();
  };
  return html`
    <div class=${`toast ${kind}`}>
      <${Icon} name=${kind === "failed" ? "warning" : "check"} />
      <span class="toast-text">${text}</span>
      ${action && html`<button type="button" class="button small" onClick=${act}>${action.label}</button>`}
      <button type="button" class="button quiet square small" aria-label=${t("close")} onClick=${close}><${Icon} name="close" /></button>
    </div>`;
}
