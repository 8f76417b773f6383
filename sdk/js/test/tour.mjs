// The page of the README's tour in a real Chromium, opened as a reader opens it: a file.
//
// In:       --page FILE; --door URL, the server it sends to; --chromium PATH.
// Out:      one JSON line: how many requests to the door were answered 200. Exit 1 if none was within 30 s.

import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values: words } = parseArgs({
  options: { page: { type: "string" }, door: { type: "string" }, chromium: { type: "string" } },
});
const browser = await chromium.launch({
  executablePath: words.chromium,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
const page = await browser.newPage();
let answered = 0;
const events = (response) => response.url().startsWith(`${words.door}/v1/events`) && response.ok();
page.on("response", (response) => (answered += events(response) ? 1 : 0));
const first = page.waitForResponse(events, { timeout: 30_000 });
await page.goto(pathToFileURL(words.page).href);
await first;
// All that waits goes with it, and `flush` says when it went.
await page.evaluate(() => window.tributary.flush());
await browser.close();
console.log(JSON.stringify({ answered }));
