// A user's card, what is in force, the audit and its export, and charts.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { before, after, test } from "node:test";

import { newPage, open, row, say, signIn } from "./browser.js";
import { eventually, Service } from "./service.js";

const HOUR = 3_600_000;

let service;
before(async () => {
  service = await Service.start();
});
after(() => service.kill());

/** An app with two rooms, in which bob and cid are, and eve, who moderates all. */
async function twoRooms() {
  const app = await service.app();
  await app.room("lobby", "ann", ["bob", "cid", "dan"]);
  await app.room("attic", "ann2", []);
  await app.call("POST", "/chatrooms/attic/users", { usernames: ["bob", "cid"] });
  await app.moderator("eve");
  return app;
}

test("a user's card says in a sentence why one cannot speak, and ends it with a click", async () => {
  const app = await twoRooms();
  await app.mute("lobby", ["bob"], { ms: HOUR, actor: "eve", reason: "spam again" });
  const page = await newPage();
  await signIn(page, app, { as: "eve", at: "users/bob?room=lobby" });
  await page.getByText(/^Cannot speak: muted until \d\d:\d\d by eve, “spam again”$/).waitFor();
  await page.locator(".verdict").getByRole("button", { name: say(page, "lift.mute") }).click();
  await page.getByText(say(page, "verdict.member"), { exact: true }).waitFor();
  const { data } = await app.call("GET", "/chatrooms/lobby/users/bob/speak");
  assert.equal(data.layer, "member");
  await page.getByRole("status").getByRole("button", { name: say(page, "undo") }).click();
  await page.getByText(/^Cannot speak: muted until/).waitFor();
  assert.equal((await app.call("GET", "/chatrooms/lobby/users/bob/speak")).data.layer, "muted");
});

test("a user's card says for every rule of the service what comes of it", async () => {
  const app = await twoRooms();
  await app.room("den", "owner1", ["admin1", "white1", "muted1", "blocked1", "plain1"]);
  await app.users("outside1");
  await app.call("POST", "/chatrooms/den/admin", { newadmin: "admin1" });
  await app.call("POST", "/chatrooms/den/white/users", { usernames: ["white1"] });
  await app.mute("den", ["muted1"]);
  await app.block("den", "blocked1");
  await app.call("POST", "/mutes", { username: "cid", chatroom: 3600 }, { "X-Operator": "eve" });
  await app.call("POST", "/chatrooms/den/ban", {}, { "X-Audit-Reason": "quiet" });
  const page = await newPage();
  await signIn(page, app, { as: "eve" });
  for (const [user, layer, room = "den"] of [
    ["owner1", "owner"], ["admin1", "admin"], ["white1", "whitelist"], ["muted1", "muted"], ["blocked1", "blocked"], ["plain1", "room_muted"],
    ["outside1", "not_member"], ["cid", "global_muted", "lobby"], ["dan", "member", "lobby"],
  ]) {
    assert.equal((await app.call("GET", `/chatrooms/${room}/users/${user}/speak`)).data.layer, layer);
    await open(page, app, `users/${user}?room=${room}`);
    const beginning = say(page, `verdict.${layer}`).trim().split("{")[0];
    await page.locator(".verdict", { hasText: room }).getByText(beginning).first().waitFor();
  }
});

test("from the card a user is muted in all rooms, and the mute of a few seconds ends before one's eyes", async () => {
  const app = await twoRooms();
  const page = await newPage();
  await signIn(page, app, { as: "eve", at: "users/bob" });
  await page.getByText(say(page, "user.nothingInForce")).waitFor();
  await page.getByRole("group", { name: say(page, "acts.everywhere") }).getByLabel(say(page, "reason")).fill("insults");
  await page.getByRole("button", { name: "1 h", exact: true }).click();
  await page.getByText(/^Cannot speak: muted in all rooms until \d\d:\d\d by eve, “insults”$/).waitFor();
  const { data: { chatroom: left } } = await app.call("GET", "/mutes/bob");
  assert.ok(left > 3500 && left <= 3600, `${left} seconds are left`);
  await page.getByRole("status").getByRole("button", { name: say(page, "undo") }).click();
  await page.getByText(say(page, "user.nothingInForce")).waitFor();

  await app.mute("attic", ["bob"], { ms: 5000 });
  await open(page, app, "users/bob?room=attic");
  await page.getByText(/^Cannot speak: muted until/).waitFor();
  await page.locator(".verdict", { hasText: "attic" }).getByText(say(page, "verdict.member"), { exact: true }).waitFor();
});

test("the card has every room that knows the user, and all that has happened", async () => {
  const app = await twoRooms();
  await app.block("attic", "bob", { reason: "cheating" });
  const page = await newPage();
  await signIn(page, app, { as: "eve", at: "users/bob" });
  await row(page, "attic").getByText("Blocked, for ever").waitFor();
  await row(page, "lobby").getByText(say(page, "role.member")).waitFor();
  await page.getByRole("link", { name: say(page, "user.history") }).click();
  await row(page, "eve blocked bob for ever").getByText("cheating").waitFor();
  await row(page, "eve blocked bob").getByRole("button", { name: say(page, "undo") }).click();
  await row(page, "eve unblocked bob").waitFor();
  await row(page, "eve blocked bob").getByText(say(page, "undo.isUndone"), { exact: true }).waitFor();
  assert.deepEqual((await app.call("GET", "/chatrooms/attic/blocks/users")).data, []);
});

test("what is in force is listed across rooms, counted down, filtered and lifted", async () => {
  const app = await twoRooms();
  await app.mute("lobby", ["bob"], { ms: HOUR, reason: "spam" });
  await app.block("attic", "cid", { actor: "mia", reason: "cheating" });
  const page = await newPage();
  await signIn(page, app, { as: "eve", at: "restrictions" });
  await row(page, "bob").getByText(/^5\d:\d\d$/).waitFor();
  await row(page, "cid").getByText(say(page, "time.forever")).waitFor();
  // The end of a mute is seen without asking again.
  await app.mute("lobby", ["dan"], { ms: 4000, reason: "short" });
  await page.getByRole("button", { name: say(page, "reload") }).click();
  await row(page, "dan").waitFor();
  await row(page, "dan").waitFor({ state: "detached" });
  await page.getByRole("radio", { name: say(page, "restrictions.block") }).check({ force: true });
  await row(page, "bob").waitFor({ state: "detached" });
  assert.match(page.url(), /kind=block/);
  const clear = page.getByRole("button", { name: say(page, "filter.clear") });
  await clear.click();
  await row(page, "bob").waitFor();
  await page.getByLabel(say(page, "filter.actor"), { exact: true }).fill("mia");
  await row(page, "bob").waitFor({ state: "detached" });
  await row(page, "cid").getByRole("button", { name: say(page, "lift.block") }).click();
  await page.getByText(say(page, "restrictions.empty")).waitFor();
  assert.deepEqual((await app.call("GET", "/chatrooms/attic/blocks/users")).data, []);
  await page.getByRole("status").getByRole("button", { name: say(page, "undo") }).click();
  // It is eve's now.
  await page.getByText(say(page, "undone"), { exact: true }).waitFor();
  await clear.click();
  await row(page, "cid").getByText(/^eve · /).waitFor();
});

test("the audit is filtered, and what is left is exported whole as CSV and as NDJSON", async () => {
  const app = await twoRooms();
  await app.mute("lobby", ["bob"], { actor: "mia", reason: '=cmd("x")' });
  for (let i = 0; i < 3; i++) await app.mute("lobby", ["cid", "dan"], { ms: HOUR + i, actor: "mia", reason: "a, \"b\"" });
  await app.block("attic", "cid", { actor: "mia" });
  const page = await newPage();
  await signIn(page, app, { as: "eve", at: "audit" });
  await row(page, "mia blocked cid").waitFor();
  await page.getByLabel(say(page, "filter.kind")).selectOption("MUTE");
  await row(page, "mia blocked cid").waitFor({ state: "detached" });
  await page.getByLabel(say(page, "filter.actor"), { exact: true }).fill("mia");
  await page.getByLabel(say(page, "filter.time")).selectOption("hour");
  await eventually("the four mutes", async () => (await page.getByRole("row").count()) === 4);

  const exported = async (format) => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: say(page, "export.do", { format }) }).click()]);
    return [download.suggestedFilename(), await readFile(await download.path(), "utf8")];
  };
  const [csvName, csv] = await exported("CSV");
  assert.match(csvName, /^audit-console-.*\.csv$/);
  const lines = csv.split("\r\n");
  assert.equal(lines[0], "\uFEFFtime,chatroom,n,kind,actor,users,reason,before,after,undoes");
  assert.equal(lines.length, 6);
  assert.match(lines[1], /Z,lobby,\d+,MUTE\/ADD,mia,cid dan,"a, ""b""",/);
  assert.match(lines[4], /,mia,bob,"'=cmd\(""x""\)",/);
  const [, ndjson] = await exported("NDJSON");
  const events = ndjson.trimEnd().split("\n").map((line) => JSON.parse(line));
  const { data } = await app.call("GET", "/audit?kind=MUTE&actor=mia");
  assert.deepEqual(events, data);
});

test("charts show what has happened, in the app and in a room, and the same as a table", async () => {
  const app = await twoRooms();
  await app.mute("lobby", ["bob", "cid"]);
  await app.block("attic", "cid");
  const page = await newPage();
  await signIn(page, app, { as: "eve", at: "charts" });
  const chart = (series) => page.getByRole("img", { name: new RegExp(`^${say(page, `charts.${series}`)}: `) });
  await page.getByRole("img", { name: new RegExp(`^${say(page, "charts.mutes")}: 2,`) }).waitFor();
  assert.match(await chart("blocks").getAttribute("aria-label"), /: 1, most at \d\d:\d\d: 1$/);
  // Three and two, and the members with whom rooms began are no joins.
  assert.match(await chart("joins").getAttribute("aria-label"), /: 5, /);
  await page.getByLabel(say(page, "filter.room")).fill("attic");
  await page.getByRole("img", { name: say(page, "charts.none", { what: say(page, "charts.mutes") }) }).waitFor();
  await page.getByRole("radio", { name: say(page, "charts.asTable") }).check({ force: true });
  // A quarter of an hour may have begun meanwhile: the rows add up.
  const rows = await page.getByRole("row").filter({ has: page.getByRole("cell") }).all();
  const numbers = await Promise.all(rows.map((each) => each.getByRole("cell").allTextContents()));
  assert.deepEqual([0, 1, 2, 3].map((column) => numbers.reduce((sum, cells) => sum + Number(cells[column]), 0)), [2, 1, 0, 1]);
});
