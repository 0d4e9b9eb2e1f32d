// Routes and event sources, between a function's configuration and a form.

/** A route as a function's `http` has it. */
export interface Route {
  route: string;
  auth?: string | { signature: string; secret: string };
  rate?: string;
  burst?: number;
  max_body?: string | number;
  timeout?: string;
  cors?: Cors;
}

interface Cors {
  allow_origins: string[];
  allow_methods?: string[];
  allow_headers?: string[];
  expose_headers?: string[];
  max_age?: string;
  allow_credentials?: boolean;
}

export interface RouteForm {
  method: string;
  /** `/path/{param}`, with a host before it or without. */
  path: string;
  auth: string;
  secret: string;
  rate: string;
  burst: string;
  max_body: string;
  timeout: string;
  origins: string;
  methods: string;
  headers: string;
  credentials: boolean;
}

export const METHODS = ["ANY", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

export const NEW_ROUTE: RouteForm = { method: "GET", path: "", auth: "none", secret: "", rate: "", burst: "", max_body: "", timeout: "", origins: "", methods: "", headers: "", credentials: false };

export function routeForm(one: Route): RouteForm {
  const space = one.route.indexOf(" ");
  const auth = typeof one.auth === "object" ? one.auth : undefined;
  return {
    method: space < 0 ? "ANY" : one.route.slice(0, space),
    path: one.route.slice(space + 1).trim(),
    auth: auth?.signature ?? (one.auth as string | undefined) ?? "none",
    secret: auth?.secret ?? "",
    rate: one.rate ?? "",
    burst: one.burst === undefined ? "" : String(one.burst),
    max_body: one.max_body === undefined ? "" : String(one.max_body),
    timeout: one.timeout ?? "",
    origins: one.cors?.allow_origins.join(", ") ?? "",
    methods: one.cors?.allow_methods?.join(", ") ?? "",
    headers: one.cors?.allow_headers?.join(", ") ?? "",
    credentials: one.cors?.allow_credentials ?? false,
  };
}

const list = (text: string) =>
  text
    .split(/[\n,]/)
    .map((one) => one.trim())
    .filter((one) => one !== "");

/** As the API has it; what the form does not show stays as it was. */
export function routeWrite(form: RouteForm, was?: Route): Route {
  const write: Route = { route: form.method === "ANY" ? form.path.trim() : `${form.method} ${form.path.trim()}` };
  if (form.auth === "api-key") write.auth = "api-key";
  else if (form.auth !== "none") write.auth = { signature: form.auth, secret: form.secret };
  if (form.rate.trim() !== "") write.rate = form.rate.trim();
  if (form.burst.trim() !== "") write.burst = Number(form.burst);
  if (form.max_body.trim() !== "") write.max_body = /^\d+$/.test(form.max_body.trim()) ? Number(form.max_body) : form.max_body.trim();
  if (form.timeout.trim() !== "") write.timeout = form.timeout.trim();
  if (form.origins.trim() !== "") {
    const { expose_headers, max_age } = was?.cors ?? {};
    write.cors = { allow_origins: list(form.origins), ...(expose_headers ? { expose_headers } : {}), ...(max_age ? { max_age } : {}) };
    if (form.methods.trim() !== "") write.cors.allow_methods = list(form.methods);
    if (form.headers.trim() !== "") write.cors.allow_headers = list(form.headers);
    if (form.credentials) write.cors.allow_credentials = true;
  }
  return write;
}

export function routeProblem(form: RouteForm): string | undefined {
  if (!/^[^/\s]*\/\S*$/.test(form.path.trim())) return "Path: like /thumbs/{name}, with a host before it if it is for one";
  if (form.auth !== "none" && form.auth !== "api-key" && form.secret === "") return "Secret: choose the one that calls are signed with";
  if (form.rate.trim() !== "" && !/^\d+\/[smh]$/.test(form.rate.trim())) return "Rate: like 10/s, 100/m or 1000/h";
  if (form.burst.trim() !== "" && (form.rate.trim() === "" || !/^\d+$/.test(form.burst.trim()))) return "Burst: a number, with a rate";
  if (form.credentials && list(form.origins).includes("*")) return "CORS: no credentials with *";
  return undefined;
}

export function authText(auth: Route["auth"]): string {
  if (auth === undefined || auth === "none") return "everybody";
  if (typeof auth === "string") return "who has a key";
  return `signed, ${auth.signature === "github" ? "GitHub" : auth.signature === "stripe" ? "Stripe" : auth.signature}`;
}

/** An event source as a function's `sources` has it. */
export interface Source {
  kind: "queue" | "mqtt" | "folder";
  name: string;
  batch?: number;
  window?: string;
  concurrency?: number;
  broker?: string;
  topics?: string[];
  qos?: number;
  client_id?: string;
  user?: string;
  password?: { secret: string };
  path?: string;
  pattern?: string;
  recursive?: boolean;
  settle?: string;
  after?: string | { move_to: string };
}

export interface SourceForm {
  kind: Source["kind"];
  name: string;
  batch: string;
  window: string;
  concurrency: string;
  broker: string;
  topics: string;
  qos: string;
  user: string;
  password: string;
  path: string;
  pattern: string;
  recursive: boolean;
  settle: string;
  after: string;
  move_to: string;
}

export const NEW_SOURCE: SourceForm = { kind: "queue", name: "", batch: "10", window: "0s", concurrency: "5", broker: "mqtt://", topics: "", qos: "1", user: "", password: "", path: "", pattern: "", recursive: false, settle: "2s", after: "keep", move_to: "" };

export function sourceForm(one: Source): SourceForm {
  const moves = typeof one.after === "object" ? one.after.move_to : "";
  return {
    kind: one.kind,
    name: one.name,
    batch: String(one.batch ?? (one.kind === "queue" ? 10 : 1)),
    window: one.window ?? "0s",
    concurrency: String(one.concurrency ?? 5),
    broker: one.broker ?? "mqtt://",
    topics: one.topics?.join(", ") ?? "",
    qos: String(one.qos ?? 1),
    user: one.user ?? "",
    password: one.password?.secret ?? "",
    path: one.path ?? "",
    pattern: one.pattern ?? "",
    recursive: one.recursive ?? false,
    settle: one.settle ?? "2s",
    after: moves !== "" ? "move_to" : ((one.after as string | undefined) ?? "keep"),
    move_to: moves,
  };
}

/** As the API has it; what the form does not show stays as it was. */
export function sourceWrite(form: SourceForm, was?: Source): Source {
  const common = { name: form.name.trim(), batch: Number(form.batch), window: form.window.trim() };
  switch (form.kind) {
    case "queue":
      return { kind: "queue", ...common, concurrency: Number(form.concurrency) };
    case "mqtt":
      return {
        kind: "mqtt",
        ...common,
        broker: form.broker.trim(),
        topics: list(form.topics),
        qos: Number(form.qos),
        ...(was?.client_id ? { client_id: was.client_id } : {}),
        ...(form.user.trim() !== "" ? { user: form.user.trim() } : {}),
        ...(form.password !== "" ? { password: { secret: form.password } } : {}),
      };
    case "folder":
      return {
        kind: "folder",
        ...common,
        path: form.path.trim(),
        ...(form.pattern.trim() !== "" ? { pattern: form.pattern.trim() } : {}),
        recursive: form.recursive,
        settle: form.settle.trim(),
        after: form.after === "move_to" ? { move_to: form.move_to.trim() } : form.after,
      };
  }
}

export function sourceProblem(form: SourceForm, others: string[]): string | undefined {
  if (form.name.trim() === "") return form.kind === "queue" ? "Queue: choose one" : "Name: one is needed";
  if (!/^[A-Za-z0-9._-]{1,80}$/.test(form.name.trim())) return "Name: letters, digits, . _ and -";
  if (others.includes(form.name.trim())) return "Name: there is such a source already";
  if (!/^\d+$/.test(form.batch.trim()) || Number(form.batch) < 1 || Number(form.batch) > 1000) return "Batch: 1 to 1000";
  if (form.kind === "mqtt" && !/^mqtts?:\/\/\S+/.test(form.broker.trim())) return "Broker: like mqtt://10.0.0.5:1883";
  if (form.kind === "mqtt" && list(form.topics).length === 0) return "Topics: say at least one";
  if (form.kind === "folder" && !form.path.trim().startsWith("/")) return "Folder: a path of the host's, like /srv/inbox";
  if (form.kind === "folder" && form.after === "move_to" && !form.move_to.trim().startsWith("/")) return "Moved to: a path of the host's";
  return undefined;
}

/** Where a source's events come from, in a line. */
export function sourceText(one: Source): string {
  if (one.kind === "mqtt") return `${one.broker ?? ""} ${one.topics?.join(", ") ?? ""}`;
  if (one.kind === "folder") return `${one.path ?? ""}${one.pattern ? ` ${one.pattern}` : ""}`;
  return `queue ${one.name}`;
}
