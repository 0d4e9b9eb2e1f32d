// Packs what was built (brotli and gzip), and holds the promise of a small first load.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const DIST = new URL("../dist/", import.meta.url).pathname;
/** What a first visit may load, packed, without the editor: kilobytes. */
const FIRST_LOAD = 300;

function files(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });
}

const packed = new Map();
for (const path of files(DIST)) {
  if (!/\.(html|js|css|svg)$/.test(path)) continue;
  const bytes = readFileSync(path);
  const br = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  writeFileSync(`${path}.br`, br);
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
  packed.set(path.slice(DIST.length), br.length);
}

const page = readFileSync(join(DIST, "index.html"), "utf8");
if (/<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=/i.test(page)) {
  throw new Error("index.html holds a script or style of its own: the policy forbids it");
}
const first = ["index.html", ...[...page.matchAll(/(?:src|href)="\/([^"]+)"/g)].map((match) => match[1])];
const size = first.reduce((sum, name) => sum + (packed.get(name) ?? statSync(join(DIST, name)).size), 0) / 1000;
const all = [...packed.values()].reduce((sum, bytes) => sum + bytes, 0) / 1000;
if (size > FIRST_LOAD) throw new Error(`the first load is ${size.toFixed(0)} kB packed: expected at most ${FIRST_LOAD}`);
const hash = createHash("sha256").update(page).digest("hex").slice(0, 8);
console.log(`first load ${size.toFixed(1)} kB, everything ${all.toFixed(1)} kB packed (${hash})`);
