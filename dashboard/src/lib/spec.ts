// Parts of a function's configuration, between how the API says them and how a form does.
import type { FunctionView, RuntimeView } from "../api/schema";

/** `namespace`, or `namespace 90 %, gvisor 10 %`. */
export function isolationText(isolation: unknown): string {
  if (typeof isolation === "string") return isolation;
  if (isolation && typeof isolation === "object")
    return Object.entries(isolation as Record<string, number>)
      .map(([name, share]) => `${name} ${share} %`)
      .join(", ");
  return "–";
}

export interface EnvRow {
  name: string;
  value: string;
  secret: boolean;
}

export function envRows(env: FunctionView["env"]): EnvRow[] {
  return Object.entries(env).map(([name, value]) =>
    typeof value === "string" ? { name, value, secret: false } : { name, value: String((value as { secret?: unknown }).secret ?? ""), secret: true },
  );
}

/** What to PATCH so that `env` becomes exactly these rows: those that went are null. */
export function envWrite(before: FunctionView["env"], rows: EnvRow[]): Record<string, unknown> {
  const write: Record<string, unknown> = {};
  for (const name of Object.keys(before)) write[name] = null;
  for (const row of rows) if (row.name !== "") write[row.name] = row.secret ? { secret: row.value } : row.value;
  for (const [name, value] of Object.entries(before)) if (JSON.stringify(write[name]) === JSON.stringify(value)) delete write[name];
  return write;
}

/** Why these rows cannot be kept. */
export function envProblem(rows: EnvRow[]): string | undefined {
  const seen = new Set<string>();
  for (const row of rows) {
    if (row.name === "") {
      if (row.value !== "") return `the value “${row.value.slice(0, 20)}” has no name`;
      continue;
    }
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(row.name)) return `${row.name}: expected letters, digits and _, and no digit first`;
    if (seen.has(row.name)) return `${row.name} is there twice`;
    if (row.secret && row.value === "") return `${row.name}: choose a secret`;
    seen.add(row.name);
  }
  return undefined;
}

export type EgressKind = "none" | "internet" | "lan" | "list";

export function egressKind(egress: unknown): EgressKind {
  return egress === "none" || egress === "internet" || egress === "lan" ? egress : "list";
}

export function egressList(egress: unknown): string {
  return Array.isArray(egress) ? egress.join("\n") : "";
}

export function listOf(text: string): string[] {
  return text
    .split(/[\n,]/)
    .map((one) => one.trim())
    .filter((one) => one !== "");
}

/** The newest runtime of a language that works here. */
export function newest(runtimes: RuntimeView[], language: string): string | undefined {
  return runtimes.findLast((one) => one.works && one.name.startsWith(language))?.name;
}

/** What a function may be named; undefined where it is fine. */
export function badFunctionName(name: string): string | undefined {
  if (name === "") return "a name is needed";
  if (name.length > 64) return "at most 64 characters";
  if (!/^[A-Za-z0-9_-]+$/.test(name)) return "letters, digits, - and _ only";
  return undefined;
}
