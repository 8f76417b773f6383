// Builds `dist` from `src`.
//
// In:       src/index.ts, src/global.ts, the version in package.json.
// Out:      dist/tributary.mjs (module), dist/tributary.js (for the snippet; the server serves it as /t.js).
//           With --check nothing is written: fails if dist is not what src builds. With --size: fails above the limit.
// Promise:  the same source and the same lockfile give the same bytes.

import { build } from "esbuild";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

// The promise of the README.
const GZIPPED_BYTES_MAX = 5000;

const here = dirname(fileURLToPath(import.meta.url));
const { version } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));

const OUTPUTS = [
  { entry: "src/index.ts", file: "dist/tributary.mjs", format: "esm" },
  { entry: "src/global.ts", file: "dist/tributary.js", format: "iife" },
];

async function bytesOf({ entry, format }) {
  const { outputFiles } = await build({
    absWorkingDir: here,
    entryPoints: [entry],
    format,
    bundle: true,
    minify: true,
    write: false,
    target: "es2020",
    charset: "utf8",
    legalComments: "none",
    define: { VERSION: JSON.stringify(version) },
    banner: { js: `/* tributary-js ${version}, Apache-2.0 */` },
  });
  return Buffer.from(outputFiles[0].contents);
}

const mode = process.argv[2];
let failed = false;
for (const output of OUTPUTS) {
  const path = join(here, output.file);
  if (mode === "--size") {
    const bytes = readFileSync(path);
    const gzipped = gzipSync(bytes, { level: 9 }).length;
    console.log(`${output.file}: ${bytes.length} bytes, ${gzipped} gzipped (at most ${GZIPPED_BYTES_MAX})`);
    failed ||= gzipped > GZIPPED_BYTES_MAX;
    continue;
  }
  const built = await bytesOf(output);
  if (mode === "--check") {
    let kept = Buffer.alloc(0);
    try {
      kept = readFileSync(path);
    } catch {
      // Told below: a file that is not there is not what src builds.
    }
    const same = built.equals(kept);
    console.log(`${output.file}: ${same ? "is what src builds" : "is not what src builds; run npm run build and keep the result"}`);
    failed ||= !same;
  } else {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, built);
    console.log(`${output.file}: ${built.length} bytes`);
  }
}
process.exit(failed ? 1 : 0);
