// What was read, as a file: pages of the API, put together in the browser.

const NDJSON = "application/x-ndjson";
const CSV = "text/csv";

/** The columns of an event in CSV. */
const COLUMNS = ["time", "chatroom", "n", "kind", "actor", "users", "reason", "before", "after", "undoes"];

const FORMATS = {
  csv: {
    type: CSV,
    // A mark by which spreadsheets know that it is UTF-8.
    head: `\uFEFF${COLUMNS.join(",")}\r\n`,
    line: (event) => `${cells(event).map(quoted).join(",")}\r\n`,
  },
  ndjson: { type: NDJSON, head: "", line: (event) => `${JSON.stringify(event)}\n` },
};

const cells = ({ timestamp, chatroom, n, kind, actor, users = [], reason, before, after, undoes }) => [
  new Date(timestamp).toISOString(), chatroom, n, kind, actor, users.join(" "), reason, before && JSON.stringify(before), after && JSON.stringify(after), undoes,
];

/** A cell that a spreadsheet takes as a text, whatever a user has called themselves: one that begins like a formula gets a quote. */
export function quoted(value) {
  const text = value === undefined || value === null ? "" : String(value);
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Writes the events of `pages` as `format` ("csv" or "ndjson"), and tells how many they are so far. Returns the whole as a Blob. */
export async function write(pages, format, onCount) {
  const { type, head, line } = FORMATS[format];
  const parts = [head];
  let count = 0;
  for await (const { data } of pages) {
    parts.push(data.map(line).join(""));
    onCount(count += data.length);
  }
  return new Blob(parts, { type });
}

/** Hands a Blob to the viewer as a file of that name. */
export function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  // Not before the browser has begun to read it.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
