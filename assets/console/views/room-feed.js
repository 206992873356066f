// What happens in the room, as it happens, the latest first; what can be undone is undone from here.

import { undo } from "../changes.js";
import { Happened, iconOf, rightToUndo } from "../events.js";
import { html, useEffect, useState } from "../html.js";
import { Icon } from "../parts/icon.js";
import { Empty, Failed, Loading } from "../parts/states.js";
import { may } from "../rights.js";
import { ago, exact, now } from "../time.js";
import { t } from "../words.js";

/** How often it is said anew how long ago something was. */
const AGES_MS = 20_000;

export function RoomFeed({ room, events: { events, state, error, undone } }) {
  const [, redraw] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => redraw((n) => n + 1), AGES_MS);
    return () => clearInterval(timer);
  }, []);
  return html`
    <div class="feed">
      <header class="feed-head"><h2>${t("feed")}</h2><span class=${`feed-state ${state}`} role="status"><span class=${`dot ${state}`}></span>${t(`feed.${state}`)}</span></header>
      ${state === "lost" && html`<p class="lost-line" role="alert"><${Icon} name="warning" size=${14} />${t("feed.lostHint")}</p>`}
      ${state === "failed"
        ? html`<${Failed} error=${error} />`
        : events.length === 0
          ? state === "loading" ? html`<${Loading} />` : html`<${Empty} icon="feed" title=${t("feed.empty")}>${t("feed.emptyHint")}<//>`
          : html`
            <ol class="feed-list" aria-label=${t("feed")} tabindex="0">
              ${events.map((event) => html`<${Entry} key=${event.n} event=${event} rights=${room.rights} isUndone=${undone.has(event.n)} />`)}
            </ol>`}
    </div>`;
}

/** Whether all that the event has laid on users is over by now. */
export function isOver({ kind, users = [], after }) {
  return ["MUTE/ADD", "BLOCK/ADD"].includes(kind) && users.every((user) => after?.[user] <= now());
}

export function Entry({ event, rights, isUndone }) {
  const { n, kind, reason, timestamp, undoes } = event;
  const [busy, setBusy] = useState(false);
  const right = rightToUndo(event);
  const canUndo = !isUndone && !isOver(event) && right && may(rights, right);
  const run = async () => {
    setBusy(true);
    await undo(event);
    setBusy(false);
  };
  return html`
    <li class=${`entry ${kind.split("/").join(" ")} ${isUndone ? "undone" : ""}`}>
      <span class="entry-icon"><${Icon} name=${iconOf(event)} size=${14} /></span>
      <div class="entry-text">
        <p><${Happened} event=${event} /></p>
        ${reason && html`<q class="faint">${reason}</q>`}
        <p class="entry-foot faint"><time datetime=${new Date(timestamp).toISOString()} title=${exact(timestamp)}>${ago(timestamp)}</time>
          ${undoes && html`<span>${t("undo.of", { n: undoes })}</span>`}
          ${isUndone && html`<span>${t("undo.isUndone")}</span>`}</p>
      </div>
      ${canUndo && html`<button type="button" class="button quiet small entry-undo" disabled=${busy} aria-label=${t("undo.event", { n })} title=${t("undo")} onClick=${run}><${Icon} name="undo" size=${14} /></button>`}
    </li>`;
}
