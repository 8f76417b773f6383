// How the page behaves: its token, what it may not do, live events, what is cancelled, who can use it, an empty lake.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { PATIENCE_MS, allTime, door, entered, settled, shown, text, token, visitor, words } from "./visitor.mjs";

const VIEWS = ["overview", "funnel", "attribution", "experiment", "live"];
const LONG =
  "SELECT count(*) AS events FROM generate_series(1, 10000000) AS a, generate_series(1, 10000000) AS b WHERE a.value * b.value = 17";

export const conduct = {
  async token() {
    const { page, context, asked, close } = await visitor();
    await page.goto(`${door}/`);
    await page.fill("#token", "not-the-token-0123456789");
    await page.click("button[type=submit]");
    const refused = await text(page, "[data-told=token] .fault");
    await page.fill("#token", "tökén with blanks");
    await page.click("button[type=submit]");
    await page.waitForFunction(() => document.querySelector("[data-told=token] .fault")?.innerText.includes("ASCII"));
    assert.deepEqual(asked(), [], "nothing is asked before there is a token");
    await page.fill("#token", token);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#views:not([hidden])");
    await settled(page);
    const kept = await page.evaluate(() => [
      sessionStorage.getItem("tributary.token"),
      localStorage.length,
      location.href,
    ]);
    assert.deepEqual(kept, [token, 0, `${door}/`]);
    // It lasts for this tab, over a reload; another tab is asked for its own.
    await page.reload();
    await page.waitForSelector("#views:not([hidden])");
    const other = await context.newPage();
    await other.goto(`${door}/`);
    await other.waitForSelector("#token");
    await other.close();
    // One that is good no more is asked for anew, and not asked with again.
    await page.evaluate(() => sessionStorage.setItem("tributary.token", "was-good-once-0123456789"));
    await page.click('nav a[href="#funnel"]');
    const later = await text(page, "[data-told=token] .fault");
    assert.equal(await page.evaluate(() => sessionStorage.getItem("tributary.token")), null);
    await page.fill("#token", token);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#forget:not([hidden])");
    await page.click("#forget");
    await page.waitForSelector("#token");
    assert.equal(await page.evaluate(() => sessionStorage.getItem("tributary.token")), null);
    await close();
    return { refused, later };
  },

  async closed() {
    const { page, close } = await visitor();
    const body = JSON.stringify({ error: "this server has no tokens", advice: "set query.tokens on the server" });
    await page.route("**/v1/query", (route) => route.fulfill({ status: 401, contentType: "application/json", body }));
    await page.goto(`${door}/`);
    const told = await text(page, "[data-told=token] .fault");
    await close();
    return { told };
  },

  async live() {
    const { page, asked, close } = await entered();
    await page.clock.install();
    await shown(page, "live");
    await page.waitForSelector(".live tbody tr");
    const send = (name) =>
      fetch(`${door}/v1/track`, {
        method: "POST",
        headers: { authorization: `Basic ${btoa(`${words.key}:`)}` },
        body: JSON.stringify({ userId: "live", event: name }),
      });
    const comes = async (name) => {
      const isThere = page.waitForFunction(
        (wanted) => document.querySelector(".live tbody tr:first-child th")?.innerText === wanted,
        name,
      );
      // The page's clock stands still but for this: a turn each time, until the event is there.
      let done = false;
      isThere.then(
        () => (done = true),
        () => (done = true),
      );
      while (!done) await page.clock.runFor(2_000);
      await isThere;
    };
    assert.equal((await send("Sent While Watched")).status, 200);
    await comes("Sent While Watched");
    const isNew = await page.locator(".live tbody tr.new").count();
    // Hidden, it asks nothing, however long; shown again, it catches up.
    const hide = (isHidden) =>
      page.evaluate((value) => {
        Object.defineProperty(document, "hidden", { value, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }, isHidden);
    await hide(true);
    const before = asked().length;
    await send("Sent While Hidden");
    await page.clock.runFor(120_000);
    assert.equal(asked().length, before, "a hidden page asks nothing");
    await hide(false);
    await comes("Sent While Hidden");
    await page.click("[data-do=pause]");
    const paused = asked().length;
    await page.clock.runFor(120_000);
    assert.equal(asked().length, paused, "a paused page asks nothing");
    await page.click("[data-do=pause]");
    await send("Sent After The Pause");
    await comes("Sent After The Pause");
    // Where there is no tail, that is said, and the page asks less and less often.
    const body = JSON.stringify({
      error: "a live table cannot be read now: no process with a stream job is known",
      advice: "ask again later",
    });
    await page.route("**/v1/sql", (route) => route.fulfill({ status: 503, contentType: "application/json", body }));
    await page.clock.runFor(2_000);
    await page.waitForSelector("[data-panel=live] .fault");
    const told = await text(page, "[data-panel=live] .note");
    await page.unroute("**/v1/sql");
    await close();
    return { isNew, told };
  },

  async cancel() {
    const { page, close } = await entered();
    await settled(page);
    await allTime(page);
    await shown(page, "funnel");
    await page.route("**/v1/sql", (route) => {
      const isFunnel = route.request().postData().includes("funnel(");
      return isFunnel ? route.continue({ postData: JSON.stringify({ sql: LONG, format: "json" }) }) : route.continue();
    });
    const sent = page.waitForRequest(
      (request) => request.url() === `${door}/v1/sql` && request.postData().includes("funnel("),
    );
    await page.selectOption("select[name=window]", "'1 day'");
    await sent;
    // It runs: another question sees it on the server.
    const running = async () =>
      /tributary_query_running ([1-9])/.exec(await (await fetch(`${door}/metrics`)).text()) !== null;
    const begun = Date.now();
    while (!(await running())) assert.ok(Date.now() - begun < PATIENCE_MS, "it runs in time");
    await page.click("[data-panel=funnel] [data-do=cancel]");
    await page.waitForSelector("[data-panel=funnel][data-state=cancelled]");
    // Leaving a view hangs up on what it still asks.
    await page.unroute("**/v1/sql");
    await page.click("[data-panel=funnel] [data-do=again]");
    await page.waitForSelector("[data-panel=funnel][data-state=drawn]");
    await close();
    return {};
  },

  async access() {
    const out = { contrasts: [] };
    for (const [colorScheme, width] of [
      ["light", 1280],
      ["dark", 390],
    ]) {
      const { page, close } = await entered({ colorScheme, viewport: { width, height: 844 }, reducedMotion: "reduce" });
      await settled(page);
      await allTime(page);
      for (const view of VIEWS) {
        await shown(page, view);
        const nameless = await page.evaluate(() =>
          [...document.querySelectorAll("input, select, button, svg[tabindex]")]
            .filter((one) => !(one.labels?.length || one.getAttribute("aria-label") || one.textContent))
            .map((one) => one.outerHTML),
        );
        assert.deepEqual(nameless, [], view);
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(over <= 0, `${view} is ${over} px wider than ${width}`);
        assert.deepEqual(await overprinted(page), [], `${view} at ${width} px`);
        const moving = await page.evaluate(() => document.getAnimations().length);
        assert.equal(moving, 0, `${view} moves though it was asked not to`);
      }
      // Who chooses by keyboard goes on where he was, though what depends on the choice is drawn anew.
      await shown(page, "experiment");
      for (const name of ["metric", "zone"]) {
        await page.focus(`select[name=${name}]`);
        const before = await page.inputValue(`select[name=${name}]`);
        await page.keyboard.press(before === (await first(page, name)) ? "ArrowDown" : "ArrowUp");
        await page.waitForFunction(
          ([one, value]) => document.querySelector(`select[name=${one}]`).value !== value,
          [name, before],
        );
        assert.equal(await page.evaluate(() => document.activeElement.name), name);
      }
      out.contrasts.push(...(await page.evaluate(contrasts)));
      await page.focus("nav a");
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      await page.waitForSelector('nav a[href="#funnel"][aria-current]');
      await close();
    }
    return out;
  },

  async empty() {
    const { page, close } = await entered();
    await page.waitForSelector("[data-panel=first-event]");
    const command = await text(page, "[data-panel=first-event] pre");
    execFileSync("sh", ["-c", command.replace("KEY", words.key).replace("curl ", "curl -sf ")]);
    await page.waitForSelector("[data-panel=figures][data-state=drawn]");
    const figures = await page
      .locator("[data-figure]")
      .evaluateAll((all) => Object.fromEntries(all.map((one) => [one.dataset.figure, one.innerText])));
    await shown(page, "experiment");
    const experiment = await text(page, "[data-panel=experiment] .note");
    await close();
    return { figures, experiment };
  },
};

const first = (page, name) => page.evaluate((one) => document.querySelector(`select[name=${one}]`).options[0].value, name);

/** Of the colours of words against what they stand on (WCAG 2, 1.4.3). Runs in the page. */
function contrasts() {
  const style = getComputedStyle(document.documentElement);
  const canvas = document.createElement("canvas").getContext("2d");
  const light = (name) => {
    canvas.fillStyle = style.getPropertyValue(name).trim();
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue] = [...canvas.getImageData(0, 0, 1, 1).data].map((byte) =>
      byte / 255 <= 0.04045 ? byte / 255 / 12.92 : ((byte / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const pairs = [
    ["--ink", "--paper"],
    ["--ink", "--ground"],
    ["--soft", "--paper"],
    ["--soft", "--ground"],
    ["--soft", "--track"],
    ["--ink", "--track"],
    ["--accent-ink", "--accent"],
    ["--bad", "--bad-ground"],
    ["--accent", "--paper"],
  ];
  return pairs.map(([words, ground]) => {
    const [one, other] = [light(words), light(ground)];
    return [words, ground, (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)];
  });
}

/** Panels in whose foot a tool and what the answer says of itself are printed over one another. */
function overprinted(page) {
  return page.evaluate(() => {
    // What is folded away in a tool has a place too, and is not printed.
    const TOOLS = ".more > button, .more summary";
    const meet = (one, other) =>
      one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
    const places = (panel, parts) => [...panel.querySelectorAll(parts)].flatMap((part) => [...part.getClientRects()]);
    const isOverprinted = (panel) => {
      const facts = places(panel, ".facts > span");
      return places(panel, TOOLS).some((tool) => facts.some((fact) => meet(tool, fact)));
    };
    return [...document.querySelectorAll(".panel")].filter(isOverprinted).map(({ dataset }) => dataset.panel);
  });
}
