/**
 * The SDK as a module.
 *
 * In:       `import { init } from "@tributary/browser"`.
 * Out:      `init` and the shapes of its words.
 * Promise:  importing does nothing; `init` does.
 */

export { init, type Client, type Options } from "./client";
export type { Consent, Properties, Worth } from "./wire";
