// How one function fares: charts over time, and its newest invocations.
import type { FunctionView } from "../../api/schema";
import { useKept } from "../../api/use";
import { to } from "../../router";
import { Charts, SPANS } from "../../ui/Charts";
import { Kinds } from "../../ui/Kinds";
import { Card, SelectField } from "../../ui/parts";
import { RecentInvocations } from "../../ui/Records";

export function MonitorTab({ one }: { one: FunctionView }) {
  const [span, setSpan] = useKept("span", "1h");
  return (
    <>
      <div class="toolbar bare">
        <SelectField label="Time" value={span} onChange={setSpan} options={SPANS.map((each) => ({ value: each.id, label: each.label }))} />
      </div>
      <Charts name={one.name} span={span} />
      <Kinds name={one.name} span={span} />
      <Card flush title="Newest invocations" actions={<a class="button small" href={to.invocations({ function: one.name })}>All, with filters</a>}>
        <RecentInvocations name={one.name} limit={25} />
      </Card>
    </>
  );
}
