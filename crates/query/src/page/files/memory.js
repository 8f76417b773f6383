// What was chosen, kept for this tab.
//
// Promise: nothing of it stands in an address: whoever is sent a link is sent no question with it. Where the browser keeps
//          nothing the page still works, until it is loaded again.

const KEPT_AS = "tributary.chosen";

let chosen = {};
try {
  chosen = JSON.parse(sessionStorage.getItem(KEPT_AS)) ?? {};
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
  try {
    sessionStorage.setItem(KEPT_AS, JSON.stringify(chosen));
  } catch {
    // Full, or not allowed.
  }
}
