// Signing in: as a user by password, or as the app by its client's secret. Also over what is on the screen, when a token ends.

import { explain } from "../failure.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Dialog } from "../parts/dialog.js";
import { Icon } from "../parts/icon.js";
import { Choices } from "../parts/choices.js";
import { LanguageAndTheme } from "../parts/looks.js";
import { go, route } from "../router.js";
import { session, signIn, signOut } from "../session.js";
import { settings } from "../settings.js";
import { t } from "../words.js";

/** What is needed next comes while one types. */
const fetchAhead = () => ["./rooms.js", "./room.js"].forEach((view) => import(view).catch(() => {}));

/** `again`: over the screen, for the app and the user that were signed in. */
export function SignIn({ again = false }) {
  useEffect(fetchAhead, []);
  if (again) {
    return html`
      <${Dialog} title=${t("signIn.again")} className="sign-in-again">
        <p class="hint">${t("signIn.againHint")}</p>
        <${Form} again />
        <button type="button" class="button quiet wide" onClick=${signOut}>${t("signOut")}</button>
      <//>`;
  }
  return html`
    <main class="sign-in">
      <div class="sign-in-box">
        <header class="brand"><img src="/console/icon.svg" alt="" width="32" height="32" /><h1>roomward</h1></header>
        <p class="hint">${t("signIn.hint")}</p>
        <${Form} />
      </div>
      <footer class="sign-in-foot"><${LanguageAndTheme} /></footer>
    </main>`;
}

function Form({ again }) {
  const before = session.get();
  const remembered = settings.get();
  const [kind, setKind] = useState(again ? before.kind : "user");
  const [app, setApp] = useState(again ? before.app : route.get().app || remembered.app);
  const [name, setName] = useState(again && before.kind === "user" ? before.name : remembered.name);
  const [secret, setSecret] = useState("");
  const [operator, setOperator] = useState(again && before.kind === "app" ? before.name : "");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const form = useRef(null);
  // Where one types first: what is not known yet.
  useEffect(() => [...form.current.querySelectorAll("input")].find((input) => !input.value && !input.disabled)?.focus(), [kind]);

  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    const given = { app: app.trim().replace("#", "/") };
    try {
      await signIn(kind === "user"
        ? { ...given, username: name.trim(), password: secret }
        : { ...given, clientId: name.trim(), clientSecret: secret, operator: operator.trim() });
      if (!again && route.get().app !== given.app) go(["rooms"]);
    } catch (refusal) {
      setBusy(false);
      setSecret("");
      setError(refusal);
      form.current?.querySelector("input[type=password]").focus();
    }
  };
  const field = (label, value, set, more = {}) => html`
    <label class="field"><span>${label}</span>
      <input class="input" value=${value} onInput=${(event) => set(event.currentTarget.value)} autocapitalize="none" spellcheck=${false} ...${more} />
    </label>`;
  return html`
    <form ref=${form} class="form" onSubmit=${submit}>
      ${!again && html`<${Choices} label=${t("signIn.as")} value=${kind} onChange=${setKind} wide
        choices=${[["user", t("signIn.user")], ["app", t("signIn.app")]]} />`}
      ${field(t("signIn.appName"), app, setApp, { required: true, disabled: again, placeholder: "demo/chat", pattern: "[^\\/#\\s]+[\\/#][^\\/#\\s]+", title: t("signIn.appTitle"), name: "app", autocomplete: "organization" })}
      ${kind === "user"
        ? field(t("signIn.username"), name, setName, { key: "u", required: true, disabled: again, name: "username", autocomplete: "username" })
        : field(t("signIn.clientId"), name, setName, { key: "c", required: true, name: "client", autocomplete: "username" })}
      ${field(kind === "user" ? t("signIn.password") : t("signIn.clientSecret"), secret, setSecret,
        { required: true, type: "password", name: "secret", autocomplete: "current-password" })}
      ${kind === "app" && field(t("signIn.operator"), operator, setOperator, { maxlength: 64, name: "operator", autocomplete: "nickname" })}
      ${error && html`<p class="notice failed" role="alert"><${Icon} name="warning" />${explain(error)}</p>`}
      <button class="button primary wide" disabled=${busy}>${busy ? t("signIn.busy") : t("signIn")}</button>
    </form>`;
}
