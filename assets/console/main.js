// The console: who is signed in, where they are, and the view of that.

import { html, render, useEffect, useErrorBoundary } from "./html.js";
import { Toasts } from "./parts/toast.js";
import { Failed } from "./parts/states.js";
import { route } from "./router.js";
import { session } from "./session.js";
import { applyTheme, settings } from "./settings.js";
import { useStore } from "./store.js";
import { Frame } from "./views/frame.js";
import { SignIn } from "./views/sign-in.js";
import { language } from "./words.js";

function Console() {
  useStore(settings);
  const { state, app } = useStore(session);
  const { app: linked } = useStore(route);
  const [error, reset] = useErrorBoundary((cause) => console.error(cause));
  useEffect(() => void (document.documentElement.lang = language()));
  // A link into another app is for another token.
  const signedIn = state !== "out" && (!linked || linked === app);
  if (error) return html`<main class="page"><${Failed} error=${error} onRetry=${reset} /></main>`;
  return html`
    ${signedIn ? html`<${Frame} key=${app} />` : html`<${SignIn} key=${`out/${linked}`} />`}
    ${signedIn && state === "ended" && html`<${SignIn} key="ended" again />`}
    <${Toasts} />`;
}

applyTheme();
render(html`<${Console} />`, document.getElementById("console"));
