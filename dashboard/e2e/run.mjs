// Runs the browser tests, or says why they cannot run here.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { BROWSER, NO_BROWSER } from "./harness.mjs";

if (!BROWSER) {
  console.log(`SKIPPED the browser tests: ${NO_BROWSER}`);
  process.exit(0);
}
const tests = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".test.mjs"));
const run = spawnSync(process.execPath, ["--test", "--test-concurrency=1", ...tests.map((name) => `${import.meta.dirname}/${name}`)], { stdio: "inherit" });
process.exit(run.status ?? 1);
