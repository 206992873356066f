// What happens while the page is open: streams that break, and tokens that end.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { newPage, row, say, signIn } from "./browser.js";
import { App, PASSWORD, Service } from "./service.js";

let service, other;
before(async () => {
  [service, other] = await Promise.all([Service.start(), Service.start()]);
});
after(() => Promise.all([service.kill(), other.kill()]));

test("a stream that is lost is shown as lost, and goes on without a gap and without a repetition", async () => {
  const app = await service.app();
  await app.room("lobby", "ann", ["bob", "cid", "dan"]);
  await app.moderator("eve");
  const page = await newPage();
  await signIn(page, app, { as: "eve", at: "rooms/lobby" });
  await page.getByRole("status").getByText(say(page, "feed.live"), { exact: true }).waitFor();
  await app.mute("lobby", ["bob"], { reason: "before" });
  await page.locator(".entry", { hasText: "before" }).waitFor();

  await service.kill();
  await page.getByRole("alert").getByText(say(page, "feed.lostHint")).waitFor();
  const elsewhere = new App(other, app.name, app.token);
  await elsewhere.mute("lobby", ["cid"], { reason: "meanwhile" });
  await elsewhere.call("DELETE", "/chatrooms/lobby/mute/bob");
  await service.start();
  await page.locator(".entry", { hasText: "meanwhile" }).waitFor();
  await page.getByText(say(page, "feed.lostHint")).waitFor({ state: "detached" });
  await row(page, "cid").getByText("meanwhile").waitFor();
  await row(page, "bob").getByText("before").waitFor({ state: "detached" });
  await app.mute("lobby", ["dan"], { reason: "afterwards" });
  await page.locator(".entry", { hasText: "afterwards" }).waitFor();
  // Made, three joined at once, and four changes: each once, the latest first.
  const shown = (await page.locator(".entry .entry-text > p:first-child").allTextContents()).map((text) => text.trim());
  const { data } = await app.call("GET", "/chatrooms/lobby/events?since=0");
  assert.equal(shown.length, data.length);
  assert.deepEqual(shown.slice(0, 4), ["eve muted dan for ever", "the app unmuted bob", "eve muted cid for ever", "eve muted bob for ever"]);
});

test("a token that has ended is asked for over the screen, and what was begun goes on", async () => {
  const app = await service.app();
  await app.room("lobby", "ann", ["bob"]);
  await app.moderator("eve");
  const page = await newPage();
  await signIn(page, app, { as: "eve", at: "rooms/lobby" });
  await page.getByRole("checkbox", { name: say(page, "select", { name: "bob" }) }).click();
  await page.getByRole("grid").focus();
  await page.keyboard.press("m");
  const dialog = page.getByRole("dialog", { name: say(page, "change.mute.one", { user: "bob" }) });
  await dialog.getByLabel(say(page, "reason"), { exact: true }).fill("typed before");
  await app.call("GET", "/users/eve/disconnect");

  const again = page.getByRole("dialog", { name: say(page, "signIn.again") });
  // A stream ends with its token, so that one need not even try.
  await again.waitFor();
  await page.keyboard.press("Escape");
  await again.getByLabel(say(page, "signIn.password")).fill("wrong");
  await page.keyboard.press("Enter");
  await again.getByRole("alert").waitFor();
  await again.getByLabel(say(page, "signIn.password")).fill(PASSWORD);
  await page.keyboard.press("Enter");
  await again.waitFor({ state: "detached" });
  await dialog.getByRole("button", { name: /^Mute for/ }).click();
  await row(page, "bob").getByText("typed before").waitFor();
  assert.equal((await app.call("GET", "/chatrooms/lobby/users/bob/speak")).data.reason, "typed before");
  // The stream is followed again, with the new token.
  await app.call("DELETE", "/chatrooms/lobby/mute/bob");
  await row(page, "bob").getByText("typed before").waitFor({ state: "detached" });
});

test("a call whose token ends is made when one has signed in again", async () => {
  const app = await service.app();
  await app.room("lobby", "ann", ["bob"]);
  await app.moderator("eve");
  const page = await newPage();
  await signIn(page, app, { as: "eve", at: "users/bob" });
  await row(page, "lobby").waitFor();
  // As the service says it of a token that was good until now.
  const ended = { error: "unauthorized", error_description: "Unable to authenticate (OAuth)" };
  await page.route("**/mutes", (route) => route.fulfill({ status: 401, json: ended }), { times: 1 });
  await page.getByRole("button", { name: "1 h", exact: true }).click();
  await page.getByRole("dialog", { name: say(page, "signIn.again") }).getByLabel(say(page, "signIn.password")).fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByText(/^Cannot speak: muted in all rooms/).waitFor();
  const { data: { chatroom: left } } = await app.call("GET", "/mutes/bob");
  assert.ok(left > 3500 && left <= 3600, `${left} seconds are left`);
});
