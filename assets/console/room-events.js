// What happens in a room, while it is looked at: the latest events, and who wants to hear of each.

import { call, path } from "./api.js";
import { follow } from "./feed.js";
import { useEffect, useRef, useState } from "./html.js";

/** Events at the beginning, and the most that are kept. */
const FIRST = 50;
const KEPT = 200;

/** Events that come together are told together. */
const TOGETHER_MS = 100;

/**
 * Follows a room, if `active`. Returns `events` (the latest first), `state` ("loading", "live", "lost", "over", "failed"), the
 * `error` of the first reading, `missed` (how often something was missed), `undone` (the numbers of events that were undone), and `subscribe(f)`: `f(events)`
 * hears what happens, in order.
 */
export function useRoomEvents(room, active) {
  const [shown, setShown] = useState({ events: [], state: "loading", missed: 0, undone: new Set() });
  const listeners = useRef(new Set());

  useEffect(() => {
    setShown({ events: [], state: "loading", missed: 0, undone: new Set() });
    if (!active) return undefined;
    const control = new AbortController();
    let end = () => {};
    let waiting = [];
    let timer = 0;
    const take = (events) =>
      setShown((before) => ({
        ...before,
        events: [...events.toReversed(), ...before.events].slice(0, KEPT),
        undone: events.some(({ undoes }) => undoes) ? new Set([...before.undone, ...events.flatMap(({ undoes }) => undoes ?? [])]) : before.undone,
      }));
    const flush = () => {
      timer = 0;
      const events = waiting;
      waiting = [];
      take(events);
      listeners.current.forEach((listener) => listener(events));
    };
    const onEvent = (event) => {
      waiting.push(event);
      timer ||= setTimeout(flush, TOGETHER_MS);
    };
    const onState = (state) =>
      setShown((before) => (state === "gone" ? { ...before, missed: before.missed + 1 } : { ...before, state }));
    const start = async () => {
      const to = path`/chatrooms/${room}/events`;
      const { oldest, last } = await call("GET", to, { query: { limit: 1 }, signal: control.signal });
      const since = Math.max(oldest - 1, last - FIRST);
      const page = await call("GET", to, { query: { since, limit: 1000 }, signal: control.signal });
      if (control.signal.aborted) return;
      take(page.data);
      end = follow({ room, since: page.data.at(-1)?.n ?? since, onEvent, onState });
    };
    start().catch((error) => control.signal.aborted || setShown((before) => ({ ...before, state: "failed", error })));
    return () => {
      control.abort();
      clearTimeout(timer);
      end();
    };
  }, [room, active]);

  const subscribe = useRef((listener) => {
    listeners.current.add(listener);
    return () => listeners.current.delete(listener);
  });
  return { ...shown, subscribe: subscribe.current };
}

/** How many members came and went by events. */
export const difference = (events) =>
  events.reduce((sum, { kind, users = [] }) => sum + (kind.startsWith("JOIN/") ? users.length : kind.startsWith("LEAVE/") ? -users.length : 0), 0);
