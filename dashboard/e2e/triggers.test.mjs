// What calls a function, in a browser: routes and event sources, and the message queues behind them.
import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { eventually, hearth, serious, visit } from "./suite.mjs";

const ECHO = { "app.py": `import json\n\ndef handler(event, context):\n    if "Records" in event:\n        for one in event["Records"]:\n            print("took", one["body"])\n            if "poison" in one["body"]:\n                raise ValueError("poison")\n        return\n    return {"parameters": event.get("pathParameters"), "route": event.get("routeKey")}\n` };
let ingress;

describe("routes", () => {
  before(async () => {
    const made = await hearth.deploy("taker", ECHO);
    ingress = new URL(made.invoke_url).origin;
    await hearth.deploy("other", ECHO, { http: [{ route: "GET /taken" }] });
  });

  it("are added, answer, are changed and removed", async () => {
    const page = await visit("/functions/taker/triggers");
    await page.getByRole("button", { name: "Add a route" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Path").fill("/things/{id}");
    assert.deepEqual(await serious(page), [], "a new route");
    await dialog.getByLabel("Rate").fill("100/s");
    await dialog.getByLabel("Web pages of").fill("https://app.example.org");
    await dialog.getByRole("button", { name: "Add", exact: true }).click();
    await page.getByText("Route GET /things/{id} answers").waitFor();
    const answer = await fetch(`${ingress}/things/17`, { headers: { origin: "https://app.example.org" } });
    assert.deepEqual(await answer.json(), { parameters: { id: "17" }, route: "GET /things/{id}" });
    assert.equal(answer.headers.get("access-control-allow-origin"), "https://app.example.org");
    const routes = page.getByRole("region", { name: "Routes" });
    await routes.getByText("100/s").waitFor();

    await routes.getByRole("button", { name: "Change" }).click();
    await dialog.getByLabel("May call").selectOption("api-key");
    await dialog.getByText("Keep its own URL as well").waitFor();
    await dialog.getByRole("button", { name: "Save" }).click();
    await routes.getByText("who has a key").waitFor();
    assert.equal((await fetch(`${ingress}/things/17`)).status, 401);
    const now = await hearth.call("GET", "/api/v1/functions/taker");
    assert.deepEqual([now.url, now.http], [false, [{ route: "GET /things/{id}", auth: "api-key", rate: "100/s", cors: { allow_origins: ["https://app.example.org"] } }]]);

    await routes.getByRole("button", { name: "Remove route GET /things/{id}" }).click();
    await page.getByText("No routes").waitFor();
    await page.getByLabel("Its own URL").click();
    await page.getByText("It answers at its own URL").waitFor();
    assert.equal((await fetch(`${ingress}/fn/taker/`)).status, 200);
  });

  it("that another function has are refused, with its name", async () => {
    const page = await visit("/functions/taker/triggers");
    await page.getByRole("button", { name: "Add a route" }).click();
    await page.getByRole("dialog").getByLabel("Path").fill("/taken");
    await page.getByRole("dialog").getByRole("button", { name: "Add", exact: true }).click();
    await page.getByRole("dialog").getByRole("alert").getByText("other").waitFor();
  });
});

describe("message queues", () => {
  it("are made, sent to, received from, and emptied", async () => {
    const page = await visit("/queues");
    await page.getByText("No message queues yet").waitFor();
    const dialog = page.getByRole("dialog");
    for (const [name, dead] of [["orders-dead", ""], ["orders", "orders-dead"]]) {
      await page.goto(`${hearth.url}/queues`);
      await page.getByRole("button", { name: "New queue" }).click();
      await dialog.getByLabel("Name", { exact: true }).fill(name);
      await dialog.getByLabel("Hidden when received").fill("1s");
      if (dead) {
        await dialog.getByLabel("Dead-letter queue").selectOption(dead);
        await dialog.getByLabel("After receives").fill("2");
      }
      await dialog.getByRole("button", { name: "Make it" }).click();
      await page.getByRole("heading", { name, level: 1, exact: true }).waitFor();
    }
    await page.getByLabel("Body").fill(`{"id": 1}`);
    await page.getByRole("button", { name: "Send", exact: true }).click();
    await page.getByText(/Message \w+ is on disk/).waitFor();
    await page.getByRole("button", { name: "Receive up to 10" }).click();
    const got = page.getByRole("list", { name: "Received messages" });
    assert.match(await got.innerText(), /\{"id": 1\}/);
    await got.getByRole("button", { name: /Delete message/ }).click();
    await page.getByText(/Message \w+ is deleted/).waitFor();
    const { visible, in_flight, sent, deleted } = await hearth.call("GET", "/api/v1/queues/orders");
    assert.deepEqual([visible, in_flight, sent, deleted], [0, 0, 1, 1]);
  });

  it("call a function as its event source, with state and lag, paused and resumed", async () => {
    const page = await visit("/functions/taker/triggers");
    await page.getByRole("button", { name: "Add a source" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Queue").selectOption("orders");
    assert.deepEqual(await serious(page), [], "a new event source");
    await dialog.getByRole("button", { name: "Add", exact: true }).click();
    const sources = page.getByRole("region", { name: "Event sources" });
    await sources.getByText("running", { exact: true }).waitFor();
    await sources.getByRole("button", { name: "Pause" }).click();
    await sources.getByText("paused", { exact: true }).waitFor();
    for (const id of [1, 2, 3]) await hearth.call("POST", "/api/v1/queues/orders/messages", { messages: [{ body: `order ${id}` }] });
    await sources.locator("tbody tr td").nth(2).getByText("3", { exact: true }).waitFor();
    await sources.getByRole("button", { name: "Resume" }).click();
    await sources.locator("tbody tr td").nth(2).getByText("0", { exact: true }).waitFor();
    await eventually(async () => (await hearth.call("GET", "/api/v1/queues/orders")).deleted === 4, "they are taken");
    await sources.locator("tbody tr td").nth(4).getByText(/^3/).waitFor();
    await page.goto(`${hearth.url}/queues`);
    await page.getByRole("region", { name: "Message queues" }).getByRole("link", { name: "taker" }).waitFor();
  });

  it("set aside what nobody takes, and send it back", async () => {
    await hearth.call("POST", "/api/v1/queues/orders/messages", { messages: [{ body: "poison" }] });
    const page = await visit("/queues/orders-dead");
    const visible = page.locator(".stat").filter({ hasText: "Visible" }).locator(".stat-value");
    await eventually(async () => (await visible.innerText()) === "1", "a dead letter");
    await hearth.call("POST", "/api/v1/functions/taker/sources/orders/pause");
    await page.getByRole("button", { name: "Redrive" }).click();
    await page.getByText("1 message sent back").waitFor();
    await eventually(async () => (await hearth.call("GET", "/api/v1/queues/orders")).visible === 1, "it waits again");
    await page.goto(`${hearth.url}/queues/orders`);
    await page.getByRole("button", { name: "Purge" }).click();
    await page.getByRole("button", { name: "Remove all messages" }).click();
    await page.getByText("1 message removed").waitFor();
    await page.getByRole("button", { name: "Delete", exact: true }).click();
    await page.getByRole("button", { name: "Delete the queue" }).click();
    await page.getByRole("dialog").getByRole("alert").getByText("taker").waitFor();
  });
});
