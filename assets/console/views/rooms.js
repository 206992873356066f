// All rooms, the newest first; for one who may not read across rooms, those that know them.

import { call } from "../api.js";
import { html } from "../html.js";
import { useList } from "../list.js";
import { ownRooms } from "../own-rooms.js";
import { Icon } from "../parts/icon.js";
import { Rows } from "../parts/rows.js";
import { mayInApp } from "../rights.js";
import { go, link } from "../router.js";
import { session } from "../session.js";
import { isPinned, settings, togglePin } from "../settings.js";
import { useStore } from "../store.js";
import { number, t } from "../words.js";
import { openSearch } from "./search.js";

const PAGE = 100;

/** A page of rooms, each `{ id, name, owner, count, role }` as far as it is known. */
async function read(cursor, signal) {
  if (mayInApp("read_app")) {
    const page = await call("GET", "/chatrooms", { query: { limit: PAGE, cursor }, signal });
    return { rows: page.data.map(({ affiliations_count: count, ...room }) => ({ ...room, count })), cursor: page.cursor };
  }
  return ownRooms(cursor, signal);
}

export default function Rooms() {
  const list = useList(read, []);
  const { app } = session.get();
  useStore(settings);
  return html`
    <main class="page list-page">
      <header class="page-head">
        <h1>${t("nav.rooms")}</h1>
        <button type="button" class="button" onClick=${openSearch}><${Icon} name="search" />${t("search")}</button>
      </header>
      <${Rows} list=${list} label=${t("nav.rooms")} className="rooms" keyOf=${(room) => room.id} onOpen=${(room) => go(["rooms", room.id])}
        empty=${{ icon: "room", title: t("rooms.empty"), text: t("rooms.emptyHint") }}
        row=${(room) => html`
          <span class="cell grow" role="gridcell"><a class="room-name" tabindex="-1" href=${link(["rooms", room.id])}><${Icon} name="room" /><strong>${room.name}</strong>
            ${room.name !== room.id && html`<span class="faint">${room.id}</span>`}</a></span>
          <span class="cell faint owner" role="gridcell">${room.role ? t(`role.${room.role}`) : room.owner}</span>
          <span class="cell number" role="gridcell">${room.count === undefined ? "" : t("room.members", { n: room.count })}</span>
          <span class="cell" role="gridcell"><button type="button" tabindex="-1" class=${`button quiet square pin ${isPinned(app, room.id) ? "on" : ""}`}
            aria-label=${t("pin", { room: room.name })} aria-pressed=${isPinned(app, room.id)} onClick=${() => togglePin(app, room)}><${Icon} name="pin" /></button></span>`} />
    </main>`;
}
