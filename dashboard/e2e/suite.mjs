// What every file of browser tests stands on: a Hearth and a browser of its own, pages that are logged in, and waiting.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, afterEach, before } from "node:test";
import { login, startBrowser, startHearth } from "./harness.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export let hearth;
export let browser;
export let open = [];

/** A page that is logged in. Whatever it prints as an error, the test that uses it fails. */
export async function visit(path = "/", how = {}) {
  const one = await browser.open(how);
  open.push(one);
  await login(one.page, hearth);
  if (path !== "/") await one.page.goto(hearth.url + path);
  return one.page;
}

export async function eventually(check, what, limit = 15_000) {
  const until = Date.now() + limit;
  let last;
  while (Date.now() < until) {
    last = await check();
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(`${what}: not within ${limit / 1000} s`);
}

/** Replaces what an editor holds. */
export async function write(page, label, text) {
  const editor = page.getByRole("textbox", { name: label });
  await editor.click();
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.insertText(text);
}

/** What axe finds that is serious or worse. */
export async function serious(page) {
  await page.evaluate(AXE);
  return await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
    return violations
      .filter((one) => one.impact === "serious" || one.impact === "critical")
      .map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => `${node.target.join(" ")} (${node.any[0]?.message ?? one.help})`).join("; ")}`);
  });
}

before(async () => {
  hearth = await startHearth();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await hearth?.stop();
});

afterEach(async () => {
  const faults = open.flatMap((one) => one.faults);
  await Promise.all(open.map((one) => one.context.close()));
  open = [];
  assert.deepEqual(faults, [], "a page printed errors, or broke its policy");
});
