// Pictures of the console: `make console-pictures` takes them anew. Those that documents show are in docs/pictures, the rest in
// .local/pictures.

import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { DESKTOP, newPage, open, PHONE, say, signIn } from "./browser.js";
import { Service } from "./service.js";
import { tell, tellOfBefore } from "./story.js";

const folder = (name) => fileURLToPath(new URL(`../../${name}/`, import.meta.url));
const [DOCUMENTS, REST] = [folder("docs/pictures"), folder(".local/pictures")];

/** What documents show. */
const SHOWN = ["room", "room-phone-zh", "user", "charts-zh-dark"];

let service, app;
before(async () => {
  await Promise.all([DOCUMENTS, REST].map((each) => mkdir(each, { recursive: true })));
  service = await Service.start();
  app = await service.app("demo/chat");
  await tell(app, 9_999);
  await tellOfBefore(app, process.env.ROOMWARD_TEST_PSQL, process.env.ROOMWARD__DATABASE__URL);
});
after(() => service.kill());

/** A browser of somebody who is signed in. */
async function signedIn(looks, as) {
  const page = await newPage(looks);
  await signIn(page, app, { as });
  return page;
}

const take = (page, name) => page.screenshot({ path: `${SHOWN.includes(name) ? DOCUMENTS : REST}${name}.png` });

/** What shows that a view is there. */
async function show(page, at, there) {
  await open(page, app, at);
  await page.locator(there).first().waitFor();
  await page.waitForLoadState("networkidle").catch(() => {});
}

test("a room of 10,000 in the middle of an evening", async () => {
  for (const [name, looks] of [
    ["room", { viewport: DESKTOP }],
    ["room-zh-dark", { viewport: DESKTOP, language: "zh", theme: "dark" }],
    ["room-phone", { viewport: PHONE, deviceScaleFactor: 2 }],
    ["room-phone-zh", { viewport: PHONE, deviceScaleFactor: 2, language: "zh", theme: "dark" }],
  ]) {
    const page = await signedIn(looks, "eve");
    await open(page, app, "rooms/lounge");
    await page.locator(".row").first().waitFor();
    if (looks.viewport === DESKTOP) {
      for (const nth of [4, 6, 7]) await page.getByRole("checkbox").nth(nth).click();
    }
    await take(page, name);
  }
});

test("a user, what is in force, the audit and charts", async () => {
  for (const [suffix, looks] of [["", {}], ["-zh-dark", { language: "zh", theme: "dark" }], ["-phone", { viewport: PHONE, deviceScaleFactor: 2 }]]) {
    const page = await signedIn(looks, "eve");
    await show(page, "users/amal?room=lounge", ".verdict.danger");
    await take(page, `user${suffix}`);
    await show(page, "restrictions", ".row");
    await take(page, `restrictions${suffix}`);
    await show(page, "audit", ".row");
    await take(page, `audit${suffix}`);
    await show(page, "charts", ".chart canvas");
    await page.getByText(say(page, "charts.counting")).waitFor({ state: "detached" });
    await take(page, `charts${suffix}`);
  }
});

test("what is the app's own", async () => {
  const rule = (url, kinds) => app.call("POST", "/callbacks/rules", { url, secret: "a secret of sixteen or more", kinds });
  await rule("https://chat.example.com/events", ["MUTE", "BLOCK", "LEAVE/KICK"]);
  await rule("https://archive.example.com/roomward", ["*"]);
  const page = await signedIn({ theme: "dark" }, undefined);
  await show(page, "app", ".row");
  await take(page, "moderators");
  await show(page, "app/callbacks", ".rule");
  await take(page, "callbacks");
});
