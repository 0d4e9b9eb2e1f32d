// Receives GitHub webhooks: believes only what is signed with WEBHOOK_SECRET, answers 202 and logs one
// line of JSON for each delivery, accepted or not.
//
// Refuses without WEBHOOK_SECRET to start at all: an open webhook must not look like a working one.

import { createHmac, timingSafeEqual } from "node:crypto";

const secret = process.env.WEBHOOK_SECRET;
if (!secret) {
  throw new Error("WEBHOOK_SECRET is not set: give it the secret that GitHub signs with");
}

export const handler = async (event) => {
  // Header names arrive in lower case (payload format 2.0).
  const headers = event.headers ?? {};
  const delivery = { event: headers["x-github-event"], delivery: headers["x-github-delivery"] };

  // The signature is over the bytes that were sent, so they are checked before anything is parsed.
  const body = Buffer.from(event.body ?? "", event.isBase64Encoded ? "base64" : "utf8");
  if (!isSigned(body, headers["x-hub-signature-256"])) {
    log("WARN", "refused: bad signature", delivery);
    return answer(401, { error: "X-Hub-Signature-256 is missing or does not match" });
  }

  if (!delivery.event) {
    log("WARN", "refused: no event name", delivery);
    return answer(400, { error: "X-GitHub-Event is missing" });
  }
  let payload;
  try {
    payload = JSON.parse(body);
  } catch {
    // GitHub's other content type is a form; the signature is fine, the webhook's setting is not.
    log("WARN", "refused: not JSON", delivery);
    return answer(400, { error: "the body is not JSON: set the content type application/json" });
  }

  log("INFO", "accepted", {
    ...delivery,
    action: payload?.action,
    repository: payload?.repository?.full_name,
    sender: payload?.sender?.login,
  });
  return answer(202, { accepted: delivery.event, delivery: delivery.delivery });
};

export function sign(body, key = secret) {
  return `sha256=${createHmac("sha256", key).update(body).digest("hex")}`;
}

function isSigned(body, signature) {
  const expected = Buffer.from(sign(body));
  const given = Buffer.from(signature ?? "");
  // timingSafeEqual insists on equal lengths; the length of a SHA-256 is no secret.
  return given.length === expected.length && timingSafeEqual(given, expected);
}

const answer = (statusCode, body) => ({
  statusCode,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});

function log(level, message, fields) {
  const line = JSON.stringify({ level, message, ...fields });
  if (level === "WARN") console.warn(line);
  else console.log(line);
}
