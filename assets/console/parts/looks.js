// Language and theme.

import { html } from "../html.js";
import { settings } from "../settings.js";
import { useStore } from "../store.js";
import { language, t } from "../words.js";
import { Choices } from "./choices.js";
import { Icon } from "./icon.js";

export function LanguageAndTheme() {
  const { theme } = useStore(settings);
  return html`
    <div class="looks">
      <${Choices} label=${t("language")} value=${language()} onChange=${(language) => settings.set({ language })}
        choices=${[["en", "English", "EN"], ["zh", "中文", "中"]]} />
      <${Choices} label=${t("theme")} value=${theme} onChange=${(theme) => settings.set({ theme })}
        choices=${[
          ["auto", t("theme.auto"), t("theme.auto")],
          ["light", t("theme.light"), html`<${Icon} name="sun" />`],
          ["dark", t("theme.dark"), html`<${Icon} name="moon" />`],
        ]} />
    </div>`;
}
