// Icons: strokes on a grid of 16, in the colour of the text beside them. They say nothing to a screen reader.

import { html } from "../html.js";

const STROKES = {
  add: "M8 3v10M3 8h10",
  admin: "M8 2l4.5 1.7v3.8c0 2.9-1.9 5.3-4.5 6.5-2.6-1.2-4.5-3.6-4.5-6.5V3.7z",
  app: "M3 3h4v4H3zM9 3h4v4H9zM3 9h4v4H3zM9 9h4v4H9z",
  audit: "M4 2.5h8v11H4zM6.5 5.5h3M6.5 8h3M6.5 10.5h2",
  back: "M10 3L5 8l5 5",
  block: "M8 2.5a5.5 5.5 0 100 11 5.5 5.5 0 000-11zM4.2 4.2l7.6 7.6",
  chart: "M3 13V8M6.5 13V4.5M10 13V7M13.5 13V3",
  check: "M3.5 8.5l3 3 6-7",
  close: "M4 4l8 8M12 4l-8 8",
  down: "M4.5 6.5L8 10l3.5-3.5",
  feed: "M2 8.5h2.5L6.5 4l3 8.5 2-4H14",
  globe: "M8 2.5a5.5 5.5 0 100 11 5.5 5.5 0 000-11zM2.5 8h11M8 2.5c3.5 3.6 3.5 7.4 0 11-3.5-3.6-3.5-7.4 0-11z",
  join: "M9 3h3.5v10H9M3 8h6.5M7 5.5L9.5 8 7 10.5",
  keyboard: "M2 4.5h12v7H2zM4.5 7h.01M7 7h.01M9.5 7h.01M12 7h.01M5 9.5h6",
  leave: "M7 3H3.5v10H7M6 8h7M10.5 5.5L13 8l-2.5 2.5",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  moon: "M13 9.5A5.5 5.5 0 016.5 3 5.5 5.5 0 1013 9.5z",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  mute: "M3 6v4h2.5L9 13V3L5.5 6zM11.5 6.3l3 3.4M14.5 6.3l-3 3.4",
  person: "M8 8a2.7 2.7 0 100-5.4A2.7 2.7 0 008 8zM3 13.5c.5-2.5 2.5-3.8 5-3.8s4.5 1.3 5 3.8",
  pin: "M6 2.5h4l-.5 4 2 2.5h-7l2-2.5zM8 9v4.5",
  remove: "M6.5 8a2.5 2.5 0 100-5 2.5 2.5 0 000 5zM2 13.5c.4-2.4 2.2-3.5 4.5-3.5 1 0 1.9.2 2.6.6M10.5 12h4",
  restrictions: "M3.5 7.5h9v6h-9zM5.5 7.5V5a2.5 2.5 0 015 0v2.5",
  room: "M3 4a1 1 0 011-1h8a1 1 0 011 1v6a1 1 0 01-1 1H7l-3 2.5V11a1 1 0 01-1-1z",
  search: "M7 11.5a4.5 4.5 0 100-9 4.5 4.5 0 000 9zM10.5 10.5l3 3",
  settings: "M3 5h6M12 5h1M3 11h1M7 11h6M9 3.5v3M4.5 9.5v3",
  signOut: "M7 3H3.5v10H7M6 8h7M10.5 5.5L13 8l-2.5 2.5",
  star: "M8 2.5l1.7 3.5 3.8.5-2.8 2.7.7 3.8L8 11.2 4.6 13l.7-3.8L2.5 6.5 6.3 6z",
  sun: "M8 5.2a2.8 2.8 0 100 5.6 2.8 2.8 0 000-5.6zM8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9",
  undo: "M3 6.5h6.5a3.5 3.5 0 010 7H6M5.5 3.5l-3 3 3 3",
  unmute: "M3 6v4h2.5L9 13V3L5.5 6zM11.5 5.8a3 3 0 010 4.4M13 4a5.5 5.5 0 010 8",
  warning: "M8 2.5l6 10.5H2zM8 6.5v3M8 11.3v.01",
  whitelist: "M3.5 8.5l3 3 6-7",
};

export const Icon = ({ name, size = 16 }) => html`
  <svg class=${`icon icon-${name}`} width=${size} height=${size} viewBox="0 0 16 16" aria-hidden="true"><path d=${STROKES[name]} /></svg>`;
