// Moments as one types them, and durations as one says them roughly.

import { t } from "./words.js";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A moment as an `<input type="datetime-local">` has it, in the viewer's zone. */
export function toInput(ms) {
  if (!Number.isFinite(ms)) return "";
  return new Date(ms - new Date(ms).getTimezoneOffset() * MINUTE).toISOString().slice(0, 16);
}

/** The moment that was typed; `undefined` where none was. */
export const fromInput = (text) => (text ? new Date(text).getTime() : undefined);

/** A duration in its largest unit: "3 min", "2 h". */
export function roughly(ms) {
  if (ms < MINUTE) return t("duration.seconds", { n: Math.max(1, Math.round(ms / SECOND)) });
  if (ms < HOUR) return t("duration.minutes", { n: Math.round(ms / MINUTE) });
  if (ms < DAY) return t("duration.hours", { n: Math.round(ms / HOUR) });
  return t("duration.days", { n: Math.round(ms / DAY) });
}
