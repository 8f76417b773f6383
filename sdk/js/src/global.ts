/**
 * The SDK for the snippet.
 *
 * In:       `window.tributary`: the calls that were made before this script came, in order.
 * Out:      `window.tributary`: the same calls, made at once.
 * Promise:  no call is lost or told twice; a call made before `init` waits for it.
 */

import { init, type Client, type Options } from "./client";
import { during, moment } from "./moment";

/** Method, arguments, and when and where it was called. */
type Call = [name: string, words: unknown[], timeMs?: number | undefined, url?: string | undefined];

const METHODS = ["init", "page", "track", "identify", "group", "reset", "consent", "flush"];

// Known only while this script first runs.
const src = (document.currentScript as HTMLScriptElement | null)?.src;
const origin = src && new URL(src).origin;

const site = window as unknown as { tributary?: Call[] & { init?: unknown } };
const early = site.tributary ?? [];
const waiting: Call[] = [];
let client: Client | undefined;

const run = ([name, words, timeMs, url]: Call): unknown => {
  const act = (): unknown => {
    if (name !== "init") return (client![name as keyof Client] as (...words: unknown[]) => unknown)(...words);
    return (client ??= init({ ...(origin && { host: origin }), ...(words[0] as Options) }));
  };
  if (timeMs === undefined) return act();
  during({ timeMs, url: url! }, act);
  return undefined;
};

const call = (name: string, words: unknown[], timeMs?: number, url?: string): unknown => {
  if (!client && name !== "init") {
    const now = moment();
    waiting.push([name, words, timeMs ?? now.timeMs, url ?? now.url]);
    return name === "flush" ? Promise.resolve() : undefined;
  }
  const first = !client;
  const given = run([name, words, timeMs, url]);
  if (first) waiting.splice(0).forEach(run);
  return given;
};

const push = (entry: Call): void => void call(...entry);
const api: Record<string, unknown> = { push };
for (const name of METHODS) api[name] = (...words: unknown[]) => call(name, words);

// Else a second copy of the script came, and the first one goes on.
if (Array.isArray(early)) {
  // A page that holds the snippet's array goes on with it.
  early.push = push as never;
  site.tributary = api as never;
  for (const entry of [...early]) push(entry);
}
