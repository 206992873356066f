// One list of a room: who is on it, until when and why; and what may be done to those that are chosen.

import { CHANGES, complain, doneWords, makeAll, undoAll } from "../changes.js";
import { actorName } from "../events.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { shortcut } from "../keys.js";
import { useList } from "../list.js";
import { ChangeDialog, Outcomes } from "../parts/change-dialog.js";
import { Countdown } from "../parts/countdown.js";
import { USUAL } from "../parts/duration.js";
import { Icon } from "../parts/icon.js";
import { Menu } from "../parts/menu.js";
import { Rows } from "../parts/rows.js";
import { toast } from "../parts/toast.js";
import { LISTS } from "../people.js";
import { may } from "../rights.js";
import { link } from "../router.js";
import { session } from "../session.js";
import { ago, duration, exact, FOR_EVER, now } from "../time.js";
import { t } from "../words.js";

/** The changes in the order in which they are offered, and the key of each. */
const OFFERED = {
  mute: "m", unmute: "u", block: "b", unblock: "u", remove: "r", whitelist: "w", unwhitelist: "w", promote: "a", demote: "a",
};

/** Changes that are made at once: each is undone as easily. */
const AT_ONCE = ["unmute", "unblock", "whitelist", "unwhitelist"];

const PAUSE_MS = 200;

export function RoomList({ name, room, events }) {
  const { id, rights, owner } = room;
  const { read, apply, icon, searches } = LISTS[name];
  const [text, setText] = useState("");
  const [q, setQ] = useState("");
  const [selection, setSelection] = useState(new Set());
  const [change, setChange] = useState(null); // what is about to be made: { name, users, ms }
  const [result, setResult] = useState(null); // what came of one that was made at once
  const filter = useRef(null);
  const list = useList((cursor, signal) => read(id, cursor, signal, { q, rights }), [id, name, q]);

  useEffect(() => {
    const timer = setTimeout(() => setQ(text.trim()), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(() => events.subscribe((happened) => list.edit((rows) => happened.reduce((rows, event) => apply(rows, event, { q }), rows))), [q]);
  useEffect(() => {
    if (events.missed > 0) list.reload();
  }, [events.missed]);
  // What was chosen is gone, and with it the button that had the focus.
  useEffect(() => {
    if (selection.size === 0 && document.activeElement === document.body) document.querySelector("#panel .rows-body")?.focus();
  }, [selection.size]);
  useEffect(() => shortcut({ f: () => filter.current?.focus(), escape: () => setSelection(new Set()) }), []);

  const targetOf = ({ user, role }) =>
    user === owner || role === "owner" ? "owner" : role === "admin" ? "admin" : session.get().kind === "user" && user === session.get().name ? "oneself" : "ordinary";
  const makesSense = (change, row) => {
    const isMuted = row.mute && row.mute.until > now();
    const isMember = name !== "blocked" && row.user !== owner;
    switch (change) {
      case "unmute": return Boolean(isMuted);
      case "unblock": return Boolean(row.block);
      case "block": return row.user !== owner;
      case "whitelist": return isMember && !row.whitelisted && name === "members";
      case "unwhitelist": return Boolean(row.whitelisted);
      case "promote": return isMember && row.role === "member";
      case "demote": return row.role === "admin";
      case "mute": return name !== "blocked";
      default: return isMember && name !== "muted";
    }
  };
  const mayMake = (change, row) => makesSense(change, row) && may(rights, CHANGES[change].right, targetOf(row));
  const offered = (rows) => Object.keys(OFFERED).filter((change) => rows.some((row) => mayMake(change, row)));
  const selectable = (row) => Object.keys(OFFERED).some((change) => mayMake(change, row));

  const chosen = list.rows.filter(({ user }) => selection.has(user));
  const settle = ({ left }) => setSelection(new Set(left.filter((user) => selection.has(user))));
  const begin = async (change, rows, ms) => {
    const users = rows.filter((row) => mayMake(change, row)).map(({ user }) => user);
    if (users.length === 0) return;
    if (!AT_ONCE.includes(change)) return void setChange({ name: change, users, ms });
    try {
      const made = await makeAll(change, id, users);
      const done = made.outcomes.filter(({ ok }) => ok).map(({ user }) => user);
      settle({ left: users.filter((user) => !done.includes(user)) });
      if (done.length < users.length) setResult({ name: change, made });
      else toast(doneWords(change, users), made.events.length > 0 ? { action: { label: t("undo"), run: () => undoAll(made.events) } } : {});
    } catch (failure) {
      complain(failure);
    }
  };
  const onKey = (event, row) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const rows = chosen.length > 0 ? chosen : [row];
    const wanted = Object.keys(OFFERED).find((change) => OFFERED[change] === event.key && rows.some((each) => mayMake(change, each)));
    if (!wanted) return false;
    begin(wanted, rows);
    return true;
  };
  const item = (rows) => (change) => ({
    label: t(`do.${change}`, { for: "" }).trim() + (CHANGES[change].drastic || CHANGES[change].lasts ? "…" : ""),
    icon: CHANGES[change].icon, hint: OFFERED[change], danger: CHANGES[change].drastic && !["promote", "demote"].includes(change),
    run: () => begin(change, rows),
  });
  const canSelect = Object.values(CHANGES).some(({ right }) => may(rights, right, "ordinary"));
  return html`
    ${chosen.length > 0
      ? html`<${SelectionBar} rows=${chosen} offered=${offered(chosen)} item=${item(chosen)} begin=${begin} clear=${() => setSelection(new Set())} />`
      : html`
        <div class="toolbar">
          ${searches && may(rights, "read_lists")
            ? html`<label class="filter"><${Icon} name="search" /><input ref=${filter} type="search" value=${text} placeholder=${t("members.filter")} aria-label=${t("members.filter")}
                spellcheck=${false} autocapitalize="none" autocomplete="off" onInput=${(event) => setText(event.currentTarget.value)} /><kbd>F</kbd></label>`
            : html`<p class="faint toolbar-hint">${t(`list.${name}.hint`)}</p>`}
          ${canSelect && html`<p class="faint toolbar-hint keys-hint">${t("keys.hint")} <kbd>?</kbd></p>`}
        </div>`}
    <${Rows} list=${list} label=${t(`tab.${name}`)} className=${`people ${name}`} keyOf=${({ user }) => user} selectable=${selectable} onKey=${onKey}
      count=${name === "members" && !q ? room.affiliations_count : undefined}
      selection=${canSelect ? selection : undefined} onSelect=${setSelection} onOpen=${({ user }) => (location.hash = link(["users", user], { room: id }))}
      empty=${{ icon, title: t(q ? "members.none" : `list.${name}.empty`, { q }), text: q ? undefined : t(`list.${name}.emptyHint`) }}
      row=${(row) => html`<${Person} row=${row} room=${id} owner=${owner} items=${Object.keys(OFFERED).filter((change) => mayMake(change, row)).map(item([row]))} />`} />
    ${change && html`<${ChangeDialog} ...${change} room=${id} onDone=${settle} onClose=${() => setChange(null)} />`}
    ${result && html`<${Outcomes} name=${result.name} result=${result.made} onClose=${() => setResult(null)} />`}`;
}

/** What may be done to all that are chosen, in the place of the list's own tools. */
function SelectionBar({ rows, offered, item, begin, clear }) {
  const rest = offered.filter((change) => ["promote", "demote"].includes(change));
  const button = (change) => offered.includes(change) && html`
    <button type="button" key=${change} class=${`button small ${CHANGES[change].drastic ? "danger-quiet" : ""}`} onClick=${() => begin(change, rows)}>
      <${Icon} name=${CHANGES[change].icon} />${t(`do.${change}`, { for: "" })}</button>`;
  const lengths = [
    ...USUAL.map((ms) => ({ label: duration(ms), run: () => begin("mute", rows, ms) })),
    "-",
    { label: t("duration.own"), run: () => begin("mute", rows) },
  ];
  return html`
    <div class="toolbar selection" role="toolbar" aria-label=${t("selection")}>
      <button type="button" class="button quiet square small" aria-label=${t("selection.clear")} title=${t("selection.clear")} onClick=${clear}><${Icon} name="close" /></button>
      <strong class="number" role="status">${t("selection.n", { n: rows.length })}</strong>
      <span class="selection-actions">
        ${offered.includes("mute") && html`<${Menu} label=${t("do.mute", { for: "" })} className="button small" items=${lengths}><${Icon} name="mute" />${t("do.mute", { for: "" })}<${Icon} name="down" size=${12} /><//>`}
        ${["unmute", "block", "unblock", "remove", "whitelist", "unwhitelist"].map(button)}
        ${rest.length > 0 && html`<${Menu} label=${t("more.actions")} className="button small square" items=${rest.map(item)}><${Icon} name="more" /><//>`}
      </span>
    </div>`;
}

/** A user of the list: name and standing, what is in force and why, since when. */
function Person({ row, room, owner, items }) {
  const { user, whitelisted, joined, mute, global_mute: everywhere, block } = row;
  const role = user === owner ? "owner" : row.role;
  const restriction = [block, mute, everywhere].find((each) => each && each.until > now());
  const icon = restriction === block ? "block" : "mute";
  const [, redraw] = useState(0);
  const since = restriction && restriction !== everywhere && !joined ? restriction.since : joined;
  return html`
    <span class="cell person" role="gridcell">
      <span class="avatar" aria-hidden="true">${user.slice(0, 1)}</span>
      <a class="name" tabindex="-1" href=${link(["users", user], { room })}>${user}</a>
      ${(role === "owner" || role === "admin") && html`<span class=${`badge ${role === "owner" ? "accent" : ""}`}>${t(`role.${role}`)}</span>`}
      ${whitelisted && html`<span class="badge good">${t("whitelisted")}</span>`}
    </span>
    <span class="cell grow in-force" role="gridcell">
      ${restriction && html`
        <span class=${`badge ${restriction === block ? "danger" : "warn"}`} title=${t(restriction === block ? "state.blocked" : restriction === everywhere ? "state.mutedEverywhere" : "state.muted")}>
          <${Icon} name=${icon} /><span class="hidden">${t(restriction === block ? "state.blocked" : "state.muted")} </span>
          ${restriction === everywhere && t("everywhere")}
          <${Countdown} until=${restriction.until} onEnd=${() => redraw((n) => n + 1)} /></span>
        <span class="why">${restriction.reason && html`<q title=${restriction.reason}>${restriction.reason}</q>`}
          <span class="faint">${t("by", { actor: actorName(restriction.actor) })}</span></span>`}
    </span>
    <span class="cell since faint number" role="gridcell" title=${since > 0 ? exact(since) : undefined}>${since > 0 && since < FOR_EVER ? ago(since) : ""}</span>
    <span class="cell actions" role="gridcell">
      ${items.length > 0 && html`<${Menu} label=${t("actions", { user })} className="button quiet square small" tabindex="-1" items=${items}><${Icon} name="more" /><//>`}
    </span>`;
}
