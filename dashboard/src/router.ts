// Which page an address means, and how to get there. Every address of a page is built here.
import { useEffect, useState } from "preact/hooks";

const enc = encodeURIComponent;

export const to = {
  overview: "/",
  functions: "/functions",
  create: "/functions/new",
  function: (name: string, tab?: string) => `/functions/${enc(name)}${tab && tab !== "code" ? `/${tab}` : ""}`,
  live: "/live",
  invocations: (values: Record<string, string> = {}) => withQuery("/invocations", values),
  invocation: (id: string) => `/invocations/${enc(id)}`,
  compare: (name?: string) => withQuery("/compare", name ? { function: name } : {}),
  schedules: "/schedules",
  queue: "/queue",
  queues: "/queues",
  messageQueue: (name: string) => `/queues/${enc(name)}`,
  secrets: "/secrets",
  tokens: "/tokens",
  settings: "/settings",
};

export interface Place {
  path: string;
  /** The path's segments, decoded. */
  parts: string[];
  query: URLSearchParams;
}

export function withQuery(path: string, values: Record<string, string>): string {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== ""));
  return query.size > 0 ? `${path}?${query}` : path;
}

export function parse(address: string): Place {
  const url = new URL(address, "http://page.invalid");
  const decode = (part: string) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  };
  return { path: url.pathname, parts: url.pathname.split("/").filter(Boolean).map(decode), query: url.searchParams };
}

const here = () => parse(location.pathname + location.search);
const listeners = new Set<() => void>();
/** Asked before a page is left; false keeps it. */
let guard: (() => boolean) | undefined;

export function guardLeaving(check: (() => boolean) | undefined): void {
  guard = check;
}

export function go(address: string, how: { replace?: boolean } = {}): void {
  if (!how.replace && guard && !guard()) return;
  guard = how.replace ? guard : undefined;
  history[how.replace ? "replaceState" : "pushState"](null, "", address);
  for (const listener of listeners) listener();
  if (!how.replace) scrollTo(0, 0);
}

export function usePlace(): Place {
  const [place, set] = useState(here);
  useEffect(() => {
    const changed = () => set(here());
    listeners.add(changed);
    addEventListener("popstate", changed);
    return () => {
      listeners.delete(changed);
      removeEventListener("popstate", changed);
    };
  }, []);
  return place;
}

/** Follows links to our own pages without loading anew. */
export function catchLinks(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  if (!link || link.origin !== location.origin || link.target !== "" || link.hasAttribute("download")) return;
  event.preventDefault();
  if (link.pathname + link.search !== location.pathname + location.search) go(link.pathname + link.search);
}
