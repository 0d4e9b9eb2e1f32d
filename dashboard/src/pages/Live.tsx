// What happens now: instances as they start, serve, freeze and end, and everything that functions write.
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../api/paths";
import type { InstanceList, InstanceRow } from "../api/schema";
import { useRead } from "../api/use";
import { bytes, clock } from "../lib/format";
import { to } from "../router";
import { InstanceTable, Lights } from "../ui/Instances";
import { LiveLogs } from "../ui/Logs";
import { Badge, Card, Empty, PageHead, Show, Stat } from "../ui/parts";

interface Change {
  at: number;
  text: string;
  function: string;
  tone: "good" | "cold" | "ember" | "calm" | "warn";
}

/** What differs between two looks at the instances. */
export function changes(before: InstanceRow[], now: InstanceRow[], at: number): Change[] {
  const found: Change[] = [];
  const old = new Map(before.map((one) => [one.instance, one]));
  for (const one of now) {
    const was = old.get(one.instance);
    old.delete(one.instance);
    const name = `${one.function} ${one.instance.slice(0, 6)}`;
    if (!was) found.push({ at, function: one.function, text: `${name} started (${one.isolation})`, tone: "good" });
    else if (was.invocations < one.invocations) found.push({ at, function: one.function, text: `${name} answered ${one.invocations - was.invocations}`, tone: "ember" });
    else if (was.state !== one.state && one.state === "frozen") found.push({ at, function: one.function, text: `${name} is frozen`, tone: "cold" });
  }
  for (const gone of old.values()) found.push({ at, function: gone.function, text: `${gone.function} ${gone.instance.slice(0, 6)} ended after ${gone.invocations}`, tone: "calm" });
  return found;
}

export function Live() {
  const reading = useRead<InstanceList>(api.instances(), 500);
  const [events, setEvents] = useState<Change[]>([]);
  const before = useRef<InstanceRow[] | undefined>(undefined);
  useEffect(() => {
    const now = reading.data?.instances;
    if (!now) return;
    if (before.current) {
      const more = changes(before.current, now, Date.now());
      if (more.length > 0) setEvents((all) => [...more.reverse(), ...all].slice(0, 60));
    }
    before.current = now;
  }, [reading.data]);
  const count = (state: string) => reading.data?.instances.filter((one) => one.state === state).length ?? 0;
  const stems = reading.data?.stems ?? [];
  return (
    <>
      <PageHead title="Live" sub="Instances and log lines as they come." />
      <div class="stats">
        <Stat label="Busy" value={count("busy")} tone="ember" />
        <Stat label="Idle" value={count("idle")} tone="good" />
        <Stat label="Frozen" value={count("frozen")} tone="cold" />
        <Stat label="Starting" value={count("starting")} tone="warn" />
        <Stat label="Stems ready" value={stems.reduce((sum, one) => sum + one.ready, 0)} sub={stems.length > 0 ? bytes(stems.reduce((sum, one) => sum + one.charged, 0)) : undefined} />
      </div>
      <div class="two wide-left">
        <Card flush class="scrolls" title="Instances">
          <Show data={reading.data} error={reading.error} again={reading.again}>
            {(list) =>
              list.instances.length === 0 ? (
                <Empty icon="bolt" title="Nothing runs now" command="hearth top">
                  Instances appear here with the first call, and go when nobody calls for a while.
                </Empty>
              ) : (
                <>
                  <Lights instances={list.instances} />
                  <InstanceTable instances={list.instances} withFunction />
                </>
              )
            }
          </Show>
        </Card>
        <Card flush title="What happens">
          {events.length === 0 ? (
            <p class="logs-empty">Starts, calls, freezes and ends appear here while this page is open.</p>
          ) : (
            <ol class="happenings">
              {events.map((one, at) => (
                <li key={`${one.at}${one.text}${at}`}>
                  <time>{clock(one.at, false)}</time>
                  <Badge tone={one.tone}>{" "}</Badge>
                  <a href={to.function(one.function, "instances")}>{one.text}</a>
                </li>
              ))}
            </ol>
          )}
        </Card>
      </div>
      <Card flush title="Log lines of all functions">
        <LiveLogs begin={50} />
      </Card>
    </>
  );
}
