// What was chosen, kept for this tab.
//
// Promise: nothing of it stands in an address: whoever is sent a link is sent no question with it. Where the browser keeps
//          nothing the page still works, until it is loaded again.

const KEPT_AS = "tributary.chosen";

/** What this tab keeps under a key; null where it keeps nothing, or may not. */
export function kept(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

export function keep(key, text) {
  try {
    if (text === "") sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, text);
  } catch {
    // Full, or not allowed.
  }
}

let chosen = {};
try {
  chosen = JSON.parse(kept(KEPT_AS)) ?? {};
} catch {
  // What cannot be read was not ours, or of another version.
}

/** What was chosen under this name, or `otherwise` where nothing of its sort was. */
export function recall(name, otherwise) {
  const found = chosen[name];
  return typeof found === typeof otherwise && Array.isArray(found) === Array.isArray(otherwise) ? found : otherwise;
}

export function remember(name, value) {
  chosen[name] = value;
  keep(KEPT_AS, JSON.stringify(chosen));
}
