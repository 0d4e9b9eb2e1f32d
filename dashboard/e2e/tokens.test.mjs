// Tokens in a browser: made with scopes, shown once, used, revoked; and keys of routes.
import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { eventually, hearth, serious, visit } from "./suite.mjs";

const call = async (token, method, path, body) => {
  const response = await fetch(hearth.url + path, { method, headers: { authorization: `Bearer ${token}`, "content-type": "application/json" }, body: body === undefined ? undefined : JSON.stringify(body) });
  return { status: response.status, text: await response.text() };
};
const invoke = (token, name) => call(token, "POST", `/2015-03-31/functions/${name}/invocations`, {});
const FUNCTION = { "app.py": "def handler(event, context):\n    return 'served'\n" };

describe("tokens", () => {
  before(async () => {
    await hearth.deploy("photos-small", FUNCTION);
    await hearth.deploy("mail", FUNCTION);
  });

  it("are made with scopes and an end, shown once, do what they may and no more, and are worth nothing when revoked", async () => {
    const page = await visit("/tokens");
    await page.getByRole("button", { name: "New token" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name", { exact: true }).fill("ci");
    await dialog.getByLabel("Function of scope 1").fill("photos-*");
    await dialog.getByRole("button", { name: "Add a scope" }).click();
    await dialog.getByLabel("Function of scope 2").fill("photos-*");
    await dialog.getByLabel("Expires after").fill("7d");
    assert.deepEqual(await serious(page), [], "a new token");
    await dialog.getByRole("button", { name: "Make it" }).click();
    const secret = await page.getByLabel("Token", { exact: true }).innerText();
    assert.deepEqual(await serious(page), [], "the secret");
    assert.match(secret, /^hth_/);
    // By no key and no click beside it.
    await page.keyboard.press("Escape");
    await page.getByRole("heading", { name: "Token ci is made" }).waitFor();
    await page.getByRole("button", { name: "I have kept it" }).click();
    const row = page.getByRole("region", { name: "API tokens" }).getByRole("row").filter({ hasText: "ci" });
    await row.getByText("invoke:photos-*").waitFor();
    await row.getByText("logs:photos-*").waitFor();
    await row.getByText("in 7 d").waitFor();
    await page.reload();
    await row.getByText("never", { exact: true }).waitFor();
    assert.ok(!(await page.content()).includes(secret), "the secret is nowhere any more");

    assert.deepEqual(await invoke(secret, "photos-small"), { status: 200, text: `"served"` });
    assert.ok([403, 404].includes((await invoke(secret, "mail")).status), "another function");
    assert.ok([403, 404].includes((await call(secret, "PATCH", "/api/v1/functions/photos-small", { memory: "256MB" })).status), "no deploys");
    await eventually(async () => (await row.getByText("never", { exact: true }).count()) === 0, "the page tells when it was used");

    await row.getByRole("button", { name: "Revoke" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
    await page.getByText("ci is revoked").waitFor();
    await eventually(async () => (await invoke(secret, "photos-small")).status === 403, "it lets nobody in", 1500);
    assert.equal(await row.count(), 0);
    await page.getByRole("region", { name: "Audit log" }).getByText(/token/).first().waitFor();
  });

  it("come with an AWS access key, where that is asked for", async () => {
    const page = await visit("/tokens");
    await page.getByRole("button", { name: "New token" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name", { exact: true }).fill("sam");
    await dialog.getByLabel("With an AWS access key").check();
    await dialog.getByRole("button", { name: "Make it" }).click();
    const id = await page.getByLabel("AWS access key id", { exact: true }).innerText();
    assert.ok((await page.getByLabel("AWS secret access key", { exact: true }).innerText()).length > 20);
    await page.getByRole("button", { name: "I have kept it" }).click();
    await page.getByRole("region", { name: "API tokens" }).getByText(id).waitFor();
  });

  it("leave the installation's own alone", async () => {
    const page = await visit("/tokens");
    const own = page.getByRole("region", { name: "API tokens" }).getByRole("row").filter({ hasText: "admin.token" });
    assert.equal(await own.getByRole("button", { name: "Revoke" }).getAttribute("aria-disabled"), "true");
  });
});

describe("keys of routes", () => {
  it("let callers in until they are removed", async () => {
    const { invoke_url } = await hearth.deploy("mail", FUNCTION, { url: true });
    const ingress = new URL(invoke_url).origin;
    await hearth.call("PATCH", "/api/v1/functions/mail", { url: false, http: [{ route: "GET /guarded", auth: "api-key" }] });
    const page = await visit("/tokens");
    await page.getByRole("button", { name: "New key" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name", { exact: true }).fill("doorbell");
    await dialog.getByLabel("Functions").fill("mail");
    await dialog.getByRole("button", { name: "Make it" }).click();
    const key = await page.getByLabel("Key", { exact: true }).innerText();
    assert.deepEqual(await serious(page), [], "the key");
    await page.getByRole("button", { name: "I have kept it" }).click();
    const ask = async (headers) => (await fetch(`${ingress}/guarded`, { headers })).status;
    assert.deepEqual([await ask({}), await ask({ "x-api-key": key })], [401, 200]);
    await page.getByRole("button", { name: "Remove key doorbell" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await page.getByText("Key doorbell is removed").waitFor();
    assert.equal(await ask({ "x-api-key": key }), 401);
  });
});
