/**
 * What may be kept and sent.
 *
 * In:       what the person allowed, whether the site waits for it, the browser's Global Privacy Control.
 * Out:      whether events pass, wait or are thrown away; the consent an event is told with.
 * Promise:  with consent required nothing passes before `analytics` is true.
 */

import type { Consent } from "./wire";

export type Gate = "open" | "held" | "shut";

export function gateOf(required: boolean, known: Consent | undefined): Gate {
  if (!required || known?.analytics === true) return "open";
  return known?.analytics === false ? "shut" : "held";
}

/** `sale` and `ads` are what the law behind Global Privacy Control lets a person refuse by it. */
export function consentToSend(known: Consent | undefined, gpc: boolean, respectGpc: boolean): Consent | undefined {
  return gpc && respectGpc ? { ...known, ads: false, sale: false } : known;
}
