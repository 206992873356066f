// What a view shows where it has no content: while it loads, when there is nothing, when it failed.

import { explain } from "../failure.js";
import { html } from "../html.js";
import { t } from "../words.js";
import { Icon } from "./icon.js";

export const Loading = () => html`<div class="state" role="status"><span class="spinner" aria-hidden="true"></span><span>${t("loading")}</span></div>`;

/** Nothing is there: a sentence that says what would be. */
export const Empty = ({ icon = "room", title, children }) => html`
  <div class="state">
    <span class="state-icon"><${Icon} name=${icon} size=${20} /></span>
    <strong>${title}</strong>
    ${children && html`<p>${children}</p>`}
  </div>`;

/** It failed: why, what helps, and another try. */
export const Failed = ({ error, onRetry }) => html`
  <div class="state failed" role="alert">
    <span class="state-icon"><${Icon} name="warning" size=${20} /></span>
    <strong>${explain(error)}</strong>
    ${onRetry && html`<button type="button" class="button" onClick=${onRetry}>${t("retry")}</button>`}
  </div>`;
