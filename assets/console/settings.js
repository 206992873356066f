// What a browser remembers between visits. Never a token, never a password.

import { store } from "./store.js";

const KEY = "roomward.console";

const DEFAULTS = {
  language: "", // "en", "zh"; nothing: the browser's
  theme: "auto", // "light", "dark"
  app: "", // "demo/chat": where one has signed in last
  name: "", // and as whom
  pinned: {}, // rooms by app: {"demo/chat": [{id, name}]}
  reasons: null, // templates of reasons, where they are the viewer's own
};

function read() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEY)) };
  } catch {
    return DEFAULTS;
  }
}

export const settings = store(read());

settings.subscribe((value) => {
  try {
    localStorage.setItem(KEY, JSON.stringify(value));
  } catch {
    // A browser that remembers nothing: all works, until the page is closed.
  }
});

/** Shows the theme that was chosen: the style sheet knows the rest. */
export function applyTheme() {
  document.documentElement.dataset.theme = settings.get().theme;
}
settings.subscribe(applyTheme);

/** Whether a room is pinned in an app. */
export const isPinned = (app, room) => (settings.get().pinned[app] ?? []).some(({ id }) => id === room);

/** Pins a room, or takes the pin out. */
export function togglePin(app, { id, name }) {
  const { pinned } = settings.get();
  const rooms = pinned[app] ?? [];
  const others = rooms.filter((room) => room.id !== id);
  settings.set({ pinned: { ...pinned, [app]: others.length < rooms.length ? others : [...rooms, { id, name }] } });
}
