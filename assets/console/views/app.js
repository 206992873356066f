// What belongs to the app itself, for who is signed in as it: its moderators, and where its events are sent.

import { html } from "../html.js";
import { Empty } from "../parts/states.js";
import { Subnav } from "../parts/subnav.js";
import { mayInApp } from "../rights.js";
import { link } from "../router.js";
import { t } from "../words.js";
import { Deliveries } from "./app-deliveries.js";
import { Moderators } from "./app-moderators.js";
import { Rules } from "./app-rules.js";

const TABS = { moderators: Moderators, callbacks: Rules };

export default function App({ parts, query }) {
  if (!mayInApp("manage_app")) return html`<main class="page"><${Empty} icon="app" title=${t("failure.group_authorization")} /></main>`;
  const [, tab = "moderators", rule] = parts;
  const Tab = tab === "callbacks" && rule ? Deliveries : TABS[tab] ?? Moderators;
  return html`
    <main class="page list-page">
      <header class="page-head"><h1>${t("nav.app")}</h1></header>
      <${Subnav} label=${t("nav.app")} current=${tab} parts=${Object.keys(TABS).map((each) => ({ id: each, label: t(`app.${each}`), to: link(["app", each]) }))} />
      <${Tab} parts=${parts} query=${query} rule=${rule} />
    </main>`;
}
