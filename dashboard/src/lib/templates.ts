// What a new function can begin as.

export interface Template {
  id: string;
  title: string;
  about: string;
  /** What its runtime's name begins with. */
  runtime: "python" | "nodejs";
  handler: string;
  files: Record<string, string>;
  event: unknown;
}

export const TEMPLATES: Template[] = [
  {
    id: "python-hello",
    title: "Hello, Python",
    about: "Answers an event and an HTTP request alike.",
    runtime: "python",
    handler: "app.handler",
    event: { name: "Ada" },
    files: {
      "app.py": `"""Says hello, to an event or over HTTP."""


def handler(event, context):
    query = event.get("queryStringParameters") or {}
    name = event.get("name", query.get("name", "world"))
    print(f"saying hello to {name}")
    return {"message": f"Hello, {name}!"}
`,
    },
  },
  {
    id: "node-hello",
    title: "Hello, Node",
    about: "The same in JavaScript.",
    runtime: "nodejs",
    handler: "index.handler",
    event: { name: "Ada" },
    files: {
      "index.mjs": `// Says hello, to an event or over HTTP.

export const handler = async (event) => {
  const name = event.name ?? event.queryStringParameters?.name ?? "world";
  console.log(\`saying hello to \${name}\`);
  return { message: \`Hello, \${name}!\` };
};
`,
    },
  },
  {
    id: "python-http",
    title: "HTTP API, Python",
    about: "Methods, paths, status codes and JSON bodies.",
    runtime: "python",
    handler: "app.handler",
    event: { requestContext: { http: { method: "GET", path: "/time" } }, rawPath: "/time" },
    files: {
      "app.py": `"""A small HTTP API: GET /time, POST /echo."""

import json
from datetime import datetime, timezone


def handler(event, context):
    http = event.get("requestContext", {}).get("http", {})
    method, path = http.get("method", "GET"), event.get("rawPath", "/")
    if (method, path) == ("GET", "/time"):
        return answer(200, {"time": datetime.now(timezone.utc).isoformat()})
    if (method, path) == ("POST", "/echo"):
        return answer(200, {"you said": event.get("body")})
    return answer(404, {"error": f"nothing is at {method} {path}"})


def answer(status, body):
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(body),
    }
`,
    },
  },
  {
    id: "python-cron",
    title: "Scheduled job, Python",
    about: "Something that runs by the clock and logs as JSON.",
    runtime: "python",
    handler: "app.handler",
    event: { time: "2026-01-01T03:00:00Z" },
    files: {
      "app.py": `"""Runs by the clock: add a schedule on the Schedules tab."""

import json
import time


def handler(event, context):
    begun = time.monotonic()
    log("info", "begun", planned=event.get("time"))
    cleaned = sum(1 for n in range(1000) if n % 7 == 0)
    log("info", "done", cleaned=cleaned, seconds=round(time.monotonic() - begun, 3))
    return {"cleaned": cleaned}


def log(level, message, **fields):
    print(json.dumps({"level": level, "message": message, **fields}))
`,
    },
  },
];

/** What a language's empty function is, for pasted code. */
export const BLANK: Record<Template["runtime"], { file: string; handler: string; text: string }> = {
  python: { file: "app.py", handler: "app.handler", text: "def handler(event, context):\n    return event\n" },
  nodejs: { file: "index.mjs", handler: "index.handler", text: "export const handler = async (event, context) => event;\n" },
};
