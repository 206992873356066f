// A value that views show and others change.

import { useEffect, useState } from "./html.js";

/** A store: `get()` reads it, `set(part)` changes the fields that `part` has, `subscribe(f)` calls `f` after each change. */
export function store(value) {
  const listeners = new Set();
  return {
    get: () => value,
    set(part) {
      value = { ...value, ...part };
      for (const listener of [...listeners]) listener(value);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** What `pick` takes out of a store; the view is drawn again when that is another. */
export function useStore(of, pick = (value) => value) {
  const [, redraw] = useState(0);
  const picked = pick(of.get());
  useEffect(() => {
    let last = picked;
    const check = () => {
      const now = pick(of.get());
      if (!Object.is(now, last)) {
        last = now;
        redraw((n) => n + 1);
      }
    };
    check();
    return of.subscribe(check);
  });
  return picked;
}
