// Ctrl-K: rooms and users by the beginning of their names, from anywhere.

import { call } from "../api.js";
import { explain } from "../failure.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { shortcut } from "../keys.js";
import { ownRooms } from "../own-rooms.js";
import { Icon } from "../parts/icon.js";
import { mayInApp } from "../rights.js";
import { go } from "../router.js";
import { session } from "../session.js";
import { settings } from "../settings.js";
import { store, useStore } from "../store.js";
import { number, t } from "../words.js";

const LIMIT = 8;
const PAUSE_MS = 150;

const search = store({ open: false });

export const openSearch = () => search.set({ open: true });
const close = () => search.set({ open: false });

async function find(q, signal) {
  // One who may not search all rooms has few.
  if (!mayInApp("read_app")) {
    const begins = (text) => text.toLowerCase().startsWith(q.toLowerCase());
    const { rows } = await ownRooms(undefined, signal);
    return { rooms: rows.filter(({ id, name }) => begins(id) || begins(name)).slice(0, LIMIT), users: [] };
  }
  const [rooms, users] = await Promise.all(
    ["/chatrooms", "/users"].map((list) => call("GET", list, { query: { q, limit: LIMIT }, signal })));
  return { rooms: rooms.data, users: users.entities };
}

export function Search() {
  const { open } = useStore(search);
  useEffect(() => shortcut({ "ctrl+k": openSearch, "/": openSearch }), []);
  return open ? html`<${Palette} />` : null;
}

function Palette() {
  const [text, setText] = useState("");
  const [found, setFound] = useState({ rooms: [], users: [] });
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const [chosen, setChosen] = useState(0);
  const dialog = useRef(null);
  const q = text.trim();

  useEffect(() => {
    dialog.current.showModal();
    return () => dialog.current?.close();
  }, []);
  useEffect(() => {
    setError(null);
    setBusy(Boolean(q));
    if (!q) return undefined;
    const control = new AbortController();
    const timer = setTimeout(() => {
      const ifStillAsked = (show) => (found) => {
        if (control.signal.aborted) return;
        show(found);
        setBusy(false);
        setChosen(0);
      };
      find(q, control.signal).then(ifStillAsked(setFound), ifStillAsked(setError));
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      control.abort();
    };
  }, [q]);

  const pinned = settings.get().pinned[session.get().app] ?? [];
  const rooms = (q ? found.rooms : pinned).map(({ id, name, affiliations_count: n }) => ({
    key: `room/${id}`, icon: "room", title: name || id, detail: name && name !== id ? id : "", count: n, to: ["rooms", id],
  }));
  const users = (q ? found.users : []).map(({ username, nickname }) => ({
    key: `user/${username}`, icon: "person", title: username, detail: nickname ?? "", to: ["users", username],
  }));
  const all = [...rooms, ...users];
  const at = Math.min(chosen, all.length - 1);
  const open = (entry) => {
    close();
    go(entry.to);
  };
  const onKey = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && all.length) setChosen((at + step + all.length) % all.length);
    else if (event.key === "Enter" && all[at] && !busy) open(all[at]);
    else return;
    event.preventDefault();
  };
  const entries = (heading, list, offset) => list.length > 0 && html`
    <li role="presentation" class="palette-heading">${heading}</li>
    ${list.map((entry, index) => html`
      <li key=${entry.key} id=${`found-${offset + index}`} role="option" aria-selected=${offset + index === at}
        onMouseMove=${() => setChosen(offset + index)} onClick=${() => open(entry)}>
        <${Icon} name=${entry.icon} /><span class="palette-title">${entry.title}</span><span class="palette-detail">${entry.detail}</span>
        ${entry.count !== undefined && html`<span class="palette-count">${number(entry.count)}</span>`}
      </li>`)}`;
  return html`
    <dialog ref=${dialog} class="dialog palette" aria-label=${t("search")} onCancel=${close} onMouseDown=${(event) => event.target === dialog.current && close()}>
      <div class="palette-box">
        <label class="palette-input"><${Icon} name="search" />
          <input role="combobox" aria-expanded="true" aria-controls="found" aria-activedescendant=${all.length ? `found-${at}` : undefined} autofocus
            aria-label=${t("search")} placeholder=${t(mayInApp("read_app") ? "search.placeholder" : "search.placeholderRooms")} value=${text}
            onInput=${(event) => setText(event.currentTarget.value)} onKeyDown=${onKey} spellcheck=${false} autocapitalize="none" autocomplete="off" />
          ${busy && html`<span class="spinner" aria-hidden="true"></span>`}
        </label>
        <ul id="found" role="listbox" aria-label=${t("search")}>
          ${entries(t(q ? "search.rooms" : "nav.pinned"), rooms, 0)}
          ${entries(t("search.users"), users, rooms.length)}
        </ul>
        ${error
          ? html`<p class="palette-note failed" role="alert">${explain(error)}</p>`
          : q && !busy && all.length === 0 && html`<p class="palette-note">${t("search.nothing", { q })}</p>`}
        <p class="palette-foot"><kbd>↑</kbd><kbd>↓</kbd> ${t("search.choose")} <kbd>↵</kbd> ${t("search.open")} <kbd>Esc</kbd> ${t("close")}</p>
      </div>
    </dialog>`;
}
