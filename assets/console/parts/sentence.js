// A sentence with names in it that lead somewhere.

import { html } from "../html.js";
import { link } from "../router.js";
import { t } from "../words.js";

/** The words of a key, with each `{name}` replaced by `parts[name]`, which may be a view. Values of words are `values`. */
export const Sentence = ({ words, values, parts }) =>
  html`<span class="sentence">${t(words, values).split(/\{(\w+)\}/).map((piece, index) => (index % 2 ? parts[piece] : piece))}</span>`;

export const User = ({ name, room }) => html`<a class="name" tabindex="-1" href=${link(["users", name], { room })}>${name}</a>`;

export const Room = ({ id }) => html`<a class="name" tabindex="-1" href=${link(["rooms", id])}>${id}</a>`;

/** How many of several users are named. */
const NAMED = 3;

export const Users = ({ names = [], room }) => html`
  ${names.slice(0, NAMED).map((name, index) => html`${index > 0 && ", "}<${User} key=${name} name=${name} room=${room} />`)}
  ${names.length > NAMED && html` <span title=${names.slice(NAMED).join(", ")}>${t("more", { n: names.length - NAMED })}</span>`}`;
