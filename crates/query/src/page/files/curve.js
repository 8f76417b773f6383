// What share has converted after how long, with its interval.
//
// In:       rows of `funnel_curve`: `seconds`, `share`, `share_low`, `share_high`, in order of time.
// Out:      a line that steps up, the interval as a band around it; time grows tenfold from mark to mark.

import { roundUp } from "./chart.js";
import { h, responsive, s } from "./dom.js";
import * as format from "./format.js";

const HEIGHT = 170;
const LEFT = 46;
const BOTTOM = 20;
const MARKS = [
  0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400, 172_800, 604_800,
  1_209_600, 2_592_000, 7_776_000, 31_536_000,
];
/** What a mark's words need. */
const MARK_WIDTH = 58;

export function curve(rows) {
  const last = rows.at(-1);
  // What happens at once has no place where time grows tenfold.
  const from =
    Math.max(Math.min(...rows.map(({ seconds }) => seconds).filter((seconds) => 0 < seconds), last.seconds || 1), 0.1) *
    0.8;
  const to = Math.max(last.seconds, from * 10);
  const { top, steps } = roundUp(Math.max(...rows.map(({ share_high }) => share_high)));
  const picture = responsive((width) => {
    const x = (seconds) => LEFT + ((width - LEFT - 6) * Math.log(Math.max(seconds, from) / from)) / Math.log(to / from);
    const y = (share) => 6 + (HEIGHT - BOTTOM - 6) * (1 - share / top);
    const stepped = (pick) => {
      let path = `M${x(from)},${y(0)}`;
      for (const row of rows) path += `H${x(row.seconds)}V${y(row[pick])}`;
      return path;
    };
    const back = [...rows]
      .reverse()
      .reduce(
        (path, row, index, all) => `${path}H${x(row.seconds)}V${y(all[index + 1]?.share_low ?? 0)}`,
        `L${x(last.seconds)},${y(last.share_low)}`,
      );
    const levels = Array.from({ length: steps + 1 }, (_, index) => (top * index) / steps);
    const marks = [];
    for (const mark of MARKS) {
      const isFar = marks.length === 0 || MARK_WIDTH < x(mark) - x(marks.at(-1));
      if (from <= mark && isFar && x(mark) < width - 20) marks.push(mark);
    }
    return s(
      "svg",
      {
        width,
        height: HEIGHT,
        role: "img",
        "aria-label": `Share converted by time: half of all who do within ${format.seconds(half(rows))}, ${format.percent(last.share)} in the end`,
      },
      levels.map((level) => [
        s("line", { class: "grid", x1: LEFT, x2: width, y1: y(level), y2: y(level) }),
        s("text", { class: "axis", x: LEFT - 6, y: y(level) + 3.5, "text-anchor": "end" }, format.percent(level)),
      ]),
      marks.map((mark) =>
        s("text", { class: "axis", x: x(mark), y: HEIGHT - 4, "text-anchor": "middle" }, format.seconds(mark)),
      ),
      s("path", { class: "band one", d: `${stepped("share_high")}${back}Z` }),
      s("path", { class: "line one", d: stepped("share") }),
    );
  });
  const said = `${format.percent(last.share)} convert, half of them within ${format.seconds(half(rows))}. Whose time is still running counts for as long as they were seen.`;
  return h("div", {}, picture, h("p", { class: "about" }, said));
}

function half(rows) {
  return rows.find(({ share }) => rows.at(-1).share / 2 <= share).seconds;
}
