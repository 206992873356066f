// What the console says, in the viewer's language: `t("room.members", { n: 3 })`.

import { settings } from "./settings.js";
import { en } from "./words/en.js";
import { zh } from "./words/zh.js";

const LANGUAGES = { en, zh };

/** The language that is shown: the one that was chosen, else the browser's, else English. */
export function language() {
  const chosen = settings.get().language;
  if (LANGUAGES[chosen]) return chosen;
  return (navigator.languages ?? []).map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => LANGUAGES[tag]) ?? "en";
}

/** How `Intl` calls it. */
export const locale = () => (language() === "zh" ? "zh-CN" : navigator.language?.startsWith("en") ? navigator.language : "en");

/**
 * The words of that key, with `{name}` replaced by the value of that name. Words that depend on a number are
 * `{ one: "…", other: "…" }`, and the number is `n`.
 */
export function t(key, values = {}) {
  const words = LANGUAGES[language()][key] ?? en[key] ?? key;
  const text = typeof words === "string" ? words : words[new Intl.PluralRules(locale()).select(values.n)] ?? words.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? format(values[name]) : whole));
}

/** Whether there are words of that key. */
export const has = (key) => key in en;

const format = (value) => (typeof value === "number" ? number(value) : String(value));

/** A number as people of the language write it. */
export const number = (value) => new Intl.NumberFormat(locale()).format(value);
