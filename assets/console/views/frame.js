// What is around every view: the way to the others, the rooms that are pinned, and who is signed in.

import { html, useEffect, useState } from "../html.js";
import { Icon } from "../parts/icon.js";
import { LanguageAndTheme } from "../parts/looks.js";
import { Failed, Loading } from "../parts/states.js";
import { may, mayAudit } from "../rights.js";
import { link, route } from "../router.js";
import { session, signOut } from "../session.js";
import { settings } from "../settings.js";
import { useStore } from "../store.js";
import { t } from "../words.js";
import { KeysHelp } from "./keys-help.js";
import { openSearch, Search } from "./search.js";

/** The views by the first part of their path: what loads them; their place in the menu, and who has it there. */
const VIEWS = {
  rooms: { load: (parts) => (parts[1] ? import("./room.js") : import("./rooms.js")), icon: "room", words: "nav.rooms" },
  users: { load: () => import("./user.js") },
  restrictions: { load: () => import("./restrictions.js"), icon: "restrictions", words: "nav.restrictions", isFor: mayAudit },
  audit: { load: () => import("./audit.js"), icon: "audit", words: "nav.audit", isFor: mayAudit },
  charts: { load: () => import("./charts.js"), icon: "chart", words: "nav.charts", isFor: mayAudit },
  app: { load: () => import("./app.js"), icon: "app", words: "nav.app", isFor: (rights) => may(rights, "manage_app") },
};

export function Frame() {
  const { parts, query } = useStore(route);
  const { rights } = useStore(session);
  const [open, setOpen] = useState(false);
  const name = parts[0] in VIEWS ? parts[0] : "rooms";
  useEffect(() => setOpen(false), [parts.join("/")]);
  return html`
    <div class=${`frame ${open ? "menu-open" : ""}`}>
      <a class="skip" href="#view" onClick=${skipToView}>${t("nav.skip")}</a>
      <header class="topbar">
        <button type="button" class="button quiet square" aria-label=${t("nav.menu")} aria-expanded=${open} onClick=${() => setOpen(!open)}><${Icon} name="menu" /></button>
        <span class="topbar-app">${session.get().app}</span>
        <button type="button" class="button quiet square" aria-label=${t("search")} onClick=${openSearch}><${Icon} name="search" /></button>
      </header>
      <div class="menu-shade" onClick=${() => setOpen(false)}></div>
      <nav class="sidebar" aria-label=${t("nav.menu")}>
        <div class="sidebar-head">
          <img src="/console/icon.svg" alt="" width="24" height="24" />
          <strong title=${session.get().app}>${session.get().app}</strong>
        </div>
        <button type="button" class="search-button" onClick=${openSearch}><${Icon} name="search" /><span>${t("search")}</span><kbd>Ctrl K</kbd></button>
        <ul class="nav">
          ${Object.entries(VIEWS).filter(([, view]) => view.words && (!view.isFor || view.isFor(rights))).map(([key, view]) => html`
            <li key=${key}><a href=${link([key])} aria-current=${key === name && parts.length < 2 ? "page" : undefined} class=${key === name ? "current" : ""}>
              <${Icon} name=${view.icon} /><span>${t(view.words)}</span></a></li>`)}
        </ul>
        <${Pinned} current=${parts[0] === "rooms" ? parts[1] : undefined} />
        <${Viewer} />
      </nav>
      <div class="view" id="view" tabindex="-1"><${View} key=${`${name}/${Boolean(parts[1])}`} load=${VIEWS[name].load} parts=${parts} query=${query} /></div>
      <${Search} />
      <${KeysHelp} />
    </div>`;
}

function skipToView(event) {
  event.preventDefault();
  document.getElementById("view").focus();
}

/** A view, once its file is there. */
function View({ load, parts, query }) {
  const [state, setState] = useState({});
  const fetchView = () => load(parts).then((module) => setState({ view: module.default }), (error) => setState({ error }));
  useEffect(() => void fetchView(), []);
  if (state.error) return html`<${Failed} error=${state.error} onRetry=${fetchView} />`;
  if (!state.view) return html`<${Loading} />`;
  return html`<${state.view} parts=${parts} query=${query} />`;
}

function Pinned({ current }) {
  const { app } = session.get();
  const rooms = useStore(settings, ({ pinned }) => pinned[app]) ?? [];
  return html`
    <section class="pinned" aria-label=${t("nav.pinned")}>
      <h2>${t("nav.pinned")}</h2>
      ${rooms.length === 0
        ? html`<p class="hint">${t("nav.noPins")}</p>`
        : html`<ul class="nav">${rooms.map(({ id, name }) => html`
            <li key=${id}><a href=${link(["rooms", id])} class=${id === current ? "current" : ""} aria-current=${id === current ? "page" : undefined}>
              <${Icon} name="room" /><span>${name || id}</span></a></li>`)}</ul>`}
    </section>`;
}

function Viewer() {
  const { kind, name, rights } = useStore(session);
  const role = kind === "app" ? "app" : rights?.moderates?.role ?? "user";
  return html`
    <footer class="viewer">
      <${LanguageAndTheme} />
      <div class="viewer-row">
        <div class="viewer-name"><strong>${name || t("viewer.app")}</strong>${name && html`<span>${t(`viewer.${role}`)}</span>`}</div>
        <button type="button" class="button quiet square" aria-label=${t("signOut")} title=${t("signOut")} onClick=${signOut}><${Icon} name="signOut" /></button>
      </div>
    </footer>`;
}
