// What a token may do, as a form has it and as the API says it.

export const KINDS = [
  { id: "invoke", label: "call functions", named: true },
  { id: "deploy", label: "deploy and change functions", named: true },
  { id: "logs", label: "read logs and records of functions", named: true },
  { id: "read", label: "read everything but logs and secrets", named: false },
  { id: "secrets:write", label: "write secrets", named: false },
  { id: "admin", label: "do everything", named: false },
] as const;

export interface ScopeRow {
  kind: string;
  /** The function's name, `*` for any text in it. */
  name: string;
}

export function isNamed(kind: string): boolean {
  return KINDS.some((one) => one.id === kind && one.named);
}

export function scopeOf(row: ScopeRow): string {
  return isNamed(row.kind) ? `${row.kind}:${row.name.trim()}` : row.kind;
}

export interface TokenForm {
  name: string;
  rows: ScopeRow[];
  /** Empty: it does not expire. */
  expires: string;
  aws: boolean;
}

export function tokenProblem(form: TokenForm, others: string[]): string | undefined {
  if (!/^[A-Za-z0-9._-]{1,128}$/.test(form.name)) return "Name: letters, digits, . - and _";
  if (others.includes(form.name)) return "Name: there is such a token already";
  if (form.rows.length === 0) return "Scopes: say what it may do";
  for (const row of form.rows) if (isNamed(row.kind) && !/^[A-Za-z0-9_*-]+$/.test(row.name.trim())) return `Function: a name for ${row.kind}, * for any text`;
  if (new Set(form.rows.map(scopeOf)).size < form.rows.length) return "Scopes: one is there twice";
  const match = /^(\d+)([mhd])$/.exec(form.expires.trim());
  if (form.expires.trim() !== "" && (!match || Number(match[1]) < 1 || Number(match[1]) * { m: 1, h: 60, d: 1440 }[match[2] as "m" | "h" | "d"] > 3650 * 1440)) return "Expires: a time like 30d, 1m to 3650d";
  return undefined;
}
