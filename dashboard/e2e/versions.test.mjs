// Versions, aliases and canaries in a browser: what was is looked at, compared, and come back to.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { eventually, hearth, serious, visit } from "./suite.mjs";

const says = (text) => ({ "app.py": `def handler(event, context):\n    return "${text}"\n` });
const answer = async (name) => (await hearth.invoke(name)).text;

/** One of several parts of a page, by its heading. */
const card = (page, title) => page.locator("section.card").filter({ has: page.getByRole("heading", { name: title, exact: true, level: 2 }) });

describe("what a function was", () => {
  it("is published, compared, and rolled back to: the old one's answer is back", async () => {
    await hearth.deploy("photos", { ...says("old"), "README.md": "# photos\n" });
    const page = await visit("/functions/photos/versions");
    await page.getByText("No versions yet").waitFor();
    await page.getByRole("button", { name: "Publish a version" }).click();
    await page.getByRole("dialog").getByLabel("Description").fill("before the new codec");
    await page.getByRole("dialog").getByRole("button", { name: "Publish" }).click();
    await page.getByText("Version 1 is published").waitFor();
    await page.getByRole("region", { name: "Versions" }).getByText("before the new codec").waitFor();

    await hearth.deploy("photos", { ...says("new"), "extra.py": "X = 1\n" }, { memory: "192MB" });
    assert.equal(await answer("photos"), `"new"`);
    const versions = page.getByRole("region", { name: "Versions" });
    const compare = versions.getByRole("button", { name: "Compare" });
    await eventually(async () => (await compare.getAttribute("aria-disabled")) === "false", "the page sees the deploy");
    await compare.click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("row", { name: "memory 128MB 192MB" }).waitFor();
    const code = dialog.getByRole("region", { name: "Changes of app.py" });
    assert.match(await code.locator(".diff-line.gone").innerText(), /return "old"/);
    assert.match(await code.locator(".diff-line.new").innerText(), /return "new"/);
    await dialog.getByRole("region", { name: "Changes of README.md" }).getByText("removed").waitFor();
    await dialog.getByRole("region", { name: "Changes of extra.py" }).getByText("added", { exact: true }).waitFor();
    assert.deepEqual(await serious(page), [], "the comparison");
    await page.evaluate(() => (document.documentElement.dataset.theme = "light"));
    assert.deepEqual(await serious(page), [], "the comparison, light");
    await dialog.getByRole("button", { name: "Close" }).click();

    await versions.getByRole("button", { name: "Roll back" }).click();
    await page.getByRole("dialog").getByRole("row", { name: "memory 192MB 128MB" }).waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Roll back" }).click();
    await page.getByText("Rolled back to version 1: revision 3 takes the calls").waitFor();
    assert.equal(await answer("photos"), `"old"`);
    await page.getByRole("region", { name: "History" }).getByText("rolled back").first().waitFor();

    // And forward again, by the history.
    await page.getByRole("region", { name: "History" }).getByRole("row").filter({ hasText: "revision 2" }).getByRole("button", { name: "Roll back" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Roll back" }).click();
    await page.getByText("Rolled back to revision 2").waitFor();
    assert.equal(await answer("photos"), `"new"`);
  });

  it("is what aliases lead to, whole or in shares, and a version that one leads to stays", async () => {
    const page = await visit("/functions/photos/versions");
    await page.getByRole("button", { name: "Publish a version" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Publish" }).click();
    await page.getByText("Version 2 is published").waitFor();
    await page.getByRole("button", { name: "Add an alias" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name", { exact: true }).fill("live");
    await dialog.getByLabel("Leads to").selectOption("1");
    await dialog.getByRole("button", { name: "Add", exact: true }).click();
    await page.getByText("Alias live leads to version 1").waitFor();
    assert.equal(await answer("photos:live"), `"old"`);
    await page.getByRole("button", { name: "Change", exact: true }).click();
    await dialog.getByLabel("Second version").selectOption("2");
    await dialog.getByLabel("Its share").fill("40");
    await dialog.getByRole("button", { name: "Save" }).click();
    await page.getByRole("region", { name: "Aliases" }).getByText("version 2 · 40 %").waitFor();
    const answers = [];
    for (let n = 0; n < 10; n++) answers.push(await answer("photos:live"));
    assert.equal(answers.filter((one) => one === `"new"`).length, 4);
    const remove = page.getByRole("button", { name: "Remove version 1" });
    await eventually(async () => (await remove.getAttribute("title"))?.includes("live"), "the button says why it cannot");
    await page.getByRole("button", { name: "Remove alias live" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await page.getByText("Alias live is removed").waitFor();
    await eventually(async () => (await remove.getAttribute("aria-disabled")) === "false", "it can be removed now");
    await remove.click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await page.getByText("Version 1 is removed").waitFor();
    assert.deepEqual((await hearth.call("GET", "/api/v1/functions/photos/versions")).versions.map((one) => one.version), [2]);
  });
});

describe("a canary", () => {
  it("is begun with other memory, watched, and promoted", async () => {
    await hearth.deploy("tried", { "app.py": "def handler(event, context):\n    return context.memory_limit_in_mb\n" });
    const page = await visit("/functions/tried/versions");
    await page.getByRole("button", { name: "Start a canary" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("Change something").waitFor();
    assert.deepEqual(await serious(page), [], "what a canary is begun with");
    await dialog.getByLabel("Memory").fill("160MB");
    await dialog.getByLabel("Share").fill("50");
    await dialog.getByRole("button", { name: "Start the canary" }).click();
    await page.getByText("Revision 2 gets 50 % of the calls").waitFor();
    const seen = new Set();
    for (let n = 0; n < 6; n++) seen.add(await answer("tried"));
    assert.deepEqual([...seen].map((text) => text.replaceAll(`"`, "")).sort(), ["128", "160"]);
    await card(page, "Canary").getByText("17 more calls until it is judged").waitFor();
    await page.getByRole("button", { name: "Promote" }).click();
    await page.getByText("Revision 2 gets all calls").waitFor();
    await page.getByText("No canary runs").waitFor();
    assert.match(await answer("tried"), /160/);
  });

  it("is begun from the editor, shows its errors, and is aborted", async () => {
    await hearth.deploy("fragile", says("well"));
    const page = await visit("/functions/fragile");
    const editor = page.getByRole("textbox", { name: "Code of app.py" });
    await editor.click();
    await page.keyboard.press("ControlOrMeta+a");
    await page.keyboard.insertText(`def handler(event, context):\n    raise ValueError("the new one is broken")\n`);
    await page.getByRole("button", { name: "Try as canary" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Share").fill("50");
    await dialog.getByLabel("Of at least").fill("1000");
    await dialog.getByRole("button", { name: "Start the canary" }).click();
    await page.getByRole("heading", { name: "Canary", level: 2 }).waitFor();
    for (let n = 0; n < 8; n++) await hearth.invoke("fragile");
    await card(page, "Canary").getByText("4 calls; 5 % allowed").waitFor();
    await card(page, "Canary").getByText("100 %", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Abort", exact: true }).click();
    await page.getByRole("button", { name: "Abort the canary" }).click();
    await page.getByText("Revision 1 serves all calls again").waitFor();
    for (let n = 0; n < 4; n++) assert.equal(await answer("fragile"), `"well"`);
  });

  it("that fails too often takes itself back while one looks", async () => {
    await hearth.deploy("judged", says("well"));
    const { sha256 } = (await hearth.deploy("broken", { "app.py": "def handler(event, context):\n    raise ValueError(1)\n" })).code;
    await hearth.call("POST", "/api/v1/functions/judged/canary", { weight: 0.5, for: "1h", min_calls: 5, change: { code: { sha256 } } });
    const page = await visit("/functions/judged/versions");
    await page.getByRole("heading", { name: "Canary", level: 2 }).waitFor();
    await page.getByRole("button", { name: "Promote" }).waitFor();
    for (let n = 0; n < 12; n++) await hearth.invoke("judged");
    await page.getByText("No canary runs").waitFor();
    await page.getByRole("region", { name: "History" }).getByText("canary rolled back").waitFor();
    assert.equal(await answer("judged"), `"well"`);
  });
});
