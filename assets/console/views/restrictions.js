// All mutes and blocks in force, the newest first, across rooms.

import { call } from "../api.js";
import { CHANGES, make, muteGlobally } from "../changes.js";
import { actorName, untilWords } from "../events.js";
import { html } from "../html.js";
import { useList } from "../list.js";
import { Choices } from "../parts/choices.js";
import { ClearFilters, filterBy, Filters, RoomFilter, TextFilter } from "../parts/filters.js";
import { Icon } from "../parts/icon.js";
import { Rows } from "../parts/rows.js";
import { Room, User } from "../parts/sentence.js";
import { toast } from "../parts/toast.js";
import { auditedRooms, mayIn, mayInApp } from "../rights.js";
import { go } from "../router.js";
import { ago, exact, FOR_EVER, left, now, useNow } from "../time.js";
import { t } from "../words.js";

const PAGE = 100;
const KINDS = ["mute", "block", "global_mute"];

/** What a restriction is called by in a list. */
const keyOf = ({ kind, chatroom = "", user }) => `${kind}/${chatroom}/${user}`;

export default function Restrictions({ parts, query }) {
  const rooms = auditedRooms();
  const { kind, user, actor } = query;
  const room = query.room ?? rooms?.[0];
  const read = useList(async (cursor, signal) => {
    const page = await call("GET", "/restrictions", { query: { kind, room, user, actor, limit: PAGE, cursor }, signal });
    return { rows: page.data, cursor: page.cursor };
  }, [kind, room, user, actor]);
  const at = useNow(read.rows.length > 0);
  // What has ended meanwhile is not in force any more.
  const list = { ...read, rows: read.rows.filter(({ until }) => until > at) };
  const set = (changes) => filterBy(parts, query, changes);
  const heard = (entry) => ({
    onLifted: () => read.edit((rows) => rows.filter((other) => keyOf(other) !== keyOf(entry))),
    onBack: read.reload,
  });
  return html`
    <main class="page list-page">
      <header class="page-head"><h1>${t("nav.restrictions")}</h1></header>
      <${Filters} label=${t("nav.restrictions")}>
        <${Choices} label=${t("filter.kind")} value=${kind ?? ""} onChange=${(next) => set({ kind: next })}
          choices=${[["", t("filter.all")], ...KINDS.filter((each) => !rooms || each !== "global_mute").map((each) => [each, t(`restrictions.${each}`)])]} />
        <${TextFilter} label=${t("filter.user")} value=${user} onChange=${(next) => set({ user: next.toLowerCase() })} />
        <${RoomFilter} value=${room} onChange=${(next) => set({ room: next })} />
        <${TextFilter} label=${t("filter.actor")} value=${actor} onChange=${(next) => set({ actor: next })} />
        ${(kind || user || actor || query.room) && html`<${ClearFilters} onClear=${() => go(parts, {}, { replace: true })} />`}
        <button type="button" class="button quiet" onClick=${read.reload}>${t("reload")}</button>
      <//>
      <${Rows} list=${list} label=${t("nav.restrictions")} className="restrictions" keyOf=${keyOf} onOpen=${(entry) => go(["users", entry.user], { room: entry.chatroom })}
        onKey=${keyed(heard)} row=${(entry) => html`<${Cells} entry=${entry} ...${heard(entry)} />`}
        empty=${{ icon: "restrictions", title: t("restrictions.empty"), text: t("restrictions.emptyHint") }} />
    </main>`;
}

function Cells({ entry, ...heard }) {
  const { kind, chatroom, user, until, since, actor, reason } = entry;
  return html`
    <span class=${`cell kind ${kind}`} role="gridcell"><${Icon} name=${kind === "block" ? "block" : "mute"} /><span>${t(`restricted.${kind}`)}</span></span>
    <span class="cell grow who" role="gridcell"><${User} name=${user} room=${chatroom} />
      <span class="faint">${chatroom ? html`<${Room} id=${chatroom} />` : t("everywhere")}</span></span>
    <span class="cell left" role="gridcell" title=${until < FOR_EVER ? exact(until) : undefined}>${left(until)}</span>
    <span class="cell grow why wide-only" role="gridcell" title=${reason}>${reason ?? ""}</span>
    <span class="cell faint by wide-only" role="gridcell" title=${since ? exact(since) : undefined}>${actorName(actor)}${since ? ` · ${ago(since)}` : ""}</span>
    <span class="cell end" role="gridcell"><${Lift} entry=${entry} tabindex="-1" ...${heard} /></span>`;
}

/** Whether the viewer may lift a restriction; who is protected by being an admin or the owner is for the service to say. */
const mayLift = ({ kind, chatroom }) => (kind === "global_mute" ? mayInApp("mute_globally") : mayIn(chatroom, CHANGES[`un${kind}`].right));

/** Lifts a restriction, and offers the way back. `onLifted()` is called then, `onBack()` when it is in force again. */
async function lift({ kind, chatroom, user, until, reason }, { onLifted, onBack }) {
  if (kind !== "global_mute") return make(`un${kind}`, chatroom, user, {}, (isUndone) => (isUndone ? onBack() : onLifted()));
  if (!(await muteGlobally(user, 0))) return undefined;
  const run = async () => (await muteGlobally(user, until >= FOR_EVER ? -1 : until - now(), reason)) && onBack();
  toast(t("changed.globalUnmute", { user }), { action: { label: t("undo"), run } });
  return onLifted();
}

/** One click, and it is lifted. In lists it is the key U. */
export function Lift({ entry, tabindex, ...heard }) {
  if (!mayLift(entry)) return null;
  return html`<button type="button" class="button quiet small" tabindex=${tabindex} title=${untilWords(entry.until)} onClick=${() => lift(entry, heard)}>${t(`lift.${entry.kind}`)}</button>`;
}

/** What the keys of a list of restrictions do. */
const keyed = (heard) => (event, entry) => {
  if (event.key !== "u" || !mayLift(entry)) return false;
  lift(entry, heard(entry));
  return true;
};
