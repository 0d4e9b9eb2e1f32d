// Schedules as a table, with what can be done with each.
import type { ComponentChildren } from "preact";
import { ask } from "../api/client";
import { api } from "../api/paths";
import type { EventMade, ScheduleView } from "../api/schema";
import { refresh, useAction, useTick } from "../api/use";
import { ago, moment, short } from "../lib/format";
import { to } from "../router";
import { Badge, Button, Table } from "./parts";
import { toast, toastError } from "./toast";

export function ScheduleTable({ schedules, withFunction, more }: { schedules: ScheduleView[]; withFunction?: boolean; more?: (one: ScheduleView) => ComponentChildren }) {
  return (
    <Table label="Schedules" head={[...(withFunction ? ["Function"] : []), "Schedule", "When", "Next runs", "Run so far", "Overlap", "Missed", ""]}>
      {schedules.map((one) => (
        <Row key={`${one.function}/${one.name}`} one={one} withFunction={withFunction ?? false} more={more?.(one)} />
      ))}
    </Table>
  );
}

function Row({ one, withFunction, more }: { one: ScheduleView; withFunction: boolean; more: ComponentChildren }) {
  const now = useTick();
  const act = useAction(async (verb: "pause" | "resume" | "run") => {
    try {
      const made = await ask<EventMade | undefined>(api.schedule(one.function, one.name, verb), { method: "POST" });
      toast(verb === "run" ? `Runs now: event ${short(made?.id ?? "")}` : verb === "pause" ? `${one.name} is paused` : `${one.name} goes on`);
      await refresh(api.schedules(), api.queue);
    } catch (error) {
      toastError(error);
    }
  });
  return (
    <tr>
      {withFunction && (
        <td>
          <a class="strong" href={to.function(one.function, "schedules")}>
            {one.function}
          </a>
        </td>
      )}
      <td>
        {one.name} {one.paused && <Badge tone="warn">paused</Badge>}
      </td>
      <td>
        <code>{one.cron}</code>
        <span class="under">{one.timezone}</span>
      </td>
      <td>
        {one.next.length === 0 ? (
          <span class="faint">{one.paused ? "none while paused" : "none any more"}</span>
        ) : (
          <span title={one.next.map((time) => moment(time)).join("\n")}>
            {ago(one.next[0] ?? "", now)}
            <span class="under">{one.next.slice(0, 2).map((time) => moment(time)).join(", then ")}</span>
          </span>
        )}
      </td>
      <td class="num">
        {one.enqueued}
        {one.skipped > 0 && <span class="under">{one.skipped} skipped</span>}
      </td>
      <td>{one.overlap}</td>
      <td>{one.missed}</td>
      <td>
        <span class="row-actions">
          <Button small icon="play" busy={act.busy} onClick={() => void act.run("run")}>
            Run now
          </Button>
          <Button small icon={one.paused ? "play" : "pause"} onClick={() => void act.run(one.paused ? "resume" : "pause")}>
            {one.paused ? "Resume" : "Pause"}
          </Button>
          {more}
        </span>
      </td>
    </tr>
  );
}
