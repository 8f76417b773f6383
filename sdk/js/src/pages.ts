/**
 * When a single page application shows another page.
 *
 * In:       calls of the History API.
 * Out:      a word to the client: the address may be another page now.
 * Promise:  the application's own calls do what they did, whatever happens here.
 */

/** What decides whether two addresses are two pages. A fragment does only if it holds a path (`#/`, `#!`). */
const route = (url: string): string => url.replace(/#(?![/!]).*$/, "");

/**
 * Replacing an address is how applications tidy it (strip a campaign, keep a filter), and also how they redirect: then the
 * path changes.
 */
export function isNewPage(before: string, after: string, replaced: boolean): boolean {
  const [old, now] = [before, after].map((url) => (replaced ? route(url).replace(/\?[^#]*/g, "") : route(url)));
  return old !== now;
}

export function watchPages(moved: (replaced: boolean) => void): void {
  for (const name of ["pushState", "replaceState"] as const) {
    const original = history[name];
    history[name] = function (...words) {
      original.apply(this, words);
      moved(name === "replaceState");
    };
  }
  addEventListener("popstate", () => moved(false));
}
