// Filters above a list. They are kept in the address, so that what one looks at can be handed on.

import { html, useEffect, useId, useRef, useState } from "../html.js";
import { auditedRooms } from "../rights.js";
import { go } from "../router.js";
import { t } from "../words.js";
import { Icon } from "./icon.js";

/** How long one must have stopped typing before a filter counts. */
const PAUSE_MS = 300;

/** Changes some filters of the view at `parts` that now has `query`. */
export const filterBy = (parts, query, changes) => go(parts, { ...query, ...changes }, { replace: true });

/** A bar of filters; `children` are what it has. */
export const Filters = ({ label, children }) => html`<form class="filters" role="search" aria-label=${label} onSubmit=${(event) => event.preventDefault()}>${children}</form>`;

/** A name, or what else is typed; Esc empties it. */
export function TextFilter({ label, value = "", onChange, ...more }) {
  const [text, setText] = useState(value);
  const said = useRef(value);
  const say = (next) => {
    said.current = next;
    if (next !== value) onChange(next);
  };
  // From elsewhere: a link, or "back".
  useEffect(() => {
    if (value !== said.current) setText(said.current = value);
  }, [value]);
  useEffect(() => {
    const timer = setTimeout(say, PAUSE_MS, text.trim());
    return () => clearTimeout(timer);
  }, [text]);
  const onKeyDown = (event) => {
    if (event.key === "Enter") say(text.trim());
    else if (event.key === "Escape" && text) setText("");
    else return;
    event.preventDefault();
  };
  return html`
    <label class="filter-field ${text ? "set" : ""}"><span>${label}</span>
      <input class="input" value=${text} onInput=${(event) => setText(event.currentTarget.value)} onKeyDown=${onKeyDown} spellcheck=${false}
        autocapitalize="none" autocomplete="off" ...${more} />
    </label>`;
}

/** One of some: `choices` are `[value, label]`. */
export function ChoiceFilter({ label, value = "", choices, onChange }) {
  const id = useId();
  return html`
    <div class="filter-field ${value ? "set" : ""}"><label for=${id}>${label}</label>
      <select id=${id} class="input" value=${value} onChange=${(event) => onChange(event.currentTarget.value)}>
        ${choices.map(([each, text]) => html`<option key=${each} value=${each} selected=${each === value}>${text}</option>`)}
      </select>
    </div>`;
}

/** A room: any by its id, or one of those to which the viewer is bound. */
export function RoomFilter({ value, onChange }) {
  const rooms = auditedRooms();
  return rooms
    ? html`<${ChoiceFilter} label=${t("filter.room")} value=${value} choices=${rooms.map((room) => [room, room])} onChange=${onChange} />`
    : html`<${TextFilter} label=${t("filter.room")} value=${value} placeholder=${t("filter.all")} onChange=${(text) => onChange(text.toLowerCase())} />`;
}

/** Takes all filters out. */
export const ClearFilters = ({ onClear }) => html`
  <button type="button" class="button quiet" onClick=${onClear}><${Icon} name="close" />${t("filter.clear")}</button>`;
