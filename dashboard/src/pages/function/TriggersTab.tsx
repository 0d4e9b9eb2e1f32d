// What calls a function: its URL and routes, and the sources of its events.
import { api } from "../../api/paths";
import type { FunctionView, ScheduleList } from "../../api/schema";
import { useRead } from "../../api/use";
import { plural } from "../../lib/format";
import { to } from "../../router";
import { Card } from "../../ui/parts";
import { Routes } from "./Routes";
import { Sources } from "./Sources";

export function TriggersTab({ one }: { one: FunctionView }) {
  const schedules = useRead<ScheduleList>(api.schedules(one.name), 10_000).data?.schedules.length;
  return (
    <>
      <Routes one={one} />
      <Sources one={one} />
      <Card title="And besides">
        <p class="hint">
          {schedules === undefined ? "Schedules" : schedules === 0 ? "No schedule" : plural(schedules, "schedule")} on its <a href={to.function(one.name, "schedules")}>own tab</a>; AWS's Invoke, boto3 and curl under{" "}
          <a href={to.function(one.name, "call")}>Call it</a>.
        </p>
      </Card>
    </>
  );
}
