// Numbers, amounts and times, as people read them.
//
// Promise: a value that is not there is a dash, never a zero.

const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const amount = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

const or = (value, tell) => (value === null || value === undefined || Number.isNaN(value) ? NONE : tell(value));

export const count = (value) => or(value, (number) => whole.format(number));
export const compact = (value) =>
  or(value, (number) => (Math.abs(number) < 10_000 ? three.format(number) : short.format(number)));
/** Credit comes in parts. */
export const credit = (value) => or(value, (number) => tenth.format(number));
export const money = (value, currency) =>
  or(value, (number) => `${amount.format(number)}${currency ? ` ${currency}` : ""}`);
export const percent = (value) => or(value, (ratio) => `${tenth.format(100 * ratio)} %`);
export const signedPercent = (value) =>
  or(value, (ratio) => `${ratio < 0 ? "−" : "+"}${tenth.format(Math.abs(100 * ratio))} %`);
/** The difference of two shares, in points. */
export const points = (value) => or(value, (ratio) => signed(100 * ratio, tenth));
export const signedNumber = (value) => or(value, (given) => signed(given, three));

function signed(value, words) {
  if (value === 0) return "0";
  return `${value < 0 ? "−" : "+"}${words.format(Math.abs(value))}`;
}

/** A probability, of which the small are told apart. */
export const probability = (value) => or(value, (p) => (p < 0.0001 ? "below 0.0001" : three.format(p)));
export const number = (value) => or(value, (given) => three.format(given));
export const ratio = (value) => or(value, (given) => amount.format(given));

export function seconds(value) {
  return or(value, (given) => {
    if (given < 120) return `${three.format(given)} s`;
    if (given < 7_200) return `${three.format(given / 60)} min`;
    if (given < 172_800) return `${three.format(given / 3_600)} h`;
    return `${three.format(given / 86_400)} days`;
  });
}

export function ago(us, nowMs) {
  const given = Math.max(0, (nowMs - us / 1_000) / 1_000);
  return given < 5 ? "just now" : `${seconds(Math.floor(given))} ago`;
}

export function dateTime(us, zone) {
  return or(us, (given) => formatter(zone, { dateStyle: "medium", timeStyle: "medium" }).format(given / 1_000));
}

export function clock(us, zone) {
  return formatter(zone, { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(us / 1_000);
}

export function day(us, zone) {
  return or(us, (given) => formatter(zone, { dateStyle: "medium" }).format(given / 1_000));
}

const formatters = new Map();

/** They take long to make. */
export function formatter(zone, options) {
  const key = zone + JSON.stringify(options);
  if (!formatters.has(key)) formatters.set(key, new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options }));
  return formatters.get(key);
}
