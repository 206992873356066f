// A room: finding it, and what moderators do in it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { newPage, open, row, say, signIn } from "./browser.js";
import { eventually, Service } from "./service.js";

let service;
before(async () => {
  service = await Service.start();
});
after(() => service.kill());

/** A room with some members, which eve moderates, and her page of it. */
async function lobby() {
  const app = await service.app();
  await app.room("lobby", "ann", ["bob", "cid", "dan"]);
  await app.moderator("eve");
  const page = await newPage();
  await signIn(page, app, { as: "eve", at: "rooms/lobby" });
  await row(page, "bob").waitFor();
  return { app, page };
}

/** Selects a user, and waits until the page shows it. */
async function select(page, user) {
  const box = page.getByRole("checkbox", { name: say(page, "select", { name: user }) });
  await box.click();
  await eventually("the mark", () => box.isChecked());
}
const selection = (page) => page.getByRole("toolbar", { name: say(page, "selection") });
const toast = (page) => page.locator(".toasts");

/** What the service says of a user in the room. */
const layer = async (app, user) => (await app.call("GET", `/chatrooms/lobby/users/${user}/speak`)).data.layer;

test("a moderator signs in, finds a room and a user, and is told of a wrong password", async () => {
  const app = await service.app();
  await app.room("lobby", "ann", ["bob"]);
  await app.moderator("eve");
  const page = await newPage();
  await open(page, app, "rooms");
  await page.getByLabel(say(page, "signIn.username")).fill("eve");
  await page.getByLabel(say(page, "signIn.password")).fill("not this one");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByText(say(page, "failure.invalid_grant")).waitFor();
  await signIn(page, app, { as: "eve" });
  await row(page, "lobby").waitFor();
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox", { name: say(page, "search") }).fill("LOB");
  await page.getByRole("option", { name: "lobby" }).waitFor();
  await page.keyboard.press("Enter");
  await row(page, "bob").waitFor();
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox", { name: say(page, "search") }).fill("bo");
  await page.getByRole("option", { name: "bob" }).click();
  await page.getByRole("heading", { name: "bob" }).waitFor();
  await eventually("the address of the user", () => page.url().endsWith("/users/bob"));
});

test("a mute with a reason is made and undone; a short one ends before one's eyes", async () => {
  const { app, page } = await lobby();
  await select(page, "bob");
  await selection(page).getByRole("button", { name: say(page, "do.mute").trim() }).click();
  await page.getByRole("menuitem", { name: "1 h", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel(say(page, "reason"), { exact: true }).fill("spam again");
  await dialog.getByRole("button", { name: "Mute for 1 h" }).click();
  await row(page, "bob").getByText("spam again").waitFor();
  await row(page, "bob").getByText(/^(5\d:\d\d|1 h 0 min)$/).waitFor();
  const { data: [{ user, until, since, actor, reason }] } = await app.call("GET", "/chatrooms/lobby/mute?limit=10&detail=true");
  assert.deepEqual([user, actor, reason, Math.round((until - since) / 60_000)], ["bob", "eve", "spam again", 60]);
  await toast(page).getByRole("button", { name: say(page, "undo") }).click();
  await row(page, "bob").getByText("spam again").waitFor({ state: "detached" });
  assert.equal(await layer(app, "bob"), "member");

  await app.mute("lobby", ["cid"], { ms: 4000, reason: "a moment" });
  await row(page, "cid").getByText("a moment").waitFor();
  await row(page, "cid").getByText(/^0:0[1-4]$/).waitFor();
  await row(page, "cid").getByText("a moment").waitFor({ state: "detached" });
  await page.locator(".entry", { hasText: "The mute of cid ended" }).waitFor();
  assert.equal(await layer(app, "cid"), "member");
});

test("a block is asked about, keeps the user out, and is lifted from its list", async () => {
  const { app, page } = await lobby();
  await row(page, "bob").getByRole("button", { name: say(page, "actions", { user: "bob" }) }).click();
  await page.getByRole("menuitem", { name: /^Block/ }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText(say(page, "warning.block")).waitFor();
  await dialog.getByRole("radio", { name: "1 day" }).check({ force: true });
  await dialog.getByRole("button", { name: "Block for 1 day" }).click();
  await row(page, "bob").waitFor({ state: "detached" });
  assert.equal(await layer(app, "bob"), "blocked");
  await page.getByRole("tab", { name: say(page, "tab.blocked") }).click();
  await row(page, "bob").getByText(/^23 h 59 min$/).waitFor();
  await select(page, "bob");
  await selection(page).getByRole("button", { name: say(page, "do.unblock") }).click();
  await row(page, "bob").waitFor({ state: "detached" });
  assert.deepEqual((await app.call("GET", "/chatrooms/lobby/blocks/users")).data, []);
});

test("of many, each has its own result though the service mutes all or none, and what was done is undone", async () => {
  const { app, page } = await lobby();
  for (const user of ["bob", "cid", "dan"]) await select(page, user);
  await page.getByRole("grid").focus();
  await page.keyboard.press("m");
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Mute for 5 min" }).waitFor();
  // Meanwhile one of them goes.
  await app.call("DELETE", "/chatrooms/lobby/users/cid");
  await dialog.getByRole("button", { name: "Mute for 5 min" }).click();
  await page.getByRole("dialog", { name: say(page, "outcome.title", { n: 2, of: 3 }) }).waitFor();
  await dialog.getByRole("listitem").filter({ hasText: "cid" }).getByText(say(page, "refused.notIn")).waitFor();
  assert.equal(await dialog.getByRole("listitem").getByText(say(page, "outcome.mute"), { exact: true }).count(), 2);
  const layers = () => Promise.all(["bob", "cid", "dan"].map((user) => layer(app, user)));
  assert.deepEqual(await layers(), ["muted", "not_member", "muted"]);
  await dialog.getByRole("button", { name: say(page, "outcome.undo", { n: 2 }) }).click();
  await page.getByText(say(page, "undone"), { exact: true }).waitFor();
  assert.deepEqual(await layers(), ["member", "not_member", "member"]);
});

test("who is removed is out at once, and back by undoing it", async () => {
  const { app, page } = await lobby();
  for (const user of ["bob", "dan"]) await select(page, user);
  await selection(page).getByRole("button", { name: say(page, "do.remove") }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText(say(page, "warning.remove")).waitFor();
  await dialog.getByRole("button", { name: say(page, "do.remove") }).click();
  await row(page, "bob").waitFor({ state: "detached" });
  assert.equal(await layer(app, "dan"), "not_member");
  await toast(page).getByRole("button", { name: say(page, "undo") }).click();
  await row(page, "bob").waitFor();
  assert.deepEqual([await layer(app, "bob"), await layer(app, "dan")], ["member", "member"]);
});

test("the whole room is muted with an end, and may speak again", async () => {
  const { app, page } = await lobby();
  await page.getByRole("button", { name: say(page, "muteAll"), exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("radio", { name: "1 h" }).check({ force: true });
  await dialog.getByRole("button", { name: "Mute all for 1 h" }).click();
  await page.locator(".muted-all").getByText(/^(5\d:\d\d|1 h 0 min)$/).waitFor();
  assert.equal(await layer(app, "bob"), "room_muted");
  await page.getByRole("button", { name: say(page, "muteAll.lift"), exact: true }).click();
  await page.getByText(say(page, "muteAll.on")).waitFor({ state: "detached" });
  assert.equal(await layer(app, "bob"), "member");
});

test("what users and moderators have written is text, whatever it looks like", async () => {
  const app = await service.app();
  const html = '<img src="x" onerror="document.title=1"><b>bold</b>';
  await app.room("lobby", "ann", ["bob"], { name: html, description: html });
  await app.call("PUT", "/users/bob", { nickname: html });
  await app.moderator("eve");
  await app.mute("lobby", ["bob"], { actor: "<i>mod</i>", reason: html });
  const page = await newPage();
  await signIn(page, app, { as: "eve" });
  for (const at of ["rooms", "rooms/lobby", "rooms/lobby/muted", "rooms/lobby/audit", "users/bob?room=lobby", "restrictions", "audit"]) {
    await open(page, app, at);
    await page.getByText(html).first().waitFor();
    assert.equal(await page.locator("img[src=x], b, i").count(), 0, at);
  }
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox", { name: say(page, "search") }).fill("bob");
  await page.getByRole("option").getByText(html).waitFor();
  assert.equal(await page.locator("img[src=x], b, i").count(), 0);
  assert.equal(await page.title(), "roomward");
});

test("a room of a thousand is read as far as one looks, and only what is seen is drawn", async () => {
  const app = await service.app();
  await app.room("lobby", "zoe", Array.from({ length: 1000 }, (_, index) => `user${String(index).padStart(4, "0")}`));
  await app.moderator("eve");
  const page = await newPage();
  let pages = 0;
  page.on("request", (request) => (pages += /chatrooms\/lobby\/(standing|users)/.test(request.url())));
  await signIn(page, app, { as: "eve", at: "rooms/lobby" });
  await row(page, "user0999").waitFor();
  assert.ok(pages <= 2, `${pages} pages at first`);
  await page.getByRole("grid").focus();
  await eventually("the other end", async () => {
    await page.keyboard.press("End");
    return row(page, "zoe").isVisible();
  });
  const drawn = await page.getByRole("row").count();
  assert.ok(drawn < 60, `${drawn} rows are drawn`);
});
