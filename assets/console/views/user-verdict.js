// May a user speak? In a sentence: "Cannot speak: muted until 14:05 by eve, “spam again”".

import { call, path } from "../api.js";
import { actorName, untilWords } from "../events.js";
import { html, useEffect } from "../html.js";
import { useLoad } from "../load.js";
import { Icon } from "../parts/icon.js";
import { Sentence, Room } from "../parts/sentence.js";
import { Failed } from "../parts/states.js";
import { exact, FOR_EVER, left, now, useNow } from "../time.js";
import { t } from "../words.js";
import { Lift } from "./restrictions.js";

const TONES = {
  blocked: "danger", not_member: "", owner: "good", global_muted: "danger", muted: "danger", admin: "good", whitelist: "good", room_muted: "warn", member: "good",
};

/** Why, until when and by whom, as parts of a sentence. */
const details = ({ until, actor, reason }) => ({
  until: until ? untilWords(until) : "",
  by: actor ? t("verdict.by", { actor: actorName(actor) }) : "",
  why: reason ? t("verdict.why", { reason }) : "",
});

/** What the service says of the user in a room. `cause` tells who has set what is in force; `round` reads anew. */
export function Verdict({ room, user, cause, round, onEnd, onChange, onClose }) {
  const speech = useLoad(async (signal) => (await call("GET", path`/chatrooms/${room}/users/${user}/speak`, { signal })).data, [room, user, round]);
  const until = speech.data?.until;
  // When it ends, it is asked again.
  useEffect(() => {
    if (!until || until - now() > 2 ** 31 - 1) return undefined;
    const timer = setTimeout(onEnd, Math.max(0, until - now()) + 100);
    return () => clearTimeout(timer);
  }, [until]);
  useNow(Boolean(until));
  if (speech.error) return html`<${Failed} error=${speech.error} onRetry=${speech.reload} />`;
  if (!speech.data) return html`<p class="verdict"><span class="spinner" aria-hidden="true"></span></p>`;
  const { layer, reason } = speech.data;
  const isCause = cause && { muted: "mute", blocked: "block", global_muted: "global_mute" }[layer] === cause.kind;
  return html`
    <p class=${`verdict ${TONES[layer]}`}>
      <${Icon} name=${speech.data.allowed ? "unmute" : layer === "blocked" ? "block" : "mute"} />
      <span class="verdict-text"><strong><${Room} id=${room} /></strong>
        <span>${t(`verdict.${layer}`, details({ until, reason, actor: isCause ? cause.actor : "" }))}</span></span>
      <${Left} until=${until} />
      ${isCause && html`<${Lift} entry=${cause} onLifted=${onChange} onBack=${onChange} />`}
      ${onClose && html`<button type="button" class="button quiet square small" aria-label=${t("user.everywhere")} title=${t("user.everywhere")} onClick=${onClose}><${Icon} name="close" /></button>`}
    </p>`;
}

/** A restriction of a user, wherever. */
export function InForce({ entry, onChange }) {
  const { kind, chatroom, until } = entry;
  const at = useNow();
  if (until <= at) return null;
  return html`
    <p class="verdict danger">
      <${Icon} name=${kind === "block" ? "block" : "mute"} />
      <span class="verdict-text"><strong>${chatroom ? html`<${Room} id=${chatroom} />` : t("everywhere")}</strong>
        <span>${t({ mute: "verdict.muted", block: "verdict.blocked", global_mute: "verdict.global_muted" }[kind], details(entry))}</span></span>
      <${Left} until=${until} />
      <${Lift} entry=${entry} onLifted=${onChange} onBack=${onChange} />
    </p>`;
}

const Left = ({ until }) => (until && until < FOR_EVER ? html`<span class="number left" title=${exact(until)}>${left(until)}</span>` : null);
