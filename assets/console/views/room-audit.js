// All that has happened in the room, back to the oldest event that is kept, by kind if one likes.

import { call, path } from "../api.js";
import { undo } from "../changes.js";
import { Happened, iconOf, OPERATIONS, rightToUndo } from "../events.js";
import { html, useEffect, useState } from "../html.js";
import { useList } from "../list.js";
import { Icon } from "../parts/icon.js";
import { Rows } from "../parts/rows.js";
import { may } from "../rights.js";
import { link } from "../router.js";
import { clock, exact } from "../time.js";
import { t } from "../words.js";
import { isOver } from "./room-feed.js";

const PAGE = 100;

/** How many events are looked at for a page of one kind. */
const LOOKED_AT = 1000;

const OF_A_ROOM = OPERATIONS.filter((operation) => !["GLOBAL_MUTE", "MODERATOR", "ROOM_SUPER_ADMIN"].includes(operation));

/** A page for those who may read the audit. */
async function readAudit(room, kind, cursor, signal) {
  const page = await call("GET", "/audit", { query: { room, kind, cursor, limit: PAGE }, signal });
  return { rows: page.data, cursor: page.cursor };
}

/**
 * A page for admins of the room, who read its events by their numbers: those between two, which have no gaps, read backwards.
 * The position is the number below the page.
 */
async function readEvents(room, kind, upTo, signal) {
  const to = path`/chatrooms/${room}/events`;
  const { oldest, last } = await call("GET", to, { query: { limit: 1 }, signal });
  const end = upTo ?? last;
  const since = Math.max(oldest - 1, end - (kind ? LOOKED_AT : PAGE), 0);
  if (end <= since) return { rows: [] };
  const { data } = await call("GET", to, { query: { since, limit: end - since, kind }, signal });
  const rows = data.filter(({ n }) => n <= end).reverse();
  return { rows, cursor: since > oldest - 1 ? since : undefined };
}

export function RoomAudit({ room, events }) {
  const { id, rights } = room;
  const [kind, setKind] = useState("");
  const read = may(rights, "read_audit") ? readAudit : readEvents;
  const list = useList((cursor, signal) => read(id, kind, cursor, signal), [id, kind]);
  useEffect(() => events.subscribe((happened) => list.edit((rows) => {
    const known = rows[0]?.n ?? 0;
    return [...happened.filter((event) => event.n > known && (!kind || event.kind.split("/")[0] === kind)).reverse(), ...rows];
  })), [kind]);
  return html`
    <div class="toolbar">
      <label class="filter select-filter"><span class="faint">${t("audit.kind")}</span>
        <select class="select" value=${kind} onChange=${(event) => setKind(event.currentTarget.value)}>
          <option value="">${t("audit.all")}</option>
          ${OF_A_ROOM.map((operation) => html`<option key=${operation} value=${operation}>${t(`operation.${operation}`)}</option>`)}
        </select></label>
      ${may(rights, "read_audit") && html`<a class="button small" href=${link(["audit"], { room: id })}><${Icon} name="audit" />${t("audit.more")}</a>`}
    </div>
    <${Rows} list=${list} label=${t("tab.audit")} className="audit-rows" keyOf=${({ n }) => n} empty=${{ icon: "audit", title: t("audit.empty"), text: t("audit.emptyHint") }}
      row=${(event) => html`<${Cells} event=${event} rights=${rights} isUndone=${events.undone.has(event.n)} />`} />`;
}

function Cells({ event, rights, isUndone }) {
  const right = rightToUndo(event);
  return html`
    <time class="cell when faint number" role="gridcell" datetime=${new Date(event.timestamp).toISOString()} title=${exact(event.timestamp)}>${clock(event.timestamp)}</time>
    <span class=${`cell entry-icon ${event.kind.split("/").join(" ")}`} role="gridcell"><${Icon} name=${iconOf(event)} size=${14} /></span>
    <span class="cell grow" role="gridcell"><${Happened} event=${event} />${event.reason && html` <q class="faint" title=${event.reason}>${event.reason}</q>`}</span>
    <span class="cell" role="gridcell">${isUndone || event.undoes
      ? html`<span class="badge">${isUndone ? t("undo.isUndone") : t("undo.of", { n: event.undoes })}</span>`
      : right && !isOver(event) && may(rights, right) && html`
        <button type="button" class="button quiet small" tabindex="-1" aria-label=${t("undo.event", { n: event.n })} onClick=${() => undo(event)}><${Icon} name="undo" size=${14} /><span>${t("undo")}</span></button>`}</span>`;
}
