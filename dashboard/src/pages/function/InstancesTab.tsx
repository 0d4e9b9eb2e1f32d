// A function's instances that live now.
import { api } from "../../api/paths";
import type { FunctionView, InstanceList } from "../../api/schema";
import { useRead } from "../../api/use";
import { Card, Empty, Show } from "../../ui/parts";
import { InstanceTable } from "../../ui/Instances";

export function InstancesTab({ one }: { one: FunctionView }) {
  const reading = useRead<InstanceList>(api.instances(one.name), 1000);
  return (
    <Card flush title="Instances" hint="Each answers one call at a time, unless its concurrency says more.">
      <Show data={reading.data} error={reading.error} again={reading.again}>
        {(list) =>
          list.instances.length === 0 ? (
            <Empty icon="bolt" title="None lives now" command={`hearth ps`}>
              The next call starts one. <code>scale.min</code> keeps some ready at all times.
            </Empty>
          ) : (
            <InstanceTable instances={list.instances} />
          )
        }
      </Show>
    </Card>
  );
}
