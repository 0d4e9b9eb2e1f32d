// All functions: what they are, how they fare, and how to come to one.
import { useMemo, useState } from "preact/hooks";
import type { Overview } from "../api/metrics";
import { api } from "../api/paths";
import type { FunctionList, FunctionView, InstanceList } from "../api/schema";
import { useRead, useTick } from "../api/use";
import { ago, bytes, count, micros, percent } from "../lib/format";
import { isolationText } from "../lib/spec";
import { to } from "../router";
import { Badge, Card, Empty, PageHead, Show, Table } from "../ui/parts";

export function Functions() {
  const functions = useRead<FunctionList>(api.functions, 5000);
  const instances = useRead<InstanceList>(api.instances(), 2000).data;
  const overview = useRead<Overview>(`/api/v1/overview?window=1h`, 5000).data;
  const [text, setText] = useState("");
  const now = useTick(10_000);
  const shown = useMemo(
    () => functions.data?.functions.filter((one) => `${one.name} ${one.runtime} ${one.description}`.toLowerCase().includes(text.toLowerCase())),
    [functions.data, text],
  );
  const row = (one: FunctionView) => {
    const alive = instances?.instances.filter((instance) => instance.function === one.name) ?? [];
    const busy = alive.filter((instance) => instance.state === "busy").length;
    const figures = overview?.functions.find((each) => each.function === one.name)?.figures;
    return (
      <tr key={one.name}>
        <td>
          <a class="strong" href={to.function(one.name)}>
            {one.name}
          </a>
          {one.description && <span class="under">{one.description}</span>}
        </td>
        <td>
          <Badge>{one.image ? "image" : one.runtime}</Badge>
        </td>
        <td class="num">{one.memory}</td>
        <td>{isolationText(one.isolation)}</td>
        <td>
          {alive.length === 0 ? (
            <span class="faint">none</span>
          ) : (
            <span class="dots" title={`${alive.length} alive, ${busy} busy`}>
              <span class={busy > 0 ? "dot busy" : "dot idle"} /> {alive.length}
              {busy > 0 && <span class="hint"> {busy} busy</span>}
            </span>
          )}
        </td>
        {overview && (
          <>
            <td class="num">{figures ? count(figures.calls) : "–"}</td>
            <td class="num">{figures && figures.calls > 0 ? <span class={figures.errors > 0 ? "bad-text" : ""}>{percent(figures.errors, figures.calls)}</span> : "–"}</td>
            <td class="num">{micros(figures?.duration?.p50_us)}</td>
          </>
        )}
        <td class="num">{bytes(one.code.size)}</td>
        <td class="faint nowrap">{ago(one.modified, now)}</td>
      </tr>
    );
  };
  return (
    <>
      <PageHead
        title="Functions"
        sub="Everything that is deployed here."
        actions={
          <a class="button primary" href={to.create}>
            New function
          </a>
        }
      />
      <Card flush>
        <Show data={shown} error={functions.error} again={functions.again} lines={6}>
          {(list) =>
            functions.data?.functions.length === 0 ? (
              <Empty
                icon="functions"
                title="No functions yet"
                command="hearth init hello && hearth deploy hello"
                action={
                  <a class="button primary" href={to.create}>
                    Make the first one
                  </a>
                }
              >
                A function is a file of code that runs when it is called: by an event, over HTTP, or by the clock. Make one here, or in a terminal:
              </Empty>
            ) : (
              <>
                <div class="toolbar">
                  <input type="search" aria-label="Filter functions" placeholder="Filter… ( / )" value={text} onInput={(event) => setText(event.currentTarget.value)} />
                  <span class="hint">{list.length === functions.data?.functions.length ? `${list.length} in all` : `${list.length} of ${functions.data?.functions.length}`}</span>
                </div>
                <Table label="Functions" head={["Name", "Runtime", "Memory", "Isolation", "Instances", ...(overview ? ["Calls, 1 h", "Errors", "p50"] : []), "Code", "Changed"]}>
                  {list.map(row)}
                </Table>
                {list.length === 0 && <p class="hint none">No function fits “{text}”.</p>}
              </>
            )
          }
        </Show>
      </Card>
    </>
  );
}
