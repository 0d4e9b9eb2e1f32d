// Invocations and log lines over all functions. A server that has no such reading is asked function by function.
import { ApiError, ask, lines } from "./client";
import { api } from "./paths";
import type { FunctionList, InvocationList, LogLineView, LogPageView, RecordView } from "./schema";

/** The most functions that are asked one by one. */
const MOST = 24;

export interface Filter {
  function?: string | undefined;
  status?: string | undefined;
  cold?: string | undefined;
  isolation?: string | undefined;
  trigger?: string | undefined;
  min_duration?: string | undefined;
  text?: string | undefined;
  since?: string | undefined;
  before?: string | undefined;
}

export type InvocationPage = InvocationList & { next?: number | null; partial?: boolean };

function absent(error: unknown): boolean {
  return error instanceof ApiError && error.status === 404;
}

async function names(): Promise<string[]> {
  return (await ask<FunctionList>(api.functions)).functions.map((one) => one.name).slice(0, MOST);
}

export async function invocations(filter: Filter, limit: number): Promise<InvocationPage> {
  try {
    return await ask<InvocationPage>(api.allInvocations({ ...filter, limit }));
  } catch (error) {
    if (!absent(error)) throw error;
  }
  const functions = filter.function ? [filter.function] : await names();
  const pages = await Promise.all(functions.map((name) => ask<InvocationList>(api.invocations(name, limit))));
  const found = pages.flatMap((page) => page.invocations).filter((record) => matches(record, filter));
  found.sort((a, b) => (a.received < b.received ? 1 : -1));
  return { invocations: found.slice(0, limit), partial: true };
}

/** Whether a record is among those that a filter means, as far as a record tells. */
export function matches(record: RecordView, filter: Filter): boolean {
  return (
    (!filter.status || record.outcome.status === filter.status) &&
    (!filter.cold || String(record.cold) === filter.cold) &&
    (!filter.isolation || record.isolation === filter.isolation) &&
    (!filter.trigger || record.door === filter.trigger) &&
    (!filter.text || (record.outcome.code ?? "").toLowerCase().includes(filter.text.toLowerCase()))
  );
}

export interface Followed {
  lines: LogLineView[];
  /** Lines that the server lost since its start; only when that changed. */
  dropped?: number;
}

/** Lines as they come: of one function, or of all. Goes on by itself when it was cut off; ends when aborted. */
export async function follow(name: string | undefined, begin: number, signal: AbortSignal, got: (more: Followed) => void, state: (live: boolean, error?: unknown) => void): Promise<void> {
  let after: number | undefined;
  while (!signal.aborted) {
    try {
      const asked = { follow: true, limit: begin, after };
      const path = name === undefined ? api.allLogs(asked) : api.logs(name, asked);
      state(true);
      for await (const line of lines<LogLineView & { dropped?: number }>(path, signal)) {
        if (line.dropped !== undefined) got({ lines: [], dropped: line.dropped });
        else got({ lines: [line] });
        if (typeof line.cursor === "number") after = line.cursor;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (name === undefined && absent(error)) return await poll(begin, signal, got, state);
      state(false, error);
    }
    await pause(1500, signal);
  }
}

/** The same where the server follows one function only: each is asked in turn. */
async function poll(begin: number, signal: AbortSignal, got: (more: Followed) => void, state: (live: boolean, error?: unknown) => void): Promise<void> {
  const cursors = new Map<string, number>();
  while (!signal.aborted) {
    try {
      const more: LogLineView[] = [];
      for (const name of await names()) {
        const after = cursors.get(name);
        const page = await ask<LogPageView>(api.logs(name, after === undefined ? { limit: Math.max(1, begin) } : { after, limit: 500 }), { signal }).catch((error: unknown) => {
          if (absent(error)) return undefined;
          throw error;
        });
        if (!page) continue;
        cursors.set(name, page.cursor);
        if (after !== undefined || begin > 0) more.push(...page.lines);
      }
      more.sort((a, b) => (a.time < b.time ? -1 : 1));
      state(true);
      if (more.length > 0) got({ lines: more });
    } catch (error) {
      if (signal.aborted) return;
      state(false, error);
    }
    await pause(1000, signal);
  }
}

function pause(time: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, time);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
