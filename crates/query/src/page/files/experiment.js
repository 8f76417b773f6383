// An experiment: the variants with their intervals, the verdict and its reasons.

import { intervals } from "./bars.js";
import { eventNames, eventSelect } from "./choices.js";
import { ask } from "./ask.js";
import { field, h, redraw, select } from "./dom.js";
import * as format from "./format.js";
import { recall, remember } from "./memory.js";
import { before, panel, table } from "./panel.js";
import * as sql from "./sql.js";

/** One is looked at from its first exposure on: a range would cut it. */
export const ranged = false;

const LIST = `SELECT shown['experiment'] AS experiment, shown['variant'] AS variant,
    count(*) AS exposures, min(event_time_us) AS first_us, max(event_time_us) AS last_us
FROM (SELECT event_time_us, unnest(exposures) AS shown FROM events WHERE exposures IS NOT NULL) AS seen
WHERE shown['experiment'] IS NOT NULL AND shown['variant'] IS NOT NULL
GROUP BY 1, 2 ORDER BY last_us DESC, experiment, variant LIMIT 2000`;

const METRICS = [
  ["conversion", "who converts"],
  ["value", "value a person"],
];
const WINDOWS = [
  ["NULL", "for ever"],
  ["'1 day'", "1 day"],
  ["'7 days'", "7 days"],
  ["'14 days'", "14 days"],
  ["'30 days'", "30 days"],
];
const GOALS = [
  ["higher", "more is better"],
  ["lower", "less is better"],
];
/** Below this a split that was planned equal is no chance any more: the convention of the field. */
const SPLIT_P_MIN = 0.001;

export function view({ signal, settings, lake }) {
  let found = null;
  let names = [];
  const chosen = {
    name: recall("experiment.name", ""),
    metric: recall("experiment.metric", "conversion"),
    control: "",
    conversion: recall("experiment.conversion", "kind:conversion"),
    window: recall("experiment.window", "NULL"),
    goal: recall("experiment.goal", "higher"),
  };
  const form = h("form", { class: "asking", onsubmit: (event) => event.preventDefault() });
  const picture = panel({ id: "experiment", title: "What the variants did", wide: true, signal, draw: drawn });

  function keep(name, value) {
    chosen[name] = value;
    if (name === "name") chosen.control = "";
    if (name !== "control") remember(`experiment.${name}`, value);
    drawForm();
    load();
  }

  function drawForm() {
    const experiments = [...new Set(found.map(({ experiment }) => experiment))];
    const variants = found.filter(({ experiment }) => experiment === chosen.name).map(({ variant }) => variant);
    const one = (name, label, options) =>
      field(label, select({ name, onchange: (event) => keep(name, event.target.value) }, options, chosen[name]));
    redraw(
      form,
      h(
        "div",
        { class: "fields" },
        one(
          "name",
          "Experiment",
          experiments.map((name) => [name, name]),
        ),
        one("metric", "Metric", METRICS),
        field(
          "Conversions",
          eventSelect(
            { name: "conversion", onchange: (event) => keep("conversion", event.target.value) },
            names,
            chosen.conversion,
            false,
          ),
        ),
        one("window", "Counted", WINDOWS),
        one("control", "Against", [["", "the control"], ...variants.map((variant) => [variant, variant])]),
        one("goal", "Goal", GOALS),
      ),
    );
  }

  async function load() {
    if (found === null) {
      const both = await before(picture, lake, signal, () => Promise.all([ask(LIST, signal), eventNames(signal)]));
      if (both === null) return;
      [{ rows: found }, names] = both;
      if (found.length === 0) return picture.state("empty", nothing());
      if (!found.some(({ experiment }) => experiment === chosen.name)) chosen.name = found[0].experiment;
      drawForm();
    }
    if (found.length === 0) return;
    picture.load(
      sql.call("experiment", {
        name: sql.text(chosen.name),
        metric: sql.text(chosen.metric),
        control: chosen.control === "" ? null : sql.text(chosen.control),
        conversion: sql.condition(chosen.conversion),
        window: chosen.window === "NULL" ? null : chosen.window,
        goal: sql.text(chosen.goal),
        filter: settings.people ? sql.PEOPLE : null,
      }),
    );
  }

  function nothing() {
    return h(
      "div",
      { class: "note" },
      h("p", {}, "No event says which variant of an experiment a person was shown. Send one when you show it:"),
      h(
        "pre",
        { tabindex: "0" },
        `curl -u "KEY:" ${location.origin}/v1/track -d '{"userId": "ada", "event": "Experiment Viewed",\n  "properties": {"experiment_id": "button", "variation_id": "blue"}}'`,
      ),
    );
  }

  function drawn({ rows }) {
    const isShare = chosen.metric === "conversion";
    const show = isShare ? format.percent : format.number;
    const change = isShare ? format.points : format.signedNumber;
    const control = rows.find(({ is_control }) => is_control);
    const others = rows.filter(({ is_control }) => !is_control);
    const own = rows.map((row) => ({
      name: row.variant,
      value: row.metric_value,
      low: row.metric_low,
      high: row.metric_high,
      named: row.is_control ? "muted" : "one",
    }));
    const against = others.map((row) => ({
      name: row.variant,
      value: row.difference,
      low: row.difference_low,
      high: row.difference_high,
    }));
    const line = (row) => [
      row.variant + (row.is_control ? " (control)" : ""),
      format.count(row.persons),
      format.count(row.conversions),
      show(row.metric_value),
      row.is_control ? "" : `${format.signedPercent(row.relative_lift)}`,
      row.is_control
        ? ""
        : `${format.signedPercent(row.relative_lift_low)} to ${format.signedPercent(row.relative_lift_high)}`,
      row.is_control ? "" : format.probability(row.p_value),
    ];
    const seen = found.filter(({ experiment }) => experiment === chosen.name);
    const [first, last] = [
      Math.min(...seen.map(({ first_us }) => first_us)),
      Math.max(...seen.map(({ last_us }) => last_us)),
    ];
    const crossed = rows.reduce((sum, row) => sum + row.crossover_persons, 0);
    return h(
      "div",
      {},
      others.map((row) =>
        h(
          "div",
          { class: "verdict", "data-variant": row.variant },
          h("p", {}, h("strong", {}, `${row.variant}: ${row.verdict ?? "no verdict"}`)),
          h("p", {}, row.reasons ?? ""),
        ),
      ),
      h("h3", {}, isShare ? "Share that converts, 95 % intervals" : "Value a person, 95 % intervals"),
      intervals({
        rows: own,
        show,
        label: `Of each variant: ${own.map(({ name, value, low, high }) => `${name} ${show(value)}, ${show(low)} to ${show(high)}`).join("; ")}`,
      }),
      h("h3", {}, `Difference to ${control?.variant ?? "the control"}${isShare ? ", in points" : ""}`),
      intervals({
        rows: against,
        show: change,
        zero: true,
        label: `Difference: ${against.map(({ name, value, low, high }) => `${name} ${change(value)}, ${change(low)} to ${change(high)}`).join("; ")}`,
      }),
      table(
        ["Variant", "Persons", "Converted", isShare ? "Share" : "A person", "Lift", "95 % sure of", "p"],
        rows.map(line),
      ),
      h(
        "p",
        { class: "about" },
        `Shown from ${format.dateTime(first, settings.zone)} to ${format.dateTime(last, settings.zone)}. `,
        split(rows[0]?.srm_p_value),
        crossed
          ? ` ${format.count(crossed)} persons were shown two variants and are left out.`
          : " Nobody was shown two variants.",
      ),
    );
  }

  return { element: h("div", {}, form, h("div", { class: "panels" }, picture.element)), load };
}

function split(p) {
  if (p === null || p === undefined) return "Whether the split is as planned cannot be told.";
  if (p < SPLIT_P_MIN)
    return h(
      "strong",
      {},
      `The split is not as planned (p ${format.probability(p)}): mend that before believing anything.`,
    );
  return `The split is as planned as chance allows (p ${format.probability(p)}).`;
}
