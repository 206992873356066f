// The browser: Debian's Chromium, one for each file of tests, and pages that fail a test for what they complain of.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, afterEach, before } from "node:test";

import { chromium } from "playwright-core";

import { DEADLINE_MS, PASSWORD } from "./service.js";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

export const DESKTOP = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };

let browser;
let contexts = [];

before(async () => {
  browser = await chromium.launch({ executablePath: process.env.ROOMWARD_TEST_CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
});
after(() => browser?.close());

/** What pages complain of, which no test may leave: errors of scripts and violations of the content security policy. */
afterEach(async () => {
  const complaints = contexts.flatMap(({ complaints }) => complaints);
  await Promise.all(contexts.map(({ context }) => context.close()));
  contexts = [];
  assert.deepEqual(complaints, []);
});

/** The words of the console in a language, by key: `words.en["signIn"]`. */
export const words = Object.fromEntries(await Promise.all(["en", "zh"].map(async (language) => {
  const text = await readFile(new URL(`../../assets/console/words/${language}.js`, import.meta.url), "utf8");
  // The files are modules that no package.json says so of.
  const module = await import(`data:text/javascript,${encodeURIComponent(text)}`);
  return [language, module[language]];
})));

/** What the page says for a key: its words, with values in the place of their names. */
export const say = (page, key, values = {}) =>
  (words[page.language][key]?.other ?? words[page.language][key] ?? assert.fail(`no words for ${key}`)).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

/** A page of a browser that knows nothing yet. */
export async function newPage({ language = "en", theme = "light", viewport = DESKTOP, ...more } = {}) {
  const context = await browser.newContext({
    viewport, locale: language === "zh" ? "zh-CN" : "en-GB", colorScheme: theme, timezoneId: "Asia/Shanghai", reducedMotion: "reduce", ...more,
  });
  context.setDefaultTimeout(DEADLINE_MS);
  const complaints = [];
  contexts.push({ context, complaints });
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`${event.violatedDirective} refused ${event.blockedURI}`));
  });
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(String(error.stack ?? error)));
  // That a call was refused is for the page to show, and for the test to see.
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
  });
  return Object.assign(page, { language, complaints });
}

/** Opens the console at `at` (below the app) and signs in as a user, or as the app. */
export async function signIn(page, app, { as, secret = PASSWORD, at = "rooms" } = {}) {
  await open(page, app, at);
  if (!as) {
    await page.getByRole("radio", { name: say(page, "signIn.app") }).check({ force: true });
    await page.getByLabel(say(page, "signIn.clientId")).fill("client");
    await page.getByLabel(say(page, "signIn.clientSecret")).fill("client-secret");
  } else {
    await page.getByLabel(say(page, "signIn.username")).fill(as);
    await page.getByLabel(say(page, "signIn.password")).fill(secret);
  }
  await page.getByRole("button", { name: say(page, "signIn"), exact: true }).click();
  await page.locator("nav.sidebar").waitFor({ state: "attached" });
}

/** Goes to a place below the app. */
export const open = (page, app, at) => page.goto(`${app.service.url}/console/#/${app.name}/${at}`);

/** A row of a list, by what it is about. */
export const row = (page, name) => page.getByRole("row").filter({ hasText: name });

/** What axe-core finds serious or critical: of each rule, the elements. */
export async function graveFindings(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
  const grave = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  return grave.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("; ")}`);
}
