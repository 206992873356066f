// A user: may they speak, and why not; what is in force against them, in which rooms they are what, and what has happened.
//
// What is seen and done is about one room, if there is one in the address, else about the whole app, as far as the viewer may.

import { call, path } from "../api.js";
import { html, useState } from "../html.js";
import { useList } from "../list.js";
import { useLoad } from "../load.js";
import { EventCells, keyedEvent, keyOfEvent, undoneBy } from "../parts/event-row.js";
import { ChoiceFilter, filterBy } from "../parts/filters.js";
import { Rows } from "../parts/rows.js";
import { Failed } from "../parts/states.js";
import { Subnav } from "../parts/subnav.js";
import { auditedRooms, may, mayInApp } from "../rights.js";
import { link } from "../router.js";
import { session } from "../session.js";
import { FOR_EVER, exact, left, useNow } from "../time.js";
import { t } from "../words.js";
import { Acts } from "./user-acts.js";
import { InForce, Verdict } from "./user-verdict.js";

const PAGE = 100;

/** Restrictions that are said in full; the rest is a link. */
const SAID = 4;

export default function User({ parts, query }) {
  const [, name, tab = "rooms"] = parts;
  const rooms = auditedRooms();
  const room = query.room ?? rooms?.[0];
  const everywhere = rooms === null;
  const [round, setRound] = useState(0);
  const account = useLoad(async (signal) => (everywhere ? (await call("GET", path`/users/${name}`, { signal })).entities[0] : {}), [name]);
  const inForce = useLoad(async (signal) => (
    everywhere || rooms.includes(room)
      ? (await call("GET", "/restrictions", { query: { user: name, room: everywhere ? undefined : room, limit: PAGE }, signal })).data
      : []), [name, everywhere ? "" : room, round]);
  const changed = () => setRound((n) => n + 1);
  if (account.error) return html`<main class="page"><${Failed} error=${account.error} onRetry=${account.reload} /></main>`;
  const restrictions = inForce.data ?? [];
  const here = restrictions.find((entry) => entry.chatroom === room && room);
  const globally = restrictions.find(({ kind }) => kind === "global_mute");
  const rest = restrictions.filter((entry) => entry !== here);
  const shown = everywhere ? ["rooms", "history"] : rooms.includes(room) ? ["history"] : [];
  const open = shown.includes(tab) ? tab : shown[0];
  const View = { rooms: Standing, history: History }[open];
  return html`
    <main class="page list-page user-page">
      <header class="page-head">
        <span class="avatar" aria-hidden="true">${[...name][0]}</span>
        <h1>${name} ${account.data?.nickname && html`<small class="faint">${account.data.nickname}</small>`}</h1>
        ${account.data?.activated === false && html`<span class="badge danger">${t("user.deactivated")}</span>`}
        ${rooms?.length > 1 && html`<${ChoiceFilter} label=${t("filter.room")} value=${room} choices=${rooms.map((each) => [each, each])}
          onChange=${(next) => filterBy(parts, query, { room: next })} />`}
      </header>
      <div class="verdicts">
        ${room && html`<${Verdict} key=${room} room=${room} user=${name} cause=${here ?? globally} round=${round} onEnd=${changed} onChange=${changed}
          onClose=${everywhere ? () => filterBy(parts, query, { room: undefined }) : undefined} />`}
        ${inForce.error ? html`<${Failed} error=${inForce.error} onRetry=${inForce.reload} />` : html`
          ${rest.slice(0, SAID).map((entry) => html`<${InForce} key=${`${entry.kind}/${entry.chatroom}`} entry=${entry} onChange=${changed} />`)}
          ${rest.length > SAID && html`<a class="verdict" href=${link(["restrictions"], { user: name })}>${t("more", { n: rest.length - SAID })}</a>`}
          ${!room && inForce.data && restrictions.length === 0 && html`<p class="verdict good">${t("user.nothingInForce")}</p>`}`}
        ${room || mayInApp("mute_globally") ? html`<${Acts} key=${room} user=${name} room=${room} restrictions=${restrictions} round=${round} onChange=${changed} />` : null}
      </div>
      ${View ? html`
        <${Subnav} label=${name} current=${open} parts=${shown.map((id) => ({ id, label: t(`user.${id}`), to: link(["users", name, id], query) }))} />
        <${View} key=${open} name=${name} room=${everywhere ? undefined : room} parts=${parts} query=${query} round=${round} onChange=${changed} />`
        : html`<div class="state"><p>${t("user.onlyHere")}</p></div>`}
    </main>`;
}

const ROLES = { owner: "accent", admin: "accent", member: "", none: "" };

/** Every room that knows the user. Opening one makes it the room that all is about. */
function Standing({ name, parts, query, round }) {
  const list = useList(async (cursor, signal) => {
    const page = await call("GET", path`/users/${name}/standing`, { query: { limit: PAGE, cursor }, signal });
    return { rows: page.data, cursor: page.cursor };
  }, [name, round]);
  useNow(list.rows.some((entry) => entry.muted_until || entry.blocked_until));
  const open = ({ id }) => filterBy(parts, query, { room: id });
  const until = (ms, words, tone) => ms > 0 && html`<span class=${`badge ${tone}`} title=${ms < FOR_EVER ? exact(ms) : undefined}>${t(words, { left: left(ms) })}</span>`;
  return html`
    <${Rows} list=${list} label=${t("user.rooms")} className="standing" keyOf=${({ id }) => id} onOpen=${open}
      empty=${{ icon: "room", title: t("user.noRooms"), text: t("user.noRoomsHint") }}
      row=${({ id, role, whitelisted, muted_until: muted, blocked_until: blocked }) => html`
        <span class="cell grow" role="gridcell"><button type="button" tabindex="-1" class="as-link" aria-pressed=${query.room === id} onClick=${() => open({ id })}>${id}</button></span>
        <span class="cell badges" role="gridcell">
          ${until(blocked, "user.blocked", "danger")}${until(muted, "user.muted", "warn")}
          ${whitelisted && html`<span class="badge good">${t("user.whitelisted")}</span>`}
          <span class=${`badge ${ROLES[role]}`}>${t(role === "none" ? "user.outside" : `role.${role}`)}</span>
        </span>
        <span class="cell end" role="gridcell"><a class="button quiet small" tabindex="-1" href=${link(["rooms", id])}>${t("user.openRoom")}</a></span>`} />`;
}

/** What has happened to the user, the newest first. */
function History({ name, room, round, onChange }) {
  const list = useList(async (cursor, signal) => {
    const page = await call("GET", "/audit", { query: { user: name, room, limit: PAGE, cursor }, signal });
    return { rows: page.data, cursor: page.cursor };
  }, [name, room, round]);
  const undone = undoneBy(list.rows);
  return html`
    <${Rows} list=${list} label=${t("user.history")} className="events" keyOf=${keyOfEvent} onKey=${keyedEvent(onChange)}
      row=${(event) => html`<${EventCells} event=${event} isUndone=${undone.has(keyOfEvent(event))} onUndone=${onChange} />`}
      empty=${{ icon: "audit", title: t("audit.empty") }} />`;
}
