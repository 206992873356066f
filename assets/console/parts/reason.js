// Why: in one's own words, or in those that are used often.

import { html } from "../html.js";
import { settings } from "../settings.js";
import { useStore } from "../store.js";
import { t } from "../words.js";
import { Icon } from "./icon.js";

const LONGEST = 512;
const MOST_TEMPLATES = 12;
const TEMPLATES = ["spam", "insults", "advertising", "offTopic", "minors"];

/** The templates: the viewer's own if there are any, else those of the language. */
export const templates = () => settings.get().reasons ?? TEMPLATES.map((each) => t(`reason.${each}`));

export function Reason({ value, onChange }) {
  useStore(settings, ({ reasons }) => reasons);
  const known = templates();
  const text = value.trim();
  const isKnown = known.includes(text);
  const keep = () => settings.set({ reasons: isKnown ? known.filter((each) => each !== text) : [...known, text].slice(-MOST_TEMPLATES) });
  return html`
    <div class="field reason">
      <label class="field"><span>${t("reason")}</span>
        <input class="input" name="reason" autofocus maxlength=${LONGEST} value=${value} placeholder=${t("reason.placeholder")} autocomplete="off"
          onInput=${(event) => onChange(event.currentTarget.value)} />
      </label>
      <div class="chips" role="group" aria-label=${t("reason.templatesLabel")}>
        ${known.map((each) => html`
          <button type="button" key=${each} class=${`chip ${each === text ? "on" : ""}`} aria-pressed=${each === text} onClick=${() => onChange(each === text ? "" : each)}>${each}</button>`)}
        ${text && html`
          <button type="button" class="chip quiet" onClick=${keep}><${Icon} name=${isKnown ? "close" : "add"} size=${12} />${t(isKnown ? "reason.forget" : "reason.keep")}</button>`}
      </div>
    </div>`;
}
