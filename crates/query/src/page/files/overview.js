// Overview: how much, when, what it was worth, who brought it, how fresh.

import { columns } from "./chart.js";
import { ranking } from "./bars.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { panel, table } from "./panel.js";
import * as sql from "./sql.js";
import { buckets, within } from "./time.js";

export const ranged = true;

export function view({ signal, settings, lake, home }) {
  const made = (options) => panel({ ...options, signal });
  let all = null;

  const figures = made({
    id: "figures",
    title: "In this range",
    wide: true,
    empty: ({ rows }) => (rows[0].events === 0 ? nothing() : null),
    draw: ({ rows: [row] }) =>
      h(
        "dl",
        { class: "figures" },
        figure("Events", "events", format.count(row.events)),
        figure("Sessions", "sessions", format.count(row.sessions)),
        figure("Persons", "persons", format.count(row.persons)),
        figure("Conversions", "conversions", format.count(row.conversions)),
        figure(
          "Newest event",
          "newest",
          format.ago(row.received_us, Date.now()),
          `received ${format.dateTime(row.received_us, settings.zone)}, in whatever range`,
        ),
      ),
  });
  const series = made({ id: "series", title: "Over time", wide: true, draw: (answer) => drawnSeries(answer) });
  const value = made({
    id: "value",
    title: "Value of conversions",
    empty: ({ rows }) =>
      rows.length === 0
        ? h(
            "p",
            { class: "note" },
            "No conversion in this range has a value. Send value and currency with it: amounts of different currencies are never added.",
          )
        : null,
    draw: ({ rows }) =>
      table(
        ["Currency", "Value", "Conversions", "Each"],
        rows.map((row) => [
          row.currency ?? "(none said)",
          format.money(row.value),
          format.count(row.conversions),
          format.money(row.value / row.conversions),
        ]),
      ),
  });
  const channels = made({
    id: "channels",
    title: "Channels that begin sessions",
    draw: ({ rows }) =>
      ranking({
        heads: ["Channel", "Sessions", "Converting"],
        rows: rows.map((row) => ({
          name: row.channel,
          value: row.sessions,
          cells: [format.count(row.sessions), format.percent(row.converting / row.sessions)],
        })),
      }),
  });
  const names = made({
    id: "events",
    title: "What happened",
    draw: ({ rows }) =>
      ranking({
        heads: ["Event", "Events"],
        rows: rows.map((row) => ({
          name: row.event_name,
          value: row.events,
          cells: [format.count(row.events)],
          named: "two",
        })),
      }),
  });

  function figure(name, id, text, title) {
    return h("div", { title: title ?? null }, h("dt", {}, name), h("dd", { "data-figure": id }, text));
  }

  function nothing() {
    return h(
      "p",
      { class: "note" },
      `No events in this range. All there are lie between ${format.day(all.first_us, settings.zone)} and ${format.day(all.last_us, settings.zone)}. `,
      h("button", { type: "button", "data-do": "all-time", onclick: () => home.showAll() }, "Show all time"),
    );
  }

  let split = null;

  function drawnSeries({ rows }) {
    const found = new Map(rows.map((row) => [row.bucket, row]));
    const of = (name) => split.keys.map((key) => found.get(key)?.[name] ?? 0);
    const picture = columns({
      keys: split.keys,
      label: split.label,
      tick: split.tick,
      series: [
        { name: "events", class: "two", values: of("events") },
        { name: "sessions", class: "one", values: of("sessions") },
        { name: "conversions", class: "three", values: of("conversions") },
      ],
    });
    return h("div", {}, h("p", { class: "about" }, `By ${split.unit}, ${settings.zone}.`), picture);
  }

  const panels = [figures, series, value, channels, names];

  async function load() {
    for (const each of panels) each.wait();
    all = await lake();
    if (all === null || signal.aborted) return;
    const people = settings.people ? sql.PEOPLE : null;
    const range = settings.bounds();
    const events = (...more) => sql.where(within(range, "event_time_us"), people, ...more);
    const sessions = sql.where(within(range, "start_time_us"), people);
    figures.load(`SELECT count(*) AS events, count(DISTINCT person_id) FILTER (WHERE event_kind <> 'cost') AS persons,
    count(*) FILTER (WHERE event_kind = 'conversion') AS conversions,
    (SELECT count(*) FROM sessions${sessions}) AS sessions,
    (SELECT max(ingest_time_us) FROM events) AS received_us
FROM person_events${events()}`);
    value.load(`SELECT currency, count(*) AS conversions, sum(value) AS value
FROM events${events("event_kind = 'conversion'", "value IS NOT NULL")}
GROUP BY currency ORDER BY conversions DESC, currency LIMIT 20`);
    channels.load(`SELECT coalesce(first_channel, '(nobody)') AS channel, count(*) AS sessions,
    count(*) FILTER (WHERE 0 < conversion_count) AS converting
FROM sessions${sessions}
GROUP BY 1 ORDER BY sessions DESC, channel LIMIT 10`);
    names.load(`SELECT event_name, count(*) AS events
FROM events${events()}
GROUP BY event_name ORDER BY events DESC, event_name LIMIT 10`);
    // Of all time the bounds are those of what there is.
    split = buckets({ from: range.from ?? all.first_us, to: range.to ?? all.last_us + 1 }, settings.zone);
    series.load(`SELECT bucket, sum(events) AS events, sum(conversions) AS conversions, sum(sessions) AS sessions
FROM (
    SELECT ${split.sql("event_time_us")} AS bucket, count(*) AS events,
        count(*) FILTER (WHERE event_kind = 'conversion') AS conversions, 0 AS sessions
    FROM events${events()} GROUP BY 1
    UNION ALL
    SELECT ${split.sql("start_time_us")}, 0, 0, count(*) FROM sessions${sessions} GROUP BY 1
)
GROUP BY bucket ORDER BY bucket`);
  }

  return {
    element: h(
      "div",
      { class: "panels" },
      panels.map(({ element }) => element),
    ),
    load,
  };
}
