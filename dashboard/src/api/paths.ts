// Every address of the API, built in one place.
const enc = encodeURIComponent;

export function query(values: Record<string, string | number | boolean | undefined | null>): string {
  const pairs = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = pairs.map(([name, value]) => `${enc(name)}=${enc(String(value))}`).join("&");
  return text === "" ? "" : `?${text}`;
}

const V1 = "/api/v1";

export const api = {
  functions: `${V1}/functions`,
  function: (name: string) => `${V1}/functions/${enc(name)}`,
  invoke: (name: string) => `/2015-03-31/functions/${enc(name)}/invocations`,
  invocations: (name: string, limit = 50) => `${V1}/functions/${enc(name)}/invocations${query({ limit })}`,
  allInvocations: (values: Record<string, string | number | undefined>) => `${V1}/invocations${query(values)}`,
  invocation: (id: string) => `${V1}/invocations/${enc(id)}`,
  payloads: (id: string) => `${V1}/invocations/${enc(id)}/payloads`,
  replay: (id: string) => `${V1}/invocations/${enc(id)}/replay`,
  logs: (name: string, values: Record<string, string | number | boolean | undefined>) =>
    `${V1}/functions/${enc(name)}/logs${query(values)}`,
  allLogs: (values: Record<string, string | number | boolean | undefined>) => `${V1}/logs${query(values)}`,
  instances: (name?: string) => `${V1}/instances${query({ function: name })}`,
  figures: (name: string) => `${V1}/functions/${enc(name)}/figures`,
  comparisons: (name: string) => `${V1}/functions/${enc(name)}/comparisons`,
  comparison: (id: string) => `${V1}/comparisons/${enc(id)}`,
  packages: `${V1}/packages`,
  package: (sha256: string) => `${V1}/packages/${enc(sha256)}`,
  secrets: `${V1}/secrets`,
  secret: (name: string, force?: boolean) => `${V1}/secrets/${enc(name)}${query({ force })}`,
  secretsKey: `${V1}/secrets-key`,
  images: `${V1}/images`,
  queue: `${V1}/queue`,
  events: (values: Record<string, string | number | boolean | undefined>) => `${V1}/queue/events${query(values)}`,
  event: (id: string) => `${V1}/queue/events/${enc(id)}`,
  redrive: `${V1}/queue/redrive`,
  purge: `${V1}/queue/purge`,
  schedules: (name?: string) => `${V1}/schedules${query({ function: name })}`,
  schedule: (name: string, schedule: string, verb: "pause" | "resume" | "run") =>
    `${V1}/functions/${enc(name)}/schedules/${enc(schedule)}/${verb}`,
  versions: (name: string) => `${V1}/functions/${enc(name)}/versions`,
  version: (name: string, version: number) => `${V1}/functions/${enc(name)}/versions/${version}`,
  aliases: (name: string) => `${V1}/functions/${enc(name)}/aliases`,
  alias: (name: string, alias: string) => `${V1}/functions/${enc(name)}/aliases/${enc(alias)}`,
  canary: (name: string) => `${V1}/functions/${enc(name)}/canary`,
  endCanary: (name: string) => `${V1}/functions/${enc(name)}/canary/end`,
  history: (name: string, limit = 50) => `${V1}/functions/${enc(name)}/history${query({ limit })}`,
  diff: (name: string, from: number, to?: number) => `${V1}/functions/${enc(name)}/diff${query({ from, to })}`,
  rollback: (name: string) => `${V1}/functions/${enc(name)}/rollback`,
  queues: `${V1}/queues`,
  messageQueue: (name: string, verb?: "messages" | "receive" | "delete" | "purge" | "redrive") => `${V1}/queues/${enc(name)}${verb ? `/${verb}` : ""}`,
  sources: (name?: string) => `${V1}/sources${query({ function: name })}`,
  source: (name: string, source: string, verb: "pause" | "resume") => `${V1}/functions/${enc(name)}/sources/${enc(source)}/${verb}`,
  routes: `${V1}/routes`,
  keys: `${V1}/keys`,
  key: (name: string) => `${V1}/keys/${enc(name)}`,
  tokens: `${V1}/tokens`,
  token: (id: string) => `${V1}/tokens/${enc(id)}`,
  audit: (values: Record<string, string | number | undefined>) => `${V1}/audit${query(values)}`,
  runtimes: `${V1}/runtimes`,
  doctor: `${V1}/doctor`,
  session: `${V1}/session`,
  metrics: (values: Record<string, string | number | undefined>) => `${V1}/metrics${query(values)}`,
};
