// The funnel: how many come how far, how sure that is, how long it takes them.

import { bar, groups } from "./bars.js";
import { SPLITS, eventNames, eventSelect, sourceNames, sourceSelect } from "./choices.js";
import { curve } from "./curve.js";
import { field, h, redraw, select } from "./dom.js";
import * as format from "./format.js";
import { recall, remember } from "./memory.js";
import { before, panel, rest, table } from "./panel.js";
import * as sql from "./sql.js";
import { within } from "./time.js";

export const ranged = true;

const STEPS_MAX = 10;
const SPLIT_ROWS_MAX = 8;
const WINDOWS = [
  ["'30 minutes'", "30 minutes"],
  ["'1 hour'", "1 hour"],
  ["'1 day'", "1 day"],
  ["'7 days'", "7 days"],
  ["'14 days'", "14 days"],
  ["'30 days'", "30 days"],
  ["'90 days'", "90 days"],
  ["NULL", "no limit"],
];
const ORDERS = [
  ["ordered", "in this order"],
  ["strict_reset", "with nothing between"],
  ["any", "in any order"],
];

export function view({ signal, settings, lake }) {
  let found = [];
  let sources = [];
  let steps = recall("funnel.steps", []).filter((step) => typeof step === "string");
  const chosen = {
    window: recall("funnel.window", "'7 days'"),
    order: recall("funnel.order", "ordered"),
    by: recall("funnel.by", ""),
    source: recall("funnel.source", ""),
  };
  const editor = h("ol", { class: "steps", "aria-label": "Steps" });
  const form = h("form", { class: "asking", onsubmit: (event) => (event.preventDefault(), load()) });
  const picture = panel({
    id: "funnel",
    title: "How many come how far",
    wide: true,
    signal,
    draw: (answer) => (chosen.by ? drawnSplit(answer) : drawn(answer)),
    empty,
  });
  const times = panel({
    id: "funnel-times",
    title: "How long it takes them",
    wide: true,
    signal,
    draw: ({ rows }) => curve(rows),
  });

  function keep(name, value) {
    chosen[name] = value;
    remember(`funnel.${name}`, value);
    load();
  }

  function change(next) {
    steps = next;
    remember("funnel.steps", steps);
    drawSteps();
    load();
  }

  function drawSteps() {
    const line = (step, index) => {
      const isSql = step.startsWith("sql:");
      const set = (value) => change(steps.with(index, value));
      const what = eventSelect(
        { "aria-label": `Step ${index + 1}`, onchange: (event) => set(event.target.value) },
        found,
        step,
        true,
      );
      const condition = isSql
        ? h("input", {
            type: "text",
            class: "code",
            spellcheck: "false",
            placeholder: "url_path = '/cart'",
            "aria-label": `Condition of step ${index + 1}`,
            value: step.slice(4),
            onchange: (event) => set(`sql:${event.target.value}`),
          })
        : null;
      const move = (to) => {
        const next = steps.toSpliced(index, 1);
        next.splice(to, 0, step);
        change(next);
      };
      return h(
        "li",
        {},
        what,
        condition,
        h(
          "button",
          {
            type: "button",
            class: "plain",
            "aria-label": `Step ${index + 1} earlier`,
            disabled: index === 0,
            onclick: () => move(index - 1),
          },
          "↑",
        ),
        h(
          "button",
          {
            type: "button",
            class: "plain",
            "aria-label": `Take step ${index + 1} away`,
            disabled: steps.length <= 1,
            onclick: () => change(steps.toSpliced(index, 1)),
          },
          "×",
        ),
      );
    };
    redraw(editor, ...steps.map(line));
  }

  function drawForm() {
    const source = sourceSelect(
      { name: "source", onchange: (event) => keep("source", event.target.value) },
      sources,
      chosen.source,
    );
    form.replaceChildren(
      editor,
      h(
        "button",
        {
          type: "button",
          "data-do": "add-step",
          onclick: () =>
            steps.length < STEPS_MAX &&
            change([...steps, steps.includes("kind:conversion") ? "sql:" : "kind:conversion"]),
        },
        "Add a step",
      ),
      h(
        "div",
        { class: "fields" },
        field(
          "Within",
          select({ name: "window", onchange: (event) => keep("window", event.target.value) }, WINDOWS, chosen.window),
        ),
        field(
          "Steps",
          select({ name: "order", onchange: (event) => keep("order", event.target.value) }, ORDERS, chosen.order),
        ),
        field(
          "Split by",
          select(
            { name: "by", onchange: (event) => keep("by", event.target.value) },
            [["", "nothing"], ...SPLITS],
            chosen.by,
          ),
        ),
        source && field("Source", source),
      ),
    );
  }

  async function load() {
    if (found.length === 0) {
      const asked = () => Promise.all([eventNames(signal), sourceNames(signal)]);
      const names = await before(picture, lake, signal, asked);
      if (names === null) return;
      [found, sources] = names;
      if (steps.length === 0) steps = firstSteps(found);
      drawForm();
      drawSteps();
    }
    const conditions = steps.map(sql.condition);
    if (conditions.includes(null))
      return picture.state(
        "empty",
        h(
          "p",
          { class: "note" },
          "Write the condition of each step: SQL over the columns of an event, such as url_path = '/cart'.",
        ),
      );
    const named = {
      steps: sql.list(conditions),
      names: sql.list(steps.map((step) => sql.text(sql.named(step)))),
      window: chosen.window,
      step_order: chosen.order === "ordered" ? null : sql.text(chosen.order),
      filter: condition(
        within(settings.bounds(), "event_time_us"),
        settings.people ? sql.PEOPLE : null,
        sql.from(chosen.source),
      ),
    };
    picture.load(sql.call("funnel", { ...named, breakdown: chosen.by || null }));
    times.element.hidden = steps.length < 2;
    if (1 < steps.length) times.load(sql.call("funnel_curve", named));
  }

  function empty({ rows }) {
    if (rows.some((row) => 0 < row.units_reached)) return null;
    return h(
      "p",
      { class: "note" },
      "Nobody did the first step in this range. Choose another first step, or a longer range.",
    );
  }

  function drawn({ rows }) {
    const [first] = rows;
    const last = rows.at(-1);
    const step = (row) =>
      h(
        "li",
        { "data-step": row.position },
        h("span", { class: "name" }, `${row.position}. ${row.step}`),
        bar({
          value: row.rate_from_first,
          low: row.position === 1 ? null : row.rate_low,
          high: row.position === 1 ? null : row.rate_high,
          top: 1,
        }),
        h("strong", { "data-cell": "units_reached" }, format.count(row.units_reached)),
        h("span", { "data-cell": "rate" }, format.percent(row.rate_from_first)),
        row.position === 1
          ? h("small", {}, "persons who begin")
          : h(
              "small",
              {},
              `95 % sure of ${format.percent(row.rate_low)} to ${format.percent(row.rate_high)} · ${format.percent(row.rate_from_previous)} of the step before · half within ${format.seconds(row.median_seconds_from_first)}`,
            ),
      );
    const open = last.units_open
      ? `${format.count(last.units_open)} of ${format.count(first.units_reached)} may still go on: their time is not over.`
      : "Nobody's time is still running.";
    const out = last.units_left_out ? ` ${format.count(last.units_left_out)} are left out.` : "";
    return h(
      "div",
      {},
      h("ol", { class: "funnel" }, rows.map(step)),
      h("p", { class: "about", "data-cell": "open" }, open + out),
    );
  }

  /** A row of the answer is a step of a value; the values with most persons are shown. */
  function drawnSplit({ rows, columns, truncated }) {
    const by = columns[0].name;
    const values = [...new Set(rows.map((row) => row[by]))];
    // Where the answer was cut the last value may lack its last steps.
    if (truncated && 1 < values.length) values.pop();
    const of = (value) => rows.filter((row) => row[by] === value).sort((one, other) => one.position - other.position);
    const all = values
      .map((value) => ({ name: value ?? "(none)", steps: of(value) }))
      .sort((one, other) => other.steps[0].units_reached - one.steps[0].units_reached);
    const shown = all.slice(0, SPLIT_ROWS_MAX);
    const heads = [by, ...shown[0].steps.map(({ step }) => step), "In all", "95 % sure of"];
    const line = ({ name, steps: reached }) => {
      const last = reached.at(-1);
      return [
        name,
        ...reached.map(({ units_reached }) => format.count(units_reached)),
        format.percent(last.rate_from_first),
        `${format.percent(last.rate_low)} to ${format.percent(last.rate_high)}`,
      ];
    };
    const rate = (pick) => shown.map(({ steps: reached }) => reached.at(-1)[pick]);
    return h(
      "div",
      {},
      groups({
        names: shown.map(({ name }) => name),
        series: [
          {
            name: `reach “${shown[0].steps.at(-1).step}”`,
            named: "one",
            values: rate("rate_from_first"),
            lows: rate("rate_low"),
            highs: rate("rate_high"),
          },
        ],
        show: format.percent,
      }),
      table(heads, shown.map(line)),
      shown.length < all.length || truncated
        ? h("p", { class: "about" }, `The ${shown.length} of ${all.length} with most persons; ${rest(truncated)}.`)
        : null,
    );
  }

  return { element: h("div", {}, form, h("div", { class: "panels" }, picture.element, times.element)), load };
}

/** Two steps that this data has: pages or the commonest event, then conversions or the next. */
function firstSteps(found) {
  const kinds = found.map(({ event_kind }) => event_kind);
  const names = [...new Set(found.map(({ event_name }) => `event:${event_name}`))];
  const first = kinds.includes("page") ? "kind:page" : names[0];
  const second = kinds.includes("conversion") ? "kind:conversion" : names.find((name) => name !== first);
  return [first, second].filter(Boolean);
}

/** An argument that is a condition; null where there is none to make. */
function condition(...parts) {
  const all = sql.all(...parts);
  return all === "true" ? null : all;
}
