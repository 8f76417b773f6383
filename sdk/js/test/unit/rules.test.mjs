// In:       values.
// Out:      what the rules of the SDK say of them.
// Promise:  waiting, consent, campaigns, engaged time, pages and domains are decided as the README says.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const { waitMs, retryAfterMs, isPassing } = await load("backoff");
const { gateOf, consentToSend } = await load("consent");
const { campaignOf, campaignOfLoad } = await load("campaign");
const { makeMeter } = await load("engaged");
const { isNewPage } = await load("pages");
const { domainsOf, uuid } = await load("visitor");

test("waiting_doubles_from_a_second_to_a_minute_with_full_jitter", () => {
  assert.deepEqual([1, 2, 3, 6, 7, 50].map((failures) => waitMs(failures, 1)), [1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
  assert.equal(waitMs(7, 0), 0);
  assert.equal(waitMs(7, 0.5), 30_000);
});

test("nobody_comes_back_before_the_server_asked", () => {
  assert.equal(waitMs(1, 0, 5_000), 5_000);
  assert.equal(waitMs(1, 0, 10 ** 12), 3_600_000);
  assert.equal(retryAfterMs("120", 0), 120_000);
  assert.equal(retryAfterMs(new Date(90_000).toUTCString(), 30_000), 60_000);
  assert.equal(retryAfterMs(new Date(0).toUTCString(), 30_000), 0);
  assert.equal(retryAfterMs("soon", 0), 0);
  assert.equal(retryAfterMs(null, 0), 0);
});

test("only_what_may_pass_is_tried_again", () => {
  assert.deepEqual([500, 502, 503, 504, 408, 429].filter((status) => !isPassing(status)), []);
  assert.deepEqual([200, 400, 401, 403, 404, 413, 422].filter(isPassing), []);
});

test("required_consent_waits_for_analytics", () => {
  assert.equal(gateOf(false, undefined), "open");
  assert.equal(gateOf(false, { analytics: false }), "open");
  assert.equal(gateOf(true, undefined), "held");
  assert.equal(gateOf(true, { ads: true }), "held");
  assert.equal(gateOf(true, { analytics: true }), "open");
  assert.equal(gateOf(true, { analytics: false }), "shut");
});

test("privacy_control_refuses_ads_and_sale_unless_told_otherwise", () => {
  const known = { analytics: true, ads: true, sale: true };
  assert.deepEqual(consentToSend(known, true, true), { analytics: true, ads: false, sale: false });
  assert.deepEqual(consentToSend(undefined, true, true), { ads: false, sale: false });
  assert.equal(consentToSend(known, true, false), known);
  assert.equal(consentToSend(undefined, false, true), undefined);
});

test("a_campaign_is_what_the_query_says_of_it", () => {
  assert.deepEqual(campaignOf("https://a.example/?utm_source=a%20b&x=1&utm_id=7&li_fat_id=l&utm_source=second&gclid=#utm_term=no"), {
    utm_source: "a b",
    utm_id: "7",
    li_fat_id: "l",
  });
  assert.deepEqual(campaignOf("https://a.example/path"), {});
  assert.equal(campaignOf(`https://a.example/?fbclid=${"x".repeat(9_000)}`).fbclid.length, 512);
});

test("the_first_event_and_the_first_page_carry_the_campaign", () => {
  const campaign = { gclid: "1" };
  const page_first = campaignOfLoad("https://a.example/?gclid=1");
  assert.deepEqual([page_first(true), page_first(false), page_first(true)], [campaign, {}, {}]);
  const track_first = campaignOfLoad("https://a.example/?gclid=1");
  assert.deepEqual([track_first(false), track_first(false), track_first(true), track_first(true)], [campaign, {}, campaign, {}]);
});

test("time_counts_while_seen_and_30_seconds_from_the_last_move", () => {
  const meter = makeMeter(true, 0);
  assert.equal(meter.take(5_000), 0, "nobody moved yet");
  meter.act(10_000);
  meter.act(12_000);
  assert.equal(meter.take(100_000), 32_000);
  meter.act(200_000);
  meter.attend(false, 203_000);
  meter.act(204_000);
  meter.attend(true, 210_000);
  assert.equal(meter.take(212_000), 5_000);
});

test("less_than_a_second_waits_for_more_or_is_forgotten_with_its_page", () => {
  const meter = makeMeter(true, 0);
  meter.act(0);
  assert.equal(meter.take(900), 0);
  assert.equal(meter.take(1_100), 1_100);
  assert.equal(meter.take(1_900, true), 0);
  assert.equal(meter.take(2_500), 0);
});

test("another_address_is_another_page_and_tidying_is_not", () => {
  const at = (rest) => `https://a.example${rest}`;
  assert.equal(isNewPage(at("/a"), at("/a"), false), false);
  assert.equal(isNewPage(at("/a"), at("/b"), false), true);
  assert.equal(isNewPage(at("/a?p=1"), at("/a?p=2"), false), true);
  assert.equal(isNewPage(at("/a"), at("/a#part"), false), false);
  assert.equal(isNewPage(at("/#/a"), at("/#/b"), false), true);
  assert.equal(isNewPage(at("/a?utm_source=x"), at("/a"), true), false);
  assert.equal(isNewPage(at("/login"), at("/home"), true), true);
  assert.equal(isNewPage(at("/#/a?x=1"), at("/#/a"), true), false);
  assert.equal(isNewPage(at("/#/a"), at("/#/b"), true), true);
});

test("domains_are_tried_from_the_widest", () => {
  assert.deepEqual(domainsOf("www.shop.co.uk"), ["uk", "co.uk", "shop.co.uk", "www.shop.co.uk"]);
  for (const host of ["localhost", "127.0.0.1", "[::1]"]) assert.deepEqual(domainsOf(host), []);
});

test("an_id_is_a_uuid_of_chance_with_and_without_help", () => {
  const form = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  assert.match(uuid(), form);
  Object.defineProperty(crypto, "randomUUID", { value: undefined, configurable: true });
  const ids = new Set(Array.from({ length: 1_000 }, uuid));
  delete crypto.randomUUID;
  assert.equal(ids.size, 1_000);
  for (const id of ids) assert.match(id, form);
});
