// Event sources: where else events come from, how each fares, paused and let go on.
import { useState } from "preact/hooks";
import { change } from "../../api/actions";
import { ask } from "../../api/client";
import { api } from "../../api/paths";
import type { FunctionView, MessageQueueList, SecretList, SourceList, SourceView } from "../../api/schema";
import { refresh, useAction, useRead, useTick } from "../../api/use";
import { ago, count } from "../../lib/format";
import { NEW_SOURCE, type Source, type SourceForm, sourceForm, sourceProblem, sourceText, sourceWrite } from "../../lib/triggers";
import { to } from "../../router";
import { Badge, Button, Card, Check, Dialog, Empty, ErrorBox, SelectField, Table, TextField, type Tone } from "../../ui/parts";
import { toast } from "../../ui/toast";

export const STATES: Record<string, Tone> = { starting: "warn", running: "good", paused: "calm", failing: "bad" };

export function Sources({ one }: { one: FunctionView }) {
  const reading = useRead<SourceList>(api.sources(one.name), 1500);
  const [editing, setEditing] = useState<Source | "new" | undefined>(undefined);
  const queues = useRead<MessageQueueList>(sourcesOf(one).some((each) => each.kind === "queue") ? api.queues : undefined, 1500).data?.queues;
  const now = useTick(5000);
  const sources = sourcesOf(one);
  const write = (all: Source[]) => change(one.name, { sources: all }, one.revision);
  const remove = useAction(async (name: string) => {
    await write(sources.filter((each) => each.name !== name));
    toast(`Source ${name} is removed`);
    await refresh(api.sources());
  });
  const pause = useAction(async (name: string, verb: "pause" | "resume") => {
    await ask(api.source(one.name, name, verb), { method: "POST" });
    toast(verb === "pause" ? `${name} is paused` : `${name} goes on`);
    await refresh(api.sources());
  });
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setEditing("new")}>
      Add a source
    </Button>
  );
  return (
    <Card flush title="Event sources" hint="Message queues, MQTT topics, folders." actions={sources.length > 0 && add}>
      <ErrorBox error={reading.error ?? remove.error ?? pause.error} />
      {sources.length === 0 ? (
        <Empty icon="messages" title="No event sources" action={add} command={`hearth sources list ${one.name}`}>
          Messages of a queue or a broker and files that come to a folder can become its events, in batches, at least once.
        </Empty>
      ) : (
        <Table label="Event sources" head={["Source", "State", "Lag", "In hand", "Delivered", "Failed", ""]}>
          {sources.map((each) => {
            const state = reading.data?.sources.find((status) => status.name === each.name);
            return (
              <tr key={each.name}>
                <td class="wrap">
                  {each.kind === "queue" ? (
                    <a class="strong" href={to.messageQueue(each.name)}>
                      {each.name}
                    </a>
                  ) : (
                    <span class="strong">{each.name}</span>
                  )}{" "}
                  <Badge>{each.kind}</Badge>
                  {each.kind !== "queue" && <span class="under mono">{sourceText(each)}</span>}
                  <span class="under">
                    {each.batch ?? 1} at a time{each.window && each.window !== "0s" ? `, waiting ${each.window} for more` : ""}
                  </span>
                </td>
                <State state={state} lag={lagOf(each, state, queues)} now={now} />
                <td>
                  <span class="row-actions">
                    <Button small icon={state?.state === "paused" ? "play" : "pause"} busy={pause.busy} cannot={!state && "It is not begun yet"} onClick={() => void pause.run(each.name, state?.state === "paused" ? "resume" : "pause")}>
                      {state?.state === "paused" ? "Resume" : "Pause"}
                    </Button>
                    <Button small onClick={() => setEditing(each)}>
                      Change
                    </Button>
                    <Button small kind="quiet" icon="trash" label={`Remove source ${each.name}`} busy={remove.busy} onClick={() => void remove.run(each.name)} />
                  </span>
                </td>
              </tr>
            );
          })}
        </Table>
      )}
      {editing !== undefined && (
        <SourceDialog
          was={editing === "new" ? undefined : editing}
          others={sources.filter((each) => each !== editing).map((each) => each.name)}
          onClose={() => setEditing(undefined)}
          onSave={async (next) => {
            await write(editing === "new" ? [...sources, next] : sources.map((each) => (each === editing ? next : each)));
            toast(`Source ${next.name} is kept`);
            setEditing(undefined);
            await refresh(api.sources());
          }}
        />
      )}
    </Card>
  );
}

function sourcesOf(one: FunctionView): Source[] {
  return (one.sources ?? []) as Source[];
}

/** What waits. A source that is paused does not look: of a queue, the queue itself knows. */
function lagOf(source: Source, state: SourceView | undefined, queues: MessageQueueList["queues"] | undefined): number | undefined {
  if (source.kind === "queue") return queues?.find((each) => each.name === source.name)?.visible;
  return state?.state === "paused" ? undefined : (state?.lag ?? undefined);
}

function State({ state, lag, now }: { state: SourceView | undefined; lag: number | undefined; now: number }) {
  if (!state)
    return (
      <>
        <td>
          <Badge tone="warn">starting</Badge>
        </td>
        <td />
        <td />
        <td />
        <td />
      </>
    );
  return (
    <>
      <td class="wrap">
        <Badge tone={STATES[state.state] ?? "calm"}>{state.state}</Badge>
        {state.last_error && (
          <span class="under">
            {state.last_error}
            {state.last_error_at && `, ${ago(state.last_error_at, now)}`}
          </span>
        )}
      </td>
      <td class="num">{lag === undefined ? <span class="faint">unknown</span> : count(lag)}</td>
      <td class="num">{count(state.in_flight)}</td>
      <td class="num">
        {count(state.delivered)}
        {state.last_delivered && <span class="under">{ago(state.last_delivered, now)}</span>}
      </td>
      <td class="num">{state.failed > 0 ? <span class="bad-text">{count(state.failed)}</span> : 0}</td>
    </>
  );
}

function SourceDialog({ was, others, onClose, onSave }: { was: Source | undefined; others: string[]; onClose: () => void; onSave: (source: Source) => Promise<void> }) {
  const [form, set] = useState<SourceForm>(was ? sourceForm(was) : NEW_SOURCE);
  const secrets = useRead<SecretList>(api.secrets).data?.secrets.map((each) => each.name) ?? [];
  const queues = useRead<MessageQueueList>(api.queues).data?.queues.map((each) => each.name) ?? [];
  const put = (key: Exclude<keyof SourceForm, "recursive" | "kind">) => (value: string) => set((before) => ({ ...before, [key]: value }));
  const problem = sourceProblem(form, others);
  const save = useAction(() => onSave(sourceWrite(form, was)));
  const text = (key: Exclude<keyof SourceForm, "recursive" | "kind">, label: string, hint: string, placeholder = "") => <TextField label={label} value={form[key]} onInput={put(key)} hint={hint} placeholder={placeholder} />;
  return (
    <Dialog
      title={was ? `Change ${was.name}` : "A new event source"}
      onClose={onClose}
      foot={
        <>
          <span class="hint">{form.name !== "" || form.kind === "queue" ? problem : undefined}</span>
          <span class="grow" />
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" busy={save.busy} cannot={problem} onClick={() => void save.run()}>
            {was ? "Save" : "Add"}
          </Button>
        </>
      }
    >
      <ErrorBox error={save.error} />
      <div class="form-grid">
        {!was && (
          <SelectField
            label="Kind"
            value={form.kind}
            onChange={(kind) => set((before) => ({ ...before, kind: kind as Source["kind"], name: "", batch: kind === "queue" ? "10" : "1" }))}
            options={[
              { value: "queue", label: "a message queue" },
              { value: "mqtt", label: "topics of an MQTT broker" },
              { value: "folder", label: "files that come to a folder" },
            ]}
          />
        )}
        {form.kind === "queue" ? (
          <SelectField label="Queue" value={form.name} onChange={put("name")} options={[{ value: "", label: "choose a queue…" }, ...[...new Set([...queues, ...(was ? [was.name] : [])])].map((value) => ({ value, label: value }))]} hint={<>Made at <a href={to.queues}>Message queues</a>.</>} />
        ) : (
          text("name", "Name", "of this source", form.kind === "mqtt" ? "sensors" : "inbox")
        )}
        {form.kind === "mqtt" && (
          <>
            {text("broker", "Broker", "mqtts:// for TLS", "mqtt://10.0.0.5:1883")}
            {text("topics", "Topics", "with commas; + and # as MQTT has them", "sensors/+/temperature")}
            <SelectField label="QoS" value={form.qos} onChange={put("qos")} options={[{ value: "1", label: "1, at least once" }, { value: "0", label: "0, at most once" }]} />
            {text("user", "User", "empty: none")}
            <SelectField label="Password" value={form.password} onChange={put("password")} options={[{ value: "", label: "none" }, ...[...new Set([...secrets, ...(form.password ? [form.password] : [])])].map((value) => ({ value, label: `secret ${value}` }))]} />
          </>
        )}
        {form.kind === "folder" && (
          <>
            {text("path", "Folder", "of the host's, which hearth up --allow-mount allows", "/srv/inbox")}
            {text("pattern", "Files", "* and ? as ever; empty: all", "*.jpg")}
            {text("settle", "Settled after", "a file must not have changed for so long")}
            <SelectField label="Then the file" value={form.after} onChange={put("after")} options={[{ value: "keep", label: "stays" }, { value: "delete", label: "is deleted" }, { value: "move_to", label: "is moved" }]} />
            {form.after === "move_to" && text("move_to", "To", "a folder of the host's", "/srv/done")}
          </>
        )}
        {text("batch", "Messages of a call", "1 to 1000")}
        {text("window", "Waits for more", "0s to 5m")}
        {form.kind === "queue" && text("concurrency", "Calls at once", "1 to 1000")}
      </div>
      {form.kind === "folder" && <Check label="Folders in it too" checked={form.recursive} onChange={(recursive) => set((before) => ({ ...before, recursive }))} />}
    </Dialog>
  );
}
