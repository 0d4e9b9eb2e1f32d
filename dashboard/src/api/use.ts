// Readings of the API that stay fresh: shared, kept while a page comes and goes, and quiet while nobody looks.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ask } from "./client";

interface Entry {
  data: unknown;
  at: number;
  error: unknown;
  running: Promise<void> | undefined;
  listeners: Set<() => void>;
}

const cache = new Map<string, Entry>();

function entry(path: string): Entry {
  let found = cache.get(path);
  if (!found) {
    found = { data: undefined, at: 0, error: undefined, running: undefined, listeners: new Set() };
    cache.set(path, found);
  }
  return found;
}

async function load(path: string): Promise<void> {
  const one = entry(path);
  one.running ??= (async () => {
    try {
      const data = await ask(path);
      // The same answer is the same object: nothing is drawn anew for it.
      if (JSON.stringify(data) !== JSON.stringify(one.data)) one.data = data;
      one.error = undefined;
    } catch (error) {
      one.error = error;
    } finally {
      one.at = Date.now();
      one.running = undefined;
      for (const listener of one.listeners) listener();
    }
  })();
  await one.running;
}

/** Reads again what begins with one of these paths and is looked at; forgets the rest of it. */
export async function refresh(...paths: string[]): Promise<void> {
  const due: Promise<void>[] = [];
  for (const [path, one] of cache) {
    if (!paths.some((start) => path.startsWith(start))) continue;
    if (one.listeners.size === 0) cache.delete(path);
    else due.push((one.running ?? Promise.resolve()).then(() => load(path)));
  }
  await Promise.all(due);
}

export function forgetAll(): void {
  for (const [path, one] of cache) if (one.listeners.size === 0) cache.delete(path);
    else Object.assign(one, { data: undefined, error: undefined, at: 0 });
}

export interface Reading<T> {
  data: T | undefined;
  error: unknown;
  again: () => void;
}

/** What `path` answers; read again every so many milliseconds while the page is seen. Without a path: nothing. */
export function useRead<T>(path: string | undefined, every = 0): Reading<T> {
  const [, draw] = useState(0);
  useEffect(() => {
    if (path === undefined) return;
    const one = entry(path);
    const listener = () => draw((n) => n + 1);
    one.listeners.add(listener);
    if (Date.now() - one.at > 1000) void load(path);
    const timer = every > 0 ? setInterval(() => !document.hidden && void load(path), every) : undefined;
    return () => {
      one.listeners.delete(listener);
      clearInterval(timer);
    };
  }, [path, every]);
  const again = useCallback(() => void (path !== undefined && load(path)), [path]);
  const one = path === undefined ? undefined : entry(path);
  return { data: one?.data as T | undefined, error: one?.error, again };
}

export interface Action<A extends unknown[]> {
  run: (...given: A) => Promise<boolean>;
  busy: boolean;
  error: unknown;
  clear: () => void;
}

/** Something that is done once at a time, and may fail. `run` tells whether it went well. */
export function useAction<A extends unknown[]>(work: (...given: A) => Promise<unknown>): Action<A> {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(undefined);
  const latest = useRef(work);
  latest.current = work;
  const running = useRef(false);
  const run = useCallback(async (...given: A) => {
    if (running.current) return false;
    running.current = true;
    setBusy(true);
    setError(undefined);
    try {
      await latest.current(...given);
      return true;
    } catch (failure) {
      setError(failure);
      return false;
    } finally {
      running.current = false;
      setBusy(false);
    }
  }, []);
  return { run, busy, error, clear: () => setError(undefined) };
}

/** Draws anew every so often, so that "5 s ago" stays true. */
export function useTick(every = 1000): number {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && set(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/** A value that this browser remembers. */
export function useKept<T>(name: string, first: T): [T, (value: T) => void] {
  const [value, set] = useState<T>(() => {
    try {
      const text = localStorage.getItem(`hearth.${name}`);
      return text === null ? first : (JSON.parse(text) as T);
    } catch {
      return first;
    }
  });
  const keep = useCallback(
    (next: T) => {
      set(next);
      localStorage.setItem(`hearth.${name}`, JSON.stringify(next));
    },
    [name],
  );
  return [value, keep];
}
