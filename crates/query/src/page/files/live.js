// Live: the newest events, as they come.
//
// In:       `events_live`: what is committed, and what the stream job has read since.
// Promise:  one question at a time, the next after a pause; none while the page is hidden or paused. Where it fails the
//           pauses grow. No more than `SHOWN_MAX` rows are kept.

import { ask } from "./ask.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { fault } from "./panel.js";

export const ranged = false;

const SHOWN_MAX = 50;
const PAUSE_MS = 1_500;
const PAUSE_MS_MAX = 30_000;
/** Far below the newest row seen: rows of one moment come by several partitions, and none must be missed. */
const OVERLAP_US = 10_000_000;

const COLUMNS =
  "log_partition, log_offset, ingest_time_us, event_time_us, event_name, event_kind, source, channel, url_path, CAST(value AS VARCHAR) AS value, currency, engagement_class";

/** Newest first; `sinceUs`: only what was received from then on. */
export function liveSql(sinceUs) {
  const since = sinceUs === null ? "" : `\nWHERE ingest_time_us >= ${sinceUs}`;
  return `SELECT ${COLUMNS}\nFROM events_live${since}\nORDER BY ingest_time_us DESC, log_partition, log_offset DESC LIMIT ${SHOWN_MAX}`;
}

export function view({ signal, settings, home }) {
  const body = h("tbody");
  const heads = ["Received", "Event", "Kind", "Source", "Channel", "Page", "Value", "By"];
  const rowsShown = h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { class: "live" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heads.map((name) => h("th", { scope: "col" }, name)),
        ),
      ),
      body,
    ),
  );
  const told = h("p", { class: "facts", role: "status" });
  const trouble = h("div");
  const pause = h("button", { type: "button", "data-do": "pause", onclick: () => (isPaused ? go() : stop()) }, "Pause");
  const code = h("pre", { tabindex: "0" });
  const element = h(
    "section",
    { class: "panel wide", "data-panel": "live", "aria-label": "Live events" },
    h("h2", {}, "Newest events"),
    h("div", { class: "asking" }, pause, told),
    trouble,
    rowsShown,
    h(
      "div",
      { class: "foot" },
      h("div", { class: "more" }, h("details", { "data-more": "sql" }, h("summary", {}, "SQL"), code)),
    ),
  );
  const known = new Map();
  let isPaused = false;
  let timer = null;
  let asking = null;
  let failures = 0;

  const key = (row) => `${row.log_partition}/${row.log_offset}`;

  async function turn() {
    clearTimeout(timer);
    if (isPaused || document.hidden || signal.aborted || asking) return;
    const newest = Math.max(...[...known.values()].map((row) => row.ingest_time_us), -Infinity);
    const sql = liveSql(Number.isFinite(newest) ? newest - OVERLAP_US : null);
    code.textContent = sql;
    const own = (asking = new AbortController());
    try {
      const { rows } = await ask(sql, own.signal);
      if (0 < failures || 0 < rows.length) trouble.replaceChildren();
      failures = 0;
      take(rows);
      told.textContent = `${known.size === 0 ? "Nothing yet" : `The newest came ${format.ago([...known.values()][0].ingest_time_us, Date.now())}`}. Asked at ${format.clock(Date.now() * 1_000, settings.zone)}.`;
    } catch (error) {
      if (error.name === "AbortError" || error.status === 401) return;
      failures += 1;
      trouble.replaceChildren(fault(error), noTail(error));
    } finally {
      if (asking === own) asking = null;
    }
    if (!isPaused && !document.hidden && !signal.aborted)
      timer = setTimeout(turn, Math.min(PAUSE_MS * 2 ** failures, PAUSE_MS_MAX));
  }

  function noTail(error) {
    if (!error.message.includes("live table")) return "";
    const advice =
      "Live events come from a stream job. Where this process has none, name one that has in query.live_urls; one that starts needs a moment. What is committed is in the other views meanwhile.";
    return h("p", { class: "note" }, advice);
  }

  function take(rows) {
    const fresh = rows.filter((row) => !known.has(key(row)));
    if (fresh.length === 0 && 0 < body.childElementCount) return;
    const isFirst = known.size === 0;
    const all = [...fresh, ...known.values()].sort(
      (one, other) =>
        other.ingest_time_us - one.ingest_time_us ||
        one.log_partition - other.log_partition ||
        other.log_offset - one.log_offset,
    );
    known.clear();
    for (const row of all.slice(0, SHOWN_MAX)) known.set(key(row), row);
    const isFresh = new Set(fresh.map(key));
    body.replaceChildren(...[...known.values()].map((row) => line(row, !isFirst && isFresh.has(key(row)))));
    // It stays as it is from turn to turn: somebody may be copying it.
    if (known.size === 0 && !trouble.firstChild) trouble.replaceChildren(home.firstEvent());
  }

  function line(row, isNew) {
    const value = row.value === null ? "" : format.money(Number(row.value), row.currency ?? "");
    const cells = [row.event_kind, row.source, row.channel ?? "", row.url_path ?? "", value, row.engagement_class];
    return h(
      "tr",
      { class: isNew ? "new" : null },
      h(
        "td",
        { title: `happened ${format.dateTime(row.event_time_us, settings.zone)}` },
        format.dateTime(row.ingest_time_us, settings.zone),
      ),
      h("th", { scope: "row" }, row.event_name),
      cells.map((cell) => h("td", {}, cell)),
    );
  }

  function stop() {
    isPaused = true;
    pause.textContent = "Go on";
    asking?.abort();
    clearTimeout(timer);
    told.textContent = "Paused.";
  }

  function go() {
    isPaused = false;
    pause.textContent = "Pause";
    turn();
  }

  const onVisible = () => {
    if (document.hidden) asking?.abort();
    else turn();
  };
  document.addEventListener("visibilitychange", onVisible, { signal });
  signal.addEventListener("abort", () => {
    asking?.abort();
    clearTimeout(timer);
  });

  return { element: h("div", { class: "panels" }, element), load: turn };
}
