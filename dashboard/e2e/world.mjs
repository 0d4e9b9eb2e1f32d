// Functions and calls that show what a page can show.
export const HELLO = `"""Says hello, to an event or over HTTP."""

import json
import time


def handler(event, context):
    query = event.get("queryStringParameters") or {}
    name = event.get("name", query.get("name", "world"))
    print(json.dumps({"level": "info", "message": f"saying hello to {name}"}))
    return {"message": f"Hello, {name}!"}
`;

const ORDERS = `import json, time, random


def handler(event, context):
    time.sleep(random.uniform(0.005, 0.04))
    total = round(random.uniform(5, 240), 2)
    print(json.dumps({"level": "info", "message": "order taken", "total": total}))
    if random.random() < 0.12:
        print(json.dumps({"level": "error", "message": "card refused"}))
        raise ValueError("card refused")
    return {"total": total}
`;

const RESIZE = `import json, time

CACHE = bytearray(24 * 1024 * 1024)


def handler(event, context):
    begun = time.monotonic()
    spin = sum(i * i for i in range(200_000))
    print(json.dumps({"level": "debug", "message": "resized", "ms": round((time.monotonic() - begun) * 1000, 1)}))
    return {"width": event.get("width", 320)}
`;

const REPORT = `import json


def handler(event, context):
    print(json.dumps({"level": "warn", "message": "3 readings are missing", "planned": event.get("time")}))
    return {"rows": 128}
`;

const MAIL = `def handler(event, context):
    raise RuntimeError("mail server did not answer: connect timed out")
`;

const WEBHOOK = `export const handler = async (event) => {
  console.log("webhook received", event.kind ?? "push");
  return { ok: true };
};
`;

export async function fill(hearth) {
  await hearth.deploy("hello", { "app.py": HELLO, "README.md": "# hello\n" }, { description: "Says hello, to an event or over HTTP" });
  await hearth.deploy("orders", { "app.py": ORDERS.replace("order taken", "order noted"), "prices.json": "{}\n" }, { description: "Takes orders of the shop", memory: "192MB", timeout: "10s", scale: { max: 8 } });
  await hearth.call("POST", "/api/v1/functions/orders/versions", { description: "as the shop opened" });
  await hearth.deploy("orders", { "app.py": ORDERS }, { description: "Takes orders of the shop", memory: "256MB", timeout: "10s", scale: { max: 8 }, http: [{ route: "POST shop.example.org/orders", auth: "api-key", rate: "10/s", cors: { allow_origins: ["https://shop.example.org"] } }, { route: "GET /orders/{id}", timeout: "5s" }], url: true });
  await hearth.call("POST", "/api/v1/functions/orders/versions", { description: "room for the autumn sale" });
  await hearth.call("PUT", "/api/v1/functions/orders/aliases/live", { version: "2", weights: { 1: 0.2 }, description: "what the shop calls" });
  await hearth.call("PUT", "/api/v1/functions/orders/aliases/next", { version: "$LATEST" });
  await hearth.deploy("resize-image", { "app.py": RESIZE }, { description: "Thumbnails of posted pictures", memory: "512MB", timeout: "30s" });
  await hearth.call("PUT", "/api/v1/queues/orders-dead", { retention: "14d" });
  await hearth.call("PUT", "/api/v1/queues/orders", { visibility: "1m", max_receives: 5, dead_letter: "orders-dead" });
  await hearth.call("PUT", "/api/v1/queues/uploads", { visibility: "30s" });
  await hearth.call("POST", "/api/v1/queues/orders-dead/messages", { messages: [{ body: '{"id": 17, "total": "twelve"}' }, { body: "not JSON" }] });
  await hearth.call("POST", "/api/v1/queues/uploads/messages", { messages: [1, 2, 3].map((n) => ({ body: JSON.stringify({ key: `holiday-${n}.jpg` }) })) });
  await hearth.call("PATCH", "/api/v1/functions/orders", { sources: [{ kind: "queue", name: "orders", batch: 10 }, { kind: "queue", name: "uploads", batch: 5, window: "1s" }] });
  await hearth.call("PUT", "/api/v1/secrets/mail-password", undefined, { "content-type": "application/octet-stream" }).catch(() => undefined);
  const secret = await fetch(`${hearth.url}/api/v1/secrets/mail-password`, { method: "PUT", headers: { authorization: `Bearer ${hearth.token}`, "content-type": "application/octet-stream" }, body: "correct horse" });
  if (!secret.ok) throw new Error(`set a secret: ${secret.status} ${await secret.text()}`);
  await hearth.deploy("send-mail", { "app.py": MAIL }, { description: "Mails what the queue holds", async: { retries: 0 }, env: { SMTP: "mail.lan:25", PASSWORD: { secret: "mail-password" } } });
  await hearth.deploy("nightly-report", { "app.py": REPORT }, {
    description: "The report of the day",
    schedule: [
      { name: "nightly", cron: "0 3 * * *", timezone: "Europe/Berlin", overlap: "skip", missed: "once" },
      { name: "often", cron: "*/5 * * * * *", timezone: "UTC" },
    ],
  });
  const node = hearth.runtime("nodejs");
  if (node) await hearth.deploy("github-webhook", { "index.mjs": WEBHOOK }, { runtime: node, handler: "index.handler", description: "Believes only signed ones" });
  for (let n = 0; n < 5; n++) await hearth.invoke("send-mail", { to: "ada@example.org", n }, { "x-amz-invocation-type": "Event" });
  await hearth.call("POST", "/api/v1/keys", { name: "doorbell", functions: ["orders"] });
  await hearth.call("POST", "/api/v1/functions/orders/canary", { weight: 0.25, for: "1h", max_error_rate: 0.6, change: { memory: "320MB" } });
  for (let n = 0; n < 12; n++) {
    await Promise.all([
      hearth.invoke("hello", { name: ["Ada", "Grace", "Edsger", "Barbara"][n % 4] }),
      hearth.invoke("orders", { n }),
      hearth.invoke("orders", { n }),
      hearth.invoke("orders", { n }),
      n % 3 === 0 ? hearth.invoke("resize-image", { width: 320 }) : undefined,
      node && n % 4 === 0 ? hearth.invoke("github-webhook", { kind: "push" }) : undefined,
    ]);
  }
}

/** Keeps calling until told to stop. */
export function traffic(hearth) {
  let going = true;
  const loop = (async () => {
    for (let n = 0; going; n++) {
      await Promise.all([hearth.invoke("orders", { n }), hearth.invoke("hello", { name: "Ada" }), n % 3 === 0 ? hearth.invoke("resize-image", {}) : undefined]);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  })();
  return async () => {
    going = false;
    await loop;
  };
}
