// Instances, as a table and as small lights.
import type { InstanceRow } from "../api/schema";
import { useTick } from "../api/use";
import { ago, bytes, count } from "../lib/format";
import { to } from "../router";
import { Badge, Table, type Tone } from "./parts";

const TONES: Record<string, Tone> = { starting: "warn", idle: "good", busy: "ember", frozen: "cold" };

export function InstanceTable({ instances, withFunction }: { instances: InstanceRow[]; withFunction?: boolean }) {
  const now = useTick();
  return (
    <Table label="Instances" head={[...(withFunction ? ["Function"] : []), "Instance", "State", "Isolation", "Revision", "Calls", "Memory, peak", "Started"]}>
      {instances.map((one) => (
        <tr key={one.instance}>
          {withFunction && (
            <td>
              <a class="strong" href={to.function(one.function, "instances")}>
                {one.function}
              </a>
            </td>
          )}
          <td class="mono">{one.instance.slice(0, 12)}</td>
          <td>
            <Badge tone={TONES[one.state] ?? "calm"}>{one.state}</Badge>
          </td>
          <td>{one.isolation}</td>
          <td class="num">{one.revision}</td>
          <td class="num">{count(one.invocations)}</td>
          <td class="num">{bytes(one.memory_peak)}</td>
          <td class="faint nowrap">{ago(one.started, now)}</td>
        </tr>
      ))}
    </Table>
  );
}

/** A light for each instance, in the colour of its state. */
export function Lights({ instances }: { instances: InstanceRow[] }) {
  return (
    <ul class="lights" aria-label="Instances by function">
      {instances.map((one) => (
        <li key={one.instance} class={`light ${one.state}`} title={`${one.function}: ${one.state}, ${one.isolation}, ${one.instance.slice(0, 8)}`}>
          <a href={to.function(one.function, "instances")}>
            <span class="sr">{`${one.function}, ${one.state}`}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}
