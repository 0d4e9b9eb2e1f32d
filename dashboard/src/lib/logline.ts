// A line that is a JSON object with a message is shown as that message and the rest of its fields.

/** What is shown elsewhere in the row. */
const SHOWN = new Set(["message", "msg", "level", "timestamp", "time", "requestId"]);

export function readLine(text: string): { message: string; fields?: string } {
  if (!text.startsWith("{")) return { message: text };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return { message: text };
  }
  if (parsed === null || typeof parsed !== "object" || Array.isArray(parsed)) return { message: text };
  const all = parsed as Record<string, unknown>;
  const message = all.message ?? all.msg;
  if (typeof message !== "string") return { message: text };
  const rest = Object.entries(all).filter(([name]) => !SHOWN.has(name));
  const fields = rest.map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" ");
  return fields === "" ? { message } : { message, fields };
}
