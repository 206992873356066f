// A form in a dialog: what was filled in is sent, and where it is refused, the form stays and says why.

import { explain } from "../failure.js";
import { html, useState } from "../html.js";
import { t } from "../words.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./icon.js";

/** `send` does what the button `label` promises, takes the dialog away when that is done, and throws what refuses it. */
export function FormDialog({ title, label = t("save"), send, onClose, children }) {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await send();
    } catch (refusal) {
      setBusy(false);
      setError(refusal);
    }
  };
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      <form class="form" onSubmit=${submit}>
        ${children}
        ${error && html`<p class="notice failed" role="alert"><${Icon} name="warning" />${explain(error)}</p>`}
        <div class="form-foot"><button type="button" class="button" onClick=${onClose}>${t("cancel")}</button>
          <button class="button primary" disabled=${busy}>${label}</button></div>
      </form>
    <//>`;
}
