// How much happens: joins, leaves, mutes and blocks over time, in the app or in a room.

import { pages } from "../api.js";
import { html, useEffect, useMemo, useState } from "../html.js";
import { Bars } from "../parts/chart.js";
import { Choices } from "../parts/choices.js";
import { filterBy, Filters, RoomFilter } from "../parts/filters.js";
import { Icon } from "../parts/icon.js";
import { Failed } from "../parts/states.js";
import { auditedRooms } from "../rights.js";
import { clock, now } from "../time.js";
import { locale, number, t } from "../words.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How much time is shown, and in which stretches. */
const SPANS = {
  hour: { span: HOUR, every: MINUTE },
  day: { span: DAY, every: 15 * MINUTE },
  week: { span: 7 * DAY, every: 2 * HOUR },
  month: { span: 30 * DAY, every: 8 * HOUR },
};

const SERIES = {
  joins: ["JOIN/DIRECT"],
  leaves: ["LEAVE/KICK", "LEAVE/BLOCK", "LEAVE/DELETE"],
  mutes: ["MUTE/ADD", "GLOBAL_MUTE/ADD"],
  blocks: ["BLOCK/ADD"],
};

/** The stretches up to now. They begin at full hours, or days, of the viewer. */
function stretches({ span, every }) {
  const zone = new Date().getTimezoneOffset() * MINUTE;
  const to = Math.ceil((now() - zone) / every) * every + zone;
  const starts = Array.from({ length: span / every }, (_, index) => to - span + index * every);
  return { from: to - span, to, every, starts };
}

/**
 * Counts page by page, the newest first, and shows what is counted so far: `counts` has a list of numbers for each series,
 * `done` tells whether they are whole.
 */
function useCounts(span, room, round) {
  const time = useMemo(() => stretches(SPANS[span]), [span, room, round]);
  const [state, setState] = useState({});
  useEffect(() => {
    const control = new AbortController();
    const counts = Object.fromEntries(Object.keys(SERIES).map((series) => [series, time.starts.map(() => 0)]));
    const shown = () => Object.fromEntries(Object.entries(counts).map(([series, values]) => [series, [...values]]));
    const show = (done) => control.signal.aborted || setState({ time, counts: shown(), done });
    const { from, to, every } = time;
    const read = async () => {
      for await (const { data } of pages("/audit/counts", { query: { from, to, every, room, kind: Object.values(SERIES).join() }, signal: control.signal })) {
        for (const { since, kind, users } of data) {
          const series = Object.keys(SERIES).find((name) => SERIES[name].includes(kind));
          counts[series][(since - from) / every] += users;
        }
        show(false);
      }
      show(true);
    };
    read().catch((error) => control.signal.aborted || setState({ error }));
    return () => control.abort();
  }, [time]);
  return state;
}

export default function Charts({ parts, query }) {
  const rooms = auditedRooms();
  const room = query.room ?? rooms?.[0] ?? "";
  const span = query.span in SPANS ? query.span : "day";
  const [round, setRound] = useState(0);
  const [shape, setShape] = useState("charts");
  const { time, counts, done, error } = useCounts(span, room, round);
  const set = (changes) => filterBy(parts, query, changes);
  return html`
    <main class="page charts-page">
      <header class="page-head">
        <h1>${t("nav.charts")}</h1>
        <${Choices} label=${t("charts.shape")} value=${shape} onChange=${setShape} choices=${[["charts", t("charts.asCharts")], ["table", t("charts.asTable")]]} />
      </header>
      <${Filters} label=${t("nav.charts")}>
        <${Choices} label=${t("charts.span")} value=${span} onChange=${(next) => set({ span: next })}
          choices=${Object.keys(SPANS).map((each) => [each, t(`charts.${each}`)])} />
        <${RoomFilter} value=${room} onChange=${(next) => set({ room: next })} />
        <button type="button" class="button quiet" onClick=${() => setRound(round + 1)}>${t("reload")}</button>
        <span class="faint" role="status">${!error && !done && t("charts.counting")}</span>
      <//>
      ${error
        ? html`<${Failed} error=${error} onRetry=${() => setRound(round + 1)} />`
        : counts && (shape === "charts" ? html`<${Grid} ...${{ span, time, counts }} />` : html`<${Table} ...${{ span, time, counts }} />`)}
    </main>`;
}

const sum = (values) => values.reduce((all, value) => all + value, 0);

/** When a stretch is: "14:00", or with the day where there are several. */
const moment = (ms, span) => (SPANS[span].span > DAY ? `${day(ms)} ${time24(ms)}` : clock(ms));
const day = (ms) => new Intl.DateTimeFormat(locale(), { month: "short", day: "numeric" }).format(new Date(ms));
const time24 = (ms) => new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(new Date(ms));

function Grid({ span, time, counts }) {
  const [at, setAt] = useState(null);
  const tick = (ms) => (SPANS[span].span > DAY ? day(ms) : time24(ms));
  return html`
    <div class="charts">
      ${Object.entries(counts).map(([series, values]) => {
        const all = sum(values);
        const most = values.indexOf(Math.max(...values));
        return html`
          <figure key=${series} class="card chart-card">
            <figcaption><span class=${`dot ${series}`}></span><strong>${t(`charts.${series}`)}</strong>
              <span class="chart-number">${number(at === null ? all : values[at])}</span>
              <span class="faint">${at === null ? t(`charts.in.${span}`) : moment(time.starts[at], span)}</span>
            </figcaption>
            <${Bars} starts=${time.starts} values=${values} every=${time.every} tone=${`--chart-${series}`} tick=${tick} onPoint=${setAt}
              label=${t(all ? "charts.summary" : "charts.none", { what: t(`charts.${series}`), n: all, most: values[most], when: moment(time.starts[most], span) })} />
          </figure>`;
      })}
    </div>`;
}

/** The same in numbers, the newest first, without the stretches in which nothing was. */
function Table({ span, time, counts }) {
  const names = Object.keys(counts);
  const rows = time.starts.map((start, index) => [start, names.map((name) => counts[name][index])]).filter(([, values]) => sum(values)).reverse();
  if (rows.length === 0) return html`<div class="state"><span class="state-icon"><${Icon} name="chart" size=${20} /></span><strong>${t("charts.nothing")}</strong></div>`;
  return html`
    <div class="table-box" tabindex="0" role="region" aria-label=${t("nav.charts")}>
      <table class="table">
        <thead><tr><th scope="col">${t("charts.from")}</th>${names.map((name) => html`<th key=${name} scope="col" class="number">${t(`charts.${name}`)}</th>`)}</tr></thead>
        <tbody>
          ${rows.map(([start, values]) => html`
            <tr key=${start}><th scope="row">${moment(start, span)}</th>${values.map((value) => html`<td class="number">${number(value)}</td>`)}</tr>`)}
        </tbody>
      </table>
    </div>`;
}
