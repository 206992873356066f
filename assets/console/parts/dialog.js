// A dialog over what is on the screen: the browser's own, which keeps the focus in and gives it back.

import { html, useEffect, useRef } from "../html.js";
import { t } from "../words.js";
import { Icon } from "./icon.js";

/** `onClose` is called on Esc, the cross and a click beside it; without it the dialog stays until it is taken away. */
export function Dialog({ title, onClose, children, className = "", footer }) {
  const element = useRef(null);
  useEffect(() => {
    const dialog = element.current;
    dialog.showModal();
    return () => dialog.close();
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    onClose?.();
  };
  const beside = (event) => event.target === element.current && onClose?.();
  return html`
    <dialog ref=${element} class=${`dialog ${className}`} aria-label=${title} onCancel=${cancel} onMouseDown=${beside}>
      <div class="dialog-box">
        <header class="dialog-head">
          <h2>${title}</h2>
          ${onClose && html`
            <button type="button" class="button quiet square" aria-label=${t("close")} onClick=${onClose}><${Icon} name="close" /></button>`}
        </header>
        <div class="dialog-body">${children}</div>
        ${footer && html`<footer class="dialog-foot">${footer}</footer>`}
      </div>
    </dialog>`;
}
