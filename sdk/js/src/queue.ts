/**
 * Events that wait for the server's word.
 *
 * In:       events.
 * Out:      their JSON, oldest first; how many were lost to the bound.
 * Promise:  an event leaves only by its id or by the bound, and then the oldest goes first and is counted.
 * Not here: sending.
 *
 * Every event has an entry of its own in the store. One entry with a list would be read, changed and written by several
 * tabs at once, and the last writer would erase what the others had added.
 */

import type { Store } from "./store";
import type { WireEvent } from "./wire";

export const EVENTS_MAX = 500;
export const CHARS_MAX = 256 * 1_024;
/** Of a request. Browsers let a page have 64 KiB in beacons under way; the rest is for the frame around the events. */
export const REQUEST_BYTES_MAX = 60_000;
const REQUEST_EVENTS_MAX = 50;
const FRAME_BYTES = 120;

export interface Waiting {
  id: string;
  text: string;
}

export interface Queue {
  add(event: WireEvent): void;
  waiting(): Waiting[];
  remove(ids: string[]): void;
  dropped(): number;
  /** `count` dropped events were told to the server (below 0: were dropped). */
  toldDropped(count: number): void;
  clear(): void;
}

export function makeQueue(store: Store, key: string): Queue {
  const prefix = `tb_q:${key}:`;
  const droppedName = `tb_d:${key}`;
  let sequence = 0;
  const idOf = (name: string): string => name.slice(name.lastIndexOf(":") + 1);
  const queue: Queue = {
    add(event) {
      const text = JSON.stringify(event);
      if (bytesOf(text) > REQUEST_BYTES_MAX - FRAME_BYTES) {
        // It fits no request, and would push everybody else out.
        queue.toldDropped(-1);
        console.warn(`tributary: ${event.name} is larger than ${REQUEST_BYTES_MAX} bytes and was dropped`);
        return;
      }
      // Names sort by time, then by order of the calls. 13 digits of milliseconds reach to the year 2286.
      sequence = (sequence + 1) % 10_000;
      const order = `${Date.parse(event.time)}.${String(sequence).padStart(4, "0")}`;
      store.set(`${prefix}${order}:${event.event_id}`, text);

      const names = store.names(prefix);
      let count = names.length;
      let chars = names.reduce((sum, name) => sum + (store.get(name)?.length ?? 0), 0);
      for (const name of names) {
        if (count <= EVENTS_MAX && chars <= CHARS_MAX) break;
        chars -= store.get(name)?.length ?? 0;
        count -= 1;
        store.remove(name);
        queue.toldDropped(-1);
      }
    },
    waiting: () =>
      store.names(prefix).flatMap((name) => {
        // Another tab may have removed it since.
        const text = store.get(name);
        return text ? [{ id: idOf(name), text }] : [];
      }),
    remove(ids) {
      for (const name of store.names(prefix)) if (ids.includes(idOf(name))) store.remove(name);
    },
    dropped: () => +(store.get(droppedName) ?? 0),
    toldDropped(count) {
      const left = queue.dropped() - count;
      if (left > 0) store.set(droppedName, `${left}`);
      else store.remove(droppedName);
    },
    clear() {
      for (const name of [...store.names(prefix), droppedName]) store.remove(name);
    },
  };
  return queue;
}

/** The events of the next request: as many of the first as it may hold, at least one. */
export function nextRequest(waiting: Waiting[]): Waiting[] {
  let bytes = FRAME_BYTES;
  let count = 0;
  while (count < waiting.length && count < REQUEST_EVENTS_MAX) {
    bytes += bytesOf(waiting[count]!.text) + 1;
    if (count && bytes > REQUEST_BYTES_MAX) break;
    count += 1;
  }
  return waiting.slice(0, count);
}

const bytesOf = (text: string): number => new TextEncoder().encode(text).length;
