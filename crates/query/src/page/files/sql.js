// SQL, put together of parts.
//
// In:       texts, numbers, names; what the tools above the views are set to.
// Out:      literals and conditions.
// Promise:  a text is a literal whatever is in it. What a person wrote as a condition stays one condition.

/** A text. */
export function text(value) {
  return `'${String(value).replaceAll("'", "''")}'`;
}

/** All of them, or no condition. */
export function all(...conditions) {
  const given = conditions.filter(Boolean);
  return given.length === 0 ? "true" : given.join(" AND ");
}

export function where(...conditions) {
  const condition = all(...conditions);
  return condition === "true" ? "" : `\nWHERE ${condition}`;
}

/** A list. */
export function list(parts) {
  return `[${parts.join(", ")}]`;
}

/** A call of a table function, an argument a line; those that are null keep their default. */
export function call(name, named) {
  const lines = Object.entries(named).filter(([, value]) => value !== null);
  return `SELECT * FROM ${name}(\n${lines.map(([key, value]) => `    ${key} => ${value}`).join(",\n")})`;
}

/** What a person wrote: a comment at its end must not take what comes after with it. */
export function written(condition) {
  return condition.includes("--") ? `(${condition}\n)` : `(${condition})`;
}

/** Whoever is likely a person. */
export const PEOPLE = "engagement_class IN ('human', 'unknown')";

/** The kinds of events that make good steps, and how they are called here. */
export const KINDS = [
  ["page", "any page view"],
  ["click", "any click"],
  ["open", "any open"],
  ["conversion", "any conversion"],
];

/** A choice `kind:page`, `event:Order Completed`, `sql:...` as a condition; null while it says nothing. */
export function condition(choice) {
  const at = choice.indexOf(":");
  const [sort, rest] = [choice.slice(0, at), choice.slice(at + 1).trim()];
  if (rest === "") return null;
  if (sort === "kind") return `event_kind = ${text(rest)}`;
  if (sort === "event") return `event_name = ${text(rest)}`;
  return written(rest);
}

/** That an event came from a source; null for all of them. */
export function from(source) {
  return source === "" ? null : `source = ${text(source)}`;
}

/** How it is called. */
export function named(choice) {
  const at = choice.indexOf(":");
  const [sort, rest] = [choice.slice(0, at), choice.slice(at + 1).trim()];
  if (sort !== "kind") return rest;
  return KINDS.find(([kind]) => kind === rest)?.[1] ?? rest;
}
