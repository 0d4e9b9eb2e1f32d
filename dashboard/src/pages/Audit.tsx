// What was done over the API, by whom and from where: the newest records of the audit log, and older ones on demand.
import { useState } from "preact/hooks";
import { ask, isAbsent } from "../api/client";
import { api } from "../api/paths";
import type { AuditList, AuditRecord } from "../api/tokens";
import { useAction, useRead } from "../api/use";
import { ago, moment } from "../lib/format";
import { Badge, Button, Card, Empty, ErrorBox, Show, Table } from "../ui/parts";

const PAGE = 50;

export function Audit({ now }: { now: number }) {
  const newest = useRead<AuditList>(api.audit({ limit: PAGE }), 5000);
  const [older, setOlder] = useState<AuditRecord[]>([]);
  const [end, setEnd] = useState(false);
  const first = newest.data?.records ?? [];
  const known = new Set(first.map((one) => one.seq));
  const all = [...first, ...older.filter((one) => !known.has(one.seq))];
  const more = useAction(async () => {
    const page = await ask<AuditList>(api.audit({ limit: PAGE, before: all.at(-1)?.seq }));
    // The newest too: they move out of the first page as others come.
    setOlder([...all, ...page.records]);
    setEnd(page.records.length < PAGE);
  });
  // A server without tokens has no such log; the card above says so.
  if (isAbsent(newest.error)) return null;
  return (
    <Card flush title="Audit log" hint="Every change and every login, chained by hashes: hearth audit verify">
      <Show data={newest.data} error={newest.error} again={newest.again}>
        {() =>
          all.length === 0 ? (
            <Empty icon="invocations" title="Nothing was done yet" command="hearth audit" />
          ) : (
            <Table label="Audit log" head={["When", "Who", "From", "What", "Of", "Result"]}>
              {all.map((one) => (
                <tr key={one.seq}>
                  <td class="nowrap faint" title={moment(one.at)}>
                    {ago(one.at, now)}
                    <span class="under">{one.seq}</span>
                  </td>
                  <td>{one.by ?? <span class="faint">nobody</span>}</td>
                  <td class="mono nowrap">{one.ip ?? <span class="faint">–</span>}</td>
                  <td class="mono">{one.action}</td>
                  <td class="mono wrap">{one.object ?? ""}</td>
                  <td class="nowrap">
                    <Badge tone={one.status < 400 ? "good" : "bad"}>{one.status}</Badge>
                    {one.code && <span class="under">{one.code}</span>}
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Show>
      <ErrorBox error={more.error} />
      {all.length >= PAGE && !end && (
        <p class="panel-foot">
          <Button small busy={more.busy} onClick={() => void more.run()}>
            Older
          </Button>
        </p>
      )}
    </Card>
  );
}
