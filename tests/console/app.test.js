// What is the app's own: its moderators, callback rules, and what was sent.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { newPage, row, say, signIn } from "./browser.js";
import { eventually, Service } from "./service.js";

let service;
before(async () => {
  service = await Service.start();
});
after(() => service.kill());

/** A target of callbacks that answers with `status`, and keeps what it got. */
async function target(status) {
  const receiver = { status, bodies: [] };
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (piece) => (text += piece));
    request.on("end", () => {
      receiver.bodies.push(JSON.parse(text));
      response.writeHead(receiver.status).end();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  return Object.assign(receiver, { url: `http://127.0.0.1:${server.address().port}/events`, close: () => server.close() });
}

test("the app makes a user a moderator of a room, then of all, and takes it back", async () => {
  const app = await service.app();
  await app.room("lobby", "ann", ["bob"]);
  const page = await newPage();
  await signIn(page, app, { at: "app" });
  await page.getByText(say(page, "moderators.empty")).waitFor();
  await page.getByRole("button", { name: say(page, "moderators.add") }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel(say(page, "signIn.username")).fill("bob");
  await dialog.getByRole("radio", { name: say(page, "moderators.someRooms") }).check({ force: true });
  await dialog.getByLabel(say(page, "moderators.rooms")).fill("cellar");
  await dialog.getByRole("button", { name: say(page, "save") }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel(say(page, "moderators.rooms")).fill("lobby");
  await dialog.getByRole("button", { name: say(page, "save") }).click();
  await row(page, "bob").getByRole("link", { name: "lobby" }).waitFor();
  assert.deepEqual((await app.call("GET", "/moderators")).data[0].rooms, ["lobby"]);

  await row(page, "bob").getByRole("button", { name: say(page, "edit") }).click();
  await dialog.getByRole("radio", { name: say(page, "viewer.viewer") }).check({ force: true });
  await dialog.getByRole("radio", { name: say(page, "moderators.allRooms") }).check({ force: true });
  await dialog.getByRole("button", { name: say(page, "save") }).click();
  await row(page, "bob").getByText(say(page, "moderators.allRooms")).waitFor();
  const { username, role, rooms } = (await app.call("GET", "/moderators")).data[0];
  assert.deepEqual([username, role, rooms], ["bob", "viewer", undefined]);

  await row(page, "bob").getByRole("button", { name: say(page, "remove") }).click();
  await page.getByText(say(page, "moderators.empty")).waitFor();
  assert.deepEqual((await app.call("GET", "/moderators")).data, []);
  await page.getByRole("status").getByRole("button", { name: say(page, "undo") }).click();
  await row(page, "bob").getByText(say(page, "viewer.viewer")).waitFor();
});

test("a callback rule is made, tested, seen failing, mended, and sent to again", async () => {
  const app = await service.app();
  await app.room("lobby", "ann", ["bob"]);
  const receiver = await target(500);
  const page = await newPage();
  await signIn(page, app, { at: "app/callbacks" });
  await page.getByRole("button", { name: say(page, "rules.add") }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel(say(page, "rules.url"), { exact: true }).fill(receiver.url);
  await dialog.getByLabel(say(page, "rules.secret")).fill("a secret of sixteen or more");
  await dialog.getByLabel(say(page, "rules.kinds")).fill("MUTE NOISE");
  await dialog.getByRole("button", { name: say(page, "save") }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel(say(page, "rules.kinds")).fill("MUTE, LEAVE/KICK");
  await dialog.getByRole("button", { name: say(page, "save") }).click();
  const rule = page.getByRole("article", { name: receiver.url });
  await rule.getByText(say(page, "rules.upToDate")).waitFor();

  await rule.getByRole("button", { name: say(page, "rules.test") }).click();
  await page.getByText(/^The target answered 500 in \d+ ms\.$/).waitFor();
  assert.equal(receiver.bodies.length, 1);
  await app.mute("lobby", ["bob"]);
  await eventually("an attempt", () => receiver.bodies.length >= 2);
  await page.reload();
  // The token is in memory only.
  await signIn(page, app, { at: "app/callbacks" });
  await rule.getByText(/^Failing since/).waitFor();
  await rule.getByRole("link", { name: say(page, "rules.deliveries") }).click();
  await row(page, "lobby").getByText(say(page, "deliveries.status", { status: 500 })).waitFor();
  await row(page, "lobby").getByText(say(page, "deliveries.pending")).waitFor();

  receiver.status = 200;
  await eventually("the delivery", async () => {
    await page.getByRole("button", { name: say(page, "reload") }).click();
    return row(page, "lobby").getByText(say(page, "deliveries.done")).isVisible();
  });
  const got = receiver.bodies.length;
  await row(page, "lobby").getByRole("button", { name: say(page, "deliveries.again") }).click();
  await eventually("the event again", () => receiver.bodies.length > got);
  await eventually("the list of both", async () => {
    await page.getByRole("button", { name: say(page, "reload") }).click();
    return (await row(page, "lobby").count()) === 2;
  });

  await page.getByRole("link", { name: say(page, "back"), exact: true }).click();
  await rule.getByRole("button", { name: say(page, "rules.replay") }).click();
  await dialog.getByRole("button", { name: say(page, "rules.send") }).click();
  await page.getByText(/^1 event is sent again\.$/).first().waitFor();
  await rule.getByRole("button", { name: say(page, "rules.pause") }).click();
  await rule.getByText(new RegExp(`^${say(page, "rules.paused")}`)).waitFor();
  await rule.getByRole("button", { name: say(page, "delete") }).click();
  await dialog.getByRole("button", { name: say(page, "delete") }).click();
  await page.getByText(say(page, "rules.empty")).waitFor();
  assert.deepEqual((await app.call("GET", "/callbacks/rules")).data, []);
  receiver.close();
});
