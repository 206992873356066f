// For how long: the usual lengths at a click, or any.

import { html, useState } from "../html.js";
import { clock, duration, now } from "../time.js";
import { t } from "../words.js";
import { Choices } from "./choices.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** -1 is for ever. */
export const USUAL = [5 * MINUTE, HOUR, DAY, -1];
const UNITS = { minutes: MINUTE, hours: HOUR, days: DAY };

/** `onChange(ms)`: the length that is chosen, `undefined` while a length of one's own is none. */
export function Duration({ value, onChange, label }) {
  const [own, setOwn] = useState(false);
  const [count, setCount] = useState("30");
  const [unit, setUnit] = useState("minutes");
  const choose = (choice) => {
    setOwn(choice === "own");
    onChange(choice === "own" ? length(count, unit) : choice);
  };
  const change = (count, unit) => {
    setCount(count);
    setUnit(unit);
    onChange(length(count, unit));
  };
  return html`
    <fieldset class="duration">
      <legend>${label}</legend>
      <${Choices} label=${label} wide value=${own ? "own" : value} onChange=${choose}
        choices=${[...USUAL.map((ms) => [ms, duration(ms)]), ["own", t("duration.own")]]} />
      ${own && html`
        <div class="duration-own">
          <input class="input" type="number" min="1" max="9999" step="1" required value=${count} aria-label=${t("duration.count")}
            onInput=${(event) => change(event.currentTarget.value, unit)} />
          <select class="select" aria-label=${t("duration.unit")} value=${unit} onChange=${(event) => change(count, event.currentTarget.value)}>
            ${Object.keys(UNITS).map((each) => html`<option key=${each} value=${each}>${t(`unit.${each}`)}</option>`)}
          </select>
        </div>`}
      <p class="hint">${value === undefined ? t("duration.none") : value < 0 ? t("duration.everHint") : t("duration.until", { when: clock(now() + value) })}</p>
    </fieldset>`;
}

function length(count, unit) {
  const number = Number(count);
  return Number.isInteger(number) && number > 0 && number < 10_000 ? number * UNITS[unit] : undefined;
}
