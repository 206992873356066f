// For everyone: by keyboard alone, for screen readers, in either language, light and dark, on a phone.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { graveFindings, newPage, open, PHONE, row, say, signIn } from "./browser.js";
import { eventually, PASSWORD, Service } from "./service.js";

let service;
before(async () => {
  service = await Service.start();
});
after(() => service.kill());

/** An app in which something is to be seen in every view. */
async function lively() {
  const app = await service.app();
  await app.room("lobby", "ann", ["bob", "cid", "dan", "fay"], { name: "The lobby" });
  await app.moderator("eve");
  await app.call("POST", "/chatrooms/lobby/admin", { newadmin: "fay" });
  await app.call("POST", "/chatrooms/lobby/white/users", { usernames: ["fay"] });
  await app.mute("lobby", ["bob"], { ms: 3_600_000, reason: "spam" });
  await app.block("lobby", "cid");
  await app.call("POST", "/mutes", { username: "dan", chatroom: 3600 }, { "X-Operator": "eve" });
  // A target that nobody listens to.
  const rule = { url: "http://127.0.0.1:9/", secret: "a secret of sixteen or more" };
  const { data } = await app.call("POST", "/callbacks/rules", rule);
  await app.mute("lobby", ["dan"], { ms: 3_600_000 });
  return { app, rule: data.id };
}

/** Every view that has a look of its own, and what shows that it is there. */
const views = (rule) => [
  ["rooms", ".row"], ["rooms/lobby", ".row"], ["rooms/lobby/muted", ".row"], ["rooms/lobby/blocked", ".row"], ["rooms/lobby/whitelist", ".row"],
  ["rooms/lobby/admins", ".row"], ["rooms/lobby/audit", ".row"], ["users/bob?room=lobby", ".verdict-text"], ["users/bob/history", ".row"],
  ["users/dan", ".verdict-text"], ["restrictions", ".row"], ["restrictions?user=nobody", ".state"], ["audit?time=custom", ".row"], ["charts", ".chart canvas"],
  ["app", ".row"], ["app/callbacks", ".rule"], [`app/callbacks/${rule}`, ".row"], ["users/nobody", ".failed"],
];

for (const [theme, language] of [["light", "en"], ["dark", "zh"]]) {
  test(`in every view, ${theme} and in ${language}, axe finds nothing serious`, async () => {
    const { app, rule } = await lively();
    const page = await newPage({ theme, language });
    const found = [];
    const look = async (at) => found.push(...(await graveFindings(page)).map((finding) => `${at}: ${finding}`));
    await open(page, app, "rooms");
    await page.getByRole("button", { name: say(page, "signIn"), exact: true }).waitFor();
    await look("signing in");
    await signIn(page, app);
    for (const [at, there] of views(rule)) {
      await open(page, app, at);
      await page.locator(there).first().waitFor();
      await look(at);
    }
    // What lies above a view.
    await open(page, app, "charts");
    await page.getByRole("radio", { name: say(page, "charts.asTable") }).check({ force: true });
    await page.getByRole("table").waitFor();
    await look("the table of counts");
    const dialog = page.getByRole("dialog");
    for (const [at, button] of [["app", "moderators.add"], ["app/callbacks", "rules.add"], ["app/callbacks", "rules.replay"], ["rooms/lobby", "muteAll"]]) {
      await open(page, app, at);
      await page.getByRole("button", { name: say(page, button), exact: true }).click();
      await dialog.waitFor();
      await look(button);
      await page.keyboard.press("Escape");
      await dialog.waitFor({ state: "detached" });
    }
    await row(page, "bob").waitFor();
    await page.getByRole("grid").focus();
    await page.keyboard.press("Control+a");
    await page.keyboard.press("m");
    await dialog.waitFor();
    await look("muting");
    await page.keyboard.press("Escape");
    await page.keyboard.press("?");
    await dialog.waitFor();
    await look("the keys");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Control+k");
    await page.getByRole("combobox", { name: say(page, "search") }).fill("b");
    await page.getByRole("option").first().waitFor();
    await look("searching");
    assert.deepEqual(found, []);
  });
}

test("by keyboard alone one signs in, finds a room, mutes with a reason, undoes, and lifts what is in force", async () => {
  const { app } = await lively();
  const page = await newPage();
  const { keyboard } = page;
  /** Moves on until what has the focus is what is meant. */
  const tabTo = (what, isIt) => eventually(what, async () => {
    if (await page.evaluate(isIt)) return true;
    await keyboard.press("Tab");
    return false;
  });
  /** Goes down the list by a key until it is at a user. */
  const walkTo = (user, key) => eventually(user, async () => {
    if (await page.locator(".row.active", { hasText: user }).count()) return true;
    await keyboard.press(key);
    return false;
  });
  await open(page, app, "rooms");
  await page.getByLabel(say(page, "signIn.username")).waitFor();
  // The app is in the address: one begins with the name.
  await eventually("the focus in the form", () => page.evaluate(() => document.activeElement.name === "username"));
  await keyboard.type("eve");
  await keyboard.press("Tab");
  await keyboard.type(PASSWORD);
  await keyboard.press("Enter");
  await row(page, "The lobby").waitFor();
  await keyboard.press("Control+k");
  await eventually("the focus in the search", () => page.evaluate(() => document.activeElement.getAttribute("role") === "combobox"));
  await keyboard.type("lob");
  await page.getByRole("option", { name: "lobby" }).waitFor();
  await keyboard.press("Enter");
  await row(page, "fay").waitFor();
  await tabTo("the list", () => document.activeElement.getAttribute("role") === "grid");
  await walkTo("fay", "j");
  await keyboard.press("m");
  await page.getByRole("dialog").waitFor();
  await tabTo("the reason", () => document.activeElement.name === "reason");
  await keyboard.type("by keyboard");
  await keyboard.press("Enter");
  await row(page, "fay").getByText("by keyboard").waitFor();
  assert.equal((await app.call("GET", "/chatrooms/lobby/users/fay/speak")).data.reason, "by keyboard");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  // The way back is within reach, too.
  await tabTo("undoing", () => document.activeElement.closest(".toast")?.querySelector(".button") === document.activeElement);
  await keyboard.press("Enter");
  await row(page, "fay").getByText("by keyboard").waitFor({ state: "detached" });

  await tabTo("the restrictions", () => document.activeElement.hash?.endsWith("/restrictions"));
  await keyboard.press("Enter");
  await row(page, "bob").waitFor();
  await tabTo("the list", () => document.activeElement.getAttribute("role") === "grid");
  await walkTo("bob", "ArrowDown");
  await keyboard.press("u");
  await row(page, "bob").waitFor({ state: "detached" });
  assert.equal((await app.call("GET", "/chatrooms/lobby/users/bob/speak")).data.layer, "member");
  await keyboard.press("Home");
  await keyboard.press("Enter");
  await page.locator("h1").waitFor();
  await eventually("the card", () => /\/users\/\w+/.test(page.url()));
});

test("language and theme are chosen at a click, and are the same after a reload", async () => {
  const { app } = await lively();
  const page = await newPage({ language: "en" });
  await signIn(page, app, { as: "eve" });
  await page.getByRole("link", { name: "Restrictions" }).waitFor();
  await page.getByRole("radio", { name: "中文" }).check({ force: true });
  await page.getByRole("link", { name: "限制" }).waitFor();
  await eventually("the page to say its language", () => page.evaluate(() => document.documentElement.lang === "zh"));
  page.language = "zh";
  await page.getByRole("radio", { name: say(page, "theme.dark") }).check({ force: true });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  let dark;
  await eventually("the dark ground", async () => {
    const before = dark;
    dark = await ground();
    return dark === before && dark !== "rgb(255, 255, 255)";
  });
  await page.reload();
  await page.getByRole("button", { name: "登录", exact: true }).waitFor();
  await eventually("the same ground", async () => (await ground()) === dark);
  // The token is in memory only.
  assert.doesNotMatch(await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])), /eyJ|token|password/i);
});

/** What of the page is to the right of the screen, but for what is cut off with dots or scrolls by itself. */
const outside = () => [...document.querySelectorAll("#console *")].filter((element) => {
  const { right, width } = element.getBoundingClientRect();
  return width > 0 && right > innerWidth + 1 && !element.parentElement.closest(".cell, .tabs, .subnav, .table-box, svg");
}).map((element) => `${element.tagName}.${element.className}`);

test("no view is wider than a phone, and the menu leads to each", async () => {
  const { app, rule } = await lively();
  const page = await newPage({ viewport: PHONE, language: "zh" });
  await signIn(page, app);
  for (const [at, there] of views(rule)) {
    await open(page, app, at);
    await page.locator(there).first().waitFor();
    assert.deepEqual(await page.evaluate(outside), [], at);
  }
  await page.getByRole("button", { name: say(page, "nav.menu") }).click();
  await page.getByRole("link", { name: say(page, "nav.charts") }).click();
  await page.locator(".chart canvas").first().waitFor();
  await eventually("the menu to close", () => page.getByRole("link", { name: say(page, "nav.charts") }).isHidden());
});
