// Who did what to whom, when and why; by user, actor, room, kind and time. And the same as a file.

import { call, pages } from "../api.js";
import { complain } from "../changes.js";
import { OPERATIONS } from "../events.js";
import { save, write } from "../export.js";
import { html, useEffect, useMemo, useState } from "../html.js";
import { useList } from "../list.js";
import { fromInput, toInput } from "../moments.js";
import { Dialog } from "../parts/dialog.js";
import { EventCells, keyedEvent, keyOfEvent, undoneBy } from "../parts/event-row.js";
import { ChoiceFilter, ClearFilters, filterBy, Filters, RoomFilter, TextFilter } from "../parts/filters.js";
import { Icon } from "../parts/icon.js";
import { Rows } from "../parts/rows.js";
import { auditedRooms } from "../rights.js";
import { go } from "../router.js";
import { session } from "../session.js";
import { now } from "../time.js";
import { number, t } from "../words.js";

const PAGE = 100;

/** How many events a page of an export has: as many as the service gives at once. */
const EXPORTED_AT_ONCE = 1000;

const HOUR = 3_600_000;
const SPANS = { hour: HOUR, day: 24 * HOUR, week: 7 * 24 * HOUR, month: 30 * 24 * HOUR };

export default function Audit({ parts, query }) {
  const rooms = auditedRooms();
  const { user, actor, kind, time = "" } = query;
  const room = query.room ?? rooms?.[0];
  const span = useMemo(() => (time in SPANS ? { from: now() - SPANS[time] } : { from: query.from, to: query.to }), [time, query.from, query.to]);
  const filter = { user, actor, room, kind, ...span };
  const list = useList(async (cursor, signal) => {
    const page = await call("GET", "/audit", { query: { ...filter, limit: PAGE, cursor }, signal });
    return { rows: page.data, cursor: page.cursor };
  }, [user, actor, room, kind, span]);
  const undone = undoneBy(list.rows);
  const [exporting, setExporting] = useState(null);
  const set = (changes) => filterBy(parts, query, changes);
  const setTime = (next) => set({ time: next, from: next === "custom" ? Math.floor(now() - 24 * HOUR) : undefined, to: undefined });
  const moment = (key) => html`
    <label class="filter-field"><span>${t(`filter.${key}`)}</span>
      <input class="input" type="datetime-local" value=${toInput(Number(query[key] || NaN))} onChange=${(event) => set({ [key]: fromInput(event.currentTarget.value) })} /></label>`;
  return html`
    <main class="page list-page">
      <header class="page-head"><h1>${t("nav.audit")}</h1>
        <button type="button" class="button" onClick=${() => setExporting("csv")}>${t("export.do", { format: "CSV" })}</button>
        <button type="button" class="button" onClick=${() => setExporting("ndjson")}>${t("export.do", { format: "NDJSON" })}</button>
      </header>
      <${Filters} label=${t("nav.audit")}>
        <${TextFilter} label=${t("filter.user")} value=${user} onChange=${(next) => set({ user: next.toLowerCase() })} />
        <${TextFilter} label=${t("filter.actor")} value=${actor} onChange=${(next) => set({ actor: next })} />
        <${RoomFilter} value=${room} onChange=${(next) => set({ room: next })} />
        <${ChoiceFilter} label=${t("filter.kind")} value=${kind} onChange=${(next) => set({ kind: next })}
          choices=${[["", t("filter.all")], ...OPERATIONS.map((each) => [each, t(`operation.${each}`)])]} />
        <${ChoiceFilter} label=${t("filter.time")} value=${time} onChange=${setTime}
          choices=${[["", t("filter.anyTime")], ...Object.keys(SPANS).map((each) => [each, t(`charts.in.${each}`)]), ["custom", t("filter.custom")]]} />
        ${time === "custom" && html`${moment("from")}${moment("to")}`}
        ${Object.values(query).some(Boolean) && html`<${ClearFilters} onClear=${() => go(parts, {}, { replace: true })} />`}
      <//>
      <${Rows} list=${list} label=${t("nav.audit")} className="events" keyOf=${keyOfEvent} onKey=${keyedEvent(list.reload)}
        row=${(event) => html`<${EventCells} event=${event} isUndone=${undone.has(keyOfEvent(event))} onUndone=${list.reload} />`}
        empty=${{ icon: "audit", title: t("audit.empty"), text: t("audit.emptyHint") }} />
      ${exporting && html`<${Export} format=${exporting} filter=${filter} onClose=${() => setExporting(null)} />`}
    </main>`;
}

/** Reads all that the filter lets through up to now, and hands it over; closing the dialog calls it off. */
function Export({ format, filter, onClose }) {
  const [count, setCount] = useState(0);
  useEffect(() => {
    const control = new AbortController();
    const name = `audit-${session.get().app.replace("/", "-")}-${new Date().toISOString().slice(0, 16).replaceAll(":", "")}.${format}`;
    const events = pages("/audit", { query: { ...filter, limit: EXPORTED_AT_ONCE }, signal: control.signal });
    write(events, format, setCount).then((file) => save(file, name), complain).then(() => control.signal.aborted || onClose());
    return () => control.abort();
  }, []);
  return html`
    <${Dialog} title=${t("export.title", { format: format.toUpperCase() })} onClose=${onClose}>
      <p role="status"><span class="spinner" aria-hidden="true"></span> ${t("export.count", { n: count })}</p>
      <div class="form-foot"><button type="button" class="button" autofocus onClick=${onClose}>${t("cancel")}</button></div>
    <//>`;
}
