// A room: its head, its lists, and beside them what happens in it.

import { call, path } from "../api.js";
import { explain } from "../failure.js";
import { html, useEffect, useState } from "../html.js";
import { shortcut } from "../keys.js";
import { useLoad } from "../load.js";
import { useMedia } from "../media.js";
import { Icon } from "../parts/icon.js";
import { Failed, Loading } from "../parts/states.js";
import { LISTS } from "../people.js";
import { may, rightsIn } from "../rights.js";
import { difference, useRoomEvents } from "../room-events.js";
import { go, link } from "../router.js";
import { number, t } from "../words.js";
import { RoomAudit } from "./room-audit.js";
import { RoomFeed } from "./room-feed.js";
import { RoomHead } from "./room-head.js";
import { RoomList } from "./room-list.js";

/** Changes of the room itself, after which its head is read anew. */
const OF_THE_ROOM = ["UPDATE", "DELETE", "CREATE"];

async function read(id, signal) {
  const query = { detail: true, affiliations: 0 };
  const [{ data: [detail] }, rights] = await Promise.all([call("GET", path`/chatrooms/${id}`, { query, signal }), rightsIn(id, signal)]);
  return { ...detail, rights };
}

export default function Room({ parts: [, id, tab = "members"] }) {
  const room = useLoad((signal) => read(id, signal), [id]);
  if (room.error && !room.data) return html`<${Failed} error=${room.error} onRetry=${room.reload} />`;
  if (!room.data) return html`<${Loading} />`;
  return html`<${Loaded} key=${id} room=${room.data} error=${room.error} tab=${tab} reload=${room.reload} set=${room.set} />`;
}

function Loaded({ room, error, tab, reload, set }) {
  const { id, name, rights } = room;
  const follows = may(rights, "read_events");
  const events = useRoomEvents(id, follows);
  const isWide = useMedia("(min-width: 1200px)");

  useEffect(() => events.subscribe((happened) => {
    const came = difference(happened);
    if (came !== 0) set((before) => ({ ...before, affiliations_count: before.affiliations_count + came }));
    if (happened.some(({ kind }) => OF_THE_ROOM.includes(kind.split("/")[0]))) reload();
  }), [id]);
  useEffect(() => {
    if (events.missed > 0) reload();
  }, [events.missed]);

  useEffect(() => {
    document.title = `${name} · roomward`;
    return () => (document.title = "roomward");
  }, [name]);

  const tabs = Object.keys(LISTS).filter((name) => may(rights, LISTS[name].right));
  if (follows) tabs.push("audit");
  if (follows && !isWide) tabs.push("live");
  const chosen = tabs.includes(tab) ? tab : "members";
  useEffect(() => shortcut(Object.fromEntries(tabs.map((name, index) => [`${index + 1}`, () => go(["rooms", id, name])]))), [id, tabs.join()]);

  return html`
    <main class=${`room ${follows && isWide ? "with-feed" : ""}`}>
      <div class="room-main">
        <${RoomHead} room=${room} reload=${reload} />
        ${error && html`<p class="lost-line" role="alert"><${Icon} name="warning" />${explain(error)}</p>`}
        <${Tabs} id=${id} tabs=${tabs} chosen=${chosen} counts=${{ members: room.affiliations_count }} state=${events.state} />
        <section class="room-panel" role="tabpanel" id="panel" aria-labelledby=${`tab-${chosen}`}>
          ${chosen === "audit"
            ? html`<${RoomAudit} room=${room} events=${events} />`
            : chosen === "live"
              ? html`<${RoomFeed} room=${room} events=${events} />`
              : html`<${RoomList} key=${chosen} name=${chosen} room=${room} events=${events} />`}
        </section>
      </div>
      ${follows && isWide && html`<aside class="room-side" aria-label=${t("feed")}><${RoomFeed} room=${room} events=${events} /></aside>`}
    </main>`;
}

function Tabs({ id, tabs, chosen, counts, state }) {
  const [focused, setFocused] = useState(false);
  const onKey = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    setFocused(true);
    go(["rooms", id, tabs[(tabs.indexOf(chosen) + step + tabs.length) % tabs.length]]);
  };
  useEffect(() => {
    const tab = document.getElementById(`tab-${chosen}`);
    tab?.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (focused) tab?.focus();
    setFocused(false);
  }, [chosen]);
  return html`
    <div class="tabs" role="tablist" aria-label=${t("tabs")} onKeyDown=${onKey}>
      ${tabs.map((name) => html`
        <a key=${name} id=${`tab-${name}`} role="tab" href=${link(["rooms", id, name])} aria-selected=${name === chosen} aria-controls="panel" tabindex=${name === chosen ? 0 : -1}>
          ${name === "live" && html`<span class=${`dot ${state}`}></span>`}${t(`tab.${name}`)}${counts[name] !== undefined && html`<span class="tab-count number">${number(counts[name])}</span>`}</a>`)}
    </div>`;
}
