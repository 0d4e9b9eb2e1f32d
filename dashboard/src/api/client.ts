// The one place that speaks to the server. A session is a cookie that no script sees and a key that is kept here.
import type { ErrorBody } from "./schema";

const KEY = "hearth.session";

/** What the server answered when it did not do what was asked. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string | undefined,
    message: string,
    readonly requestId: string | undefined,
    readonly blame: string | undefined,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

type Listener = () => void;
const loggedOut = new Set<Listener>();

/** Calls back when a request shows that there is no session any more. */
export function onLoggedOut(listener: Listener): () => void {
  loggedOut.add(listener);
  return () => loggedOut.delete(listener);
}

export function hasKey(): boolean {
  return localStorage.getItem(KEY) !== null;
}

export interface Asked {
  method?: string;
  /** Sent as JSON, unless `raw` is said. */
  body?: unknown;
  raw?: BodyInit;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Asks, and answers with the response whatever its status. */
export async function send(path: string, asked: Asked = {}): Promise<Response> {
  const headers = new Headers(asked.headers);
  const key = localStorage.getItem(KEY);
  if (key !== null) headers.set("x-hearth-session", key);
  const init: RequestInit = { method: asked.method ?? "GET", headers, credentials: "same-origin", cache: "no-store" };
  if (asked.raw !== undefined) init.body = asked.raw;
  else if (asked.body !== undefined) {
    headers.set("content-type", "application/json");
    init.body = JSON.stringify(asked.body);
  }
  if (asked.signal) init.signal = asked.signal;
  try {
    return await fetch(path, init);
  } catch (error) {
    if (asked.signal?.aborted) throw error;
    throw new ApiError(0, undefined, "Hearth does not answer. Is `hearth up` running?", undefined, undefined);
  }
}

/** Fails with an ApiError unless the status is one of success. */
export async function checked(response: Response): Promise<Response> {
  if (response.ok) return response;
  const text = await response.text();
  let body: Partial<ErrorBody> = {};
  try {
    body = JSON.parse(text) as Partial<ErrorBody>;
  } catch {
    // Not ours: a proxy's. Its status says enough.
  }
  const message = body.message ?? `${response.status} ${response.statusText}`;
  if (response.status === 401 && response.headers.has("www-authenticate")) {
    localStorage.removeItem(KEY);
    for (const listener of loggedOut) listener();
  }
  throw new ApiError(response.status, body.code, message, body.request_id, body.blame);
}

/** The answer's JSON; undefined where it has no body. */
export async function ask<T>(path: string, asked: Asked = {}): Promise<T> {
  const response = await checked(await send(path, asked));
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

export async function login(shown: { token: string } | { link: string }): Promise<void> {
  localStorage.removeItem(KEY);
  const session = await ask<{ key: string }>("/api/v1/session", { method: "POST", body: shown });
  localStorage.setItem(KEY, session.key);
}

export async function logout(): Promise<void> {
  try {
    await ask("/api/v1/session", { method: "DELETE" });
  } finally {
    localStorage.removeItem(KEY);
    for (const listener of loggedOut) listener();
  }
}

/** Whether an error says that this server has no such endpoint. */
export function isAbsent(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 404 || error.status === 405) && /nothing is at|does not take/.test(error.message);
}

/** Each line of an NDJSON answer, until it ends or is aborted. Empty lines are heartbeats. */
export async function* lines<T>(path: string, signal: AbortSignal): AsyncGenerator<T> {
  const response = await checked(await send(path, { signal }));
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (!reader) return;
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const pieces = (rest + value).split("\n");
    rest = pieces.pop() ?? "";
    for (const piece of pieces) if (piece.trim() !== "") yield JSON.parse(piece) as T;
  }
}
