// Test events, kept by name; a run of one; and all that is known of that call: answer, time, waterfall, logs.
import { useEffect, useRef, useState } from "preact/hooks";
import { type Called, invoke, record as readRecord } from "../../api/actions";
import { ask } from "../../api/client";
import { api } from "../../api/paths";
import type { FunctionView, LogLineView, LogPageView, RecordView } from "../../api/schema";
import { refresh, useAction, useKept } from "../../api/use";
import { bytes, micros } from "../../lib/format";
import { pretty } from "../../lib/payload";
import { to } from "../../router";
import { LazyEditor } from "../../ui/LazyEditor";
import { LogLines } from "../../ui/Logs";
import { Badge, Button, Card, Check, CopyButton, ErrorBox } from "../../ui/parts";
import { Waterfall } from "../../ui/Waterfall";

interface Example {
  name: string;
  text: string;
}

interface Done {
  called: Called;
  record: RecordView | undefined;
  logs: LogLineView[];
}

const FIRST: Example[] = [{ name: "example", text: "{}" }];
const HTTP = JSON.stringify(
  { version: "2.0", rawPath: "/hello", rawQueryString: "name=Ada", queryStringParameters: { name: "Ada" }, headers: { accept: "application/json" }, requestContext: { http: { method: "GET", path: "/hello" } }, isBase64Encoded: false },
  null,
  2,
);

export function TestPanel({ one, runs, dirty, onSave }: { one: FunctionView; runs: number; dirty: boolean; onSave: () => Promise<boolean> }) {
  const [examples, keep] = useKept<Example[]>(`events.${one.name}`, FIRST);
  const [at, setAt] = useState(0);
  const [queue, setQueue] = useState(false);
  const [done, setDone] = useState<Done | undefined>(undefined);
  const now = examples[Math.min(at, examples.length - 1)] ?? { name: "example", text: "{}" };
  const place = Math.min(at, examples.length - 1);
  const put = (change: Partial<Example>) => keep(examples.map((each, index) => (index === place ? { ...each, ...change } : each)));
  const invalid = problem(now.text);

  const run = useAction(async () => {
    if (dirty && !(await onSave())) return;
    const called = await invoke(one.name, now.text, queue);
    setDone({ called, record: undefined, logs: [] });
    void refresh(api.instances(), "/api/v1/overview");
    if (queue || called.requestId === undefined) return;
    const found = await readRecord(called.requestId);
    setDone({ called, record: found, logs: [] });
    // Lines are written a moment after the answer, and not all at once.
    let before = -1;
    for (let attempt = 0; attempt < 6; attempt++) {
      const page = await ask<LogPageView>(api.logs(one.name, { request_id: called.requestId, limit: 500 })).catch(() => undefined);
      const logs = page?.lines ?? [];
      setDone({ called, record: found, logs });
      if (logs.length === before && logs.length > 0) break;
      before = logs.length;
      await new Promise((resolve) => setTimeout(resolve, 120 + attempt * 80));
    }
  });

  const first = useRef(true);
  useEffect(() => {
    if (first.current) first.current = false;
    else void run.run();
  }, [runs]);

  return (
    <div class="test-side">
      <Card
        flush
        title="Test event"
        actions={
          <Button kind="primary" small icon="play" busy={run.busy} cannot={invalid} onClick={() => void run.run()}>
            {dirty ? "Deploy & run" : "Run"}
          </Button>
        }
      >
        <div class="toolbar">
          <select aria-label="Saved event" value={place} onChange={(event) => setAt(Number(event.currentTarget.value))}>
            {examples.map((each, index) => (
              <option key={index} value={index}>
                {each.name}
              </option>
            ))}
          </select>
          <input aria-label="Name of this event" class="event-name" value={now.name} onInput={(event) => put({ name: event.currentTarget.value })} />
          <Button small kind="quiet" icon="plus" label="Another event, as this one" onClick={() => (keep([...examples, { name: `${now.name} 2`, text: now.text }]), setAt(examples.length))} />
          <Button
            small
            kind="quiet"
            icon="trash"
            label="Forget this event"
            cannot={examples.length < 2 && "The last one stays"}
            onClick={() => (keep(examples.filter((_, index) => index !== place)), setAt(0))}
          />
          <Button small kind="quiet" onClick={() => put({ text: HTTP })}>
            HTTP
          </Button>
        </div>
        <div class="event-box">
          <LazyEditor name="event.json" text={now.text} label="Test event, JSON" onChange={(text) => put({ text })} onRun={() => void run.run()} plain />
        </div>
        {invalid && <p class="notice">{invalid}</p>}
        <div class="panel-foot">
          <Check label="Only queue it" checked={queue} onChange={setQueue} hint="nobody waits for the answer; retried when it fails" />
        </div>
      </Card>
      <Card flush title="Result" hint={done?.called.requestId ? <a href={to.invocation(done.called.requestId)}>record</a> : undefined}>
        <ErrorBox error={run.error} />
        {!done && !run.error && <p class="logs-empty">Run it: the answer, where the time went and what it wrote appear here. Ctrl-Enter in the editor does the same.</p>}
        {done && <Result done={done} queued={queue} />}
      </Card>
    </div>
  );
}

function Result({ done, queued }: { done: Done; queued: boolean }) {
  const { called, record, logs } = done;
  const text = pretty(called.text);
  return (
    <div class="result">
      <div class="result-head" role="status">
        <Badge tone={called.ok ? "good" : "bad"}>{called.ok ? (called.status === 202 ? "queued" : "succeeded") : called.error ? "failed" : `refused, ${called.status}`}</Badge>
        {record && <Badge tone={record.cold ? "cold" : "calm"}>{record.cold ? (record.stem ? "cold, from a stem" : "cold") : "warm"}</Badge>}
        {record && <span>{micros(record.handler_us)} in the function</span>}
        {record?.memory_peak && <span class="hint">{bytes(record.memory_peak)} at most</span>}
        <span class="hint">{Math.round(called.took)} ms in this browser</span>
      </div>
      {text !== "" && (
        <div class="answer">
          <pre tabIndex={0} aria-label="Answer">{text}</pre>
          <CopyButton text={text} />
        </div>
      )}
      {record && <Waterfall record={record} />}
      {!queued && called.status !== 202 && <LogLines lines={logs} empty="It wrote nothing." />}
    </div>
  );
}

function problem(text: string): string | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    return `Not JSON: ${error instanceof Error ? error.message : String(error)}`;
  }
}
