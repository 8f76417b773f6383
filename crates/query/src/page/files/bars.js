// Bars that lie, and intervals.
//
// In:       names with numbers, and their intervals.
// Out:      tables whose bars are drawn: a screen reader reads names and numbers, the eye sees lengths.
// Promise:  bars begin at zero; an interval is drawn where there is one.

import { h, responsive, s } from "./dom.js";

/** One bar across its box, with an interval over its end. `low` and `high` may be null. */
export function bar({ value, low = null, high = null, top, named = "one" }) {
  const x = (given) => `${(100 * Math.min(Math.max(given, 0), top)) / (top || 1)}%`;
  const interval =
    low === null || high === null
      ? []
      : [
          s("line", { class: "interval", x1: x(low), x2: x(high), y1: "50%", y2: "50%" }),
          s("line", { class: "interval", x1: x(low), x2: x(low), y1: "28%", y2: "72%" }),
          s("line", { class: "interval", x1: x(high), x2: x(high), y1: "28%", y2: "72%" }),
        ];
  return s(
    "svg",
    { class: "bar", "aria-hidden": "true" },
    s("rect", { class: "track", width: "100%", height: "100%" }),
    s("rect", { class: named, width: x(value), height: "100%" }),
    interval,
  );
}

/** A row a name: bar, then cells. */
export function ranking({ heads, rows, caption }) {
  const top = Math.max(...rows.map(({ value }) => value), 0);
  return h(
    "table",
    { class: "ranking" },
    caption ? h("caption", {}, caption) : null,
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        heads.map((head, index) => h("th", { scope: "col", class: index === 0 ? null : "number" }, head)),
      ),
    ),
    h(
      "tbody",
      {},
      rows.map(({ name, value, cells, named }) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, h("span", {}, name), bar({ value, top, named })),
          cells.map((cell) => h("td", { class: "number" }, cell)),
        ),
      ),
    ),
  );
}

/** A group of bars for each name, one a series; `show(value)` in words. */
export function groups({ names, series, show }) {
  const top = Math.max(...series.flatMap(({ values }) => values.map((value) => value ?? 0)), 0);
  const legend = h(
    "ul",
    { class: "legend" },
    series.map(({ name, named }) =>
      h(
        "li",
        {},
        s(
          "svg",
          { class: "swatch", "aria-hidden": "true" },
          s("rect", { class: named, width: "100%", height: "100%" }),
        ),
        name,
      ),
    ),
  );
  const group = (name, at) =>
    h(
      "li",
      {},
      h("span", { class: "name" }, name),
      h(
        "ul",
        {},
        series.map(({ name: of, named, values, lows, highs }) =>
          h(
            "li",
            { "data-series": of },
            h("span", { class: "hidden" }, of),
            bar({ value: values[at] ?? 0, low: lows?.[at] ?? null, high: highs?.[at] ?? null, top, named }),
            h("span", { class: "number" }, show(values[at])),
          ),
        ),
      ),
    );
  return h("div", {}, legend, h("ul", { class: "groups" }, names.map(group)));
}

/** Estimates with their intervals on one scale; with `zero` the line of no difference is drawn. */
export function intervals({ rows, show, zero = false, label }) {
  const known = rows.flatMap(({ low, high, value }) => [low, high, value]).filter((value) => Number.isFinite(value));
  if (known.length === 0) return h("p", { class: "note" }, "No interval can be told.");
  const [least, most] = [Math.min(...known, ...(zero ? [0] : [])), Math.max(...known, ...(zero ? [0] : []))];
  const room = (most - least || Math.abs(most) || 1) * 0.08;
  const [from, to] = [least - room, most + room];
  const LINE = 34;
  return responsive((width) => {
    const left = Math.min(150, width * 0.3);
    const x = (value) => left + ((width - left - 8) * (value - from)) / (to - from);
    const bottom = rows.length * LINE + 4;
    const count = Math.max(2, Math.min(5, Math.floor((width - left) / 70)));
    const marks = Array.from(
      { length: count },
      (_, index) => from + room + ((to - from - 2 * room) * index) / (count - 1),
    );
    return s(
      "svg",
      { width, height: bottom + 20, role: "img", "aria-label": label },
      marks.map((mark) => [
        s("line", { class: "grid", x1: x(mark), x2: x(mark), y1: 0, y2: bottom }),
        s("text", { class: "axis", x: x(mark), y: bottom + 14, "text-anchor": "middle" }, show(mark)),
      ]),
      zero ? s("line", { class: "zero", x1: x(0), x2: x(0), y1: 0, y2: bottom }) : null,
      rows.map(({ name, value, low, high, named = "one" }, index) => {
        const y = index * LINE + LINE / 2;
        const has = Number.isFinite(low) && Number.isFinite(high);
        return [
          s("text", { class: "name", x: 0, y: y + 4 }, fitting(name, left)),
          has ? s("line", { class: `span ${named}`, x1: x(low), x2: x(high), y1: y, y2: y }) : null,
          Number.isFinite(value)
            ? s(
                "circle",
                { class: named, cx: x(value), cy: y, r: 5 },
                s("title", {}, `${name}: ${show(value)}${has ? ` (${show(low)} to ${show(high)})` : ""}`),
              )
            : null,
        ];
      }),
    );
  });
}

/** A name cut to what some pixels hold. */
function fitting(name, pixels) {
  const letters = Math.max(4, Math.floor(pixels / 7.5));
  return name.length <= letters ? name : `${name.slice(0, letters - 1)}…`;
}
