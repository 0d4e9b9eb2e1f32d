// One function: its tabs, and what is around them.
import { useState } from "preact/hooks";
import { remove } from "../api/actions";
import { api } from "../api/paths";
import type { FunctionView } from "../api/schema";
import { useAction, useRead } from "../api/use";
import { isolationText } from "../lib/spec";
import { shareText } from "../lib/versions";
import { go, to } from "../router";
import { Badge, Button, Confirm, CopyButton, Empty, PageHead, Show, Tabs } from "../ui/parts";
import { LiveLogs } from "../ui/Logs";
import { toast } from "../ui/toast";
import { CodeTab } from "./function/CodeTab";
import { ConfigurationTab } from "./function/ConfigurationTab";
import { InstancesTab } from "./function/InstancesTab";
import { MonitorTab } from "./function/MonitorTab";
import { ScheduleTab } from "./function/ScheduleTab";
import { SnippetsTab } from "./function/SnippetsTab";
import { TriggersTab } from "./function/TriggersTab";
import { VersionsTab } from "./function/VersionsTab";

const TABS: Array<{ id: string; label: string; show: (one: FunctionView) => preact.JSX.Element }> = [
  { id: "code", label: "Code & test", show: (one) => <CodeTab one={one} /> },
  { id: "monitor", label: "Monitor", show: (one) => <MonitorTab one={one} /> },
  { id: "logs", label: "Logs", show: (one) => <LiveLogs name={one.name} height="tall" /> },
  { id: "configuration", label: "Configuration", show: (one) => <ConfigurationTab one={one} /> },
  { id: "triggers", label: "Triggers", show: (one) => <TriggersTab one={one} /> },
  { id: "schedules", label: "Schedules", show: (one) => <ScheduleTab one={one} /> },
  { id: "versions", label: "Versions", show: (one) => <VersionsTab one={one} /> },
  { id: "instances", label: "Instances", show: (one) => <InstancesTab one={one} /> },
  { id: "call", label: "Call it", show: (one) => <SnippetsTab one={one} /> },
];

export function FunctionPage({ name, tab }: { name: string; tab: string }) {
  const reading = useRead<FunctionView>(api.function(name), 5000);
  const [asking, setAsking] = useState(false);
  const drop = useAction(async () => {
    await remove(name);
    toast(`${name} is removed`);
    go(to.functions);
  });
  const now = TABS.find((one) => one.id === tab);
  const one = reading.data;
  return (
    <>
      <PageHead
        crumbs={<a href={to.functions}>Functions</a>}
        title={name}
        sub={
          one ? (
            <span class="facts">
              <Badge>{one.image ?? one.runtime}</Badge>
              <Badge>{one.memory}</Badge>
              <Badge>{isolationText(one.isolation)}</Badge>
              <span class="hint">revision {one.revision}</span>
              {one.canary && (
                <a href={to.function(name, "versions")}>
                  <Badge tone="ember">canary, {shareText(one.canary.weight)}</Badge>
                </a>
              )}
              {one.invoke_url && (
                <span class="url">
                  <a href={one.invoke_url} target="_blank" rel="noreferrer">
                    {one.invoke_url}
                  </a>
                  <CopyButton text={one.invoke_url} label="Copy the URL" />
                </span>
              )}
            </span>
          ) : (
            "\u00a0"
          )
        }
        actions={
          <Button kind="danger" icon="trash" onClick={() => setAsking(true)} cannot={!one && "It is not read yet"}>
            Delete
          </Button>
        }
      />
      <Tabs label="Parts of the function" now={tab} tabs={TABS.map((each) => ({ id: each.id, label: each.label, href: to.function(name, each.id) }))} />
      <Show data={reading.data} error={reading.error} again={reading.again} lines={8}>
        {(found) => now?.show(found) ?? <Empty title="There is no such tab" icon="search" />}
      </Show>
      {asking && (
        <Confirm title={`Delete ${name}?`} verb="Delete the function" busy={drop.busy} error={drop.error} onClose={() => setAsking(false)} onDone={() => void drop.run()}>
          <p>Calls that run now are answered; new ones are not taken. Its records and logs stay until they are old; its code goes.</p>
        </Confirm>
      )}
    </>
  );
}
