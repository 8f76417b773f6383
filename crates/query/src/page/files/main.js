// The page: token, views, and the tools above them.
//
// In:       the address's fragment names the view and nothing else.
// Out:      one view at a time; what the one before still asked is hung up on.
// Promise:  nothing is asked without a token, and no request leaves this origin.

import { TOKEN_REFUSED, ask, token, tryToken } from "./ask.js";
import * as attribution from "./attribution.js";
import { field, h, redraw, select } from "./dom.js";
import * as experiment from "./experiment.js";
import * as funnel from "./funnel.js";
import * as live from "./live.js";
import { recall, remember } from "./memory.js";
import * as overview from "./overview.js";
import { fault } from "./panel.js";
import { RANGES, bounds, ownZone, zones } from "./time.js";

const VIEWS = { overview, funnel, attribution, experiment, live };
const TITLES = {
  overview: "Overview",
  funnel: "Funnel",
  attribution: "Attribution",
  experiment: "Experiment",
  live: "Live",
};
const AGAIN_MS = 3_000;

const main = document.getElementById("main");
const nav = document.getElementById("views");
const tools = document.getElementById("tools");
const forget = document.getElementById("forget");

const settings = {
  range: recall("range", "30"),
  custom: recall("custom", { from: "", to: "" }),
  zone: recall("zone", ownZone()),
  people: recall("people", true),
  bounds: () => bounds(settings.range, settings.custom, settings.zone, Date.now()),
};

let shown = null;

/** What the address names; else, as after the link past the tools, what is shown. */
const named = () =>
  Object.hasOwn(VIEWS, location.hash.slice(1)) ? location.hash.slice(1) : (shown?.name ?? "overview");

function show() {
  shown?.leave.abort();
  const name = named();
  const leave = new AbortController();
  const given = { signal: leave.signal, settings, home: { showAll, firstEvent }, lake: () => lake(leave.signal) };
  const view = VIEWS[name].view(given);
  shown = { name, leave, view };
  document.title = `${TITLES[name]} · Tributary`;
  for (const link of nav.querySelectorAll("a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  drawTools(VIEWS[name].ranged, name);
  main.replaceChildren(view.element);
  view.load();
}

/** How many events there are and between when; where there are none, or they cannot be asked for, that is shown instead. */
async function lake(signal) {
  try {
    const { rows } = await ask(
      "SELECT count(*) AS events, min(event_time_us) AS first_us, max(event_time_us) AS last_us FROM events",
      signal,
    );
    if (0 < rows[0].events) return rows[0];
    if (!signal.aborted) {
      main.replaceChildren(firstEvent());
      // Who has just sent one waits for it here.
      const timer = setTimeout(() => !signal.aborted && show(), AGAIN_MS);
      signal.addEventListener("abort", () => clearTimeout(timer));
    }
  } catch (error) {
    if (!signal.aborted && error.status !== 401) {
      main.replaceChildren(
        h(
          "section",
          { class: "panel wide", "data-state": "failed" },
          fault(error),
          h("button", { type: "button", "data-do": "again", onclick: show }, "Ask again"),
        ),
      );
    }
  }
  return null;
}

function firstEvent() {
  const command = `curl -u "KEY:" ${location.origin}/v1/track -d '{"userId": "ada", "event": "Order Completed",
  "properties": {"revenue": 49.90, "currency": "EUR"}}'`;
  return h(
    "section",
    { class: "panel wide", "data-panel": "first-event" },
    h("h2", {}, "No events yet"),
    h("p", {}, "Send the first one; it shows up here a few seconds after its answer:"),
    h("pre", { tabindex: "0" }, command),
    h(
      "p",
      { class: "about" },
      'KEY is a write key: keys.toml in the server\'s data folder has one for the source "web". Where this process only answers questions, send it to the one with the role ingest. Files come in by ',
      h("code", {}, "tributary import"),
      ".",
    ),
  );
}

function showAll() {
  set("range", "all");
}

function set(name, value) {
  settings[name] = value;
  remember(name, value);
  drawTools(VIEWS[shown.name].ranged, shown.name);
  // A view that shows something instead of itself comes back whole.
  if (main.contains(shown.view.element) && shown.name !== "live") shown.view.load();
  else show();
}

function drawTools(ranged, name) {
  const date = (end, label) =>
    field(
      label,
      h("input", {
        type: "date",
        name: `date-${end}`,
        value: settings.custom[end],
        onchange: (event) => set("custom", { ...settings.custom, [end]: event.target.value }),
      }),
    );
  const parts = [];
  if (ranged) {
    parts.push(
      field(
        "Range",
        select({ name: "range", onchange: (event) => set("range", event.target.value) }, RANGES, settings.range),
      ),
    );
    if (settings.range === "custom") parts.push(date("from", "From"), date("to", "To"));
  }
  const known = zones();
  const all = known.includes(settings.zone) ? known : [settings.zone, ...known];
  parts.push(
    field(
      "Zone",
      select(
        { name: "zone", onchange: (event) => set("zone", event.target.value) },
        all.map((zone) => [zone, zone]),
        settings.zone,
      ),
    ),
  );
  if (name !== "live" && name !== "attribution") {
    parts.push(
      h(
        "label",
        { class: "check" },
        h("input", {
          type: "checkbox",
          name: "people",
          checked: settings.people,
          onchange: (event) => set("people", event.target.checked),
        }),
        "leave out machines",
      ),
    );
  }
  redraw(tools, ...parts);
}

/** Asks for the token; `refused` says why the last one, or none, will not do. */
function gate(refused) {
  shown?.leave.abort();
  shown = null;
  nav.hidden = tools.hidden = forget.hidden = true;
  document.title = "Tributary";
  // Without a name a field is part of no address, whatever sends the form.
  const input = h("input", {
    type: "password",
    id: "token",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "token-where",
  });
  const told = h("div", { "data-told": "token" }, refused ? fault(refused) : null);
  const enter = async (event) => {
    event.preventDefault();
    const value = input.value.trim();
    // What is no header must not become one.
    const why = /^[\x21-\x7e]+$/.test(value)
      ? await tryToken(value).catch((error) => error)
      : { message: "a token has visible ASCII characters and no blanks", advice: "copy it whole" };
    if (why) {
      told.replaceChildren(fault(why));
      input.select();
      return;
    }
    token.keep(value);
    open();
  };
  main.replaceChildren(
    h(
      "form",
      { class: "panel gate", onsubmit: enter },
      h("h2", {}, "Your token"),
      h(
        "p",
        { id: "token-where" },
        "Questions are answered to who has one of ",
        h("code", {}, "query.tokens"),
        ". The server makes the first one itself: it begins with ",
        h("code", {}, "sql_"),
        " and stands in ",
        h("code", {}, "keys.toml"),
        " in its data folder. This tab keeps it until it is closed.",
      ),
      h("label", { for: "token" }, "Token"),
      input,
      h("button", { type: "submit" }, "Open"),
      told,
    ),
  );
  input.focus();
}

function open() {
  nav.hidden = tools.hidden = forget.hidden = false;
  show();
}

nav.append(...Object.keys(VIEWS).map((name) => h("a", { href: `#${name}` }, TITLES[name])));
forget.addEventListener("click", () => {
  token.forget();
  gate(null);
});
window.addEventListener("hashchange", () => {
  // The link past the tools leads into the page, not to another view.
  if (token.get() && location.hash !== "#main") show();
});
document.addEventListener(TOKEN_REFUSED, (event) => gate(event.detail));

if (token.get()) open();
else {
  gate(null);
  // A server that lets nobody ask should say so before anybody looks for a token.
  const why = await tryToken("").catch((error) => error);
  const waits = document.querySelector("[data-told=token]");
  if (why && why.message.includes("has no tokens") && waits && !waits.firstChild) waits.append(fault(why));
}
