// A list that is read page by page, as far as it is looked at.

import { useCallback, useEffect, useRef, useState } from "./html.js";

/**
 * Reads a list by `read(cursor, signal) → { rows, cursor }`, anew whenever `inputs` change. Returns `rows`, `more` (whether
 * there is more to read), `loading`, `error`, `next()` (reads on), `reload()`, and `edit(rows → rows)` for what has become
 * known otherwise.
 */
export function useList(read, inputs) {
  const [state, setState] = useState({ rows: [], more: true, loading: true, error: null });
  const reading = useRef(null); // { control, cursor, busy }

  const readOn = useCallback(async (run) => {
    if (run.busy || run.control.signal.aborted) return;
    run.busy = true;
    setState((before) => ({ ...before, loading: true, error: null }));
    try {
      // A page may be empty and have more behind it.
      let page;
      do {
        page = await run.read(run.cursor, run.control.signal);
        run.cursor = page.cursor;
      } while (page.rows.length === 0 && page.cursor);
      if (run.control.signal.aborted) return;
      setState((before) => ({ rows: run.first ? page.rows : [...before.rows, ...page.rows], more: Boolean(page.cursor), loading: false, error: null }));
      run.first = false;
    } catch (error) {
      if (!run.control.signal.aborted) setState((before) => ({ ...before, rows: run.first ? [] : before.rows, loading: false, error }));
    } finally {
      run.busy = false;
    }
  }, []);

  // What was read stays until the new is there: nothing flickers while one types what names begin with.
  const start = useCallback(() => {
    reading.current?.control.abort();
    reading.current = { read, control: new AbortController(), cursor: undefined, first: true, busy: false };
    readOn(reading.current);
  }, inputs);

  useEffect(() => {
    start();
    return () => reading.current.control.abort();
  }, inputs);

  return {
    ...state,
    next: useCallback(() => readOn(reading.current), []),
    reload: start,
    edit: useCallback((change) => setState((before) => ({ ...before, rows: change(before.rows) })), []),
  };
}
