/**
 * How long to wait after a failure.
 *
 * In:       how often it failed in a row, a random number, what the server asked for.
 * Out:      milliseconds.
 * Promise:  never earlier than the server asked; full jitter, so that the browsers of a site do not come back together.
 */

const FIRST_MS = 1_000;
const LONGEST_MS = 60_000;
// A longer wish is a mistake of somebody, and a timer holds no more than 24 days.
const RETRY_AFTER_MS_MAX = 3_600_000;

/** `failures` is 1 after the first; `chance` is in [0, 1). */
export function waitMs(failures: number, chance: number, retryAfterMs = 0): number {
  const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1));
  return Math.max(chance * ceiling, Math.min(retryAfterMs, RETRY_AFTER_MS_MAX));
}

/** A `Retry-After` header: seconds or a date. */
export function retryAfterMs(header: string | null, nowMs: number): number {
  if (!header) return 0;
  const ms = /^\d+$/.test(header) ? +header * 1_000 : Date.parse(header) - nowMs;
  return ms > 0 ? ms : 0;
}

/** Whether the same request may succeed later. The other 4xx say that it never will. */
export const isPassing = (status: number): boolean => status >= 500 || status === 408 || status === 429;
