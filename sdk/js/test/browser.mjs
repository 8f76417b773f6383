// The SDK in a real Chromium.
//
// In:       --host URL: a Tributary server to send to (else a stand-in made here); --key KEY: its write key;
//           --chromium PATH (else $CHROMIUM, else /usr/bin/chromium); --only NAME; --script URL: the script to test, for
//           instance the server's own /t.js (else dist/tributary.js).
// Out:      one JSON line a scenario: its name, whether it held, and each event that it handed to the SDK and that the
//           server has said 200 to, by id and name. Exit 1 if one did not hold.
// Promise:  a scenario knows by number what it handed over; an event that is missing fails it.
//
// All requests pass the gate (`gate.mjs`), which breaks them on demand and else passes them on to --host untouched. Only
// the scenario `direct` goes to --host itself, for its CORS headers.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { openGate } from "./gate.mjs";

const { values: words } = parseArgs({
  options: {
    host: { type: "string" },
    key: { type: "string", default: "browser-test" },
    chromium: { type: "string", default: process.env.CHROMIUM ?? "/usr/bin/chromium" },
    only: { type: "string" },
    script: { type: "string" },
  },
});
const { key } = words;
const host = words.host?.replace(/\/+$/, "");
const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const script = words.script ? await (await fetch(words.script)).text() : readFileSync(join(root, "dist/tributary.js"), "utf8");
const snippet = readFileSync(join(root, "snippet.html"), "utf8");

// ---- the site

let scriptDelayMs = 0;
const site = createServer((request, response) => {
  const url = new URL(request.url, "http://site");
  const send = (type, body) => {
    response.writeHead(200, { "content-type": `${type}; charset=utf-8`, "cache-control": "no-store" });
    response.end(body);
  };
  if (url.pathname === "/t.js") return void setTimeout(() => send("text/javascript", script), scriptDelayMs);
  if (url.pathname === "/sdk.mjs") return send("text/javascript", readFileSync(join(root, "dist/tributary.mjs")));
  if (url.pathname === "/favicon.ico") return response.writeHead(204).end();
  if (url.pathname === "/blank") return send("text/html", "<title>blank</title>");
  // The options of `init` come by a cookie-free way: the scenario puts them into the window before anything runs.
  const title = `<title>${url.pathname}</title><body style="height:3000px">`;
  if (url.pathname.startsWith("/snippet")) {
    return send(
      "text/html",
      title +
        snippet
          .replace("https://HOST/t.js", "/t.js")
          .replace('{key:"WRITE_KEY"}', "window.OPTIONS") +
        "<script>window.EARLY && window.EARLY()</script>",
    );
  }
  if (url.pathname.startsWith("/module")) {
    return send(
      "text/html",
      `${title}<script type="module">import {init} from "/sdk.mjs"; window.client = init(window.OPTIONS)</script>`,
    );
  }
  return send("text/html", `${title}<script src="/t.js"></script><script>tributary.init(window.OPTIONS)</script>`);
});
await new Promise((done) => site.listen(0, "127.0.0.1", done));
const sitePort = site.address().port;
const SITE = `http://127.0.0.1:${sitePort}`;

// ---- the browser

const browser = await chromium.launch({
  executablePath: words.chromium,
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // Sites with a name, http and no "secure context": no randomUUID and no locks there.
    "--host-resolver-rules=MAP *.test 127.0.0.1",
    // Those names are public to Chromium, and a public page may not ask the loopback without a person's leave.
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
  ],
});

/** A visitor with a gate of their own. */
async function visitor(options = {}, setUp) {
  const gate = await openGate({ host });
  const context = await browser.newContext({ viewport: { width: 1000, height: 700 } });
  await context.addInitScript((given) => (window.OPTIONS = given), { key, host: gate.url, ...options });
  if (setUp) await context.addInitScript(setUp);
  const warnings = [];
  context.on("console", (message) => message.type() === "warning" && warnings.push(message.text()));
  const errors = [];
  context.on("weberror", (error) => errors.push(`${error.error()}`));
  const open = async (path = "/", origin = SITE) => {
    const page = await context.newPage();
    await page.goto(origin + path);
    return page;
  };
  const close = async () => {
    await context.close();
    await gate.close();
    assert.deepEqual(errors, [], "the SDK threw into the page");
    assert.equal(gate.preflights, 0, "a browser asked before it sent (preflight)");
  };
  return { gate, context, open, warnings, close };
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function until(what, holds, limitMs = 10_000) {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await holds();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await pause(25);
  }
}

const named = (events, name) => events.filter((event) => event.name === name);
const track = (page, name, from, count) =>
  page.evaluate(([n, f, c]) => {
    for (let i = f; i < f + c; i += 1) tributary.track(n, { number: i });
  }, [name, from, count]);
const numbers = (events) => events.map((event) => event.properties.number).sort((a, b) => a - b);
const range = (count) => Array.from({ length: count }, (_, i) => i);
const kept = (page) => page.evaluate(() => Object.keys(localStorage).filter((name) => name.startsWith("tb_q:")).map((name) => name.split(":").pop()));
const emptied = (page) => until("the queue is empty", async () => (await kept(page)).length === 0);
/** On a busy machine a page takes longer to go than the half second after which it sends in the ordinary way. */
const onlyBeacons = (page) => page.evaluate(() => void (window.fetch = () => new Promise(() => {})));

// ---- the scenarios: each gives the events that the server has

const scenarios = {
  async calls_arrive() {
    const { gate, open, close } = await visitor();
    const page = await open("/?utm_source=news&utm_campaign=may&gclid=G1#part");
    await page.evaluate(() => {
      tributary.track("Order Completed", { revenue: 12.5, currency: "EUR", order_id: "o1" });
      tributary.track("Lead", { form: "a" }, { value: "30.00", currency: "EUR" });
      tributary.identify("user-1", { plan: "pro" });
      tributary.group("account-1", { seats: 3 });
      tributary.track("After");
    });
    await until("six events", () => gate.taken().length === 6);
    const [landing, order, lead, identify, group, after] = gate.taken();
    assert.deepEqual(gate.taken().map((event) => event.name), ["page", "Order Completed", "Lead", "identify", "group", "After"]);
    assert.equal(landing.kind, "page");
    assert.deepEqual([landing.utm_source, landing.utm_campaign, landing.gclid, landing.title], ["news", "may", "G1", "/"]);
    assert.equal(landing.url, `${SITE}/?utm_source=news&utm_campaign=may&gclid=G1#part`);
    assert.match(landing.screen, /^\d+x\d+$/);
    assert.match(landing.library, /^tributary-js\/\d/);
    assert.ok(landing.language && landing.timezone);
    assert.equal(order.kind, undefined);
    assert.equal(order.utm_source, undefined);
    assert.equal(order.properties.revenue, 12.5);
    assert.deepEqual([lead.value, lead.currency], ["30.00", "EUR"]);
    assert.deepEqual([identify.kind, identify.user_id, identify.properties.plan], ["identify", "user-1", "pro"]);
    assert.deepEqual([group.kind, group.account_id, after.user_id, after.account_id], ["group", "account-1", "user-1", "account-1"]);
    assert.equal(new Set(gate.taken().map((event) => event.anonymous_id)).size, 1);
    assert.match(landing.anonymous_id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    const [first] = gate.requests;
    assert.equal(first.path, `/v1/events?writeKey=${key}`);
    assert.equal(first.headers["content-type"], "text/plain;charset=UTF-8");
    assert.equal(first.headers.cookie, undefined);
    assert.ok(first.body.sent_time);
    await emptied(page);
    const before = landing.anonymous_id;
    await page.evaluate(() => (tributary.reset(), tributary.track("Stranger")));
    const stranger = await until("the stranger", () => named(gate.taken(), "Stranger")[0]);
    assert.notEqual(stranger.anonymous_id, before);
    assert.equal(stranger.user_id, undefined);
    const events = gate.taken();
    await close();
    return events;
  },

  async module_form() {
    const { gate, open, close } = await visitor();
    const page = await open("/module");
    await page.waitForFunction(() => window.client);
    await page.evaluate(async () => {
      client.track("From module");
      await client.flush();
    });
    assert.deepEqual(gate.taken().map((event) => event.name), ["page", "From module"]);
    const events = gate.taken();
    await close();
    return events;
  },

  async snippet_replays_in_order() {
    scriptDelayMs = 700;
    const { gate, open, close } = await visitor({}, () => {
      window.EARLY = () => {
        window.calledMs = [Date.now()];
        tributary.track("Early", { number: 0 });
        tributary.identify("early-user");
        const stub = tributary;
        setTimeout(() => {
          history.replaceState(null, "", "/snippet");
          calledMs.push(Date.now());
          stub.track("Early", { number: 1 });
          window.stub = stub;
        }, 300);
      };
    });
    const page = await open("/snippet?utm_source=early");
    await page.waitForFunction(() => !Array.isArray(window.tributary));
    scriptDelayMs = 0;
    await page.evaluate(() => stub.track("Early", { number: 2 }));
    await until("five events", () => gate.taken().length === 5).catch((error) => {
      throw new Error(`${error.message}: ${gate.taken().map((event) => `${event.name} ${event.time} ${event.url}`)}`);
    });
    const events = gate.taken();
    assert.deepEqual(events.map((event) => event.name), ["page", "Early", "identify", "Early", "Early"]);
    assert.equal(events[0].utm_source, "early");
    assert.match(events[0].url, /utm_source=early/);
    assert.doesNotMatch(events[3].url, /utm_source/);
    const called = await page.evaluate(() => calledMs);
    for (const [index, at] of [[1, called[0]], [3, called[1]]])
      assert.ok(Math.abs(Date.parse(events[index].time) - at) < 100, "the time is that of the call, not of its replay");
    await close();
    return events;
  },

  async offline_then_online() {
    const { gate, context, open, close } = await visitor();
    const page = await open();
    await until("the page", () => gate.taken().length === 1);
    await context.setOffline(true);
    await track(page, "Offline", 0, 30);
    await pause(1_200);
    assert.equal(gate.taken().length, 1);
    const ids = await kept(page);
    assert.equal(ids.length, 30);
    await context.setOffline(false);
    await until("all", () => named(gate.taken(), "Offline").length === 30, 5_000);
    assert.deepEqual(numbers(named(gate.taken(), "Offline")), range(30));
    assert.deepEqual(named(gate.taken(), "Offline").map((event) => event.event_id).sort(), ids.sort());
    await emptied(page);
    const events = gate.taken();
    await close();
    return events;
  },

  async reload_while_down_keeps_events() {
    const { gate, open, close } = await visitor({ autoPage: false });
    gate.fault = "down";
    const page = await open();
    await track(page, "Kept", 0, 7);
    await pause(1_000);
    const before = (await kept(page)).sort();
    assert.equal(before.length, 7);
    await page.reload();
    // A page seen for a second tells on leaving that it was: on a busy machine there is an eighth.
    const after = await kept(page);
    assert.deepEqual(before.filter((id) => !after.includes(id)), []);
    await pause(300);
    gate.fault = undefined;
    await until("all", () => named(gate.taken(), "Kept").length === 7, 15_000);
    assert.deepEqual(named(gate.taken(), "Kept").map((event) => event.event_id).sort(), before);
    await emptied(page);
    const events = gate.taken();
    await close();
    return events;
  },

  async last_events_leave_by_beacon_and_again_by_the_next_page() {
    const { gate, open, close } = await visitor();
    const page = await open();
    await emptied(page);
    await onlyBeacons(page);
    await page.evaluate(() => {
      tributary.track("Last", { number: 0 });
      location.href = "/blank";
    });
    const last = await until("the beacon", () => gate.events().find((event) => event.name === "Last"));
    assert.ok(last.request.beacon);
    assert.equal(last.request.headers["content-type"], "text/plain;charset=UTF-8");
    await page.waitForURL("**/blank");
    assert.ok((await kept(page)).includes(last.event_id), "it stays until the server has spoken");
    await page.goto(`${SITE}/next`);
    await until("it comes again", () => named(gate.events(), "Last").length === 2);
    assert.equal(new Set(named(gate.events(), "Last").map((event) => event.event_id)).size, 1);
    await emptied(page);
    const events = gate.taken();
    await close();
    return events;
  },

  async a_lost_beacon_loses_nothing() {
    const { gate, open, close } = await visitor();
    const page = await open();
    await until("the page", () => gate.taken().length === 1);
    gate.fault = "down";
    await page.evaluate(() => {
      for (let number = 0; number < 5; number += 1) tributary.track("Last", { number });
      location.href = "/blank";
    });
    await page.waitForURL("**/blank");
    await pause(300);
    assert.equal(named(gate.events(), "Last").length, 0);
    gate.fault = undefined;
    await page.goto(`${SITE}/next`);
    await until("all", () => named(gate.taken(), "Last").length === 5);
    await emptied(page);
    const events = gate.taken();
    await close();
    return events;
  },

  async a_page_seen_again_asks_what_became_of_its_beacon() {
    const { gate, open, close } = await visitor();
    const page = await open();
    await emptied(page);
    const show = (state) =>
      page.evaluate((value) => {
        Object.defineProperty(document, "visibilityState", { value, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }, state);
    // In one task: half a second between the two, and they would go in the ordinary way.
    await page.evaluate(() => {
      for (let number = 0; number < 2; number += 1) tributary.track("Hidden", { number });
      Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await until("the beacon", () => named(gate.events(), "Hidden").length === 2);
    await show("hidden");
    await pause(800);
    assert.equal(named(gate.events(), "Hidden").length, 2, "a beacon goes once");
    assert.equal((await kept(page)).length, 2);
    await show("visible");
    await emptied(page);
    assert.equal(named(gate.events(), "Hidden").length, 4);
    const events = gate.taken();
    await close();
    return events;
  },

  async closing_the_tab_sends() {
    const { gate, open, close } = await visitor();
    const page = await open();
    await emptied(page);
    await onlyBeacons(page);
    await track(page, "Last", 0, 3);
    await page.close({ runBeforeUnload: true });
    await until("all", () => named(gate.taken(), "Last").length === 3, 3_000);
    assert.ok(named(gate.taken(), "Last").every((event) => event.request.beacon));
    const events = gate.taken();
    await close();
    return events;
  },

  async server_error_then_ok_has_the_same_ids() {
    const { gate, open, close } = await visitor();
    gate.fault = { status: 503 };
    const page = await open();
    await track(page, "Again", 0, 3);
    await until("two refusals", () => gate.requests.length >= 2, 5_000);
    gate.fault = undefined;
    await until("all", () => gate.taken().length === 4, 10_000);
    const ids = (request) => request.body.events.map((event) => event.event_id);
    assert.deepEqual(ids(gate.requests[0]), ids(gate.requests.at(-1)));
    await emptied(page);
    const events = gate.taken();
    await close();
    return events;
  },

  // A wait may be shorter than the run it follows takes to end; its timer then fired into that run, and nothing came after.
  async the_shortest_wait_is_a_wait_too() {
    const { gate, open, close } = await visitor({}, () => (Math.random = () => 0));
    let refusals = 3;
    gate.fault = { results: () => (refusals-- > 0 ? "retry" : "ok") };
    const page = await open();
    await emptied(page);
    assert.equal(gate.requests.length, 4);
    await close();
    return host ? [] : gate.taken();
  },

  async retry_after_is_honoured() {
    const { gate, open, close } = await visitor();
    gate.fault = { status: 429, headers: { "retry-after": "3" } };
    const page = await open();
    await until("a refusal", () => gate.requests.length === 1);
    gate.fault = undefined;
    await page.evaluate(() => (tributary.track("Meanwhile"), tributary.flush()));
    await until("all", () => gate.taken().length === 2, 10_000);
    assert.ok(gate.requests[1].atMs - gate.requests[0].atMs >= 2_900, "it came too early");
    const events = gate.taken();
    await close();
    return events;
  },

  async a_cut_answer_is_asked_for_again() {
    const { gate, open, close } = await visitor();
    gate.fault = "cut";
    const page = await open();
    await track(page, "Cut", 0, 3);
    await until("taken without a word", () => gate.requests.length >= 1);
    gate.fault = undefined;
    await emptied(page);
    const times = named(gate.events(), "Cut").length;
    assert.ok(times >= 6 && times % 3 === 0);
    assert.equal(new Set(named(gate.events(), "Cut").map((event) => event.event_id)).size, 3);
    const events = gate.taken();
    await close();
    return events;
  },

  async a_hanging_server_is_given_up() {
    const { gate, open, close } = await visitor();
    gate.fault = "hang";
    const page = await open();
    await until("a request", () => gate.requests.length === 1);
    gate.fault = undefined;
    await until("another", () => gate.taken().length === 1, 20_000);
    await emptied(page);
    const events = gate.taken();
    await close();
    return events;
  },

  async only_events_to_retry_are_sent_again() {
    const { gate, open, close } = await visitor({ autoPage: false });
    gate.fault = { results: (event) => (event.properties.number === 1 ? "retry" : "ok") };
    const page = await open();
    await track(page, "Some", 0, 3);
    await until("one is left", async () => (await kept(page)).length === 1);
    assert.equal(gate.requests[0].body.events.length, 3);
    gate.fault = undefined;
    await emptied(page);
    assert.deepEqual(gate.requests.at(-1).body.events.map((event) => event.properties.number), [1]);
    await close();
    // The real server saw only the last of them.
    return gate.taken().filter((event) => !host || event.properties.number === 1);
  },

  async what_is_refused_for_good_is_dropped_and_told_once() {
    const { gate, open, warnings, close } = await visitor();
    gate.fault = { status: 400 };
    const page = await open();
    await emptied(page);
    await track(page, "Refused", 0, 1);
    await until("the second", () => gate.requests.length === 2);
    await emptied(page);
    gate.fault = undefined;
    await track(page, "Fine", 0, 1);
    await until("the third", () => gate.taken().length === 1);
    assert.equal(warnings.filter((text) => /refused/.test(text)).length, 1);
    const events = gate.taken();
    await close();
    return events;
  },

  async many_events_go_in_small_requests() {
    const { gate, open, close } = await visitor({ autoPage: false });
    const page = await open();
    await page.evaluate(() => {
      for (let number = 0; number < 120; number += 1) tributary.track("Many", { number, padding: "ä".repeat(number < 100 ? 10 : 6_000) });
    });
    await until("all", () => gate.taken().length === 120);
    assert.deepEqual(numbers(gate.taken()), range(120));
    assert.ok(gate.requests.every((request) => request.bytes <= 60_000 && request.body.events.length <= 50));
    const events = gate.taken();
    await close();
    return events;
  },

  async the_oldest_give_way_and_are_counted() {
    const { gate, open, close } = await visitor({ autoPage: false });
    gate.fault = "down";
    const page = await open();
    await track(page, "Full", 0, 520);
    assert.equal((await kept(page)).length, 500);
    gate.fault = undefined;
    await page.evaluate(() => tributary.flush());
    await emptied(page);
    assert.deepEqual(numbers(gate.taken()), range(520).slice(20));
    assert.equal(gate.requests[0].body.dropped, 20);
    assert.ok(gate.requests.slice(1).every((request) => request.body.dropped === undefined));
    const events = gate.taken();
    await close();
    return events;
  },

  async cookieless_stores_nothing() {
    const { gate, context, open, close } = await visitor({ cookieless: true });
    const page = await open("/?gclid=G2");
    await page.evaluate(() => (tributary.track("Quiet"), tributary.identify("user-2"), tributary.consent({ analytics: true })));
    await until("three events", () => gate.taken().length === 3);
    await track(page, "Last", 0, 2);
    await page.evaluate(() => (location.href = "/blank"));
    await until("the beacon", () => named(gate.taken(), "Last").length === 2);
    await page.waitForURL("**/blank");
    assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [0, 0, ""]);
    assert.deepEqual(await context.cookies(), []);
    assert.ok(gate.requests.every((request) => request.body.cookieless === true));
    assert.ok(gate.taken().every((event) => event.anonymous_id === undefined));
    const events = gate.taken();
    await close();
    return events;
  },

  async required_consent_holds_back() {
    const { gate, context, open, close } = await visitor({ consent: "required" });
    const page = await open("/?utm_source=held");
    await page.evaluate(() => (tributary.track("Held", { number: 0 }), tributary.identify("user-3")));
    await pause(1_200);
    assert.equal(gate.requests.length, 0);
    assert.deepEqual(await page.evaluate(() => [localStorage.length, document.cookie]), [0, ""]);
    assert.deepEqual(await context.cookies(), []);
    const granted = Date.now();
    await page.evaluate(() => tributary.consent({ analytics: true, ads: false }));
    await until("three events", () => gate.taken().length === 3);
    assert.equal(gate.taken()[0].utm_source, "held");
    assert.ok(gate.taken().every((event) => Date.parse(event.time) < granted - 1_000 && event.anonymous_id));
    assert.deepEqual(gate.taken()[0].consent, { analytics: true, ads: false });
    // The next page remembers.
    await page.goto(`${SITE}/next`);
    await until("the next page", () => named(gate.taken(), "page").length === 2);
    assert.deepEqual(named(gate.taken(), "page")[1].consent, { analytics: true, ads: false });
    assert.equal(named(gate.taken(), "page")[1].user_id, "user-3");
    await emptied(page);
    // Taken back: the device is clean, and nothing more is sent.
    const count = gate.requests.length;
    await page.evaluate(() => (tributary.consent({ analytics: false }), tributary.track("Never")));
    await pause(800);
    assert.deepEqual(await page.evaluate(() => [Object.keys(localStorage), document.cookie]), [[], ""]);
    assert.equal(gate.requests.length, count);
    const events = gate.taken();
    await close();
    return events;
  },

  async refused_consent_discards() {
    const { gate, open, close } = await visitor({ consent: "required" });
    const page = await open();
    await page.evaluate(() => (tributary.track("Never"), tributary.consent({ analytics: false }), tributary.track("Never")));
    await page.goto(`${SITE}/blank`);
    await pause(800);
    assert.equal(gate.requests.length, 0);
    assert.deepEqual(await page.evaluate(() => [localStorage.length, document.cookie]), [0, ""]);
    await close();
    return [];
  },

  async privacy_control_is_told() {
    const { gate, open, close } = await visitor({}, () =>
      Object.defineProperty(Navigator.prototype, "globalPrivacyControl", { get: () => true }),
    );
    const page = await open();
    await page.evaluate(() => (tributary.consent({ analytics: true, ads: true, sale: true }), tributary.track("Private")));
    const event = await until("it", () => named(gate.taken(), "Private")[0]);
    assert.equal(event.gpc, true);
    assert.deepEqual(event.consent, { analytics: true, ads: false, sale: false });
    const events = gate.taken();
    await close();
    return events;
  },

  two_tabs: () => twoTabs(SITE),
  two_tabs_without_locks: () => twoTabs(`http://www.shop.test:${sitePort}`, true),

  async subdomains_share_the_visitor() {
    const { gate, context, open, close } = await visitor();
    await open("/", `http://www.shop.test:${sitePort}`);
    await until("the first", () => gate.taken().length === 1);
    await open("/", `http://blog.shop.test:${sitePort}`);
    const events = await until("the second", () => gate.taken().length === 2 && gate.taken());
    assert.equal(events[0].anonymous_id, events[1].anonymous_id);
    const [cookie, ...more] = await context.cookies();
    assert.deepEqual(more, []);
    assert.deepEqual([cookie.name, cookie.domain, cookie.sameSite], ["tb_id", ".shop.test", "Lax"]);
    assert.ok(Math.abs(cookie.expires - Date.now() / 1_000 - 390 * 86_400) < 3_600);
    await close();
    return events;
  },

  async navigation_within_an_application() {
    const { gate, open, close } = await visitor();
    const page = await open("/one?utm_source=app");
    await page.evaluate(() => {
      history.replaceState(null, "", "/one?utm_source=app");
      history.replaceState(null, "", "/one");
      history.pushState(null, "", "/two");
      setTimeout(() => (document.title = "Two"), 30);
    });
    await pause(200);
    await page.evaluate(() => {
      history.replaceState(null, "", "/two");
      history.pushState(null, "", "/two#part");
      tributary.track("On two");
      history.pushState(null, "", "/three");
      tributary.track("On three");
    });
    await page.goBack();
    await page.goBack();
    await pause(300);
    await page.evaluate(() => history.replaceState(null, "", "/redirected"));
    const pages = await until("five pages", () => {
      const all = named(gate.taken(), "page");
      return all.length >= 5 && all;
    });
    await pause(700);
    const path = (event) => new URL(event.url).pathname;
    assert.deepEqual(named(gate.taken(), "page").map(path), ["/one", "/two", "/three", "/two", "/redirected"]);
    assert.deepEqual(pages.map((event) => event.utm_source), ["app", undefined, undefined, undefined, undefined]);
    assert.equal(pages[1].title, "Two");
    assert.equal(pages[1].referrer, `${SITE}/one`);
    assert.equal(pages[2].referrer, `${SITE}/two#part`);
    const order = gate.taken().map((event) => event.name);
    assert.ok(order.indexOf("On three") > gate.taken().indexOf(pages[2]), "a call comes after its page");
    const events = gate.taken();
    await close();
    return events;
  },

  async engaged_time() {
    const { gate, open, close } = await visitor();
    const opened = Date.now();
    const page = await open("/read");
    await pause(600);
    await page.mouse.move(100, 100);
    await page.mouse.move(200, 200);
    await pause(1_500);
    await page.evaluate(() => history.pushState(null, "", "/other"));
    const readMs = Date.now() - opened;
    const [first] = await until("the first", () => named(gate.taken(), "engagement").length && named(gate.taken(), "engagement"));
    assert.equal(first.kind, "engagement");
    assert.equal(first.url, `${SITE}/read`);
    assert.ok(first.properties.engaged_ms >= 1_400 && first.properties.engaged_ms <= readMs, `${first.properties.engaged_ms} of ${readMs}`);
    await page.mouse.wheel(0, 300);
    await pause(1_200);
    await page.evaluate(() => (location.href = "/blank"));
    const second = await until("the second", () => named(gate.taken(), "engagement")[1]);
    assert.equal(second.url, `${SITE}/other`);
    assert.ok(second.request.beacon);
    assert.ok(second.properties.engaged_ms >= 1_100);
    const events = gate.taken();
    await close();
    return events;
  },

  async a_bad_call_does_not_stop_the_site() {
    const { gate, open, warnings, close } = await visitor({ autoPage: false });
    const page = await open();
    await page.evaluate(() => {
      const circle = {};
      circle.self = circle;
      tributary.track("Circle", circle);
      tributary.track("Huge", { text: "x".repeat(100_000) });
      tributary.track("Fine");
    });
    await until("the good one", () => gate.taken().length === 1);
    assert.equal(gate.taken()[0].name, "Fine");
    assert.equal(gate.requests[0].body.dropped, 1);
    assert.equal(warnings.length, 2);
    const events = gate.taken();
    await close();
    return events;
  },

  async a_full_device_costs_nothing_but_the_reload() {
    const { gate, open, close } = await visitor({}, () => {
      Storage.prototype.setItem = () => {
        throw new DOMException("full", "QuotaExceededError");
      };
    });
    const page = await open();
    await track(page, "Full", 0, 3);
    const events = await until("all", () => gate.taken().length === 4 && gate.taken());
    assert.equal(new Set(events.map((event) => event.anonymous_id)).size, 1);
    assert.ok(events[0].anonymous_id);
    await close();
    return events;
  },
};

/** Straight to the real server, whose CORS headers have to let the answer through. */
if (host) {
  scenarios.direct = async () => {
    const { context, open, close } = await visitor({ host });
    const answers = [];
    context.on("response", (response) => {
      if (response.url().startsWith(`${host}/v1/events`)) answers.push({ sent: response.request().postDataJSON(), status: response.status() });
    });
    const page = await open();
    await track(page, "Direct", 0, 3);
    await emptied(page);
    assert.deepEqual(answers.map((answer) => answer.status), [200]);
    await close();
    return answers.flatMap((answer) => answer.sent.events);
  };
}

async function twoTabs(origin, insecure = false) {
  const { gate, open, close } = await visitor();
  gate.delayMs = 150;
  const tabs = [await open("/a", origin), await open("/b", origin)];
  for (const tab of tabs) assert.equal(await tab.evaluate(() => !navigator.locks), insecure);
  await Promise.all(
    tabs.map(async (tab, index) => {
      for (let i = 0; i < 10; i += 1) {
        await track(tab, "Tab", index * 100 + i * 10, 10);
        await pause(20);
      }
    }),
  );
  await until("all", () => gate.taken().length === 202, 20_000);
  await emptied(tabs[0]);
  assert.deepEqual(numbers(named(gate.taken(), "Tab")), range(200));
  assert.equal(new Set(gate.taken().map((event) => event.anonymous_id)).size, 1);
  const sent = gate.events().length;
  // Locks let one tab send at a time; a lease nearly so.
  if (!insecure) assert.equal(gate.mostAtOnce, 1);
  assert.ok(sent <= 202 * (insecure ? 1.5 : 1.25), `${sent} events were sent for 202`);
  const events = gate.taken();
  await close();
  return events;
}

// ---- run

// The longest scenario takes 17 seconds. `context.close()` has been seen never to end (once in some 25
// runs, three side by side on two cores; every check of that scenario had held).
const SCENARIO_MS_MAX = 90_000;

const withDeadline = (run) => {
  let timer;
  const late = new Promise((_, refuse) => {
    timer = setTimeout(() => refuse(new Error(`not done within ${SCENARIO_MS_MAX} ms`)), SCENARIO_MS_MAX);
  });
  return Promise.race([run(), late]).finally(() => clearTimeout(timer));
};

let failures = 0;
let held = 0;
for (const [name, run] of Object.entries(scenarios)) {
  if (words.only && words.only !== name) continue;
  const started = Date.now();
  const line = { scenario: name, held: true };
  try {
    const events = await withDeadline(run);
    line.events = events.map(({ event_id, name: of }) => ({ event_id, name: of }));
    held += 1;
  } catch (error) {
    line.held = false;
    line.error = `${error?.stack ?? error}`;
    failures += 1;
  }
  line.ms = Date.now() - started;
  console.log(JSON.stringify(line));
}
await withDeadline(() => browser.close()).catch((error) => console.error(`the browser did not close: ${error.message}`));
site.close();
console.error(`${held} passed, ${failures} failed`);
process.exit(failures || !held ? 1 : 0);
