// In:       events; a store in memory.
// Out:      what the queue keeps.
// Promise:  the bound, the order and the size of requests.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const { makeQueue, nextRequest, EVENTS_MAX, CHARS_MAX, REQUEST_BYTES_MAX } = await load("queue");
const { makeStore } = await load("store");
const { bodyOf } = await load("wire");

const event = (number, timeMs = 1_800_000_000_000, padding = "") => ({
  event_id: `id-${number}`,
  name: "n",
  time: new Date(timeMs).toISOString(),
  properties: { number, padding },
});
const numbers = (queue) => queue.waiting().map(({ text }) => JSON.parse(text).properties.number);

test("events_of_one_millisecond_keep_the_order_of_the_calls", () => {
  const queue = makeQueue(makeStore(), "k");
  for (let i = 0; i < 120; i += 1) queue.add(event(i));
  assert.deepEqual(numbers(queue), Array.from({ length: 120 }, (_, i) => i));
});

test("an_event_leaves_by_its_id_only", () => {
  const store = makeStore();
  const [here, there] = [makeQueue(store, "k"), makeQueue(store, "k")];
  here.add(event(1));
  there.add(event(2, 1_700_000_000_000));
  here.remove(["id-1", "id-of-nobody"]);
  assert.deepEqual(numbers(there), [2]);
});

test("beyond_the_count_the_oldest_are_dropped_and_counted", () => {
  const queue = makeQueue(makeStore(), "k");
  for (let i = 0; i < EVENTS_MAX + 7; i += 1) queue.add(event(i, 1_800_000_000_000 + i));
  assert.equal(queue.waiting().length, EVENTS_MAX);
  assert.equal(numbers(queue)[0], 7);
  assert.equal(queue.dropped(), 7);
  queue.toldDropped(5);
  assert.equal(queue.dropped(), 2);
});

test("beyond_the_size_the_oldest_are_dropped_and_counted", () => {
  const queue = makeQueue(makeStore(), "k");
  for (let i = 0; i < 10; i += 1) queue.add(event(i, 1_800_000_000_000 + i, "x".repeat(50_000)));
  const chars = queue.waiting().reduce((sum, { text }) => sum + text.length, 0);
  assert.ok(chars <= CHARS_MAX);
  assert.equal(queue.waiting().length + queue.dropped(), 10);
  assert.equal(numbers(queue).at(-1), 9);
});

test("an_event_that_fits_no_request_pushes_nobody_out", (t) => {
  t.mock.method(console, "warn", () => {});
  const queue = makeQueue(makeStore(), "k");
  queue.add(event(1));
  queue.add(event(2, undefined, "x".repeat(300_000)));
  assert.deepEqual(numbers(queue), [1]);
  assert.equal(queue.dropped(), 1);
});

test("two_keys_have_two_queues", () => {
  const store = makeStore();
  makeQueue(store, "a").add(event(1));
  assert.equal(makeQueue(store, "b").waiting().length, 0);
});

test("a_request_has_50_events_and_its_bytes_at_most", () => {
  const queue = makeQueue(makeStore(), "k");
  for (let i = 0; i < 70; i += 1) queue.add(event(i, undefined, i < 60 ? "" : "ä".repeat(9_000)));
  let rest = queue.waiting();
  let seen = 0;
  while (rest.length) {
    const batch = nextRequest(rest);
    const body = bodyOf(batch.map(({ text }) => text), Date.now(), true, 123_456);
    assert.ok(batch.length >= 1 && batch.length <= 50);
    assert.ok(Buffer.byteLength(body) <= REQUEST_BYTES_MAX);
    assert.equal(JSON.parse(body).events.length, batch.length);
    seen += batch.length;
    rest = rest.slice(batch.length);
  }
  assert.equal(seen, 70 - queue.dropped());
});

test("what_the_device_refuses_stays_in_memory", () => {
  globalThis.localStorage = {
    getItem: () => null,
    setItem: () => {
      throw new Error("full");
    },
    removeItem: () => {},
  };
  const store = makeStore();
  store.toDevice();
  store.set("a", "1");
  assert.equal(store.get("a"), "1");
  assert.deepEqual(store.names("a"), ["a"]);
  store.remove("a");
  assert.equal(store.get("a"), undefined);
  delete globalThis.localStorage;
});
