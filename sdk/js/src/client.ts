/**
 * The calls a site makes.
 *
 * In:       calls; what the page says about itself; the person's consent.
 * Out:      events in the queue.
 * Promise:  no call throws into the site. An event has its id, its time and its page from the moment of the call. Without
 *           the consent that is required, and in cookieless mode, nothing is written to the device.
 * Not here: sessions; the server makes them.
 */

import { campaignOfLoad } from "./campaign";
import { consentToSend, gateOf } from "./consent";
import { watchEngaged } from "./engaged";
import { moment, type Moment } from "./moment";
import { isNewPage, watchPages } from "./pages";
import { makeQueue } from "./queue";
import { makeSender } from "./sender";
import { makeStore } from "./store";
import { adoptVisitor, forgetVisitor, newVisitor, uuid, visitor } from "./visitor";
import type { Consent, Properties, WireEvent, Worth } from "./wire";

declare const VERSION: string;

export interface Options {
  /** The write key of the source. */
  key: string;
  /** Where the server is, `https://...`. By default whence the script came, else the page's own origin. */
  host?: string;
  /** Nothing is kept on the device, and events have no anonymous id. */
  cookieless?: boolean;
  /** `"required"`: nothing is kept or sent before `consent({ analytics: true })`. */
  consent?: "required";
  /** With Global Privacy Control on, tell `ads` and `sale` as refused. On by default. */
  respectGpc?: boolean;
  /** Count page views, those of the History API too. On by default. */
  autoPage?: boolean;
  /** Tell in the console which events the server dropped, and why. */
  debug?: boolean;
}

export interface Client {
  page(properties?: Properties): void;
  track(name: string, properties?: Properties, worth?: Worth): void;
  identify(userId: string | undefined, traits?: Properties): void;
  group(accountId: string, traits?: Properties): void;
  /** Another person from here on: after a logout. */
  reset(): void;
  consent(allowed: Consent): void;
  /** Ends when what could be sent now was sent, or failed and waits. */
  flush(): Promise<void>;
}

const HELD_EVENTS_MAX = 100;
// Applications set the title of a page after its address.
const TITLE_MS = 100;

const clients = new Map<string, Client>();

/** One client a key: a second call gives the first one's. */
export function init(options: Options): Client {
  const there = clients.get(options.key);
  if (there) return there;
  const client = makeClient(options);
  clients.set(options.key, client);
  return client;
}

function makeClient(options: Options): Client {
  const { key, cookieless = false, respectGpc = true, autoPage = true, debug = false } = options;
  const host = (options.host ?? location.origin).replace(/\/+$/, "");
  const required = options.consent === "required";
  const gpc = (navigator as { globalPrivacyControl?: boolean }).globalPrivacyControl === true;
  const [userName, accountName, consentName] = ["u", "a", "c"].map((name) => `tb_${name}:${key}`) as [string, string, string];

  const store = makeStore();
  const queue = makeQueue(store, key);
  const sender = makeSender(queue, store, { host, key, cookieless, debug });

  // A consent of an earlier visit may be read: it was written with consent, and says whether anything else may.
  const knownConsent = (): Consent | undefined => {
    try {
      return JSON.parse(store.get(consentName)!);
    } catch {
      return undefined;
    }
  };
  if (!cookieless) store.toDevice();
  let gate = gateOf(required, knownConsent());
  if (gate !== "open") store.toMemory();

  // ---- events

  /** Wait for consent, as JSON: the site may change its objects meanwhile. */
  let held: string[] = [];
  const landing = moment();
  const campaign = campaignOfLoad(landing.url);
  const always = {
    language: navigator.language,
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    screen: `${screen.width}x${screen.height}`,
    library: `tributary-js/${VERSION}`,
  };
  let current = { url: landing.url, referrer: document.referrer };

  const capture = (
    name: string,
    kind: WireEvent["kind"],
    properties: Properties | undefined,
    worth?: Worth,
    { timeMs, url }: Moment = moment(),
  ) => {
    if (gate === "shut") return;
    const event: WireEvent = {
      event_id: uuid(),
      name,
      kind,
      time: new Date(timeMs).toISOString(),
      user_id: store.get(userName),
      account_id: store.get(accountName),
      url,
      title: document.title,
      referrer: current.referrer || undefined,
      ...always,
      gpc: gpc || undefined,
      properties,
      ...(name === "engagement" ? {} : campaign(kind === "page")),
      ...worth,
    };
    if (gate === "open") return seal(event);
    held.push(JSON.stringify(event));
    if (held.length > HELD_EVENTS_MAX) {
      held.shift();
      queue.toldDropped(-1);
    }
  };

  /** Adds what is known only once the gate is open. */
  const seal = (event: WireEvent) => {
    if (!cookieless) event.anonymous_id = visitor(store);
    event.consent = consentToSend(knownConsent(), gpc, respectGpc);
    queue.add(event);
    sender.nudge();
  };

  const open = () => {
    if (!cookieless) {
      store.toDevice();
      adoptVisitor(store);
    }
    for (const text of held) seal(JSON.parse(text));
    held = [];
    // What an earlier page left.
    sender.nudge();
  };

  // ---- pages

  const meter = watchEngaged();
  let counted = false;
  let waitingPage: { moment: Moment; timer: ReturnType<typeof setTimeout> } | undefined;

  const tellEngaged = (over: boolean) => {
    const ms = meter.take(performance.now(), over);
    if (ms) capture("engagement", "engagement", { engaged_ms: ms }, undefined, { timeMs: Date.now(), url: current.url });
  };

  const turnTo = (url: string) => {
    tellEngaged(true);
    // Within an application the page before is the referrer; the site that led here led to the first page only.
    if (counted && url !== current.url) current = { url, referrer: current.url };
    else current.url = url;
    counted = true;
  };

  /** Counts the page that waits for its title. */
  const settle = () => {
    if (!waitingPage) return;
    const { moment: then, timer } = waitingPage;
    clearTimeout(timer);
    waitingPage = undefined;
    capture("page", "page", undefined, undefined, then);
  };

  const moved = (replaced: boolean) => {
    const now = moment();
    if (isNewPage(current.url, now.url, replaced)) {
      settle();
      turnTo(now.url);
      waitingPage = { moment: now, timer: setTimeout(settle, TITLE_MS) };
    } else {
      current.url = now.url;
    }
  };

  const page = (properties?: Properties) => {
    turnTo(moment().url);
    capture("page", "page", properties);
  };

  // ---- calls

  /** A mistake in here, or in what the site handed over, is not to stop the site. */
  const guarded =
    <Words extends unknown[]>(act: (...words: Words) => void) =>
    (...words: Words): void => {
      try {
        act(...words);
      } catch (error) {
        console.warn("tributary:", error);
      }
    };
  /** A page that waits for its title comes before what is called on it. */
  const called = <Words extends unknown[]>(act: (...words: Words) => void) =>
    guarded((...words: Words) => {
      settle();
      act(...words);
    });

  const leave = guarded(() => {
    settle();
    tellEngaged(false);
    sender.leave();
  });

  const client: Client = {
    page: called(page),
    track: called((name, properties, worth) => capture(name, undefined, properties, worth)),
    identify: called((userId, traits) => {
      if (userId) store.set(userName, `${userId}`);
      capture("identify", "identify", traits);
    }),
    group: called((accountId, traits) => {
      store.set(accountName, `${accountId}`);
      capture("group", "group", traits);
    }),
    reset: called(() => {
      store.remove(userName);
      store.remove(accountName);
      if (gate === "open" && !cookieless) newVisitor(store);
    }),
    consent: called((allowed) => {
      const before = gate;
      store.set(consentName, JSON.stringify({ ...knownConsent(), ...allowed }));
      gate = gateOf(required, knownConsent());
      if (gate === "open" && before !== "open") open();
      if (gate === "shut") {
        held = [];
        queue.clear();
        if (before === "open" && !cookieless) {
          forgetVisitor(store);
          for (const name of [userName, accountName, consentName]) store.remove(name);
          store.toMemory();
          // For this page only: the device forgets the person, and so that it was asked.
          store.set(consentName, JSON.stringify(allowed));
        }
      }
    }),
    flush: () => (settle(), sender.flush()),
  };

  // ---- begin

  if (gate === "open") open();
  document.addEventListener("visibilitychange", () => (document.visibilityState === "hidden" ? leave() : sender.back()));
  // Not every browser tells of a page that is closed or left by the event above.
  addEventListener("pagehide", leave);
  addEventListener("pageshow", ({ persisted }) => {
    if (!persisted) return;
    sender.back();
    // Back from the browser's cache of whole pages: a view like any other.
    if (autoPage) client.page();
  });
  if (autoPage) {
    const start = () => {
      client.page();
      watchPages(guarded(moved));
      // The application may have moved on while the script was on its way. How, nobody saw: tidying is more common.
      setTimeout(guarded(() => moved(true)));
    };
    // A page rendered in advance may never be seen.
    if ((document as { prerendering?: boolean }).prerendering)
      document.addEventListener("prerenderingchange", start, { once: true });
    else start();
  }
  return client;
}
