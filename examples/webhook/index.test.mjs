// Run with `node --test examples/webhook`.

import assert from "node:assert/strict";
import { test } from "node:test";

process.env.WEBHOOK_SECRET = "It's a Secret to Everybody";
const { handler, sign } = await import("./index.mjs");

const payload = JSON.stringify({ action: "opened", repository: { full_name: "ada/engine" } });

function deliver(body, headers = {}, base64 = false) {
  return handler({
    headers: { "x-github-event": "issues", "x-hub-signature-256": sign(body), ...headers },
    body: base64 ? Buffer.from(body).toString("base64") : body,
    isBase64Encoded: base64,
  });
}

function logged(t, method) {
  const { mock } = t.mock.method(console, method, () => {});
  return () => mock.calls.map((call) => call.arguments[0]);
}

test("signs as GitHub's documentation does", () => {
  assert.equal(
    sign("Hello, World!"),
    "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
  );
});

test("accepts a signed delivery and logs it in one line", async (t) => {
  const lines = logged(t, "log");
  assert.equal((await deliver(payload)).statusCode, 202);
  assert.equal(lines().length, 1);
  const { level, event, action, repository } = JSON.parse(lines()[0]);
  assert.deepEqual([level, event, action, repository], ["INFO", "issues", "opened", "ada/engine"]);
});

test("checks the bytes that were sent, however they arrive", async (t) => {
  logged(t, "log");
  assert.equal((await deliver('{"name":"Zoë"}', {}, true)).statusCode, 202);
});

test("refuses a wrong, cut or missing signature and a changed body", async (t) => {
  const lines = logged(t, "warn");
  const right = sign(payload);
  const wrong = right.slice(0, -1) + (right.endsWith("0") ? "1" : "0");
  for (const signature of [wrong, right.slice(0, -1), right.slice(7), "", undefined]) {
    const { statusCode } = await deliver(payload, { "x-hub-signature-256": signature });
    assert.equal(statusCode, 401);
  }
  const { statusCode } = await deliver(`${payload} `, { "x-hub-signature-256": right });
  assert.equal(statusCode, 401);
  assert.equal(lines().length, 6);
});

test("refuses what is signed and no JSON", async (t) => {
  logged(t, "warn");
  assert.equal((await deliver("payload=%7B%7D")).statusCode, 400);
});

test("takes any JSON for a payload", async (t) => {
  logged(t, "log");
  for (const body of ["null", "[]", "3"]) assert.equal((await deliver(body)).statusCode, 202);
});
