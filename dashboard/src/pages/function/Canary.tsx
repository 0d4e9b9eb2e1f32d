// A canary: a deploy that a share of the calls tries first. Begun, watched, promoted or taken back.
import { useEffect, useMemo, useState } from "preact/hooks";
import { beginCanary, endCanary, upload } from "../../api/actions";
import { ApiError } from "../../api/client";
import { line, type Metrics, type Point } from "../../api/metrics";
import { api } from "../../api/paths";
import type { CanaryView, FunctionView, FunctionWrite, VersionView } from "../../api/schema";
import { refresh, useAction, useRead, useTick } from "../../api/use";
import { count, percent, plural, span } from "../../lib/format";
import { dropped } from "../../lib/package";
import { CANARY, type CanaryForm, canaryProblem, canaryVerdict, canaryWrite, shareText } from "../../lib/versions";
import { Chart } from "../../ui/Chart";
import { Badge, Button, Card, Confirm, Dialog, Empty, ErrorBox, Meter, SelectField, Stat, TextField } from "../../ui/parts";
import { toast } from "../../ui/toast";

export function CanaryCard({ one, versions }: { one: FunctionView; versions: VersionView[] }) {
  const [beginning, setBeginning] = useState(false);
  if (one.canary) return <Running one={one} first={one.canary} />;
  return (
    <Card flush title="Canary">
      <Empty
        icon="bird"
        title="No canary runs"
        command="hearth deploy --canary 10%"
        action={
          <Button icon="play" onClick={() => setBeginning(true)}>
            Start a canary
          </Button>
        }
      >
        A change is tried on a share of the calls first. It is taken back by itself when too many of them fail, and gets all when its time is over.
      </Empty>
      {beginning && <ChooseCanary one={one} versions={versions} onClose={() => setBeginning(false)} />}
    </Card>
  );
}

function Running({ one, first }: { one: FunctionView; first: CanaryView }) {
  const reading = useRead<CanaryView>(api.canary(one.name), 1000);
  const metrics = useRead<Metrics>(api.metrics({ function: one.name, from: first.since, step: "10s", by: "version" }), 5000).data;
  const [aborting, setAborting] = useState(false);
  const now = useTick();
  const end = useAction(async (how: "promote" | "roll-back") => {
    await endCanary(one.name, how);
    toast(how === "promote" ? `Revision ${first.revision} gets all calls` : `Revision ${first.stable} serves all calls again`);
    setAborting(false);
  });
  // It ends by itself too: then the function is another one.
  const over = reading.error instanceof ApiError && reading.error.status === 404;
  useEffect(() => {
    if (over) void refresh(api.functions);
  }, [over]);
  const canary = reading.data?.revision === first.revision ? reading.data : first;
  const verdict = canaryVerdict(canary);
  const [since, until] = [Date.parse(canary.since), Date.parse(canary.until)];
  const rate = canary.calls > 0 ? canary.errors / canary.calls : 0;
  return (
    <Card
      class="canary"
      title="Canary"
      hint={`revision ${canary.revision} beside revision ${canary.stable}`}
      actions={
        <>
          <Badge tone={verdict.tone}>{verdict.text}</Badge>
          <Button small kind="primary" icon="check" busy={end.busy} onClick={() => void end.run("promote")}>
            Promote
          </Button>
          <Button small kind="danger" icon="back" onClick={() => setAborting(true)}>
            Abort
          </Button>
        </>
      }
    >
      <ErrorBox error={end.error} />
      <div class="stats">
        <Stat label="Share of the calls" value={shareText(canary.weight)} tone="ember" sub={`version ${canary.version}`} />
        <Stat label="Calls" value={count(canary.calls)} sub={`judged from ${count(canary.min_calls)}`} />
        <Stat label="Failed" value={percent(canary.errors, canary.calls)} tone={rate > canary.max_error_rate ? "bad" : canary.calls > 0 ? "good" : "calm"} sub={`${plural(canary.errors, "call")}; ${shareText(canary.max_error_rate)} allowed`} />
        <Stat label="Gets all in" value={soon(Math.max(0, until - now) / 1000)} sub={`after ${canary.for}`} />
      </div>
      <Meter value={Math.max(0, now - since)} max={until - since} label="How far it is" />
      {metrics && <Rates metrics={metrics} canary={canary} />}
      {aborting && (
        <Confirm title="Abort the canary?" verb="Abort the canary" busy={end.busy} error={end.error} onClose={() => setAborting(false)} onDone={() => void end.run("roll-back")}>
          <p>Revision {canary.stable} gets all calls again, as a new revision. Version {canary.version} stays, and can be looked at.</p>
        </Confirm>
      )}
    </Card>
  );
}

/** Minutes are enough while there are many. */
function soon(seconds: number): string {
  return span(seconds > 600 ? Math.round(seconds / 60) * 60 : seconds);
}

/** Calls that fail, of a hundred: the new revision's and the one's before. */
function Rates({ metrics, canary }: { metrics: Metrics; canary: CanaryView }) {
  const drawn = useMemo(() => {
    const of = (revision: number) => metrics.series.find((one) => one.key === String(revision))?.points ?? [];
    const rate = (point: Point) => (point.calls > 0 ? (point.errors / point.calls) * 100 : null);
    const [at, fresh] = line(metrics, of(canary.revision), rate, null);
    const [, stable] = line(metrics, of(canary.stable), rate, null);
    const most = at.map(() => canary.max_error_rate * 100);
    return {
      at,
      lines: [
        { label: `revision ${canary.revision}`, tone: "ember", fill: true, values: fresh },
        { label: `revision ${canary.stable}`, tone: "cold", values: stable },
        { label: "allowed", tone: "bad", values: most },
      ],
    };
  }, [metrics, canary.revision, canary.stable, canary.max_error_rate]);
  if (drawn.at.length < 2) return <p class="hint">A chart of what fails is here when it has run for twenty seconds.</p>;
  return <Chart label="Calls that fail, in percent" at={drawn.at} lines={drawn.lines} show={(value) => `${Number(value.toFixed(1))} %`} height={130} />;
}

/** What shall be tried: another version's code, a package, other memory or time. */
function ChooseCanary({ one, versions, onClose }: { one: FunctionView; versions: VersionView[]; onClose: () => void }) {
  const others = versions.filter((each) => each.code.sha256 !== one.code.sha256);
  const [code, setCode] = useState("");
  const [file, setFile] = useState<{ name: string; zip: Uint8Array } | undefined>(undefined);
  const [memory, setMemory] = useState(one.memory);
  const [timeout, setTimeout_] = useState(one.timeout);
  const make = async (): Promise<FunctionWrite> => {
    const write: FunctionWrite = {};
    if (code === "file" && file) write.code = { sha256: await upload(file.zip) };
    else if (code !== "" && code !== "file") write.code = { sha256: code };
    if (memory.trim() !== one.memory) write.memory = memory.trim();
    if (timeout.trim() !== one.timeout) write.timeout = timeout.trim();
    return write;
  };
  const nothing = code === "" && memory.trim() === one.memory && timeout.trim() === one.timeout;
  return (
    <CanaryDialog one={one} what={make} cannot={nothing ? "Change something: other code, memory or time" : code === "file" && !file ? "Choose a file" : undefined} onClose={onClose}>
      <div class="form-grid">
        <SelectField
          label="Code"
          value={code}
          onChange={setCode}
          options={[{ value: "", label: "as it is now" }, ...others.map((each) => ({ value: each.code.sha256, label: `of version ${each.version}` })), { value: "file", label: "a zip, jar, program or file" }]}
          hint="Code that was edited is tried from its own tab."
        />
        <TextField label="Memory" value={memory} onInput={setMemory} hint="32MB to 10GB" />
        <TextField label="Timeout" value={timeout} onInput={setTimeout_} hint="1ms to 15m" />
      </div>
      {code === "file" && (
        <label class="field">
          <span>The file</span>
          <input
            type="file"
            onChange={async (event) => {
              const given = event.currentTarget.files?.[0];
              if (given) setFile({ name: given.name, zip: dropped(given.name, new Uint8Array(await given.arrayBuffer())).zip });
            }}
          />
        </label>
      )}
    </CanaryDialog>
  );
}

/** Asks how a change is to be tried, and begins. */
export function CanaryDialog(props: { one: FunctionView; what: () => Promise<FunctionWrite>; cannot?: string | undefined; children?: preact.ComponentChildren; onClose: () => void; onBegun?: (now: FunctionView) => void }) {
  const { one, onClose } = props;
  const [form, set] = useState<CanaryForm>(CANARY);
  const put = (key: keyof CanaryForm) => (value: string) => set((before) => ({ ...before, [key]: value }));
  const problem = props.cannot ?? canaryProblem(form);
  const begin = useAction(async () => {
    const now = await beginCanary(one.name, canaryWrite(form, await props.what()), one.revision);
    toast(`Revision ${now.revision} gets ${shareText(canaryWrite(form, {}).weight)} of the calls`);
    onClose();
    props.onBegun?.(now);
  });
  return (
    <Dialog
      title="Try it on a share of the calls"
      onClose={onClose}
      foot={
        <>
          <span class="hint">{problem}</span>
          <span class="grow" />
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" icon="play" busy={begin.busy} cannot={problem} onClick={() => void begin.run()}>
            Start the canary
          </Button>
        </>
      }
    >
      <ErrorBox error={begin.error} />
      {props.children}
      <div class="form-grid">
        <TextField label="Share" value={form.share} onInput={put("share")} hint="percent of the calls that name no version" />
        <TextField label="For" value={form.lasts} onInput={put("lasts")} list={["1m", "5m", "30m", "1h", "1d"]} hint="then it gets all; 1s to 7d" />
        <TextField label="Errors at most" value={form.errors} onInput={put("errors")} hint="percent; more, and it is taken back" />
        <TextField label="Of at least" value={form.calls} onInput={put("calls")} hint="calls; of fewer it is not judged" />
      </div>
    </Dialog>
  );
}
