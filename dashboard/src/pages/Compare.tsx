// A function on every isolation side by side: measured on request, and what it costs there.
import { useState } from "preact/hooks";
import { ask } from "../api/client";
import { api } from "../api/paths";
import type { Comparison, ComparisonList, ComparisonWrite, Doctor, FunctionList, IsolationFigures } from "../api/schema";
import { refresh, useAction, useRead, useTick } from "../api/use";
import { ago, bytes, count, micros, plural } from "../lib/format";
import { go, type Place, to } from "../router";
import { Badge, Button, Card, Empty, ErrorBox, Meter, PageHead, SelectField, Show, Table, TextField } from "../ui/parts";

export function Compare({ place }: { place: Place }) {
  const functions = useRead<FunctionList>(api.functions).data?.functions;
  const doctor = useRead<Doctor>(api.doctor).data;
  const name = place.query.get("function") ?? functions?.[0]?.name;
  const reading = useRead<ComparisonList>(name ? api.comparisons(name) : undefined, 1000);
  const [event, setEvent] = useState("{}");
  const [cold, setCold] = useState("5");
  const [warm, setWarm] = useState("100");
  const [seconds, setSeconds] = useState("2");
  const now = useTick(2000);
  const start = useAction(async () => {
    if (!name) return;
    const write: ComparisonWrite = { cold: Number(cold), warm: Number(warm), seconds: Number(seconds), events: [JSON.parse(event)] };
    await ask<Comparison>(api.comparisons(name), { method: "POST", body: write });
    await refresh(api.comparisons(name));
  });
  const stop = useAction(async (id: string) => {
    await ask(api.comparison(id), { method: "DELETE" });
    if (name) await refresh(api.comparisons(name));
  });
  const list = reading.data?.comparisons ?? [];
  const running = list.find((one) => one.state === "running");
  const working = doctor?.isolations.filter((one) => one.works).length ?? 0;
  if (functions?.length === 0)
    return (
      <>
        <PageHead title="Compare isolations" />
        <Card>
          <Empty icon="compare" title="Nothing to compare yet" command="hearth compare NAME">
            Deploy a function first: then its start, its calls, its memory and its cost can be measured on every isolation that works here.
          </Empty>
        </Card>
      </>
    );
  return (
    <>
      <PageHead title="Compare isolations" sub="The same function in every sandbox that works here, measured on this machine." />
      <Card title="Measure">
        <div class="form-grid">
          <SelectField label="Function" value={name ?? ""} onChange={(value) => go(to.compare(value), { replace: true })} options={(functions ?? []).map((one) => ({ value: one.name, label: one.name }))} />
          <TextField label="Event" value={event} onInput={setEvent} mono hint="JSON that it is called with" />
          <TextField label="Cold starts" value={cold} onInput={setCold} hint="on each, 1 to 200" />
          <TextField label="Warm calls" value={warm} onInput={setWarm} hint="on each, 1 to 10000" />
          <TextField label="Kept busy" value={seconds} onInput={setSeconds} hint="seconds for throughput, 0 to 60" />
        </div>
        <ErrorBox error={start.error ?? stop.error} />
        <div class="form-foot">
          <Button kind="primary" icon="compare" busy={start.busy} cannot={running ? "One is being measured" : !name && "Choose a function"} onClick={() => void start.run()}>
            Compare
          </Button>
          <span class="hint">
            {plural(working, "isolation")} work here. It really calls the function, and takes a while. <code>hearth compare {name}</code> does the same.
          </span>
        </div>
      </Card>
      <Show data={name ? reading.data : undefined} error={reading.error} again={reading.again}>
        {() =>
          list.length === 0 ? (
            <Card>
              <Empty icon="compare" title="Never compared">
                Start a comparison above: it stays here, with what it was measured with.
              </Empty>
            </Card>
          ) : (
            <>
              {list.slice(0, 5).map((one) => (
                <Card
                  key={one.id}
                  flush
                  title={`${one.function}, revision ${one.revision}`}
                  hint={`${ago(one.begun, now)}; ${one.machine.cpu}, ${plural(one.machine.cores, "core")}`}
                  actions={
                    <>
                      <Badge tone={one.state === "done" ? "good" : one.state === "running" ? "ember" : "bad"}>{one.state}</Badge>
                      {one.state === "running" && (
                        <Button small icon="stop" onClick={() => void stop.run(one.id)}>
                          Stop
                        </Button>
                      )}
                    </>
                  }
                >
                  {one.state === "running" && (
                    <div class="progress">
                      <Meter value={one.progress.done} max={one.progress.total} label="How far it is" />
                      <p class="hint" role="status">
                        {one.progress.phase}: {one.progress.done} of {one.progress.total}
                      </p>
                    </div>
                  )}
                  {one.error && <p class="notice bad-text">{one.error.message}</p>}
                  {one.isolations.length > 0 && <Measured one={one} />}
                  {one.notes.length > 0 && (
                    <ul class="notes">
                      {one.notes.map((note) => (
                        <li key={note}>{note}</li>
                      ))}
                    </ul>
                  )}
                </Card>
              ))}
            </>
          )
        }
      </Show>
    </>
  );
}

const ROWS: Array<{ label: string; of: (one: IsolationFigures) => number | null | undefined; show: (value: number) => string; less: boolean }> = [
  { label: "Cold start, p50", of: (one) => one.figures?.cold?.p50_us, show: micros, less: true },
  { label: "From a stem, p50", of: (one) => one.figures?.stem?.p50_us, show: micros, less: true },
  { label: "Warm call, p50", of: (one) => one.figures?.warm?.p50_us, show: micros, less: true },
  { label: "Warm call, p99", of: (one) => one.figures?.warm?.p99_us, show: micros, less: true },
  { label: "Throughput", of: (one) => one.figures?.throughput, show: (value) => `${count(value)}/s`, less: false },
  { label: "Memory", of: (one) => one.figures?.memory, show: bytes, less: true },
  { label: "Processor per call", of: (one) => one.figures?.cpu_us, show: micros, less: true },
  { label: "Cost of a million", of: (one) => one.costs?.[0]?.per_million, show: (value) => (value < 0.01 ? value.toFixed(4) : value.toFixed(2)), less: true },
];

function Measured({ one }: { one: Comparison }) {
  return (
    <div class="compared-table">
    <Table label={`Comparison of ${one.function}`} head={["", ...one.isolations.map((each) => each.isolation)]}>
      {ROWS.map((row) => {
        const values = one.isolations.map(row.of);
        const known = values.filter((value): value is number => typeof value === "number");
        if (known.length === 0) return null;
        const top = Math.max(...known);
        const best = row.less ? Math.min(...known) : top;
        return (
          <tr key={row.label}>
            <th scope="row">{row.label}</th>
            {values.map((value, at) => (
              <td key={at} class="compared">
                {typeof value === "number" ? (
                  <>
                    <span class={value === best && known.length > 1 ? "best" : ""}>{row.show(value)}</span>
                    <Meter value={value} max={top} label={`${row.label}, ${one.isolations[at]?.isolation ?? ""}`} tone={value === best ? "good" : "ember"} />
                  </>
                ) : (
                  <span class="faint" title={one.isolations[at]?.reason ?? undefined}>
                    –
                  </span>
                )}
              </td>
            ))}
          </tr>
        );
      })}
      {one.isolations.some((each) => each.reason || each.notes.length > 0) && (
        <tr>
          <th scope="row">Notes</th>
          {one.isolations.map((each) => (
            <td key={each.isolation} class="hint">
              {[each.reason, ...each.notes].filter(Boolean).join(" ")}
            </td>
          ))}
        </tr>
      )}
    </Table>
    </div>
  );
}
