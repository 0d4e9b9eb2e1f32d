// What was done to a function, by whom and when, and the way back from each.
import type { FunctionView, HistoryList, HistoryRow } from "../../api/schema";
import type { Reading } from "../../api/use";
import { ago, moment } from "../../lib/format";
import { settingText } from "../../lib/versions";
import { Badge, Button, Card, Empty, Show, Table, type Tone } from "../../ui/parts";
import type { Target } from "./RollBack";

const TONES: Record<string, Tone> = { deployed: "good", configured: "cold", "rolled-back": "warn", published: "ember", removed: "bad", "canary-begun": "ember", "canary-promoted": "good", "canary-rolled-back": "bad" };

/** What makes a revision; all else happens to one that is there. */
const MAKES = new Set(["deployed", "configured", "rolled-back"]);

/** Settings that are told in a row; more are counted. */
const TOLD = 3;

export function History(props: { one: FunctionView; reading: Reading<HistoryList>; now: number; onCompare: (revision: number) => void; onBack: (target: Target) => void }) {
  const { one, reading, now } = props;
  return (
    <Card flush title="History" hint="The last 100 revisions are kept, with their code.">
      <Show data={reading.data} error={reading.error} again={reading.again}>
        {(list) =>
          list.history.length === 0 ? (
            <Empty icon="schedules" title="Nothing was done yet" command={`hearth history ${one.name}`} />
          ) : (
            <Table label="History" head={["What", "Changes", "By", "When", ""]}>
              {list.history.map((row, at) => (
                <tr key={at}>
                  <td class="nowrap">
                    <Badge tone={TONES[row.what] ?? "calm"}>{row.what.replaceAll("-", " ")}</Badge>
                    <span class="under">revision {row.revision}</span>
                  </td>
                  <td class="wrap">
                    {row.text !== "" && <span>{row.text}</span>}
                    <Changes row={row} />
                  </td>
                  <td class="nowrap">{row.by}</td>
                  <td class="nowrap faint" title={moment(row.at)}>
                    {ago(row.at, now)}
                  </td>
                  <td>
                    {MAKES.has(row.what) && row.revision !== one.revision && (
                      <span class="row-actions">
                        <Button small label={`Compare revision ${row.revision} with now`} icon="compare" onClick={() => props.onCompare(row.revision)} />
                        <Button small icon="back" onClick={() => props.onBack({ write: { revision: row.revision }, revision: row.revision, label: `revision ${row.revision}` })}>
                          Roll back
                        </Button>
                      </span>
                    )}
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Show>
    </Card>
  );
}

function Changes({ row }: { row: HistoryRow }) {
  const settings = row.changes.filter((one) => one.key !== "code.sha256");
  const code = row.changes.some((one) => one.key === "code.sha256" && one.from !== undefined);
  return (
    <>
      {code && <span class="under">new code</span>}
      {settings.slice(0, TOLD).map((one) => (
        <span key={one.key} class="under">
          <code>{one.key}</code> {settingText(one.from)} → {settingText(one.to)}
        </span>
      ))}
      {settings.length > TOLD && <span class="under">and {settings.length - TOLD} more</span>}
    </>
  );
}
