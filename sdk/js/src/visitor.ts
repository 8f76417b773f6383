/**
 * The anonymous id of this browser.
 *
 * In:       a store, document.cookie.
 * Out:      a uuid, kept in the store and in the first-party cookie `tb_id`.
 * Promise:  subdomains of one site share the id, because the cookie is set on the widest domain that takes it; the cookie
 *           wins over the store, which each subdomain has for itself.
 */

import type { Store } from "./store";

const NAME = "tb_id";
// Browsers keep a cookie 400 days at most.
const COOKIE_SECONDS = 390 * 86_400;

export function uuid(): string {
  // randomUUID is missing on http pages and in browsers before 2022.
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => (byte + 256).toString(16).slice(1)).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** The id this browser has, else a new one. Called once a load: it also moves the cookie's end. */
export function adoptVisitor(store: Store): void {
  keep(store, cookie(NAME) ?? store.get(NAME) ?? uuid());
}

export const visitor = (store: Store): string | undefined => store.get(NAME);

export const newVisitor = (store: Store): void => keep(store, uuid());

export function forgetVisitor(store: Store): void {
  store.remove(NAME);
  setCookie(NAME, "", 0, widestDomain());
}

/** `www.shop.example` gives `example`, `shop.example`, `www.shop.example`; an address or a single word gives none. */
export function domainsOf(host: string): string[] {
  const parts = host.split(".");
  if (parts.length < 2 || /^[\d.]+$|:/.test(host)) return [];
  return parts.map((_, index) => parts.slice(-1 - index).join("."));
}

function keep(store: Store, id: string): void {
  store.set(NAME, id);
  setCookie(NAME, id, COOKIE_SECONDS, widestDomain());
}

function cookie(name: string): string | undefined {
  return document.cookie.match(`(?:^|; )${name}=([\\w-]{8,64})(?:;|$)`)?.[1];
}

function setCookie(name: string, value: string, seconds: number, domain?: string): void {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  const where = domain ? `; domain=${domain}` : "";
  document.cookie = `${name}=${value}; path=/; max-age=${seconds}; SameSite=Lax${secure}${where}`;
}

/** Browsers refuse a cookie for a public suffix (`co.uk`); trying is the only way to know it. */
function widestDomain(): string | undefined {
  return domainsOf(location.hostname).find((domain) => {
    setCookie("tb_try", "can-be-set", 9, domain);
    const taken = cookie("tb_try");
    setCookie("tb_try", "", 0, domain);
    return taken;
  });
}
