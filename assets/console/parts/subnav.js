// The parts of a view, as links: what is open is in the address.

import { html } from "../html.js";

/** `parts`: `{ id, label, to }`. */
export const Subnav = ({ label, parts, current }) => html`
  <nav class="subnav" aria-label=${label}>
    ${parts.map(({ id, label: words, to }) => html`<a key=${id} href=${to} aria-current=${id === current ? "page" : undefined}>${words}</a>`)}
  </nav>`;
