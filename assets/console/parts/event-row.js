// An event in a list: when, who did what to whom, why, where; and the way back, for who may go it.

import { undo } from "../changes.js";
import { Happened, iconOf, rightToUndo } from "../events.js";
import { html, useState } from "../html.js";
import { mayIn } from "../rights.js";
import { clock, exact } from "../time.js";
import { t } from "../words.js";
import { Icon } from "./icon.js";
import { Room } from "./sentence.js";

export const keyOfEvent = ({ chatroom = "", n }) => `${chatroom}/${n}`;

/** The keys of those events that others in the list have undone. */
export const undoneBy = (events) => new Set(events.filter(({ undoes }) => undoes).map(({ chatroom, undoes: n }) => keyOfEvent({ chatroom, n })));

export function EventCells({ event, isUndone, onUndone }) {
  const { chatroom, kind, reason, timestamp } = event;
  const [operation] = kind.split("/");
  return html`
    <time class="cell when" role="gridcell" datetime=${new Date(timestamp).toISOString()} title=${exact(timestamp)}>${clock(timestamp)}</time>
    <span class=${`cell event-icon ${operation}`} role="gridcell"><${Icon} name=${iconOf(event)} /></span>
    <span class="cell grow happened" role="gridcell"><${Happened} event=${event} />
      ${reason && html`<q class="faint" title=${reason}>${reason}</q>`}</span>
    <span class="cell where faint" role="gridcell">${chatroom ? html`<${Room} id=${chatroom} />` : t("everywhere")}</span>
    <span class="cell end" role="gridcell">${isUndone ? html`<span class="badge">${t("undo.isUndone")}</span>` : html`<${Undo} event=${event} onUndone=${onUndone} />`}</span>`;
}

/** Whether the viewer may undo an event, as far as one knows without asking. */
function mayUndo(event) {
  const right = rightToUndo(event);
  return Boolean(right && event.chatroom && !event.undoes && mayIn(event.chatroom, right));
}

/** What the keys of a list of events do: Z undoes. */
export const keyedEvent = (onUndone) => (event, entry) => {
  if (event.key !== "z" || event.ctrlKey || event.metaKey || !mayUndo(entry)) return false;
  undo(entry).then((done) => done && onUndone());
  return true;
};

function Undo({ event, onUndone }) {
  const [busy, setBusy] = useState(false);
  if (event.undoes) return html`<span class="badge">${t("undo.of", { n: event.undoes })}</span>`;
  if (!mayUndo(event)) return null;
  const run = async () => {
    setBusy(true);
    if (await undo(event)) onUndone();
    setBusy(false);
  };
  return html`
    <button type="button" class="button quiet small" tabindex="-1" disabled=${busy} aria-label=${t("undo.event", { n: event.n })} onClick=${run}><${Icon} name="undo" size=${14} /><span>${t("undo")}</span></button>`;
}
