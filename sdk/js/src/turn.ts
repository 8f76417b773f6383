/**
 * One tab at a time.
 *
 * In:       a name, something to do.
 * Out:      what it gave, once no other tab of this origin does it.
 * Promise:  a tab that dies holds nobody up for longer than a lease. Two tabs at once are rare, not impossible: the server
 *           drops doubles, so this saves requests and is not needed to be right.
 */

import type { Store } from "./store";
import { uuid } from "./visitor";

// Longer than a request may take (`sender`).
const LEASE_MS = 20_000;
const LOOK_AGAIN_MS = 200;
// For what one tab wrote to reach the others: localStorage of another process follows a moment later. Without it the next
// tab sent again what this one had just removed (331 events for 202 in the test of two tabs).
const SETTLE_MS = 40;

export async function inTurn<T>(store: Store, name: string, act: () => Promise<T>): Promise<T> {
  // What only this page knows no other page can send.
  if (!store.shared()) return act();
  // There on https pages only; refused in sandboxed frames, which share no store with anybody anyway.
  if (navigator.locks) {
    const settled = async () => {
      const given = await act();
      await pause(SETTLE_MS);
      return given;
    };
    return navigator.locks.request(name, settled).catch(act) as Promise<T>;
  }
  const mine = uuid();
  for (;;) {
    const leftMs = +(store.get(name) ?? "").split(" ")[1]! - Date.now();
    // A lease that ends too far ahead was written by another clock.
    if (!(leftMs > 0 && leftMs <= LEASE_MS)) {
      store.set(name, `${mine} ${Date.now() + LEASE_MS}`);
      await pause(SETTLE_MS);
      if (store.get(name)?.startsWith(mine)) break;
    }
    await pause(LOOK_AGAIN_MS);
  }
  try {
    return await act();
  } finally {
    store.remove(name);
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
