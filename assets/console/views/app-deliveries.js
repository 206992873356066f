// What was sent because of a callback rule, and what came of it.

import { call, path } from "../api.js";
import { explain } from "../failure.js";
import { html } from "../html.js";
import { useList } from "../list.js";
import { Choices } from "../parts/choices.js";
import { filterBy, Filters, TextFilter } from "../parts/filters.js";
import { Icon } from "../parts/icon.js";
import { Rows } from "../parts/rows.js";
import { toast } from "../parts/toast.js";
import { link } from "../router.js";
import { left, useNow } from "../time.js";
import { t } from "../words.js";
import { Health, useRules } from "./app-rules.js";

const PAGE = 100;
const STATES = ["pending", "dead", "done"];

export function Deliveries({ rule: id, parts, query }) {
  const { data: rules } = useRules();
  const rule = rules?.find((each) => each.id === id);
  const { state, room } = query;
  const list = useList(async (cursor, signal) => {
    const page = await call("GET", path`/callbacks/rules/${id}/deliveries`, { query: { state, room, limit: PAGE, cursor }, signal });
    return { rows: page.data, cursor: page.cursor };
  }, [id, state, room]);
  useNow(list.rows.some(({ next_at: next }) => next));
  const set = (changes) => filterBy(parts, query, changes);

  const again = async (delivery) => {
    try {
      const { chatroom, n } = delivery;
      await call("POST", path`/callbacks/rules/${id}/replay`, { body: { room: chatroom, from: n, to: n } });
      toast(t("rules.replayed", { n: 1 }));
      list.reload();
    } catch (refusal) {
      if (refusal.name !== "AbortError") toast(explain(refusal), { kind: "failed" });
    }
  };
  const row = (delivery) => html`
    <span class="cell state-cell" role="gridcell"><span class=${`health ${TONES[delivery.state]}`}><span class="dot"></span>${t(`deliveries.${delivery.state}`)}</span></span>
    <span class="cell event-name" role="gridcell">${delivery.chatroom
      ? html`<a tabindex="-1" href=${link(["rooms", delivery.chatroom])}>${delivery.chatroom}</a>`
      : t("deliveries.ofApp")} <span class="faint">#${delivery.n}</span></span>
    <span class="cell grow outcome" role="gridcell" title=${delivery.error}>${outcome(delivery)}</span>
    <span class="cell number faint wide-only" role="gridcell">${t("deliveries.attempts", { n: delivery.attempts })}</span>
    <span class="cell number faint wide-only" role="gridcell">${delivery.latency === undefined ? "" : `${delivery.latency} ms`}</span>
    <span class="cell" role="gridcell">${delivery.chatroom && html`
      <button type="button" class="button quiet small" tabindex="-1" onClick=${() => again(delivery)}>${t("deliveries.again")}</button>`}</span>`;
  return html`
    <div class="bar">
      <a class="button quiet square" href=${link(["app", "callbacks"])} aria-label=${t("back")}><${Icon} name="back" /></a>
      <strong class="rule-url">${rule?.url}</strong>${rule && html`<${Health} rule=${rule} />`}
    </div>
    <${Filters} label=${t("rules.deliveries")}>
      <${Choices} label=${t("deliveries.state")} value=${state ?? ""} onChange=${(next) => set({ state: next })}
        choices=${[["", t("filter.all")], ...STATES.map((each) => [each, t(`deliveries.${each}`)])]} />
      <${TextFilter} label=${t("filter.room")} value=${room} placeholder=${t("filter.all")} onChange=${(next) => set({ room: next.toLowerCase() })} />
      <button type="button" class="button quiet" onClick=${list.reload}>${t("reload")}</button>
    <//>
    <${Rows} list=${list} label=${t("rules.deliveries")} className="deliveries" row=${row} keyOf=${({ callid }) => callid}
      onKey=${({ key }, delivery) => key === "s" && delivery.chatroom && (again(delivery), true)}
      empty=${{ icon: "feed", title: t("deliveries.empty"), text: t("deliveries.emptyHint") }} />`;
}

const TONES = { pending: "warn", dead: "bad", done: "good" };

/** What came of the last attempt, and when the next one is. */
function outcome({ state, status, error, next_at: next }) {
  const came = error ?? (status ? t("deliveries.status", { status }) : "");
  return state === "pending" && next ? [came, t("deliveries.next", { left: left(next) })].filter(Boolean).join(" · ") : came;
}
