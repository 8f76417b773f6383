// Columns over time.
//
// In:       keys of buckets with their labels, one or several series of numbers.
// Out:      a picture for each series below one another, with one cursor through all of them.
// Promise:  every picture begins at zero. By pointer or arrow keys the numbers of a bucket are told in words.

import { h, responsive, s } from "./dom.js";
import * as format from "./format.js";

const LEFT = 46;
const TOP = 26;
const HEIGHT = 92;

/** A round number not below `value`, and how many steps lead to it. */
export function roundUp(value) {
  if (value <= 0) return { top: 1, steps: 1 };
  const power = 10 ** Math.floor(Math.log10(value));
  const [factor, steps] = [
    [1, 2],
    [2, 2],
    [2.5, 2],
    [4, 2],
    [5, 2],
    [8, 2],
    [10, 2],
  ].find(([factor]) => value <= factor * power * 1.0001);
  return { top: factor * power, steps };
}

/** * `series`: `{name, values, class}`. */
export function columns({ keys, label, tick, series }) {
  const readout = h("p", { class: "readout", "aria-live": "polite" });
  const said = (index) =>
    `${label(keys[index])}: ${series.map(({ name, values }) => `${format.count(values[index])} ${name}`).join(" · ")}`;
  let chosen = null;
  const box = responsive((width) => drawing(width));
  readout.textContent = "Point at a column, or use the arrow keys, for its numbers.";

  function drawing(width) {
    const step = (width - LEFT) / keys.length;
    const bottom = series.length * (HEIGHT + TOP);
    const cursor = s("rect", { class: "cursor", y: 0, height: bottom, width: Math.max(step, 1), x: -99 });
    const choose = (index) => {
      chosen = Math.min(keys.length - 1, Math.max(0, index));
      cursor.setAttribute("x", LEFT + chosen * step);
      readout.textContent = said(chosen);
    };
    const at = (event) => Math.floor((event.clientX - event.currentTarget.getBoundingClientRect().left - LEFT) / step);
    const picture = s(
      "svg",
      {
        width,
        height: bottom + 18,
        role: "img",
        tabindex: "0",
        "aria-label": `${series.map(({ name }) => name).join(", ")} by time; arrow keys tell each`,
        onpointermove: (event) => choose(at(event)),
        onpointerdown: (event) => choose(at(event)),
        onkeydown: (event) => {
          const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
          if (!move) return;
          event.preventDefault();
          choose(chosen === null ? keys.length - 1 : chosen + move);
        },
      },
      cursor,
      series.map((one, index) => small(one, index * (HEIGHT + TOP), width, step)),
      ticks(width, step, bottom),
    );
    return picture;
  }

  function small({ name, values, class: named }, y, width, step) {
    const { top, steps } = roundUp(Math.max(...values, 0));
    const base = y + TOP + HEIGHT - 4;
    const height = (value) => ((HEIGHT - 8) * value) / top;
    const gap = step < 3 ? 0 : Math.min(2, step * 0.2);
    const lines = Array.from({ length: steps + 1 }, (_, index) => {
      const level = base - height((top * index) / steps);
      return [
        s("line", { class: "grid", x1: LEFT, x2: width, y1: level, y2: level }),
        s(
          "text",
          { class: "axis", x: LEFT - 6, y: level + 3.5, "text-anchor": "end" },
          format.compact((top * index) / steps),
        ),
      ];
    });
    const bars = values.map((value, index) =>
      value === 0
        ? null
        : s("rect", {
            class: named,
            x: LEFT + index * step + gap / 2,
            width: Math.max(step - gap, 0.5),
            y: base - Math.max(height(value), 1),
            height: Math.max(height(value), 1),
          }),
    );
    return [lines, s("text", { class: "name", x: LEFT, y: y + 17 }, name), bars];
  }

  function ticks(width, step, y) {
    const every = Math.max(1, Math.ceil(58 / step));
    const shown = keys
      .map((key, index) => [key, index])
      .filter(([, index]) => index % every === 0 && LEFT + index * step + 40 < width);
    return shown.map(([key, index]) => s("text", { class: "axis", x: LEFT + index * step, y: y + 13 }, tick(key)));
  }

  return h("div", {}, box, readout);
}
