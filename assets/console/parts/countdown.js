// What is left until a moment, second by second.

import { html, useEffect } from "../html.js";
import { clock, exact, FOR_EVER, left, useNow } from "../time.js";
import { t } from "../words.js";

/** `onEnd` is called once when the moment has come. */
export function Countdown({ until, onEnd }) {
  const now = useNow(until < FOR_EVER);
  const isOver = now >= until;
  useEffect(() => {
    if (isOver) onEnd?.();
  }, [isOver]);
  // Ticking text would be read out each second: screen readers get the moment.
  return html`
    <time class="countdown number" datetime=${new Date(until).toISOString()} title=${until < FOR_EVER ? exact(until) : undefined}>
      <span aria-hidden="true">${left(until, now)}</span>
      <span class="hidden"> ${until < FOR_EVER ? t("until.moment", { when: clock(until) }) : t("time.forever")}</span>
    </time>`;
}
