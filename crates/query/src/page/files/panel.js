// One question and its picture: asked, cancelled, told, shown as a table, as SQL and as CSV.
//
// In:       a title; what to ask; how to draw the answer.
// Out:      a section for the page; `load` asks anew.
// Promise:  the SQL shown is the one that was asked, whole. What is loaded anew, cancelled or left is hung up on; an answer
//           that comes late is not drawn. An error says what to do.

import { ask, askCsv, token } from "./ask.js";
import { h, newId } from "./dom.js";
import * as format from "./format.js";

/**
 * * `draw(answer)`: the picture, of an answer with rows (or `empty` says nothing of those without).
 * * `empty(answer)`: what to show instead of a picture; null where there is one.
 * * `signal`: ends with the view.
 */
export function panel({ id, title, wide, draw, empty, signal }) {
  const body = h("div", { class: "body" });
  const facts = h("p", { class: "facts", role: "status" });
  const more = h("div", { class: "more" });
  const heading = h("h2", { id: newId(id) }, title);
  const element = h(
    "section",
    { class: wide ? "panel wide" : "panel", "data-panel": id, "aria-labelledby": heading.id },
    heading,
    body,
    h("div", { class: "foot" }, more, facts),
  );
  let running = null;
  let asked = null;
  signal.addEventListener("abort", () => running?.abort());

  function state(name, ...nodes) {
    element.dataset.state = name;
    element.setAttribute("aria-busy", String(name === "loading"));
    if (nodes.length) body.replaceChildren(...nodes);
  }

  async function load(sql) {
    running?.abort();
    asked = sql;
    const own = (running = new AbortController());
    const cancel = h(
      "button",
      { type: "button", class: "plain", "data-do": "cancel", onclick: () => own.abort() },
      "Cancel",
    );
    facts.replaceChildren(h("span", { class: "wait" }, "asking …"), cancel);
    more.replaceChildren();
    // A picture that is asked for anew stays in its place meanwhile: pages that jump are hard to read.
    state("loading");
    if (!body.firstChild) body.replaceChildren(h("div", { class: "skeleton" }));
    try {
      const answer = await ask(sql, own.signal);
      if (running !== own) return null;
      show(answer, sql);
      return answer;
    } catch (error) {
      if (running !== own || signal.aborted) return null;
      facts.replaceChildren();
      if (error.name === "AbortError")
        state("cancelled", h("p", { class: "note" }, "Cancelled; the server has stopped its work. "), again());
      else if (token.get()) state("failed", fault(error), again());
      more.replaceChildren(...tools(null));
      return null;
    }
  }

  function again() {
    return h("button", { type: "button", "data-do": "again", onclick: () => load(asked) }, "Ask again");
  }

  function show(answer, sql) {
    const instead =
      empty?.(answer) ??
      (answer.rows.length === 0 ? h("p", { class: "note" }, "Nothing of that sort in this range.") : null);
    state(instead ? "empty" : "drawn", instead ?? draw(answer));
    more.replaceChildren(...tools(answer));
    const cut = answer.truncated ? "the first " : "";
    const told = `${cut}${format.count(answer.rows.length)} ${answer.rows.length === 1 ? "row" : "rows"} in ${format.seconds(answer.elapsed_ms / 1_000)}`;
    // Not told to a token that does not see all; of workers that did not tell, the number would be too small.
    const rows = (answer.facts?.workers?.counted ?? true) ? answer.facts?.rows_read : undefined;
    const read = rows === undefined ? "" : ` · ${format.count(rows)} read`;
    const newest = (answer.facts?.tables ?? []).flatMap(({ event_time_us }) => event_time_us ?? []);
    const fresh = 0 < newest.length ? ` · newest event ${format.dateTime(Math.max(...newest), "UTC")} UTC` : "";
    const notes = (answer.facts?.notes ?? []).map((note) => h("span", {}, ` · ${note}`));
    facts.replaceChildren(h("span", {}, told + read + fresh), ...notes);
    element.dataset.sql = sql;
  }

  function tools(answer) {
    const sql = asked;
    const code = h("pre", { tabindex: "0" }, sql);
    const copy = h(
      "button",
      { type: "button", class: "plain", "data-do": "copy", onclick: () => copied(sql, code, copy) },
      "Copy",
    );
    // With every default written out, where a function of ours was called.
    const said = [answer?.facts?.window, answer?.facts?.timezone].filter(Boolean).join("; ");
    const full = answer?.facts?.functions?.length
      ? [h("p", { class: "about" }, `In full (${said}):`), h("pre", { tabindex: "0" }, answer.facts.definition)]
      : [];
    const told = [h("details", { "data-more": "sql" }, h("summary", {}, "SQL"), code, copy, full)];
    if (answer && answer.rows.length > 0) {
      const rows = h("details", { "data-more": "table" }, h("summary", {}, "Table"));
      // Made when it is wanted: it may be long.
      rows.addEventListener(
        "toggle",
        () => rows.open && rows.childElementCount === 1 && rows.append(plainTable(answer)),
      );
      const csv = h(
        "button",
        { type: "button", class: "plain", "data-do": "csv", onclick: () => saved(id, sql, csv, signal) },
        "CSV",
      );
      told.push(rows, csv);
    }
    return told;
  }

  /** It will be asked for in a moment. */
  const wait = () => state("loading");

  return {
    element,
    load,
    wait,
    state: (name, node) => (
      running?.abort(),
      (running = null),
      facts.replaceChildren(),
      more.replaceChildren(),
      state(name, node)
    ),
  };
}

/** What went wrong, and what to do about it. */
export function fault(error) {
  const said = error.message || String(error);
  return h(
    "div",
    { class: "fault", role: "alert" },
    h("p", {}, h("strong", {}, said)),
    error.advice ? h("p", {}, sentence(error.advice)) : null,
  );
}

/** What a view must know before it can ask; null where there is nothing to be known, and then `picture` says why. */
export async function before(picture, lake, signal, look) {
  if ((await lake()) === null || signal.aborted) return null;
  try {
    return await look();
  } catch (error) {
    if (!signal.aborted && error.status !== 401) picture.state("failed", fault(error));
    return null;
  }
}

function sentence(advice) {
  return `${advice.charAt(0).toUpperCase()}${advice.slice(1)}.`;
}

async function copied(text, shown, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Without TLS, but for loopback, browsers offer no clipboard.
    getSelection().selectAllChildren(shown);
    button.textContent = "Selected: now Ctrl+C";
  }
}

async function saved(id, sql, button, signal) {
  button.disabled = true;
  try {
    const { blob, truncated } = await askCsv(sql, signal);
    const url = URL.createObjectURL(blob);
    h("a", { href: url, download: `tributary-${id}.csv` }).click();
    // Once the browser has it, it keeps it itself.
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    if (truncated) button.after(h("span", { class: "note" }, `Not all: ${rest(truncated)}.`));
  } catch (error) {
    if (error.name !== "AbortError") button.after(fault(error));
  } finally {
    button.disabled = false;
  }
}

/** Where the rows are that are not shown. */
export function rest(truncated) {
  return truncated ? "the answer itself was cut at the most rows the server tells" : "CSV has all";
}

/** All rows as they came. */
export function plainTable({ columns, rows, truncated }) {
  const shown = rows.slice(0, 1_000);
  const isNumber = columns.map(({ type }) => /^(U?Int|Float|Decimal)/.test(type));
  const cell = (value) => (value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));
  const head = h(
    "tr",
    {},
    columns.map(({ name }, index) => h("th", { scope: "col", class: isNumber[index] ? "number" : null }, name)),
  );
  const line = (row) =>
    h(
      "tr",
      {},
      columns.map(({ name }, index) => h("td", { class: isNumber[index] ? "number" : null }, cell(row[name]))),
    );
  const cut =
    shown.length < rows.length
      ? h("p", { class: "note" }, `The first ${shown.length} rows; ${rest(truncated)}.`)
      : null;
  return h(
    "div",
    { class: "scroll", tabindex: "0" },
    h("table", {}, h("thead", {}, head), h("tbody", {}, shown.map(line))),
    cut,
  );
}

/** A table of cells that are ready: texts, or elements. Numbers stand right. */
export function table(heads, rows, { numbers = 1, caption = null } = {}) {
  const right = (index) => (numbers <= index ? "number" : null);
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      {},
      caption ? h("caption", {}, caption) : null,
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heads.map((name, index) => h("th", { scope: "col", class: right(index) }, name)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row) =>
          h(
            "tr",
            {},
            row.map((cell, index) =>
              index === 0 ? h("th", { scope: "row" }, cell) : h("td", { class: right(index) }, cell),
            ),
          ),
        ),
      ),
    ),
  );
}
