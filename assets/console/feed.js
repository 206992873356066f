// What happens, as it happens: the stream of a room or of the app, resumed behind the last event without a gap.

import { ApiError, hasEnded, path, pause } from "./api.js";
import { bearer, renewed, session } from "./session.js";

/** A stream says at least every 15 seconds that it is alive. */
const SILENCE_MS = 40_000;

const LONGEST_PAUSE_MS = 10_000;

/**
 * Follows a room, or the app where none is named, from behind the event `since`. `onEvent(event)` gets each event once, in
 * order. `onState(state)` tells "live", "lost" (it is being resumed), "gone" (what was missed is not kept any more: read
 * the lists anew, the stream goes on from now), and "over" (nothing follows). Returns a function that ends it.
 */
export function follow({ room, since, onEvent, onState }) {
  const control = new AbortController();
  run({ room, since, onEvent, onState, control }).catch((error) => {
    if (!control.signal.aborted && error.name !== "AbortError") throw error;
  });
  return () => control.abort();
}

async function run({ room, since, onEvent, onState, control }) {
  let last = since;
  for (let wait = 1000; !control.signal.aborted; ) {
    const token = bearer();
    try {
      const isOver = await readOnce({
        room, last, token, control,
        onOpen: () => {
          wait = 1000;
          onState("live");
        },
        onEvent: (id, event) => {
          last = id;
          onEvent(event);
        },
      });
      if (isOver) return onState("over");
      onState("lost");
    } catch (error) {
      if (control.signal.aborted) return undefined;
      if (await hasEnded(error, token)) {
        onState("lost");
        await renewed(token);
        continue;
      }
      if (error.status === 410) {
        last = undefined;
        onState("gone");
        continue;
      }
      onState("lost");
      // Nothing to come back to: the room is gone, or not the viewer's to read any more.
      if ([401, 403, 404].includes(error.status)) return onState("over");
    }
    await pause(wait, control.signal);
    wait = Math.min(wait * 2, LONGEST_PAUSE_MS);
  }
  return undefined;
}

/** Reads one connection to its end. Returns whether nothing can follow. */
async function readOnce({ room, last, token, control, onOpen, onEvent }) {
  const to = room === undefined ? "/events" : path`/chatrooms/${room}/events`;
  const headers = { Authorization: `Bearer ${token}`, Accept: "text/event-stream" };
  if (last !== undefined) headers["Last-Event-ID"] = String(last);
  // A connection of its own: one that has fallen silent is given up without ending what follows the room.
  const connection = new AbortController();
  const end = () => connection.abort();
  control.signal.addEventListener("abort", end);
  let silence = setTimeout(end, SILENCE_MS);
  try {
    const response = await fetch(`/${session.get().app}${to}`, { headers, cache: "no-store", signal: connection.signal });
    if (!response.ok) throw new ApiError(response.status, await response.json().catch(() => ({})));
    onOpen();
    let isOver = false;
    const parse = parser(({ id, data }) => {
      const event = JSON.parse(data);
      onEvent(id, event);
      isOver = room !== undefined && event.kind === "DELETE";
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      clearTimeout(silence);
      silence = setTimeout(end, SILENCE_MS);
      parse(piece.value);
    }
    return isOver;
  } finally {
    clearTimeout(silence);
    control.signal.removeEventListener("abort", end);
  }
}

/** Reads server-sent events out of pieces of text: calls `emit({ id, data })` for each that has data. */
export function parser(emit) {
  let rest = "";
  let event = { id: undefined, data: undefined };
  return (piece) => {
    const lines = (rest + piece).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (event.data !== undefined) emit(event);
        event = { id: event.id, data: undefined };
      } else if (line.startsWith("id:")) {
        event.id = line.slice(3).trimStart();
      } else if (line.startsWith("data:")) {
        event.data = (event.data === undefined ? "" : `${event.data}\n`) + line.slice(5).trimStart();
      }
    }
  };
}
