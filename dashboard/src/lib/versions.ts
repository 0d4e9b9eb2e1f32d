// Versions, aliases and canaries: what is said of them, and what is wrong with what was typed.
import type { AliasWrite, CanaryView, CanaryWrite, ChangeView, FunctionWrite } from "../api/schema";

export const LATEST = "$LATEST";

/** A share as people write it, `10`, `10 %` or `2.5%`, as 0 to 1. */
export function parseShare(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?|\.\d+)\s*%?\s*$/.exec(text);
  if (!match) return undefined;
  const share = Number(match[1]) / 100;
  return share <= 1 ? Number(share.toFixed(6)) : undefined;
}

/** 0.1 as `10 %`. */
export function shareText(share: number): string {
  return `${Number((share * 100).toFixed(3))} %`;
}

/** `7`, or `7 90 %, 8 10 %`. */
export function leadsTo(version: string, weights: Record<string, number>): Array<{ version: string; share: number }> {
  const second = Object.entries(weights);
  const rest = second.reduce((left, [, share]) => left - share, 1);
  return [{ version, share: Number(rest.toFixed(6)) }, ...second.map(([other, share]) => ({ version: other, share }))];
}

export interface AliasForm {
  name: string;
  version: string;
  second: string;
  share: string;
  description: string;
}

export function aliasProblem(form: AliasForm, others: string[]): string | undefined {
  if (!/^[A-Za-z0-9_-]{1,128}$/.test(form.name)) return "Name: letters, digits, - and _";
  if (/^\d+$/.test(form.name)) return "Name: numbers are versions";
  if (others.includes(form.name)) return "Name: there is such an alias already";
  if (form.version === "") return "Version: choose one";
  if (form.second === "") return undefined;
  if (form.version === LATEST) return "Shares: only between published versions";
  if (form.second === form.version) return "Second version: it is the first";
  const share = parseShare(form.share);
  if (share === undefined || share <= 0 || share >= 1) return "Its share: more than 0 and less than 100 %";
  return undefined;
}

export function aliasWrite(form: AliasForm): AliasWrite {
  return { version: form.version, description: form.description, weights: form.second === "" ? {} : { [form.second]: parseShare(form.share) ?? 0 } };
}

export interface CanaryForm {
  share: string;
  lasts: string;
  errors: string;
  calls: string;
}

export const CANARY: CanaryForm = { share: "10", lasts: "5m", errors: "5", calls: "20" };

export function canaryProblem(form: CanaryForm): string | undefined {
  const share = parseShare(form.share);
  if (share === undefined || share <= 0 || share >= 1) return "Share: more than 0 and less than 100 %";
  if (!/^\d+(\.\d+)?\s*(s|m|h|d)$/.test(form.lasts.trim())) return "For: a time like 5m, 1s to 7d";
  if (parseShare(form.errors) === undefined) return "Errors: 0 to 100 %";
  if (!/^\d+$/.test(form.calls.trim()) || Number(form.calls) < 1) return "Calls: a number from 1";
  return undefined;
}

export function canaryWrite(form: CanaryForm, change: FunctionWrite): CanaryWrite {
  return { weight: parseShare(form.share) ?? 0, for: form.lasts.trim(), max_error_rate: parseShare(form.errors) ?? 0, min_calls: Number(form.calls), change };
}

/** How a canary fares: well, badly, or too little is known to say. */
export function canaryVerdict(one: CanaryView): { tone: "good" | "bad" | "calm"; text: string } {
  const rate = one.calls > 0 ? one.errors / one.calls : 0;
  if (one.calls < one.min_calls) return { tone: "calm", text: `${one.min_calls - one.calls} more calls until it is judged` };
  if (rate > one.max_error_rate) return { tone: "bad", text: "too many of its calls fail: it is rolled back" };
  return { tone: "good", text: "it does well" };
}

/** A setting's value in one line; none where it was not said. */
export function settingText(value: ChangeView["from"]): string {
  if (value === undefined || value === null) return "–";
  if (typeof value === "string") return value === "" ? "empty" : value;
  return JSON.stringify(value);
}

/** The packages that two revisions have, where they have not the same. */
export function packagesOf(changes: ChangeView[]): { from: string; to: string } | undefined {
  const code = changes.find((one) => one.key === "code.sha256");
  return code && typeof code.from === "string" && typeof code.to === "string" ? { from: code.from, to: code.to } : undefined;
}

/** A revision that can be chosen. */
export interface Choice {
  revision: number;
  label: string;
}

/** Every revision that can be named, newest first: what is now, versions, and what the history tells of. */
export function choicesOf(one: { revision: number }, versions: Array<{ version: number; revision: number }>, history: number[]): Choice[] {
  const found = new Map<number, string>(history.map((revision) => [revision, `revision ${revision}`]));
  // Oldest last: where two versions are the same revision, the first one names it.
  for (const { version, revision } of versions) found.set(revision, `version ${version} (revision ${revision})`);
  found.set(one.revision, `${found.get(one.revision) ?? `revision ${one.revision}`}, now`);
  return [...found].map(([revision, label]) => ({ revision, label })).sort((a, b) => b.revision - a.revision);
}
