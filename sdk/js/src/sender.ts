/**
 * From the queue to the server.
 *
 * In:       the queue, answers of the server.
 * Out:      requests; events leave the queue once the server has spoken about them.
 * Promise:  an event stays in the queue until a 2xx names it; a retry has the same ids; one request at a time.
 *
 * Requests are text/plain and carry no cookies, so that no browser asks first (a preflight). While a page is left, there is
 * no time for that question, and the last events would be lost.
 */

import { isPassing, retryAfterMs, waitMs } from "./backoff";
import { nextRequest, type Queue } from "./queue";
import type { Store } from "./store";
import { inTurn } from "./turn";
import { bodyOf, type WireAnswer } from "./wire";

const QUIET_MS = 500;
const FULL_EVENTS = 20;
// Shorter than the lease of `turn`.
const REQUEST_MS_MAX = 15_000;

export interface Sender {
  /** There is one more event: send soon. */
  nudge(): void;
  flush(): Promise<void>;
  /** The page may be gone in a moment: send what there is without waiting for an answer. */
  leave(): void;
  /** The page is seen again. */
  back(): void;
}

export function makeSender(
  queue: Queue,
  store: Store,
  settings: { host: string; key: string; cookieless: boolean; debug: boolean },
): Sender {
  const url = `${settings.host}/v1/events?writeKey=${encodeURIComponent(settings.key)}`;
  // Sent by beacon: nobody knows whether they arrived, so they stay in the queue, and are sent again when the page is
  // seen again, or by the next page. Kept here and not in the queue, because it has to end with this page.
  const sentByBeacon = new Set<string>();
  let failures = 0;
  let notBeforeMs = 0;
  let fresh = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let running: Promise<void> | undefined;
  let warned = false;

  const waiting = () => queue.waiting().filter(({ id }) => !sentByBeacon.has(id));

  const later = (ms: number) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = undefined;
      void flush();
    }, ms);
  };

  const failed = (askedMs = 0) => {
    failures += 1;
    const ms = waitMs(failures, Math.random(), askedMs);
    // Only what the server asked for binds `flush`; our own guess gives way to a person or a network that is back.
    if (askedMs) notBeforeMs = Date.now() + ms;
    later(ms);
    return false;
  };

  /** Whether to go on at once. */
  const sendOne = async (): Promise<boolean> => {
    const batch = nextRequest(waiting());
    if (!batch.length) return false;
    const dropped = queue.dropped();
    const stop = new AbortController();
    const deadline = setTimeout(() => stop.abort(), REQUEST_MS_MAX);
    try {
      const response = await fetch(url, {
        method: "POST",
        // A string body is sent as text/plain;charset=UTF-8.
        body: bodyOf(batch.map(({ text }) => text), Date.now(), settings.cookieless, dropped),
        credentials: "omit",
        signal: stop.signal,
      });
      if (isPassing(response.status)) return failed(retryAfterMs(response.headers.get("retry-after"), Date.now()));
      let ids = batch.map(({ id }) => id);
      let again = false;
      if (response.ok) {
        // An answer that cannot be read (cut, or the login page of a hotel) throws, and counts as none.
        const { results } = (await response.json()) as WireAnswer;
        for (const { event_id, result, details } of results) {
          if (result === "retry") {
            again = true;
            ids = ids.filter((id) => id !== event_id);
          } else if (result === "drop" && settings.debug) {
            console.warn(`tributary: ${event_id} was dropped: ${details}`);
          }
        }
        queue.toldDropped(dropped);
      } else if (!warned) {
        warned = true;
        console.warn(`tributary: the server refused ${ids.length} events for good (${response.status})`);
      }
      queue.remove(ids);
      if (again) return failed();
      failures = 0;
      return true;
    } catch {
      return failed();
    } finally {
      clearTimeout(deadline);
    }
  };

  const flush = (): Promise<void> => {
    // What came after the last look of the present run needs another; after a failure, only if no timer sees to it.
    if (running) return running.then(() => ((!failures || !timer) && waiting().length ? flush() : undefined));
    clearTimeout(timer);
    timer = undefined;
    const leftMs = notBeforeMs - Date.now();
    if (leftMs > 0) {
      later(leftMs);
      return Promise.resolve();
    }
    fresh = 0;
    running = (async () => {
      while (await inTurn(store, `tb_l:${settings.key}`, sendOne));
    })().finally(() => (running = undefined));
    return running;
  };

  // `onLine` is not asked: browsers say "offline" on machines that reach the server well. Its change is a good hint.
  addEventListener("online", () => void flush());

  return {
    nudge() {
      fresh += 1;
      // After a failure the timer of `failed` decides.
      if (failures) return;
      if (fresh >= FULL_EVENTS) void flush();
      else later(QUIET_MS);
    },
    flush,
    leave() {
      for (let rest = waiting(); rest.length; ) {
        const batch = nextRequest(rest);
        const body = bodyOf(batch.map(({ text }) => text), Date.now(), settings.cookieless, 0);
        // False means that the browser's room for beacons is used up, or that it has none.
        if (!navigator.sendBeacon?.(url, body)) {
          fetch(url, { method: "POST", body, credentials: "omit", keepalive: true }).catch(() => {});
          break;
        }
        for (const { id } of batch) sentByBeacon.add(id);
        rest = rest.slice(batch.length);
      }
    },
    back() {
      if (!sentByBeacon.size) return;
      sentByBeacon.clear();
      if (!failures) later(QUIET_MS);
    },
  };
}
