// How calls of one function differ by what they ran as: a row for each version, alias or isolation.
import type { Metrics } from "../api/metrics";
import { api } from "../api/paths";
import { useKept, useRead } from "../api/use";
import { billed, count, micros, money, percent } from "../lib/format";
import { Card, Empty, Show, Table } from "./parts";

const BY = [
  { value: "version", label: "version" },
  { value: "alias", label: "alias and version" },
  { value: "revision", label: "revision" },
  { value: "isolation", label: "isolation" },
  { value: "trigger", label: "trigger" },
];

export function Kinds({ name, span }: { name: string; span: string }) {
  const [by, setBy] = useKept("kinds", "version");
  const reading = useRead<Metrics>(api.metrics({ function: name, from: span, by }), 5000);
  const price = reading.data?.price;
  const first = BY.find((one) => one.value === by)?.label ?? by;
  const head = [first, "Calls", "Failed", "Cold", "p50", "p99", "GB-s", ...(price ? [`Cost, ${price.currency}`] : [])];
  return (
    <Card flush title="Told apart" hint={price ? `what ${price.name} would ask` : "`hearth prices` sets what calls would cost"}>
      <div class="toolbar">
        <select aria-label="By" value={by} onChange={(event) => setBy(event.currentTarget.value)}>
          {BY.map((one) => (
            <option key={one.value} value={one.value}>
              by {one.label}
            </option>
          ))}
        </select>
      </div>
      <Show data={reading.data} error={reading.error} again={reading.again} lines={3}>
        {(metrics) =>
          metrics.series.length === 0 ? (
            <Empty icon="live" title="Nothing was called in this time" />
          ) : (
            <Table label="Calls told apart" head={head}>
              {metrics.series.map(({ key, total }) => (
                <tr key={key}>
                  <td class="mono">{key === "" ? "–" : key}</td>
                  <td>{count(total.calls)}</td>
                  <td>{percent(total.errors, total.calls)}</td>
                  <td>{count(total.cold)}</td>
                  <td>{micros(total.duration?.p50_us)}</td>
                  <td>{micros(total.duration?.p99_us)}</td>
                  <td>{billed(total.gb_seconds)}</td>
                  {price && <td>{money(total.cost)}</td>}
                </tr>
              ))}
            </Table>
          )
        }
      </Show>
    </Card>
  );
}
