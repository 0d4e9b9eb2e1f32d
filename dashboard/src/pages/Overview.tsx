// The first page: what runs now, how calls go, what is slow or fails, and what is wrong with what to do.
import type { Overview as OverviewView } from "../api/metrics";
import { api } from "../api/paths";
import type { Doctor, FunctionList, InstanceList, QueueView, ScheduleList } from "../api/schema";
import { useKept, useRead, useTick } from "../api/use";
import { ago, bytes, count, micros, percent, plural } from "../lib/format";
import { to } from "../router";
import { Charts, SPANS } from "../ui/Charts";
import { Lights } from "../ui/Instances";
import { Badge, Card, Empty, Meter, PageHead, Stat } from "../ui/parts";
import { RecentInvocations } from "../ui/Records";

interface Problem {
  tone: "bad" | "warn";
  text: string;
  advice: string;
  href: string;
}

export function problems(used: Set<string>, doctor: Doctor | undefined, queue: QueueView | undefined, overview: OverviewView | undefined, schedules: ScheduleList | undefined): Problem[] {
  const found: Problem[] = [];
  if (doctor && !doctor.works) found.push({ tone: "bad", text: "No function can run on this machine yet", advice: "Settings says what to install", href: to.settings });
  for (const one of doctor?.isolations ?? [])
    if (one.works && used.has(one.isolation)) for (const finding of one.findings) if (finding.severity === "weaker") found.push({ tone: "warn", text: `${one.isolation}: ${finding.subject}, ${finding.state}`, advice: finding.advice, href: to.settings });
  for (const one of queue?.functions ?? []) if (one.dead > 0) found.push({ tone: "bad", text: `${one.function} has ${plural(one.dead, "dead letter")}`, advice: "Look at what was wrong, and run them again", href: to.queue });
  for (const one of overview?.functions ?? []) {
    const { calls, errors, throttles } = one.figures;
    if (calls >= 5 && errors / calls >= 0.1) found.push({ tone: "bad", text: `${one.function} fails ${percent(errors, calls)} of its calls`, advice: "Its failed calls tell why", href: to.invocations({ function: one.function, status: "fault" }) });
    if (throttles > 0) found.push({ tone: "warn", text: `${one.function} refused ${plural(throttles, "call")}: all its instances were busy`, advice: "Raise its most instances, or the memory budget", href: to.function(one.function, "configuration") });
  }
  if (overview && overview.memory.used > overview.memory.budget * 0.92) found.push({ tone: "warn", text: "The memory budget is nearly used up", advice: "`hearth up --memory` gives more; idle instances go first", href: to.live });
  if ((doctor?.telemetry_dropped ?? 0) > 0) found.push({ tone: "warn", text: `${plural(doctor?.telemetry_dropped ?? 0, "log line or record", "log lines and records")} were dropped`, advice: "Functions write faster than the disk takes it", href: to.live });
  for (const one of schedules?.schedules ?? []) if (one.skipped > one.enqueued && one.skipped > 3) found.push({ tone: "warn", text: `${one.function}/${one.name} skips most of its ticks`, advice: "It takes longer than the time between them", href: to.schedules });
  return found.sort((a, b) => Number(b.tone === "bad") - Number(a.tone === "bad"));
}

/** The isolations that functions ask for by name. */
function asked(functions: FunctionList["functions"] | undefined): Set<string> {
  const names = (functions ?? []).flatMap(({ isolation }) => (typeof isolation === "string" ? [isolation] : Object.keys((isolation ?? {}) as object)));
  return new Set(["namespace", ...names]);
}

export function Overview() {
  const functions = useRead<FunctionList>(api.functions, 5000).data?.functions;
  const instances = useRead<InstanceList>(api.instances(), 1000).data;
  const queue = useRead<QueueView>(api.queue, 5000).data;
  const schedules = useRead<ScheduleList>(api.schedules(), 5000).data;
  const doctor = useRead<Doctor>(api.doctor, 60_000).data;
  const [span, setSpan] = useKept("span", "1h");
  const overview = useRead<OverviewView>("/api/v1/overview?window=1h", 2000).data;
  const now = useTick();
  const alive = instances?.instances ?? [];
  const state = (name: string) => alive.filter((one) => one.state === name).length;
  const stems = instances?.stems ?? [];
  const wrong = problems(asked(functions), doctor, queue, overview, schedules);
  const next = (schedules?.schedules ?? [])
    .filter((one) => one.next.length > 0)
    .sort((a, b) => Date.parse(a.next[0] ?? "") - Date.parse(b.next[0] ?? ""))
    .slice(0, 5);
  const ranked = (overview?.functions ?? []).filter((one) => one.figures.calls > 0);
  const slow = [...ranked].sort((a, b) => (b.figures.duration?.p99_us ?? 0) - (a.figures.duration?.p99_us ?? 0)).slice(0, 5);
  const failing = ranked.filter((one) => one.figures.errors > 0).sort((a, b) => b.figures.errors / b.figures.calls - a.figures.errors / a.figures.calls).slice(0, 5);
  const slowest = slow[0]?.figures.duration?.p99_us ?? 0;
  const used = overview?.memory.used;
  const held = alive.reduce((sum, one) => sum + (one.memory_peak ?? 0), 0);

  if (functions?.length === 0)
    return (
      <>
        <PageHead title="Welcome" sub="Hearth is up, and nothing is deployed yet." />
        <Card>
          <Empty
            icon="functions"
            title="Make the first function"
            command="hearth init hello && hearth deploy hello && hearth invoke hello"
            action={
              <a class="button primary" href={to.create}>
                New function
              </a>
            }
          >
            From a template it takes ten seconds: choose one, give it a name, run it, and watch what it writes.
          </Empty>
        </Card>
        {wrong.length > 0 && <Problems list={wrong} />}
      </>
    );
  return (
    <>
      <PageHead
        title="Overview"
        actions={
          <select aria-label="Time of the charts" value={span} onChange={(event) => setSpan(event.currentTarget.value)}>
            {SPANS.map((one) => (
              <option key={one.id} value={one.id}>
                {one.label}
              </option>
            ))}
          </select>
        }
      />
      <div class="stats">
        <Stat label="Functions" value={functions ? functions.length : "–"} sub={schedules ? plural(schedules.schedules.length, "schedule") : undefined} />
        <Stat label="Running now" value={instances ? state("busy") : "–"} sub={`${state("idle") + state("frozen")} idle, ${state("starting")} starting`} tone="ember" />
        {overview && <Stat label="Calls, 1 h" value={count(overview.all.calls)} sub={`${percent(overview.all.cold, overview.all.calls)} cold`} />}
        {overview && <Stat label="Failed, 1 h" value={percent(overview.all.errors, overview.all.calls)} sub={plural(overview.all.errors, "call")} tone={overview.all.errors > 0 ? "bad" : "good"} />}
        {overview && <Stat label="Duration" value={micros(overview.all.duration?.p50_us)} sub={`p99 ${micros(overview.all.duration?.p99_us)}`} />}
        <Stat label="Queue" value={count((queue?.functions ?? []).reduce((sum, one) => sum + one.waiting, 0))} sub={plural((queue?.functions ?? []).reduce((sum, one) => sum + one.dead, 0), "dead letter")} />
      </div>
      {wrong.length > 0 && <Problems list={wrong} />}
      <Charts span={span} only={2} />
      <div class="three">
        <Card title="Lives now" hint={plural(alive.length, "instance")}>
          {alive.length === 0 ? <p class="hint">No instance: the next call starts one.</p> : <Lights instances={alive} />}
          <p class="legend">
            <span class="dot busy" /> busy <span class="dot idle" /> idle <span class="dot frozen" /> frozen <span class="dot starting" /> starting
          </p>
          {overview ? (
            <>
              <Meter value={used ?? 0} max={overview.memory.budget} label="Memory budget" tone={used !== undefined && used > overview.memory.budget * 0.9 ? "bad" : "ember"} />
              <p class="hint">
                {bytes(used)} of {bytes(overview.memory.budget)} of the memory budget; {plural(stems.reduce((sum, one) => sum + one.ready, 0), "stem")} ready
              </p>
            </>
          ) : (
            <p class="hint">
              Instances hold {bytes(held)} at most; {plural(stems.reduce((sum, one) => sum + one.ready, 0), "stem")} ready
            </p>
          )}
        </Card>
        {overview && (
          <Card title="Slowest" hint="p99, 1 h">
            {slow.length === 0 && <p class="hint">No calls in this hour.</p>}
            <ol class="ranks">
              {slow.map((one) => (
                <li key={one.function}>
                  <a href={to.function(one.function, "monitor")}>{one.function}</a>
                  <span>{micros(one.figures.duration?.p99_us)}</span>
                  <Meter value={one.figures.duration?.p99_us ?? 0} max={slowest} label={`p99 of ${one.function}`} tone="warn" />
                </li>
              ))}
            </ol>
          </Card>
        )}
        {overview && (
          <Card title="Failing" hint="share of calls, 1 h">
            {failing.length === 0 && <p class="hint">No call failed in this hour.</p>}
            <ol class="ranks">
              {failing.map((one) => (
                <li key={one.function}>
                  <a href={to.invocations({ function: one.function, status: "fault" })}>{one.function}</a>
                  <span>{percent(one.figures.errors, one.figures.calls)}</span>
                  <Meter value={one.figures.errors} max={one.figures.calls} label={`failed calls of ${one.function}`} tone="bad" />
                </li>
              ))}
            </ol>
          </Card>
        )}
        <Card title="Next by the clock">
          {next.length === 0 && (
            <p class="hint">
              Nothing is scheduled. <a href={to.schedules}>Schedules</a>
            </p>
          )}
          <ol class="ranks plain">
            {next.map((one) => (
              <li key={`${one.function}/${one.name}`}>
                <a href={to.function(one.function, "schedules")}>
                  {one.function} <span class="faint">{one.name}</span>
                </a>
                <span>{ago(one.next[0] ?? "", now)}</span>
              </li>
            ))}
          </ol>
        </Card>
      </div>
      <Card flush title="Newest calls" actions={<a class="button small" href={to.invocations()}>All</a>}>
        <RecentInvocations limit={8} />
      </Card>
    </>
  );
}

function Problems({ list }: { list: Problem[] }) {
  return (
    <section class="problems" aria-label="Problems">
      {list.slice(0, 6).map((one, at) => (
        <a key={at} href={one.href} class={`problem ${one.tone}`}>
          <Badge tone={one.tone}>{one.tone === "bad" ? "problem" : "note"}</Badge>
          <span>
            <strong>{one.text}</strong>
            {one.advice && <span class="advice">{one.advice}</span>}
          </span>
        </a>
      ))}
    </section>
  );
}
