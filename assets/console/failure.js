// A refusal in the viewer's words: what has happened, and what helps.

import { has, t } from "./words.js";

/** What the service says of a single name, by its own words. */
const SAID = [
  [/are not members of this group|doesn't exist in (group|chatroom)|is not admin of/, "refused.notIn"],
  [/operation on group owner/, "refused.owner"],
  [/you have no permission|Unable to authenticate/, "refused.right"],
  [/member list is full|exceeds the limit/, "refused.full"],
  [/^grpID .* does not exist|do not find this group/, "refused.noRoom"],
  [/username .* doesn't exist/, "refused.noUser"],
  [/is in the room already/, "refused.isIn"],
  [/is blocked/, "refused.blocked"],
  [/is another now|is on the whitelist again|is no admin any more|has another|in the room any more|not on the whitelist any more/, "refused.changed"],
  [/would have ended by now/, "refused.over"],
];

/** A sentence for a refusal: by the service's own words or its kind where we know these, else by its status. */
export function explain(refusal) {
  const said = typeof refusal === "string" ? refusal : refusal?.description;
  const known = SAID.find(([words]) => words.test(said ?? ""));
  if (known) return t(known[1]);
  if (refusal?.name !== "ApiError") return String(refusal?.message ?? refusal ?? "");
  const key = [`failure.${refusal.error}`, `failure.${refusal.status}`].find(has) ?? "failure.other";
  return t(key, { status: refusal.status, description: said }).trim();
}
