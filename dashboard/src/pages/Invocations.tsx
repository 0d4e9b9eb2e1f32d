// All calls, filtered; and one call, with where its time went and what it wrote.
import { useEffect, useState } from "preact/hooks";
import { ask, ApiError } from "../api/client";
import { api } from "../api/paths";
import { replay } from "../api/actions";
import { type Filter, invocations } from "../api/records";
import type { FunctionList, LogPageView, RecordView } from "../api/schema";
import { useAction, useRead } from "../api/use";
import { billed, bytes, micros, moment } from "../lib/format";
import { go, type Place, to, withQuery } from "../router";
import { LogLines } from "../ui/Logs";
import { Badge, Button, Card, Command, CopyButton, Empty, ErrorBox, PageHead, Show, Skeleton } from "../ui/parts";
import { cannotReplay, Payloads, usePayloads } from "../ui/Payloads";
import { errorOf, RecordTable, useInvocations } from "../ui/Records";
import { toast } from "../ui/toast";
import { Waterfall } from "../ui/Waterfall";

const KEYS = ["function", "status", "cold", "isolation", "trigger", "min_duration", "text", "since"] as const;
const SELECTS: Array<{ key: (typeof KEYS)[number]; label: string; options: Array<[string, string]> }> = [
  { key: "status", label: "Outcome", options: [["ok", "ok"], ["fault", "failed"]] },
  { key: "cold", label: "Start", options: [["true", "cold"], ["false", "warm"]] },
  { key: "isolation", label: "Isolation", options: ["namespace", "gvisor", "docker"].map((one) => [one, one]) },
  { key: "trigger", label: "Door", options: ["invoke", "http", "async", "schedule"].map((one) => [one, one]) },
  { key: "min_duration", label: "At least", options: ["10ms", "100ms", "1s", "10s"].map((one) => [one, one]) },
  { key: "since", label: "Since", options: [["10m", "10 minutes"], ["1h", "1 hour"], ["1d", "1 day"]] },
];

export function Invocations({ place }: { place: Place }) {
  const functions = useRead<FunctionList>(api.functions).data?.functions ?? [];
  const filter: Filter = Object.fromEntries(KEYS.map((key) => [key, place.query.get(key) ?? undefined]));
  const set = (key: string, value: string) => {
    const all = Object.fromEntries(KEYS.map((one) => [one, place.query.get(one) ?? ""]));
    go(withQuery("/invocations", { ...all, [key]: value }), { replace: true });
  };
  const [older, setOlder] = useState<RecordView[]>([]);
  const [next, setNext] = useState<number | null | undefined>(undefined);
  const { page, error } = useInvocations(filter, 50, older.length > 0 ? 0 : 3000);
  const key = JSON.stringify(filter);
  useEffect(() => (setOlder([]), setNext(undefined)), [key]);
  const more = useAction(async () => {
    const from = next ?? page?.next;
    if (from === null || from === undefined) return;
    const got = await invocations({ ...filter, before: String(from) }, 50);
    setOlder((before) => [...before, ...got.invocations]);
    setNext(got.next ?? null);
  });
  const rest = next === undefined ? page?.next : next;
  const any = KEYS.some((one) => filter[one]);
  return (
    <>
      <PageHead title="Invocations" sub="Every call, newest first: what came of it and where the time went." />
      <Card flush>
        <div class="toolbar wrap">
          <select aria-label="Function" value={filter.function ?? ""} onChange={(event) => set("function", event.currentTarget.value)}>
            <option value="">all functions</option>
            {[...new Set([...functions.map((one) => one.name), ...(filter.function ? [filter.function] : [])])].map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
          {SELECTS.map((one) => (
            <select key={one.key} aria-label={one.label} value={filter[one.key] ?? ""} onChange={(event) => set(one.key, event.currentTarget.value)}>
              <option value="">{one.label}: any</option>
              {one.options.map(([value, label]) => (
                <option key={value} value={value}>
                  {label}
                </option>
              ))}
            </select>
          ))}
          <input type="search" aria-label="Text in the error" placeholder="In the error…" value={filter.text ?? ""} onChange={(event) => set("text", event.currentTarget.value)} />
          {any && (
            <Button small kind="quiet" icon="close" onClick={() => go("/invocations", { replace: true })}>
              No filter
            </Button>
          )}
        </div>
        {page?.partial && any && <p class="notice">This server filters the newest 50 of each function only, and knows no time or duration.</p>}
        <Show data={page} error={error} lines={8}>
          {(found) =>
            found.invocations.length === 0 ? (
              any ? (
                <Empty icon="search" title="No call fits the filter" />
              ) : (
                <Empty icon="invocations" title="No calls yet" command="hearth invoke NAME '{}'">
                  Call a function, and it shows here within a second.
                </Empty>
              )
            ) : (
              <>
                <RecordTable records={[...found.invocations, ...older]} withFunction />
                {rest !== null && rest !== undefined && (
                  <div class="panel-foot">
                    <Button onClick={() => void more.run()} busy={more.busy}>
                      Older ones
                    </Button>
                  </div>
                )}
                <ErrorBox error={more.error} />
              </>
            )
          }
        </Show>
      </Card>
    </>
  );
}

export function Invocation({ id }: { id: string }) {
  const reading = useRead<RecordView>(api.invocation(id));
  const record = reading.data;
  const payloads = usePayloads(record);
  const again = useAction(async () => {
    const made = await replay(id);
    toast(made.outcome.status === "ok" ? "It went well" : "It failed");
    go(to.invocation(made.request_id));
  });
  const [logs, setLogs] = useState<LogPageView | undefined>(undefined);
  const [error, setError] = useState<unknown>(undefined);
  useEffect(() => {
    if (!record) return;
    ask<LogPageView>(api.logs(record.function, { request_id: record.request_id, limit: 1000 })).then(setLogs, (failure: unknown) =>
      failure instanceof ApiError && failure.status === 404 ? setLogs({ lines: [], cursor: 0 }) : setError(failure),
    );
  }, [record]);
  const facts: Array<[string, preact.ComponentChildren]> = record
    ? [
        ["Function", <a href={to.function(record.function)}>{record.function}</a>],
        ["Version", record.qualifier && record.qualifier !== record.version ? `${record.version}, as ${record.qualifier}` : record.version],
        ["Revision", record.revision],
        ...(record.replay_of ? [["Replay of", <a class="mono" href={to.invocation(record.replay_of)}>{record.replay_of}</a>] as [string, preact.ComponentChildren]] : []),
        ["Received", moment(record.received)],
        ["Door", record.door],
        ["Isolation", record.isolation ?? "–"],
        ["Instance", <span class="mono">{record.instance ?? "–"}</span>],
        ["In the function", micros(record.handler_us)],
        ["Waited", micros(record.queued_us)],
        ["Processor", micros(record.cpu_us)],
        ["Memory, peak", bytes(record.memory_peak)],
        ["Billed", record.gb_seconds === null || record.gb_seconds === undefined ? "–" : `${record.billed_ms} ms of ${bytes(record.memory_limit)}: ${billed(record.gb_seconds)} GB-s`],
        ["Event", bytes(record.request_bytes)],
        ["Answer", bytes(record.response_bytes)],
      ]
    : [];
  const failure = record && errorOf(record);
  return (
    <>
      <PageHead
        crumbs={<a href={to.invocations()}>Invocations</a>}
        title={<span class="mono id">{id}</span>}
        actions={
          <Button icon="play" busy={again.busy} cannot={cannotReplay(record, payloads)} onClick={() => void again.run()}>
            Run it again
          </Button>
        }
        sub={
          record && (
            <span class="facts">
              {record.outcome.status === "ok" ? <Badge tone="good">ok</Badge> : <Badge tone="bad">{record.outcome.code}</Badge>}
              <Badge tone={record.cold ? "cold" : "calm"}>{record.cold ? "cold" : "warm"}</Badge>
              <CopyButton text={id} label="Copy the request id" />
            </span>
          )
        }
      />
      <ErrorBox error={again.error} />
      <Show data={record} error={reading.error} again={reading.again} lines={8}>
        {(one) => (
          <>
            {one.outcome.code && (
              <div class="error" role="note">
                <div>
                  <p>{failure ?? `It ended with ${one.outcome.code}.`}</p>
                  <Command text={`hearth explain ${one.outcome.code}`} />
                </div>
              </div>
            )}
            <div class="two">
              <Card title="Where the time went">
                <Waterfall record={one} />
              </Card>
              <Card title="Facts">
                <dl class="facts-list">
                  {facts.map(([name, value]) => (
                    <div key={name}>
                      <dt>{name}</dt>
                      <dd>{value}</dd>
                    </div>
                  ))}
                </dl>
              </Card>
            </div>
            <Payloads record={one} payloads={payloads} />
            <Card flush title="What it wrote">
              <ErrorBox error={error} />
              {logs ? <LogLines lines={logs.lines} empty="It wrote nothing." /> : error === undefined && <Skeleton lines={3} />}
            </Card>
          </>
        )}
      </Show>
    </>
  );
}
