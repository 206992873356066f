// ?: which keys do what.

import { html, useEffect, useState } from "../html.js";
import { shortcut } from "../keys.js";
import { Dialog } from "../parts/dialog.js";
import { t } from "../words.js";

const KEYS = [
  ["Ctrl K", "/", "search"], ["1", "…", "6", "tabs"], ["F", "filter"], ["↑", "↓", "J", "K", "move"], ["Space", "X", "select"], ["Ctrl A", "all"],
  ["↵", "card"], ["M", "mute"], ["U", "unmute"], ["B", "block"], ["R", "remove"], ["W", "whitelist"], ["A", "admin"], ["Z", "undo"], ["Esc", "escape"], ["?", "help"],
];

export function KeysHelp() {
  const [open, setOpen] = useState(false);
  useEffect(() => shortcut({ "?": () => setOpen(true) }), []);
  if (!open) return null;
  return html`
    <${Dialog} title=${t("keys.title")} onClose=${() => setOpen(false)} className="keys">
      <dl>${KEYS.map((entry) => html`
        <div key=${entry.at(-1)}><dt>${entry.slice(0, -1).map((key) => html`<kbd key=${key}>${key}</kbd>`)}</dt><dd>${t(`keys.${entry.at(-1)}`)}</dd></div>`)}</dl>
    <//>`;
}
