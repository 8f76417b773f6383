// Attribution: several models beside one another, from one pass; spend where there is some.

import { groups } from "./bars.js";
import { SPLITS, eventNames, eventSelect, sourceNames, sourceSelect } from "./choices.js";
import { field, h, select } from "./dom.js";
import * as format from "./format.js";
import { recall, remember } from "./memory.js";
import { before, panel, rest, table } from "./panel.js";
import * as sql from "./sql.js";
import { within } from "./time.js";

export const ranged = true;

const NAMES_MAX = 12;
const MODELS = [
  ["first_touch", "first touch"],
  ["last_touch", "last touch"],
  ["last_non_direct", "last non-direct"],
  ["linear", "linear"],
  ["time_decay", "time decay"],
  ["u_shaped", "U-shaped"],
  ["markov", "Markov"],
  ["shapley", "Shapley"],
];
/** In the order of the models: each keeps its own, whichever are chosen. */
const COLOURS = ["two", "one", "five", "four", "six", "seven", "three", "eight"];
const LOOKBACKS = ["1 day", "7 days", "14 days", "30 days", "90 days", "180 days"].map((text) => [text, text]);

export function view({ signal, settings, lake }) {
  let found = [];
  let sources = [];
  const chosen = {
    models: recall("attribution.models", ["first_touch", "last_touch", "markov"]),
    by: recall("attribution.by", "channel"),
    lookback: recall("attribution.lookback", "30 days"),
    conversion: recall("attribution.conversion", "kind:conversion"),
    measure: recall("attribution.measure", "conversions"),
    source: recall("attribution.source", ""),
  };
  const form = h("form", { class: "asking", onsubmit: (event) => event.preventDefault() });
  const picture = panel({
    id: "attribution",
    title: "Who brought the conversions",
    wide: true,
    signal,
    draw: drawn,
    empty,
  });
  const spend = panel({ id: "spend", title: "What it cost", wide: true, signal, draw: drawnSpend });
  spend.element.hidden = true;

  function keep(name, value, draws = load) {
    chosen[name] = value;
    remember(`attribution.${name}`, value);
    draws();
  }

  function drawForm() {
    const model = ([name, label]) => {
      const toggle = (event) =>
        keep(
          "models",
          MODELS.map(([known]) => known).filter((known) =>
            known === name ? event.target.checked : chosen.models.includes(known),
          ),
        );
      return h(
        "label",
        { class: "check" },
        h("input", {
          type: "checkbox",
          name: "model",
          value: name,
          checked: chosen.models.includes(name),
          onchange: toggle,
        }),
        label,
      );
    };
    const set = (name) => (event) => keep(name, event.target.value);
    const source = sourceSelect({ name: "source", onchange: set("source") }, sources, chosen.source);
    form.replaceChildren(
      h("fieldset", {}, h("legend", {}, "Models"), MODELS.map(model)),
      h(
        "div",
        { class: "fields" },
        field(
          "Conversions",
          eventSelect({ name: "conversion", onchange: set("conversion") }, found, chosen.conversion, false),
        ),
        field("By", select({ name: "by", onchange: set("by") }, SPLITS, chosen.by)),
        field("Looking back", select({ name: "lookback", onchange: set("lookback") }, LOOKBACKS, chosen.lookback)),
        source && field("Conversions from", source),
      ),
    );
  }

  async function load() {
    if (found.length === 0) {
      const asked = () => Promise.all([eventNames(signal), sourceNames(signal)]);
      const names = await before(picture, lake, signal, asked);
      if (names === null) return;
      [found, sources] = names;
      drawForm();
    }
    if (chosen.models.length === 0) return picture.state("empty", h("p", { class: "note" }, "Choose a model."));
    // Touches before the range and spend from elsewhere must stay: so both are conditions of the conversions, not filters.
    const range = within(settings.bounds(), "event_time_us");
    const answer = await picture.load(question(chosen.models, range));
    spend.element.hidden = !answer?.rows.some(({ cost }) => cost !== null);
    if (!spend.element.hidden) spend.load(spendSql(range));
  }

  function question(models, range) {
    return sql.call("attribution", {
      model: sql.list(models.map(sql.text)),
      by: chosen.by,
      conversion: sql.all(sql.condition(chosen.conversion), range, sql.from(chosen.source)),
      lookback: sql.text(chosen.lookback),
      cost: range ? sql.all("event_kind = 'cost'", range) : null,
    });
  }

  /** The same question, told by what each value of `by` cost; the first model's credit stands beside it. */
  function spendSql(range) {
    const inner = question(chosen.models.slice(0, 1), range);
    return `SELECT * FROM (${inner})\nWHERE cost IS NOT NULL ORDER BY cost DESC LIMIT 50`;
  }

  function empty({ rows }) {
    return rows.length === 0
      ? h(
          "p",
          { class: "note" },
          "No conversions in this range. Choose another event as the conversion, or a longer range.",
        )
      : null;
  }

  function drawn({ rows, columns, truncated }) {
    const by = columns[1].name;
    // One that was chosen since is not in this answer.
    const models = chosen.models.filter((model) => rows.some((row) => row.model === model));
    const currencies = [...new Set(rows.map(({ currency }) => currency))].filter((currency) => currency !== null);
    const measures = [
      ["conversions", "conversions"],
      ...currencies.map((currency) => [`value ${currency}`, `value in ${currency}`]),
    ];
    const measure = measures.some(([known]) => known === chosen.measure) ? chosen.measure : "conversions";
    const currency = measure === "conversions" ? null : measure.slice(6);
    // Conversions of several currencies may be added, their value may not.
    const sums = new Map();
    for (const row of rows) {
      if (currency !== null && row.currency !== currency) continue;
      const key = JSON.stringify([row[by], row.model]);
      const sum = sums.get(key) ?? { value: null, low: null, high: null, parts: 0 };
      const own = currency === null ? row.conversions : row.value;
      if (own !== null) sum.value = (sum.value ?? 0) + own;
      [sum.low, sum.high] = [row.conversions_low ?? null, row.conversions_high ?? null];
      sum.parts += 1;
      sums.set(key, sum);
    }
    const of = (name, model) =>
      sums.get(JSON.stringify([name, model])) ?? { value: 0, low: null, high: null, parts: 0 };
    const first = (name) => of(name, models[0]).value ?? 0;
    const names = [
      ...new Set(rows.filter((row) => currency === null || row.currency === currency).map((row) => row[by])),
    ].sort((one, other) => first(other) - first(one));
    const shown = names.slice(0, NAMES_MAX);
    const show = currency === null ? format.credit : (value) => format.money(value, currency);
    const label = (model) => MODELS.find(([known]) => known === model)[1];
    const colour = (model) => COLOURS[MODELS.findIndex(([known]) => known === model)];
    // Intervals are of conversions, and of each currency by itself.
    const interval = (pick) => (model) =>
      shown.map((name) => (currency === null && of(name, model).parts === 1 ? of(name, model)[pick] : null));
    const series = models.map((model) => ({
      name: label(model),
      named: colour(model),
      values: shown.map((name) => of(name, model).value),
      lows: interval("low")(model),
      highs: interval("high")(model),
    }));
    const line = (name) => [name, ...models.map((model) => show(of(name, model).value))];
    const total = [
      "all",
      ...models.map((model) => show(names.reduce((sum, name) => sum + (of(name, model).value ?? 0), 0))),
    ];
    const redrawn = () => {
      const next = drawn({ rows, columns, truncated });
      whole.replaceWith(next);
      next.querySelector("[name=measure]").focus();
    };
    const redraw = (event) => keep("measure", event.target.value, redrawn);
    const whole = h(
      "div",
      {},
      1 < measures.length ? field("Show", select({ name: "measure", onchange: redraw }, measures, measure)) : null,
      groups({ names: shown, series, show }),
      // A sum of an answer that was cut would be of whatever came first.
      table([by, ...models.map(label)], [...names.slice(0, 50).map(line), ...(truncated ? [] : [total])]),
      h(
        "p",
        { class: "about" },
        truncated
          ? `(none): no touch came before them. Not all are here: ${rest(truncated)}.`
          : "(none): no touch came before them. Each model shares the same conversions, so its column adds up to all.",
      ),
    );
    return whole;
  }

  function drawnSpend({ rows, columns }) {
    const by = columns[1].name;
    const line = (row) => [
      row[by],
      format.money(row.cost, row.currency),
      format.credit(row.conversions),
      format.money(row.value, row.currency),
      format.money(row.cost_per_conversion),
      format.ratio(row.return_on_spend),
    ];
    const label = MODELS.find(([known]) => known === chosen.models[0])[1];
    return table([by, "Spend", "Conversions", "Value", "Cost each", "Value per unit spent"], rows.map(line), {
      caption: `Credit by ${label}.`,
    });
  }

  return { element: h("div", {}, form, h("div", { class: "panels" }, picture.element, spend.element)), load };
}
