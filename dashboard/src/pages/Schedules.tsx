// Every schedule of every function.
import { api } from "../api/paths";
import type { ScheduleList } from "../api/schema";
import { useRead } from "../api/use";
import { to } from "../router";
import { Card, Empty, PageHead, Show } from "../ui/parts";
import { ScheduleTable } from "../ui/ScheduleTable";

export function Schedules() {
  const reading = useRead<ScheduleList>(api.schedules(), 2000);
  return (
    <>
      <PageHead title="Schedules" sub="When functions are called by the clock. A tick becomes an event exactly once." />
      <Card flush>
        <Show data={reading.data} error={reading.error} again={reading.again}>
          {(list) =>
            list.schedules.length === 0 ? (
              <Empty
                icon="schedules"
                title="No schedules yet"
                command="hearth schedule list"
                action={
                  <a class="button primary" href={to.functions}>
                    Choose a function
                  </a>
                }
              >
                A function's Schedules tab adds one; in its hearth.toml, it is a [[schedule]] with a cron line.
              </Empty>
            ) : (
              <ScheduleTable schedules={list.schedules} withFunction />
            )
          }
        </Show>
      </Card>
    </>
  );
}
