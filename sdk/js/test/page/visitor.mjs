// A visitor of the server's own page, in a real Chromium.
//
// In:       the words of the command line.
// Out:      pages with the token in or not; what they show, as texts.
// Promise:  `close` looks at every request and every fault of a visit: one that left the door's origin, an address with the token in
//           it, a breach of the page's policy or an error of a script throws.

import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

export const { values: words } = parseArgs({
  options: {
    door: { type: "string" },
    token: { type: "string" },
    key: { type: "string" },
    chromium: { type: "string" },
    scenes: { type: "string" },
  },
});
export const { door, token } = words;
export const PATIENCE_MS = 60_000;

export const browser = await chromium.launch({
  executablePath: words.chromium,
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
  ],
});

export async function visitor(options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    timezoneId: "Europe/Berlin",
    ...options,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  await context.addInitScript(() => {
    window.breaches = [];
    document.addEventListener("securitypolicyviolation", (event) =>
      window.breaches.push(`${event.violatedDirective} ${event.blockedURI}`),
    );
  });
  const requests = [];
  const faults = [];
  context.on("request", (request) =>
    requests.push({ url: request.url(), method: request.method(), body: request.postData() }),
  );
  context.on("weberror", (error) => faults.push(`${error.error()}`));
  // Refusals of the server are told there too; a breach of the policy is an error that speaks of it.
  context.on(
    "console",
    (message) => message.type() === "error" && /policy|trusted/i.test(message.text()) && faults.push(message.text()),
  );
  const page = await context.newPage();
  const close = async () => {
    faults.push(...(await page.evaluate(() => window.breaches)));
    assert.deepEqual(faults, []);
    for (const { url } of requests) {
      assert.ok(url.startsWith(`${door}/`) || url.startsWith(`blob:${door}/`), `a request left: ${url}`);
      assert.ok(!url.includes(token), "the token stands in an address");
    }
    assert.deepEqual(await context.cookies(), []);
    await context.close();
  };
  const asked = () => requests.filter(({ url }) => url === `${door}/v1/sql`).map(({ body }) => JSON.parse(body).sql);
  return { page, context, asked, close };
}

export async function entered(options) {
  const own = await visitor(options);
  await own.page.goto(`${door}/`);
  await own.page.fill("#token", token);
  await own.page.click("button[type=submit]");
  await own.page.waitForSelector("#views:not([hidden])");
  return own;
}

/** Shows a view and waits until all its panels have come to an end. */
export async function shown(page, view) {
  await page.click(`nav a[href="#${view}"]`);
  await page.waitForSelector(`nav a[href="#${view}"][aria-current]`);
  await settled(page);
}

export async function settled(page) {
  await page.waitForFunction(() => {
    const panels = [...document.querySelectorAll(".panel[data-panel]")].filter((panel) => !panel.hidden);
    const isDone = ({ dataset }) =>
      dataset.panel === "live" ||
      dataset.panel === "first-event" ||
      ["drawn", "empty", "failed", "cancelled"].includes(dataset.state);
    return 0 < panels.length && panels.every(isDone);
  });
}

export async function allTime(page) {
  await page.selectOption("#tools select[name=range]", "all");
  await settled(page);
}

export const text = (page, selector) => page.locator(selector).first().innerText();
export const texts = (page, selector) => page.locator(selector).allInnerTexts();
/** The cells of a table, a list a row. */
export const cells = (page, selector) =>
  page
    .locator(`${selector} tbody tr`)
    .evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.innerText)));
/** The next answer of a question that matches. */
export const answered = (page, part) =>
  page.waitForResponse(
    (response) => response.url() === `${door}/v1/sql` && response.request().postData().includes(part),
  );
