// Ranges of time and the buckets in them, in a zone.
//
// In:       a range as chosen, a zone, the time now.
// Out:      bounds in microseconds since 1970, the lower one included, the upper not; buckets with the SQL that finds them.
// Promise:  a day is a day of the zone, also where clocks are put on or back.

import { formatter } from "./format.js";
import { text } from "./sql.js";

export const RANGES = [
  ["1", "Today"],
  ["7", "7 days"],
  ["30", "30 days"],
  ["90", "90 days"],
  ["365", "12 months"],
  ["all", "All time"],
  ["custom", "From … to"],
];

const DAY_MS = 86_400_000;
const HOUR_US = 3_600_000_000;
const formatters = new Map();

/** What a clock in the zone shows, as if it were UTC. */
function shown(ms, zone) {
  if (!formatters.has(zone)) {
    const options = {
      timeZone: zone,
      hourCycle: "h23",
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
    };
    formatters.set(zone, new Intl.DateTimeFormat("en-US", options));
  }
  const parts = Object.fromEntries(
    formatters
      .get(zone)
      .formatToParts(ms)
      .map(({ type, value }) => [type, Number(value)]),
  );
  return Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second);
}

/** When a day begins in the zone; `day` is that day's midnight as if it were UTC. */
function beginOf(day, zone) {
  let ms = day;
  // The first step may land on the other side of a change of clocks; the second then sees the right offset.
  for (let turn = 0; turn < 3; turn += 1) ms -= shown(ms, zone) - day;
  return ms;
}

const today = (nowMs, zone) => Math.floor(shown(nowMs, zone) / DAY_MS) * DAY_MS;

/** * `custom`: `{from, to}` as dates (2026-10-01), both days included. */
export function bounds(range, custom, zone, nowMs) {
  const us = (day) => beginOf(day, zone) * 1_000;
  if (range === "all") return { from: null, to: null };
  if (range === "custom") {
    const [from, to] = [Date.parse(custom.from), Date.parse(custom.to)];
    return { from: Number.isNaN(from) ? null : us(from), to: Number.isNaN(to) ? null : us(to + DAY_MS) };
  }
  const last = today(nowMs, zone);
  return { from: us(last - (Number(range) - 1) * DAY_MS), to: us(last + DAY_MS) };
}

/** The bounds as a condition on a column of microseconds; null for none. */
export function within({ from, to }, column) {
  const parts = [from === null ? null : `${column} >= ${from}`, to === null ? null : `${column} < ${to}`];
  return parts.filter(Boolean).join(" AND ") || null;
}

/** Buckets for a range that has both bounds: hours, days, weeks or months, never more than some hundred.
 *
 * `sql(column)` is a bucket's key; `keys` are all of them in order, also those that nothing falls into; `label(key)` says which
 * it is, `tick(key)` does so where there is little room. */
export function buckets({ from, to }, zone) {
  const days = (to - from) / (DAY_MS * 1_000);
  if (days <= 3) return hours(from, to, zone);
  const unit = days <= 120 ? "day" : days <= 800 ? "week" : "month";
  const local = (column) =>
    zone === "UTC"
      ? `to_timestamp_micros(${column})`
      : `to_local_time(to_timestamp_micros(${column}) AT TIME ZONE 'UTC' AT TIME ZONE ${text(zone)})`;
  const sql = (column) => `CAST(date_trunc('${unit}', ${local(column)}) AS DATE)`;
  const keys = [];
  const first = new Date(shown(from / 1_000, zone));
  let at = new Date(Date.UTC(first.getUTCFullYear(), first.getUTCMonth(), unit === "month" ? 1 : first.getUTCDate()));
  if (unit === "week") at = new Date(at.getTime() - ((at.getUTCDay() + 6) % 7) * DAY_MS);
  const last = shown((to - 1) / 1_000, zone);
  while (at.getTime() <= last && keys.length < 2_000) {
    keys.push(at.toISOString().slice(0, 10));
    if (unit === "month") at = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 1));
    else at = new Date(at.getTime() + (unit === "week" ? 7 : 1) * DAY_MS);
  }
  const plain = (key, options) => formatter("UTC", options).format(Date.parse(key));
  const label = (key) => {
    if (unit === "month") return plain(key, { month: "long", year: "numeric" });
    return (
      (unit === "week" ? "week of " : "") +
      plain(key, { weekday: "short", day: "numeric", month: "short", year: "numeric" })
    );
  };
  const tick = (key) =>
    plain(key, unit === "month" ? { month: "short", year: "2-digit" } : { day: "numeric", month: "short" });
  return { unit, sql, keys, label, tick };
}

function hours(given, to, zone) {
  // Of all time the first bound is that of an event, in the midst of its hour.
  const second = Math.floor(given / 1_000_000) * 1_000_000;
  const from = second - (shown(second / 1_000, zone) % 3_600_000) * 1_000;
  const keys = Array.from({ length: Math.ceil((to - from) / HOUR_US) }, (_, index) => index);
  const said = (options) => (key) =>
    formatter(zone, options).format((from + key * HOUR_US) / 1_000);
  return {
    unit: "hour",
    sql: (column) => `(${column} - ${from}) / ${HOUR_US}`,
    keys,
    label: said({ weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }),
    tick: said({ hour: "2-digit", minute: "2-digit" }),
  };
}

/** The browser's own zone, as the server knows it. */
export function ownZone() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}

/** All zones there are, ours and UTC first. */
export function zones() {
  const all = Intl.supportedValuesOf ? Intl.supportedValuesOf("timeZone") : [];
  return [...new Set([ownZone(), "UTC", ...all])];
}
