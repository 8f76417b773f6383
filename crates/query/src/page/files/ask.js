// Questions to the server this page came from.
//
// In:       SQL; the token, as it was typed once.
// Out:      answers of `POST /v1/sql`; `Refused`, with what the server says of why and what to do.
// Promise:  the token is kept for this tab only (session storage) and goes nowhere but into the header of a question. A
//           question whose signal is aborted is hung up on, and the server then stops its work.

import { keep, kept } from "./memory.js";

const KEPT_AS = "tributary.token";
/** Which `tell` sends when the server takes the token no more. */
export const TOKEN_REFUSED = "tributary:token-refused";

/** A question that was not answered. */
export class Refused extends Error {
  constructor(status, error, advice) {
    super(error);
    this.status = status;
    this.advice = advice;
  }
}

/** Where the browser keeps nothing. */
let typed = "";

export const token = {
  get: () => kept(KEPT_AS) ?? typed,
  keep: (value) => keep(KEPT_AS, (typed = value)),
  forget: () => keep(KEPT_AS, (typed = "")),
};

/** The answer: `{columns, rows, row_count, truncated, elapsed_ms, ...}`. */
export async function ask(sql, signal) {
  return (await sent("/v1/sql", { sql, format: "json" }, signal)).json();
}

/** The answer as CSV, in the server's own words: amounts keep all their digits; and whether rows were left out. */
export async function askCsv(sql, signal) {
  const response = await sent("/v1/sql", { sql, format: "csv" }, signal);
  return { blob: await response.blob(), truncated: response.headers.get("x-tributary-truncated") === "true" };
}

/** Whether the server takes this token; why not, otherwise. */
export async function tryToken(value) {
  const response = await reach("/v1/query", { headers: bearer(value) });
  if (response.ok) return null;
  return refusal(response);
}

async function sent(path, body, signal) {
  const given = token.get();
  const headers = { ...bearer(given), "content-type": "application/json" };
  const response = await reach(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  if (response.ok) return response;
  const refused = await refusal(response);
  if (refused.status === 401 && given === token.get()) {
    token.forget();
    document.dispatchEvent(new CustomEvent(TOKEN_REFUSED, { detail: refused }));
  }
  throw refused;
}

function bearer(value) {
  return value ? { authorization: `Bearer ${value}` } : {};
}

async function reach(path, options) {
  try {
    return await fetch(path, {
      ...options,
      cache: "no-store",
      credentials: "same-origin",
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the server cannot be reached", "see whether it still runs, then ask again");
  }
}

async function refusal(response) {
  const text = await response.text();
  try {
    const { error, advice } = JSON.parse(text);
    return new Refused(response.status, error ?? text, advice ?? "");
  } catch {
    // Whoever stands between may answer in his own words.
    return new Refused(response.status, text.slice(0, 400) || `answered with ${response.status}`, "");
  }
}
