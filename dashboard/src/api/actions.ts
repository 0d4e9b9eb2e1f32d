// What pages do: writes, each followed by reading anew what it changed.
import { ask, checked, send } from "./client";
import { api } from "./paths";
import type { AliasView, AliasWrite, CanaryDecision, CanaryWrite, FunctionView, FunctionWrite, PackageView, PublishWrite, RecordView, ReplayView, RollbackWrite, VersionView } from "./schema";
import { refresh } from "./use";

export async function upload(zip: Uint8Array): Promise<string> {
  const made = await ask<PackageView>(api.packages, { method: "PUT", raw: zip as Uint8Array<ArrayBuffer>, headers: { "content-type": "application/zip" } });
  return made.sha256;
}

export async function download(sha256: string): Promise<Uint8Array> {
  return new Uint8Array(await (await checked(await send(api.package(sha256)))).arrayBuffer());
}

export async function create(name: string, write: FunctionWrite): Promise<FunctionView> {
  const made = await ask<FunctionView>(api.function(name), { method: "PUT", body: write, headers: { "if-none-match": "*" } });
  await refresh(api.functions);
  return made;
}

/** Changes what is said, only if nobody else changed the function since it was read. */
export async function change(name: string, write: FunctionWrite, revision?: number): Promise<FunctionView> {
  const headers: Record<string, string> = revision === undefined ? {} : { "if-match": `"${revision}"` };
  const changed = await ask<FunctionView>(api.function(name), { method: "PATCH", body: write, headers });
  await refresh(api.functions, api.schedules(), api.secrets);
  return changed;
}

export async function remove(name: string): Promise<void> {
  await ask(api.function(name), { method: "DELETE" });
  await refresh(api.functions, api.schedules(), api.instances(), api.secrets);
}

/** A package, unless it is longer than `most` bytes. */
export async function downloadUpTo(sha256: string, most: number): Promise<Uint8Array | undefined> {
  const response = await checked(await send(api.package(sha256)));
  if (Number(response.headers.get("content-length") ?? 0) > most) {
    await response.body?.cancel();
    return undefined;
  }
  return new Uint8Array(await response.arrayBuffer());
}

/** Makes a version of what the function is now; `created` is false where that was one already. */
export async function publish(name: string, write: PublishWrite): Promise<VersionView> {
  const made = await ask<VersionView>(api.versions(name), { method: "POST", body: write });
  await refresh(api.function(name));
  return made;
}

export async function removeVersion(name: string, version: number): Promise<void> {
  await ask(api.version(name, version), { method: "DELETE" });
  await refresh(api.function(name));
}

/** Makes an alias, or changes it only if nobody else did since it was read. */
export async function setAlias(name: string, alias: string, write: AliasWrite, revision?: number): Promise<AliasView> {
  const headers = revision === undefined ? { "if-none-match": "*" } : { "if-match": `"${revision}"` };
  const made = await ask<AliasView>(api.alias(name, alias), { method: "PUT", body: write, headers });
  await refresh(api.function(name));
  return made;
}

export async function removeAlias(name: string, alias: string): Promise<void> {
  await ask(api.alias(name, alias), { method: "DELETE" });
  await refresh(api.function(name));
}

export async function rollBack(name: string, write: RollbackWrite): Promise<FunctionView> {
  const now = await ask<FunctionView>(api.rollback(name), { method: "POST", body: write });
  await refresh(api.functions, api.schedules(), api.secrets);
  return now;
}

export async function beginCanary(name: string, write: CanaryWrite, revision: number): Promise<FunctionView> {
  const now = await ask<FunctionView>(api.canary(name), { method: "POST", body: write, headers: { "if-match": `"${revision}"` } });
  await refresh(api.functions, api.schedules(), api.secrets);
  return now;
}

export async function endCanary(name: string, end: CanaryDecision): Promise<FunctionView> {
  const now = await ask<FunctionView>(api.endCanary(name), { method: "POST", body: { end } });
  await refresh(api.functions, api.schedules(), api.secrets);
  return now;
}

export interface Called {
  ok: boolean;
  status: number;
  /** What the function answered, as text. */
  text: string;
  /** AWS's `X-Amz-Function-Error`: `Handled` or `Unhandled`. */
  error: string | undefined;
  requestId: string | undefined;
  /** Milliseconds, as this browser saw it. */
  took: number;
}

/** Calls a function with an event; an event that nobody waits for is queued. */
export async function invoke(name: string, event: string, asynchronous = false): Promise<Called> {
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (asynchronous) headers["x-amz-invocation-type"] = "Event";
  const begun = performance.now();
  const response = await send(api.invoke(name), { method: "POST", raw: event, headers });
  const text = await response.text();
  const took = performance.now() - begun;
  const error = response.headers.get("x-amz-function-error") ?? undefined;
  const requestId = response.headers.get("x-amzn-requestid") ?? undefined;
  return { ok: response.ok && error === undefined, status: response.status, text, error, requestId, took };
}

/** Calls the function once more with the event of a call that was kept. */
export async function replay(id: string): Promise<ReplayView> {
  return await ask<ReplayView>(api.replay(id), { method: "POST" });
}

/** The record of a call, which is written a moment after its answer. */
export async function record(id: string): Promise<RecordView | undefined> {
  for (let attempt = 0; attempt < 12; attempt++) {
    const response = await send(api.invocation(id));
    if (response.status !== 404) return (await (await checked(response)).json()) as RecordView;
    await new Promise((resolve) => setTimeout(resolve, 60 + attempt * 60));
  }
  return undefined;
}
