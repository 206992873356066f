// Keys that work wherever the focus is, unless one is typing or a dialog is open.

const typing = (element) => element?.matches?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");

/** How a key is called here: "ctrl+k", "?", "j", "shift+arrowdown". */
export function nameOf(event) {
  const key = event.key.toLowerCase();
  const held = [
    (event.ctrlKey || event.metaKey) && "ctrl+",
    event.altKey && "alt+",
    // A character says by itself whether Shift was held.
    event.shiftKey && event.key.length > 1 && "shift+",
  ];
  return held.filter(Boolean).join("") + (key === " " ? "space" : key);
}

/** Calls `handlers[name]` when that key is pressed. Returns a function that ends it. */
export function shortcut(handlers) {
  const listen = (event) => {
    const name = nameOf(event);
    const handler = handlers[name];
    if (!handler || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (typing(event.target) && !name.startsWith("ctrl+")) return;
    event.preventDefault();
    handler(event);
  };
  addEventListener("keydown", listen);
  return () => removeEventListener("keydown", listen);
}
