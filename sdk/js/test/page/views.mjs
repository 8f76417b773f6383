// What each view of the page shows.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { allTime, answered, cells, entered, settled, shown, text, texts } from "./visitor.mjs";

export const views = {
  async overview() {
    const { page, asked, close } = await entered();
    await settled(page);
    const before = await text(page, "[data-panel=figures]");
    await page.click("[data-do=all-time]");
    await settled(page);
    const figures = await page
      .locator("[data-figure]")
      .evaluateAll((all) => Object.fromEntries(all.map((one) => [one.dataset.figure, one.innerText])));
    const sql = await page.locator("[data-panel=figures] pre").first().textContent();
    assert.ok(asked().includes(sql), `what is shown was not asked: ${sql}`);
    await page.focus("[data-panel=series] svg[tabindex]");
    await page.keyboard.press("ArrowLeft");
    const last = await text(page, "[data-panel=series] .readout");
    await page.keyboard.press("ArrowLeft");
    const before_last = await text(page, "[data-panel=series] .readout");
    const columns = await page.locator("[data-panel=series] rect.one").count();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.click("[data-panel=events] [data-do=csv]"),
    ]);
    const csv = readFileSync(await download.path(), "utf8");
    await page.click("[data-panel=events] [data-more=table] summary");
    await page.waitForSelector("[data-panel=events] [data-more=table] table");
    const table = await cells(page, "[data-panel=events] [data-more=table]");
    const pwned = await page.evaluate(() => window.pwned ?? null);
    const shownOf = async (panel) => cells(page, `[data-panel=${panel}] .body`);
    const out = {
      before,
      figures,
      last,
      before_last,
      columns,
      csv,
      file: download.suggestedFilename(),
      table,
      value: await shownOf("value"),
      channels: await shownOf("channels"),
      events: await shownOf("events"),
      pwned,
    };
    await close();
    return out;
  },

  async zone() {
    const { page, close } = await entered();
    await settled(page);
    await allTime(page);
    await page.selectOption("#tools select[name=zone]", "Pacific/Auckland");
    await settled(page);
    await page.focus("[data-panel=series] svg[tabindex]");
    await page.keyboard.press("ArrowLeft");
    const last = await text(page, "[data-panel=series] .readout");
    await close();
    return { last };
  },

  async funnel() {
    const { page, asked, close } = await entered();
    await settled(page);
    await allTime(page);
    await shown(page, "funnel");
    await page.click("[data-do=add-step]");
    await page.waitForSelector(".steps li:nth-child(3)");
    await page.selectOption(".steps li:nth-child(2) select", "event:Product Viewed");
    await page.selectOption(".steps li:nth-child(3) select", "sql:");
    const answer = answered(page, "15 < value");
    await page.fill(".steps li:nth-child(3) input", "event_kind = 'conversion' AND 15 < value -- so");
    await page.keyboard.press("Enter");
    assert.equal((await answer).status(), 200);
    await settled(page);
    const steps = await page
      .locator(".funnel li")
      .evaluateAll((all) =>
        all.map((one) => [...one.querySelectorAll(".name, [data-cell], small")].map((cell) => cell.innerText)),
      );
    const open = await text(page, "[data-cell=open]");
    const sql = await page.locator("[data-panel=funnel] pre").first().textContent();
    assert.ok(asked().includes(sql));
    const options = await texts(page, ".steps li:nth-child(1) option");
    const split = answered(page, "breakdown");
    await page.selectOption("select[name=by]", "source");
    await split;
    await settled(page);
    const bySource = await cells(page, "[data-panel=funnel] .body");
    // What a person wrote wrong is told, with what to do.
    await page.selectOption("select[name=by]", "");
    await page.fill(".steps li:nth-child(3) input", "nothing = 1");
    await page.keyboard.press("Enter");
    await page.waitForSelector("[data-panel=funnel][data-state=failed]");
    const wrong = await text(page, "[data-panel=funnel] .fault");
    const kept = await page.evaluate(() => location.hash);
    assert.equal(kept, "#funnel", "a question stands in no address");
    await close();
    return { steps, open, bySource, wrong, options };
  },

  async attribution() {
    const { page, close } = await entered();
    await settled(page);
    await allTime(page);
    await shown(page, "attribution");
    for (const model of ["first_touch", "markov"]) {
      const answer = answered(page, "attribution");
      await page.click(`input[value=${model}]`);
      await answer;
      await settled(page);
    }
    const answer = answered(page, "linear");
    await page.click("input[value=linear]");
    await answer;
    await settled(page);
    const conversions = await cells(page, "[data-panel=attribution] .body");
    await page.selectOption("[data-panel=attribution] select[name=measure]", "value EUR");
    const value = await cells(page, "[data-panel=attribution] .body");
    const spend = await cells(page, "[data-panel=spend] .body");
    await close();
    return { conversions, value, spend };
  },

  /** Of a lake with events from two sources. */
  async sources() {
    const { page, close } = await entered();
    await settled(page);
    await allTime(page);
    await shown(page, "funnel");
    const options = await texts(page, "select[name=source] option");
    const begun = () => text(page, ".funnel li:first-child [data-cell=units_reached]");
    const all = await begun();
    const narrowed = answered(page, "source = 'backend'");
    await page.selectOption("select[name=source]", "backend");
    assert.equal((await narrowed).status(), 200);
    await settled(page);
    const own = await begun();
    await shown(page, "attribution");
    const conversions = answered(page, "source = 'shop'");
    await page.selectOption("select[name=source]", "shop");
    assert.equal((await conversions).status(), 200);
    await settled(page);
    // What was spent has a row, whoever converted.
    const credit = await cells(page, "[data-panel=attribution] .body");
    await close();
    return { options, all, own, credit };
  },

  async experiment() {
    const { page, close } = await entered();
    await shown(page, "experiment");
    const rows = await cells(page, "[data-panel=experiment] .body");
    const verdict = await text(page, "[data-panel=experiment] .verdict");
    const about = await text(page, "[data-panel=experiment] .body > div > .about");
    const drawn = await page.locator("[data-panel=experiment] .span").count();
    const ranged = await page.locator("#tools select[name=range]").count();
    await close();
    return { rows, verdict, about, drawn, ranged };
  },
};
