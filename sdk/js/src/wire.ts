/**
 * What goes over the wire.
 *
 * In:       nothing.
 * Out:      the shapes of a request to `POST /v1/events` and of its answer.
 * Promise:  the member names are the server's; none is spelled anywhere else in another way.
 */

export type Properties = Record<string, unknown>;

/** What the person allowed. A purpose that is missing was not asked for. */
export interface Consent {
  analytics?: boolean;
  marketing?: boolean;
  ads?: boolean;
  personalization?: boolean;
  sale?: boolean;
}

/** What an event is worth, where that is not its revenue (the server reads revenue from the properties). */
export interface Worth {
  value?: number | string | undefined;
  currency?: string | undefined;
}

export interface WireEvent extends Worth {
  event_id: string;
  name: string;
  kind?: "page" | "identify" | "group" | "engagement" | undefined;
  time: string;
  anonymous_id?: string | undefined;
  user_id?: string | undefined;
  account_id?: string | undefined;
  url?: string;
  title?: string;
  referrer?: string | undefined;
  language?: string;
  timezone?: string;
  screen?: string;
  library?: string;
  consent?: Consent | undefined;
  gpc?: true | undefined;
  properties?: Properties | undefined;
  /** Campaign parameters and click ids, by the name they have in the landing query. */
  [campaign: `utm_${string}`]: string;
}

export interface WireAnswer {
  results: { event_id: string; result: "ok" | "warning" | "drop" | "retry"; details?: string }[];
}

/** The body of a request around events that are JSON text already. */
export function bodyOf(events: string[], sentTimeMs: number, cookieless: boolean, dropped: number): string {
  const members = [`"sent_time":"${new Date(sentTimeMs).toISOString()}"`, `"events":[${events.join()}]`];
  if (cookieless) members.push('"cookieless":true');
  if (dropped) members.push(`"dropped":${dropped}`);
  return `{${members.join()}}`;
}
