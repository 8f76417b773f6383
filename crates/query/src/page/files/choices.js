// What the questions of the other views may be about: names of events, columns to split by.
//
// In:       the lake, asked once for each view.
// Out:      choices for steps and conversions, written `kind:page`, `event:Order Completed`, `sql:...`.
// Promise:  only names that are in the data are offered; what was chosen before and is gone stays choosable.

import { ask } from "./ask.js";
import { select } from "./dom.js";
import { KINDS } from "./sql.js";

/** The commonest names and kinds of events, the commonest first. */
export async function eventNames(signal) {
  const { rows } = await ask(
    "SELECT event_name, event_kind, count(*) AS events FROM events GROUP BY 1, 2 ORDER BY events DESC, event_name LIMIT 200",
    signal,
  );
  return rows;
}

/** Where events came from, most of them first. */
export async function sourceNames(signal) {
  const { rows } = await ask(
    "SELECT source, count(*) AS events FROM events GROUP BY 1 ORDER BY events DESC, source LIMIT 100",
    signal,
  );
  return rows.map(({ source }) => source);
}

/** A choice among sources, "" for all; null where there is nothing to choose. */
export function sourceSelect(given, found, chosen) {
  const all = chosen === "" || found.includes(chosen) ? found : [...found, chosen];
  return all.length < 2 ? null : select(given, [["", "all"], ...all.map((name) => [name, name])], chosen);
}

/** A choice among events. `own`: it may be a condition in SQL, which the caller asks for. */
export function eventSelect(given, found, chosen, own) {
  const kinds = new Set(found.map(({ event_kind }) => event_kind));
  const of = (value, label) => [value, label];
  const kept = KINDS.filter(([kind]) => kinds.has(kind) || chosen === `kind:${kind}`).map(([kind, label]) =>
    of(`kind:${kind}`, label),
  );
  const names = [...new Set(found.map(({ event_name }) => event_name))];
  if (chosen.startsWith("event:") && !names.includes(chosen.slice(6))) names.push(chosen.slice(6));
  const groups = [
    { group: "Kinds", options: kept },
    { group: "Events", options: names.map((name) => of(`event:${name}`, name)) },
  ];
  const more = own ? [["sql:", "a condition in SQL …"]] : [];
  return select(
    given,
    [...groups.filter(({ options }) => options.length), ...more],
    chosen.startsWith("sql:") ? "sql:" : chosen,
  );
}

export const SPLITS = [
  ["channel", "channel"],
  ["utm_campaign", "utm campaign"],
  ["utm_source", "utm source"],
  ["campaign_id", "campaign"],
  ["ad_id", "ad"],
  ["referrer_source", "referrer"],
  ["device_class", "device"],
  ["country", "country"],
  ["source", "source"],
];
