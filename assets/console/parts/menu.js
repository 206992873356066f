// A button that opens a list of things to do. The list is a popover: above everything, gone with Esc and with a click elsewhere.

import { html, useId, useLayoutEffect, useRef, useState } from "../html.js";
import { Icon } from "./icon.js";

/** `items`: `{ label, icon, run, danger, hint }`, or `"-"` for a line. `children` is what the button shows. */
export function Menu({ label, items, children, className = "button", tabindex, disabled }) {
  const id = useId();
  const list = useRef(null);
  const button = useRef(null);
  const [open, setOpen] = useState(false);

  const place = () => {
    const at = button.current.getBoundingClientRect();
    const box = list.current;
    const fitsBelow = at.bottom + box.offsetHeight + 8 < innerHeight;
    box.style.top = `${fitsBelow ? at.bottom + 4 : Math.max(8, at.top - box.offsetHeight - 4)}px`;
    box.style.left = `${Math.max(8, Math.min(at.left, innerWidth - box.offsetWidth - 8))}px`;
  };
  const toggled = ({ newState }) => {
    setOpen(newState === "open");
  };
  // Once what is in it is drawn.
  useLayoutEffect(() => {
    if (!open) return;
    place();
    list.current.querySelector("button")?.focus();
  }, [open]);
  const close = () => {
    list.current?.hidePopover();
    button.current?.focus();
  };
  const onKey = (event) => {
    const all = [...list.current.querySelectorAll("button")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const to = { Home: 0, End: all.length - 1 }[event.key] ?? (step && (all.indexOf(document.activeElement) + step + all.length) % all.length);
    if (event.key === "Tab") return close();
    if (to === undefined) return undefined;
    event.preventDefault();
    event.stopPropagation();
    return all[to].focus();
  };
  const pick = (run) => {
    close();
    run();
  };
  return html`
    <span class="menu">
      <button type="button" ref=${button} class=${className} popovertarget=${id} aria-label=${label} title=${label} aria-haspopup="menu" aria-expanded=${open} tabindex=${tabindex}
        disabled=${disabled}>${children}</button>
      <div id=${id} ref=${list} popover class="menu-list" role="menu" aria-label=${label} onToggle=${toggled} onKeyDown=${onKey}>
        ${open && items.map((item, index) => item === "-"
          ? html`<div key=${index} class="menu-line" role="separator"></div>`
          : html`
            <button type="button" key=${index} class=${`menu-item ${item.danger ? "danger" : ""}`} role="menuitem" tabindex="-1" onClick=${() => pick(item.run)}>
              ${item.icon && html`<${Icon} name=${item.icon} />`}<span>${item.label}</span>${item.hint && html`<kbd>${item.hint}</kbd>`}
            </button>`)}
      </div>
    </span>`;
}
