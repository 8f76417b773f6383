// The server's own page in a real Chromium.
//
// In:       --door URL; --token TOKEN; --key KEY, a write key; --chromium PATH; --scenes: which, by comma.
// Out:      one JSON line a scene: its name, whether it held, and what the page showed, for the test to compare. Exit 1 if one did
//           not hold.

import { conduct } from "./page/conduct.mjs";
import { views } from "./page/views.mjs";
import { browser, words } from "./page/visitor.mjs";

const scenes = { ...views, ...conduct };
let failed = false;
for (const name of words.scenes.split(",")) {
  try {
    console.log(JSON.stringify({ name, held: true, ...(await scenes[name]()) }));
  } catch (error) {
    failed = true;
    console.log(JSON.stringify({ name, held: false, error: `${error.stack}` }));
  }
}
await browser.close();
process.exitCode = failed ? 1 : 0;
