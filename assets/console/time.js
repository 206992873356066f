// Moments and durations as people say them, in the viewer's zone. Moments are Unix milliseconds.

import { useEffect, useState } from "./html.js";
import { locale, t } from "./words.js";

/** The end of what has none. */
export const FOR_EVER = 4638873600000;

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How far the server's clock is ahead of the viewer's: ends are counted down by the server's. */
let ahead = 0;

/** Takes the time of an answer that came just now. */
export function learnClock(timestamp) {
  if (typeof timestamp === "number") ahead = timestamp - Date.now();
}

/** Now, by the server's clock. */
export const now = () => Date.now() + ahead;

/** "14:05"; of another day with the day: "Nov 28, 14:05"; of another year with that. */
export function clock(ms) {
  const [then, today] = [new Date(ms), new Date(now())];
  const format = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (then.toDateString() !== today.toDateString()) Object.assign(format, { month: "short", day: "numeric" });
  if (then.getFullYear() !== today.getFullYear()) format.year = "numeric";
  return new Intl.DateTimeFormat(locale(), format).format(then);
}

/** All of a moment, with its zone: for titles. */
export const exact = (ms) =>
  new Intl.DateTimeFormat(locale(), { dateStyle: "full", timeStyle: "long" }).format(new Date(ms));

/** What is left until a moment: "4:59", "2 h 5 min", "3 d 4 h"; "for ever". */
export function left(until, at = now()) {
  if (until >= FOR_EVER) return t("time.forever");
  const seconds = Math.ceil(Math.max(0, until - at) / 1000);
  if (seconds < 3600) {
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }
  const hours = Math.floor(seconds / 3600);
  if (hours < 24) return t("time.hours", { h: hours, m: Math.floor((seconds % 3600) / 60) });
  return t("time.days", { d: Math.floor(hours / 24), h: hours % 24 });
}

/** How long ago a moment was: "now", "3 min", "2 h"; older ones by their date. */
export function ago(ms, at = now()) {
  const passed = at - ms;
  if (passed < MINUTE) return t("time.justNow");
  if (passed < HOUR) return t("time.minutesAgo", { n: Math.floor(passed / MINUTE) });
  if (passed < DAY) return t("time.hoursAgo", { n: Math.floor(passed / HOUR) });
  return clock(ms);
}

/** A duration: "5 min", "1 h", "1 d"; -1 is for ever. */
export function duration(ms) {
  if (ms < 0) return t("time.forever");
  if (ms % DAY === 0) return t("duration.days", { n: ms / DAY });
  if (ms % HOUR === 0) return t("duration.hours", { n: ms / HOUR });
  if (ms % MINUTE === 0) return t("duration.minutes", { n: ms / MINUTE });
  return t("duration.seconds", { n: ms / 1000 });
}

const tickers = new Set();
let timer = null;

/** Draws the view again each second (one timer for all), as long as `active`. Returns now. */
export function useNow(active = true) {
  const [, redraw] = useState(0);
  useEffect(() => {
    if (!active) return undefined;
    const tick = () => redraw((n) => n + 1);
    tickers.add(tick);
    timer ??= setInterval(() => tickers.forEach((each) => each()), 1000);
    return () => {
      tickers.delete(tick);
      if (tickers.size === 0) timer = clearInterval(timer) ?? null;
    };
  }, [active]);
  return now();
}
