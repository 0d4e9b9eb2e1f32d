// A function's configuration, changed while it runs: calls in flight finish as they began, new ones see the change.
import { useEffect, useState } from "preact/hooks";
import { change } from "../../api/actions";
import { api } from "../../api/paths";
import type { Doctor, FunctionList, FunctionView, FunctionWrite, MessageQueueList, SecretList } from "../../api/schema";
import { useAction, useRead } from "../../api/use";
import { type EgressKind, egressKind, egressList, type EnvRow, envProblem, envRows, envWrite, isolationText, listOf } from "../../lib/spec";
import { Button, Card, Check, ErrorBox, SelectField, TextField } from "../../ui/parts";
import { toast } from "../../ui/toast";
import { CanaryDialog } from "./Canary";
import { EnvEditor, MountsEditor, SecretFiles } from "./ConfigurationLists";

export interface MountRow {
  host: string;
  path: string;
  read_only: boolean;
}

interface Form {
  description: string;
  handler: string;
  memory: string;
  timeout: string;
  cpu: string;
  tmp: string;
  isolation: string;
  shares: string;
  at_least: string;
  min: string;
  max: string;
  concurrency: string;
  idle: string;
  snapstart: boolean;
  egress: EgressKind;
  egressList: string;
  url: boolean;
  env: EnvRow[];
  secrets: Array<{ file: string; secret: string }>;
  mounts: MountRow[];
  retries: string;
  retry_delay: string;
  max_age: string;
  on_success: string;
  on_failure: string;
  dead_letter: boolean;
  payloads: string;
}

function form(one: FunctionView): Form {
  const shared = typeof one.isolation !== "string";
  return {
    description: one.description,
    handler: one.handler,
    memory: one.memory,
    timeout: one.timeout,
    cpu: one.cpu === null || one.cpu === undefined ? "" : String(one.cpu),
    tmp: one.tmp,
    isolation: shared ? "shares" : String(one.isolation),
    shares: shared ? isolationText(one.isolation).replaceAll(" %", "") : "",
    at_least: one.at_least ?? "",
    min: String(one.scale.min),
    max: String(one.scale.max),
    concurrency: String(one.scale.concurrency),
    idle: one.scale.idle,
    snapstart: one.snapstart ?? false,
    egress: egressKind(one.egress),
    egressList: egressList(one.egress),
    url: one.url,
    env: envRows(one.env),
    secrets: Object.entries(one.secrets ?? {}).map(([file, secret]) => ({ file, secret: String(secret) })),
    mounts: (one.mounts ?? []).map((mount) => ({ read_only: true, ...(mount as Partial<MountRow>) }) as MountRow),
    retries: String(one.async?.retries ?? 2),
    retry_delay: one.async?.retry_delay ?? "1m",
    max_age: one.async?.max_age ?? "6h",
    on_success: one.async?.on_success ?? "",
    on_failure: one.async?.on_failure ?? "",
    dead_letter: one.async?.dead_letter ?? true,
    payloads: one.records?.payloads ?? "none",
  };
}

/** What is to be said to the server: what differs, and nothing else. */
export function difference(one: FunctionView, now: Form): FunctionWrite {
  const was = form(one);
  const write: FunctionWrite = {};
  const differs = (key: keyof Form) => JSON.stringify(was[key]) !== JSON.stringify(now[key]);
  for (const key of ["description", "handler", "memory", "timeout", "tmp"] as const) if (differs(key)) write[key] = now[key].trim();
  if (differs("cpu")) write.cpu = now.cpu.trim() === "" ? null : Number(now.cpu);
  if (differs("isolation") || differs("shares")) write.isolation = now.isolation === "shares" ? shares(now.shares) : now.isolation;
  if (differs("at_least")) write.at_least = now.at_least || null;
  const scale: Record<string, unknown> = {};
  for (const key of ["min", "max", "concurrency"] as const) if (differs(key)) scale[key] = Number(now[key]);
  if (differs("idle")) scale.idle = now.idle.trim();
  if (Object.keys(scale).length > 0) write.scale = scale;
  if (differs("snapstart")) write.snapstart = now.snapstart;
  if (differs("egress") || differs("egressList")) write.egress = now.egress === "list" ? listOf(now.egressList) : now.egress;
  if (differs("url")) write.url = now.url;
  if (differs("env")) write.env = envWrite(one.env, now.env);
  if (differs("secrets")) {
    const files: Record<string, string | null> = Object.fromEntries(was.secrets.map(({ file }) => [file, null]));
    for (const { file, secret } of now.secrets) if (file !== "") files[file] = secret;
    write.secrets = files;
  }
  if (differs("mounts")) write.mounts = now.mounts.filter((mount) => mount.host !== "" || mount.path !== "");
  const rules: Record<string, unknown> = {};
  if (differs("retries")) rules.retries = Number(now.retries);
  for (const key of ["retry_delay", "max_age"] as const) if (differs(key)) rules[key] = now[key].trim();
  for (const key of ["on_success", "on_failure"] as const) if (differs(key)) rules[key] = now[key] || null;
  if (differs("dead_letter")) rules.dead_letter = now.dead_letter;
  if (Object.keys(rules).length > 0) write.async = rules;
  if (differs("payloads")) write.records = { payloads: now.payloads };
  return write;
}

/** `namespace 90, gvisor 10` as the API has it. */
function shares(text: string): Record<string, number> {
  return Object.fromEntries(listOf(text).map((one) => [one.replace(/[\s:=]*[\d.]+\s*%?$/, ""), Number(/[\d.]+(?=\s*%?$)/.exec(one)?.[0] ?? "0")]));
}

export function ConfigurationTab({ one: newest }: { one: FunctionView }) {
  // What the form was made from: others may deploy while one types.
  const [one, rebase] = useState(newest);
  const [now, set] = useState<Form>(() => form(newest));
  const [trying, setTrying] = useState(false);
  const doctor = useRead<Doctor>(api.doctor).data;
  const secrets = useRead<SecretList>(api.secrets).data?.secrets.map((each) => each.name) ?? [];
  const functions = useRead<FunctionList>(api.functions).data?.functions.map((each) => each.name) ?? [];
  const queues = useRead<MessageQueueList>(api.queues).data?.queues.map((each) => `queue:${each.name}`) ?? [];
  const put = <K extends keyof Form>(key: K) => (value: Form[K]) => set((before) => ({ ...before, [key]: value }));
  const write = difference(one, now);
  const changes = Object.keys(write).length;
  const others = newest.revision !== one.revision;
  const take = (next: FunctionView) => {
    rebase(next);
    set(form(next));
  };
  useEffect(() => {
    if (others && changes === 0) take(newest);
  }, [newest.revision, changes]);
  const problem = envProblem(now.env);
  const save = useAction(async () => {
    const next = await change(one.name, write, one.revision);
    take(next);
    toast(`Changed: revision ${next.revision} takes the calls`);
  });
  const isolations = doctor?.isolations ?? [];
  const option = (name: string, works: boolean, why = "") => ({ value: name, label: works ? name : `${name} (does not work here${why})`, disabled: !works });
  const known = isolations.map((each) => option(each.isolation, each.works));
  const text = (key: "memory" | "timeout" | "cpu" | "tmp" | "handler" | "description" | "min" | "max" | "concurrency" | "idle" | "retries" | "retry_delay" | "max_age" | "shares" | "egressList", label: string, hint: string) => (
    <TextField label={label} value={now[key]} onInput={put(key)} hint={hint} />
  );
  const was = (key: "on_success" | "on_failure") => one.async?.[key] ?? "";
  const target = (key: "on_success" | "on_failure", label: string, hint: string) => (
    <SelectField label={label} value={now[key]} onChange={put(key)} options={[{ value: "", label: "none" }, ...[...new Set([...functions, ...queues, ...(was(key) ? [was(key)] : [])])].map((name) => ({ value: name, label: name }))]} hint={hint} />
  );
  return (
    <form
      class="configuration"
      onSubmit={(event) => {
        event.preventDefault();
        if (changes > 0 && !problem) void save.run();
      }}
    >
      <Card title="Resources">
        <div class="form-grid">
          <TextField label="Memory" value={now.memory} onInput={put("memory")} list={["64MB", "128MB", "256MB", "512MB", "1GB", "2GB"]} hint="32MB to 10GB" />
          <TextField label="Timeout" value={now.timeout} onInput={put("timeout")} list={["3s", "10s", "30s", "1m", "15m"]} hint="1ms to 15m" />
          {text("cpu", "Processor", "cores, like 0.5; empty: in proportion to memory")}
          {text("tmp", "/tmp", "1MB to 10GB")}
          {text("handler", "Handler", "module.function")}
          {text("description", "Description", "for people")}
        </div>
      </Card>
      <Card title="Environment" hint="Secrets are filled in where the function runs, and never shown.">
        <EnvEditor rows={now.env} secrets={secrets} onChange={put("env")} />
        <SecretFiles rows={now.secrets} secrets={secrets} onChange={put("secrets")} />
      </Card>
      <Card title="Isolation" hint={<a href="/compare">compare them</a>}>
        <div class="form-grid">
          <SelectField
            label="Sandbox"
            value={now.isolation}
            onChange={put("isolation")}
            options={[...known, { value: "auto", label: "auto: the cheapest that is strong enough" }, { value: "shares", label: "shares of the calls on several" }]}
            hint="Settings tells what works on this machine, and why not."
          />
          {now.isolation === "shares" && text("shares", "Shares", "percent, like: namespace 90, gvisor 10")}
          <SelectField label="At least" value={now.at_least} onChange={put("at_least")} options={[{ value: "", label: "any will do" }, ...known]} hint="No sandbox is made with a weaker one." />
        </div>
      </Card>
      <Card title="Scaling">
        <div class="form-grid">
          {text("min", "Kept ready", "instances that are always there")}
          {text("max", "At most", "instances at once")}
          {text("concurrency", "Calls at once", "in one instance")}
          {text("idle", "Kept when idle", "auto, or a time like 10m; 0s: none outlives its call")}
        </div>
        <Check label="SnapStart" checked={now.snapstart} onChange={put("snapstart")} hint="instances go on from an image made after init" />
        {(one.keeping ?? []).map((each) => (
          <p class="hint" key={each.isolation}>
            {each.isolation}: {each.text}
          </p>
        ))}
      </Card>
      <Card title="Network">
        <div class="form-grid">
          <SelectField
            label="May reach"
            value={now.egress}
            onChange={(value) => put("egress")(value as EgressKind)}
            options={[
              { value: "none", label: "nothing" },
              { value: "internet", label: "the internet, no private addresses" },
              { value: "lan", label: "private addresses too" },
              { value: "list", label: "exactly these" },
            ]}
            hint="The host's own services and the metadata address never."
          />
          {now.egress === "list" && text("egressList", "Addresses", "like 192.168.1.10:5432, 10.0.0.0/8")}
        </div>
        <Check label="Function URL" checked={now.url} onChange={put("url")} hint={one.invoke_url ?? "the ingress answers for it, without credentials"} />
      </Card>
      <Card title="Mounts" hint="Folders of the host's that `hearth up --allow-mount` allows.">
        <MountsEditor rows={now.mounts} onChange={put("mounts")} />
      </Card>
      <Card title="Asynchronous events" hint="What becomes of events that nobody waits for.">
        <div class="form-grid">
          {text("retries", "Retries", "0 to 10")}
          {text("retry_delay", "First retry after", "the n-th waits n times as long")}
          {text("max_age", "Given up after", "1s to 14d")}
          {target("on_success", "On success tell", "with AWS's invocation record")}
          {target("on_failure", "On failure tell", "with AWS's invocation record")}
        </div>
        <Check label="Keep dead letters" checked={now.dead_letter} onChange={put("dead_letter")} hint="events that were given up, to be looked at and run again" />
      </Card>
      <Card title="Records" hint="Every call has one, without what it was given and answered.">
        <div class="form-grid">
          <SelectField
            label="Keep events and answers"
            value={now.payloads}
            onChange={put("payloads")}
            options={[
              { value: "none", label: "of no call" },
              { value: "errors", label: "of calls that fail", disabled: Boolean(one.web) },
              { value: "all", label: "of all calls", disabled: Boolean(one.web) },
            ]}
            hint={one.web ? "What a web function takes and answers passes by, and is not kept." : "They hold whatever callers send, personal data too. For two weeks at most, 256 KB of each; calls can be run again with them."}
          />
        </div>
      </Card>
      <div class={changes > 0 ? "save-bar on" : "save-bar"} role="region" aria-label="Changes">
        <ErrorBox error={save.error} />
        <span class="hint">{problem ?? (others && changes > 0 ? `It became revision ${newest.revision} elsewhere meanwhile: undo, and change that one.` : changes === 0 ? "Nothing is changed." : `Changed: ${Object.keys(write).join(", ")}`)}</span>
        <span class="grow" />
        <Button onClick={() => (take(newest), save.clear())} cannot={changes === 0 && "Nothing is changed"}>
          Undo
        </Button>
        <Button icon="bird" cannot={one.canary ? "A canary runs already" : (problem ?? (changes === 0 && "Nothing is changed"))} onClick={() => setTrying(true)}>
          Try as canary
        </Button>
        <Button type="submit" kind="primary" busy={save.busy} cannot={problem ?? (changes === 0 && "Nothing is changed")}>
          Save, live
        </Button>
      </div>
      {trying && <CanaryDialog one={one} what={async () => write} onClose={() => setTrying(false)} onBegun={take} />}
    </form>
  );
}
