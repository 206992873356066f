// One of a few, side by side.

import { html, useId } from "../html.js";

/** `choices`: `[value, label, icon?]`. Radio buttons to the keyboard and to screen readers. */
export function Choices({ label, value, choices, onChange, wide = false }) {
  const name = useId();
  return html`
    <div class=${`choices ${wide ? "wide" : ""}`} role="radiogroup" aria-label=${label}>
      ${choices.map(([each, text, content]) => html`
        <label key=${each} class=${each === value ? "chosen" : ""} title=${content ? text : undefined}>
          <input type="radio" name=${name} checked=${each === value} aria-label=${text} onChange=${() => onChange(each)} />
          <span>${content ?? text}</span>
        </label>`)}
    </div>`;
}
