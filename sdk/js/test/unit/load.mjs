// Gives a test the TypeScript of `src`.
//
// In:       the name of a module.
// Out:      its exports.
// Promise:  what is tested is the source, not dist.

import { buildSync } from "esbuild";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const src = join(dirname(fileURLToPath(import.meta.url)), "../../src");

export async function load(name) {
  const { outputFiles } = buildSync({ entryPoints: [join(src, `${name}.ts`)], bundle: true, format: "esm", write: false });
  return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`);
}
