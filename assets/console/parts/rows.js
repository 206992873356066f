// A list of any length, of which only what is seen is drawn. A grid to the keyboard and to screen readers.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../html.js";
import { t } from "../words.js";
import { Empty, Failed, Loading } from "./states.js";

/** Rows that are drawn above and below what is seen, and how near the end reads on. */
const OVERSCAN = 8;
const READS_ON = 40;

/**
 * `list`: of `useList`. `row(entry)`: its cells. `keyOf(entry)`: what it is called by. `onOpen(entry)`: Enter. `selection`: a
 * Set of keys with `onSelect(Set)`, if rows can be selected; `selectable(entry)`: whether that one can. `onKey(event, entry)`:
 * other keys. `head`: cells above. The height of a row is `--row` in the style sheet.
 */
export function Rows({ list, row, keyOf, label, className = "", onOpen, onKey, selection, onSelect, selectable = () => true, empty, head, count }) {
  const { rows, more, loading, error, next, reload } = list;
  const scroller = useRef(null);
  const [top, setTop] = useState(0);
  const [size, setSize] = useState({ height: 600, row: 44 });
  const [activeKey, setActiveKey] = useState(null);
  const anchor = useRef(0); // where a selection with Shift begins
  const seen = useRef({ key: null, offset: 0 }); // the first row that is seen, and how much of it is not

  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) return undefined;
    const measure = () => setSize({ height: element.clientHeight, row: parseFloat(getComputedStyle(element).getPropertyValue("--row")) || 44 });
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    return () => observer.disconnect();
  }, []);

  const first = Math.max(0, Math.floor(top / size.row) - OVERSCAN);
  const last = Math.min(rows.length, Math.ceil((top + size.height) / size.row) + OVERSCAN);
  useEffect(() => {
    if (more && !loading && !error && last > rows.length - READS_ON) next();
  }, [last, rows.length, more, loading, error]);

  // What comes in above does not move what is looked at.
  useLayoutEffect(() => {
    const element = scroller.current;
    const { key, offset } = seen.current;
    if (key === null || !element?.scrollTop) return;
    const index = rows.findIndex((entry) => keyOf(entry) === key);
    const wanted = index * size.row + offset;
    if (index >= 0 && Math.abs(element.scrollTop - wanted) >= 1) element.scrollTop = wanted;
  }, [rows]);
  const onScroll = (event) => {
    const { scrollTop } = event.currentTarget;
    const index = Math.floor(scrollTop / size.row);
    seen.current = { key: rows[index] ? keyOf(rows[index]) : null, offset: scrollTop - index * size.row };
    setTop(scrollTop);
  };

  const active = useMemo(() => Math.max(0, activeKey === null ? 0 : rows.findIndex((entry) => keyOf(entry) === activeKey)), [rows, activeKey]);
  const setAt = (index) => setActiveKey(rows[index] ? keyOf(rows[index]) : null);
  const moveTo = (index, extend) => {
    const to = Math.max(0, Math.min(rows.length - 1, index));
    setAt(to);
    const [above, below] = [to * size.row, (to + 1) * size.row];
    const element = scroller.current;
    if (above < element.scrollTop) element.scrollTop = above;
    else if (below > element.scrollTop + element.clientHeight) element.scrollTop = below - element.clientHeight;
    if (extend && selection) {
      const [from, until] = [Math.min(anchor.current, to), Math.max(anchor.current, to)];
      onSelect(new Set([...selection, ...rows.slice(from, until + 1).filter(selectable).map(keyOf)]));
    } else {
      anchor.current = to;
    }
  };
  const toggle = (index, extend) => {
    const entry = rows[index];
    if (!selection || !entry || !selectable(entry)) return;
    if (extend) return moveTo(index, true);
    const chosen = new Set(selection);
    if (!chosen.delete(keyOf(entry))) chosen.add(keyOf(entry));
    anchor.current = index;
    setAt(index);
    onSelect(chosen);
  };
  const check = ({ currentTarget, shiftKey }, index) => {
    // With Shift a row is selected, whatever it was.
    if (shiftKey) currentTarget.checked = true;
    toggle(index, shiftKey);
    scroller.current.focus({ preventScroll: true });
  };
  const page = Math.max(1, Math.floor(size.height / size.row) - 1);
  const keyDown = (event) => {
    if (event.target !== scroller.current || event.altKey) return;
    const held = event.ctrlKey || event.metaKey;
    const step = { ArrowDown: 1, j: 1, J: 1, ArrowUp: -1, k: -1, K: -1, PageDown: page, PageUp: -page, Home: -rows.length, End: rows.length }[event.key];
    if (step && !held) moveTo(active + step, event.shiftKey);
    else if (event.key === " " && selection) toggle(active, event.shiftKey);
    else if (event.key === "x" && !held && selection) toggle(active);
    else if (event.key === "a" && held && selection) onSelect(new Set(rows.filter(selectable).map(keyOf)));
    else if (event.key === "Escape" && selection?.size) onSelect(new Set());
    else if (event.key === "Enter" && rows[active]) onOpen?.(rows[active]);
    else if (held || !rows[active] || !onKey?.(event, rows[active])) return;
    event.preventDefault();
  };

  const body = rows.length > 0
    ? html`
      <div class="rows-space" style=${{ height: `${rows.length * size.row}px` }} role="presentation">
        ${rows.slice(first, last).map((entry, offset) => {
          const index = first + offset;
          const key = keyOf(entry);
          return html`
            <div key=${key} id=${`row-${index}`} role="row" aria-rowindex=${index + 1} aria-selected=${selection ? selection.has(key) : undefined}
              class=${`row ${index === active ? "active" : ""} ${selection?.has(key) ? "selected" : ""}`} style=${{ transform: `translateY(${index * size.row}px)` }}
              onMouseDown=${() => setAt(index)}>
              ${selection && html`
                <span class="cell check" role="gridcell"><input type="checkbox" tabindex="-1" checked=${selection.has(key)} disabled=${!selectable(entry)}
                  aria-label=${t("select", { name: key })} onClick=${(event) => check(event, index)} /></span>`}
              ${row(entry, index)}
            </div>`;
        })}
      </div>
      ${error && html`<div role="row"><div role="gridcell"><${Failed} error=${error} onRetry=${next} /></div></div>`}
      ${loading && more && html`<div class="rows-more" role="row"><span role="gridcell" aria-label=${t("loading")}><span class="spinner" aria-hidden="true"></span></span></div>`}`
    : error
      ? html`<${Failed} error=${error} onRetry=${reload} />`
      : loading
        ? html`<${Loading} />`
        : html`<${Empty} icon=${empty.icon} title=${empty.title}>${empty.text}<//>`;
  // A grid without a row would be none to a screen reader.
  const grid = rows.length === 0 ? { role: "region" } : {
    role: "grid", "aria-rowcount": count ?? (more ? -1 : rows.length), "aria-busy": loading, "aria-activedescendant": `row-${active}`,
    "aria-multiselectable": selection ? true : undefined,
  };
  return html`
    <div class=${`rows ${className}`}>
      ${head && html`<div class="rows-head" aria-hidden="true">${head}</div>`}
      <div class="rows-body" ref=${scroller} tabindex="0" aria-label=${label} ...${grid}
        onScroll=${onScroll} onKeyDown=${keyDown}>${body}</div>
    </div>`;
}
