// Invocation records, as a table.
import { useEffect, useState } from "preact/hooks";
import { type Filter, type InvocationPage, invocations } from "../api/records";
import type { RecordView } from "../api/schema";
import { useTick } from "../api/use";
import { ago, micros, short } from "../lib/format";
import { to } from "../router";
import { Badge, Empty, ErrorBox, Skeleton, Table } from "./parts";

/** A failed call's message, which newer servers tell. */
export function errorOf(record: RecordView): string | undefined {
  const error = (record as { error?: unknown }).error;
  return typeof error === "string" && error !== "" ? error : undefined;
}

export function RecordTable({ records, withFunction }: { records: RecordView[]; withFunction?: boolean }) {
  const now = useTick(5000);
  return (
    <Table label="Invocations" head={["When", ...(withFunction ? ["Function"] : []), "Outcome", "Start", "Duration", "Waited", "Door", "Isolation", "Request"]}>
      {records.map((one) => {
        const error = errorOf(one);
        return (
          <tr key={one.request_id}>
            <td class="nowrap faint">
              <time dateTime={one.received} title={one.received}>
                {ago(one.received, now)}
              </time>
            </td>
            {withFunction && (
              <td>
                <a class="strong" href={to.function(one.function, "monitor")}>
                  {one.function}
                </a>
              </td>
            )}
            <td>
              {one.outcome.status === "ok" ? <Badge tone="good">ok</Badge> : <Badge tone="bad">{one.outcome.code ?? "fault"}</Badge>}
              {error && <span class="under clip">{error}</span>}
            </td>
            <td>{one.cold ? <Badge tone="cold">{one.stem ? "stem" : "cold"}</Badge> : <span class="faint">warm</span>}</td>
            <td class="num">{micros(one.handler_us)}</td>
            <td class="num">{micros(one.queued_us)}</td>
            <td>{one.door}</td>
            <td>{one.isolation ?? "–"}</td>
            <td>
              <a class="mono" href={to.invocation(one.request_id)}>
                {short(one.request_id)}
              </a>
            </td>
          </tr>
        );
      })}
    </Table>
  );
}

/** The newest, read again every few seconds. */
export function useInvocations(filter: Filter, limit: number, every = 3000): { page: InvocationPage | undefined; error: unknown } {
  const [page, setPage] = useState<InvocationPage | undefined>(undefined);
  const [error, setError] = useState<unknown>(undefined);
  const key = JSON.stringify(filter);
  useEffect(() => {
    let gone = false;
    const load = () => {
      if (document.hidden) return;
      invocations(filter, limit).then(
        (next) => {
          if (gone) return;
          setPage((before) => (JSON.stringify(before) === JSON.stringify(next) ? before : next));
          setError(undefined);
        },
        (failure: unknown) => !gone && setError(failure),
      );
    };
    load();
    const timer = every > 0 ? setInterval(load, every) : undefined;
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [key, limit, every]);
  return { page, error };
}

export function RecentInvocations({ name, limit }: { name?: string; limit: number }) {
  const { page, error } = useInvocations({ function: name }, limit);
  if (!page) return error === undefined ? <Skeleton lines={5} /> : <ErrorBox error={error} />;
  if (page.invocations.length === 0)
    return (
      <Empty icon="invocations" title="No invocations yet" command={`hearth invoke ${name ?? "NAME"} '{}'`}>
        Every call leaves a record: how long it took and where the time went.
      </Empty>
    );
  return <RecordTable records={page.invocations} withFunction={name === undefined} />;
}
