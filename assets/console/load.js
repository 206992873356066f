// Reading something for a view: what is shown while it comes, when it is there, and when it failed.

import { useCallback, useEffect, useState } from "./html.js";

/**
 * Calls `read(signal)` whenever `inputs` change. Returns `{ data, error, loading, reload, set }`; what was read for other
 * inputs is gone, what is read again stays until the new is there. `set(data)` puts something in its place.
 */
export function useLoad(read, inputs) {
  const [state, setState] = useState({ loading: true });
  const [round, setRound] = useState(0);
  useEffect(() => setState({ loading: true }), inputs);
  useEffect(() => {
    const control = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    read(control.signal).then(
      (data) => control.signal.aborted || setState({ data, loading: false }),
      (error) => control.signal.aborted || error.name === "AbortError" || setState((before) => ({ ...before, error, loading: false })),
    );
    return () => control.abort();
  }, [...inputs, round]);
  const reload = useCallback(() => setRound((n) => n + 1), []);
  const set = useCallback((data) => setState((before) => ({ ...before, data: typeof data === "function" ? data(before.data) : data })), []);
  return { ...state, reload, set };
}
