// What a viewer may not do is not shown as if it could be done.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { newPage, open, row, say, signIn } from "./browser.js";
import { Service } from "./service.js";

let service;
before(async () => {
  service = await Service.start();
});
after(() => service.kill());

/** Two rooms with a mute in each, and a mute in all rooms. */
async function muted() {
  const app = await service.app();
  await app.room("lobby", "ann", ["bob", "cid", "adm"]);
  await app.room("attic", "ann2", ["dan"]);
  await app.call("POST", "/chatrooms/attic/users", { usernames: ["bob"] });
  await app.call("POST", "/chatrooms/lobby/admin", { newadmin: "adm" });
  await app.mute("lobby", ["bob"]);
  await app.mute("attic", ["bob", "dan"], { reason: "of another room" });
  await app.call("POST", "/mutes", { username: "cid", chatroom: 3600 });
  return app;
}

const menu = (page) => page.getByRole("navigation", { name: say(page, "nav.menu") }).getByRole("listitem").filter({ has: page.getByRole("link") });

/** What the menu offers. */
const views = async (page) => (await menu(page).allTextContents()).map((text) => text.trim());

test("a moderator of one room sees of a user, of what is in force and of the audit what concerns that room, and acts there", async () => {
  const app = await muted();
  await app.moderator("mod", { rooms: ["lobby"] });
  const page = await newPage();
  await signIn(page, app, { as: "mod", at: "restrictions" });
  await row(page, "bob").waitFor();
  assert.equal(await page.getByRole("row").count(), 1);
  assert.deepEqual(await page.getByLabel(say(page, "filter.room")).locator("option").allTextContents(), ["lobby"]);
  await row(page, "bob").getByRole("button", { name: say(page, "lift.mute") }).click();
  await page.getByText(say(page, "restrictions.empty")).waitFor();
  assert.deepEqual((await app.call("GET", "/chatrooms/lobby/mute")).data, []);

  await open(page, app, "users/bob");
  await page.getByText(say(page, "verdict.member"), { exact: true }).waitFor();
  assert.equal(await page.getByText("attic").count(), 0);
  await page.getByRole("group", { name: say(page, "acts.in", { room: "lobby" }) }).waitFor();
  await row(page, "mod unmuted bob").waitFor();
  await open(page, app, "audit");
  await row(page, "mod unmuted bob").waitFor();
  assert.equal(await page.getByText("of another room").count(), 0);
  await open(page, app, "charts");
  await page.getByRole("img", { name: new RegExp(`^${say(page, "charts.mutes")}: 1,`) }).waitFor();
  assert.deepEqual((await views(page)).slice(0, 4), ["nav.rooms", "nav.restrictions", "nav.audit", "nav.charts"].map((key) => say(page, key)));
});

test("a viewer reads everything, and is offered no change", async () => {
  const app = await muted();
  await app.moderator("vik", { role: "viewer" });
  const page = await newPage();
  await signIn(page, app, { as: "vik", at: "restrictions" });
  await row(page, "dan").waitFor();
  assert.equal(await page.getByRole("row").count(), 4);
  assert.equal(await page.getByRole("button", { name: say(page, "lift.mute") }).count(), 0);
  await open(page, app, "users/bob?room=lobby");
  await page.getByText(/^Cannot speak: muted/).first().waitFor();
  await row(page, "attic").waitFor();
  assert.equal(await page.getByRole("group", { name: say(page, "acts.in", { room: "lobby" }) }).count(), 0);
  assert.equal(await page.getByRole("button", { name: say(page, "lift.mute") }).count(), 0);
  await open(page, app, "audit");
  await row(page, "eve muted bob").first().waitFor();
  assert.equal(await page.getByRole("button", { name: say(page, "undo") }).count(), 0);
  // One of a single room neither.
  await app.moderator("vic", { role: "viewer", rooms: ["lobby"] });
  const other = await newPage();
  await signIn(other, app, { as: "vic", at: "restrictions" });
  await row(other, "bob").waitFor();
  assert.equal(await other.getByRole("button", { name: say(page, "lift.mute") }).count(), 0);
  // By hand, too: there is no way to the app's own.
  await open(page, app, "app/callbacks");
  await page.getByText(say(page, "failure.group_authorization")).waitFor();
});

test("an admin of a room acts on its members but not on its owner, and sees nothing that goes across rooms", async () => {
  const app = await muted();
  const page = await newPage();
  await signIn(page, app, { as: "adm", at: "users/bob?room=lobby" });
  await page.getByText(/^Cannot speak: muted for ever/).waitFor();
  const acts = page.getByRole("group", { name: say(page, "acts.in", { room: "lobby" }) });
  await acts.getByRole("button", { name: say(page, "do.unmute") }).click();
  await page.locator(".verdict").getByText(say(page, "verdict.member"), { exact: true }).waitFor();
  await acts.getByRole("button", { name: say(page, "do.remove") }).click();
  await page.locator(".verdict").getByText(say(page, "verdict.not_member")).waitFor();
  assert.deepEqual((await views(page)).slice(0, 1), [say(page, "nav.rooms")]);
  assert.equal(await page.getByRole("link", { name: say(page, "nav.restrictions") }).count(), 0);
  await open(page, app, "users/ann?room=lobby");
  await page.getByText(say(page, "verdict.owner")).waitFor();
  await page.getByText(say(page, "user.onlyHere")).waitFor();
  assert.equal(await page.getByRole("group", { name: say(page, "acts.in", { room: "lobby" }) }).count(), 0);
});
