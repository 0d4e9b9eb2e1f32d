// One call in a browser: what it was given and answered, the same once more, and what it would cost.
import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { eventually, hearth, serious, visit } from "./suite.mjs";

/** Text that would run if it were ever taken as markup. */
const EVIL = `<img src=x onerror="window.stolen=1"><script>window.stolen=1</script>`;

const CODE = `def handler(event, context):
    if event.get("fail"):
        raise ValueError(event["fail"])
    return {"said": event}
`;

async function call(name, event) {
  const response = await fetch(`${hearth.url}/2015-03-31/functions/${name}/invocations`, { method: "POST", headers: { authorization: `Bearer ${hearth.token}` }, body: JSON.stringify(event) });
  await response.text();
  return response.headers.get("x-amzn-requestid");
}

describe("what calls were given and answered", () => {
  before(async () => {
    await hearth.deploy("recorded", { "app.py": CODE });
  });

  it("is not kept unless the function's configuration says so, and the page tells that", async () => {
    const id = await call("recorded", { a: 1 });
    const page = await visit(`/invocations/${id}`);
    await page.getByText("They were not kept.").waitFor();
    const again = page.getByRole("button", { name: "Run it again" });
    assert.equal(await again.getAttribute("aria-disabled"), "true");
    assert.match(await again.getAttribute("title"), /was not kept/);
    await page.goto(`${hearth.url}/functions/recorded/configuration`);
    await page.getByLabel("Keep events and answers").selectOption("all");
    await page.getByText("Changed: records").waitFor();
    await page.getByRole("button", { name: "Save, live" }).click();
    await page.getByText("revision 2 takes the calls").waitFor();
    assert.equal((await hearth.call("GET", "/api/v1/functions/recorded")).records.payloads, "all");
  });

  it("is shown as text, whatever it is, with JSON in lines", async () => {
    const id = await call("recorded", { [EVIL]: EVIL, n: 7 });
    const page = await visit(`/invocations/${id}`);
    const event = page.getByLabel("Event of the call");
    await event.waitFor();
    assert.match(await event.innerText(), /\n {2}"n": 7\n/);
    assert.ok((await event.innerText()).includes("onerror=\\\"window.stolen=1\\\""));
    assert.ok((await page.getByLabel("Answer of the call").innerText()).includes("<script>"));
    const failed = await call("recorded", { fail: EVIL });
    await page.goto(`${hearth.url}/invocations/${failed}`);
    await page.getByLabel("Answer of the call").getByText("ValueError").waitFor();
    assert.equal(await page.evaluate(() => window.stolen), undefined);
    assert.equal(await page.locator("main img, main script").count(), 0);
    assert.deepEqual(await serious(page), []);
  });

  it("is run again by a button, and the new record says whose it is", async () => {
    const id = await call("recorded", { n: 8 });
    const page = await visit(`/invocations/${id}`);
    await page.getByLabel("Event of the call").waitFor();
    await page.getByRole("button", { name: "Run it again" }).click();
    await page.getByText("Replay of").waitFor();
    assert.notEqual(page.url(), `${hearth.url}/invocations/${id}`);
    await page.getByRole("link", { name: id }).waitFor();
    assert.match(await page.getByLabel("Event of the call").innerText(), /"n": 8/);
    const made = await hearth.call("GET", `/api/v1/invocations/${page.url().split("/").at(-1)}`);
    assert.equal(made.replay_of, id);
  });

  it("is cut off where it is long, and then cannot be run again", async () => {
    const id = await call("recorded", { text: "x".repeat(300_000) });
    const page = await visit(`/invocations/${id}`);
    await page.getByText("Only its beginning is kept").first().waitFor();
    const again = page.getByRole("button", { name: "Run it again" });
    assert.equal(await again.getAttribute("aria-disabled"), "true");
    assert.match(await again.getAttribute("title"), /Only the beginning/);
  });
});

describe("what calls would cost", () => {
  it("is told in GB-seconds, in money once there is a price, and by version", async () => {
    await hearth.deploy("priced", { "app.py": CODE }, { memory: "1GB" });
    await hearth.call("POST", "/api/v1/functions/priced/versions", {});
    for (let n = 0; n < 3; n++) await call("priced:1", { n });
    await call("priced", {});
    const page = await visit("/functions/priced/monitor");
    const table = page.getByRole("region", { name: "Calls told apart" });
    await table.getByRole("row").filter({ hasText: "$LATEST" }).waitFor();
    assert.match(await table.getByRole("row").nth(2).innerText(), /^1\s+3\s/);
    await page.getByText(/GB-s; hearth prices/).waitFor();
    await hearth.call("PUT", "/api/v1/prices", { cloud: { name: "mine", currency: "EUR", gb_second: 10, request: 1 } });
    await page.reload();
    await page.getByText(/EUR at mine/).waitFor();
    await page.getByRole("columnheader", { name: "Cost, EUR" }).waitFor();
    await page.getByLabel("By", { exact: true }).selectOption("isolation");
    await eventually(async () => (await table.innerText()).includes("namespace"), "figures by isolation");
  });
});
