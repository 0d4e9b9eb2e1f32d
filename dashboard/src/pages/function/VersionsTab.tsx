// What a function was and is: its versions, the aliases that lead to them, a canary that runs, and what was done.
import { useState } from "preact/hooks";
import { publish, removeVersion } from "../../api/actions";
import { api } from "../../api/paths";
import type { AliasList, FunctionView, HistoryList, VersionList, VersionView } from "../../api/schema";
import { useAction, useRead, useTick } from "../../api/use";
import { ago, bytes, moment } from "../../lib/format";
import { choicesOf } from "../../lib/versions";
import { DiffDialog } from "../../ui/Diff";
import { Badge, Button, Card, Confirm, Dialog, Empty, ErrorBox, Show, Table, TextField } from "../../ui/parts";
import { toast } from "../../ui/toast";
import { Aliases } from "./Aliases";
import { CanaryCard } from "./Canary";
import { History } from "./History";
import { type Target, RollBackDialog } from "./RollBack";

export function VersionsTab({ one }: { one: FunctionView }) {
  const versions = useRead<VersionList>(api.versions(one.name), 5000);
  const aliases = useRead<AliasList>(api.aliases(one.name), 5000);
  const history = useRead<HistoryList>(api.history(one.name), 5000);
  const [publishing, setPublishing] = useState(false);
  const [comparing, setComparing] = useState<[number, number] | undefined>(undefined);
  const [back, setBack] = useState<Target | undefined>(undefined);
  const [removing, setRemoving] = useState<VersionView | undefined>(undefined);
  const now = useTick(10_000);
  const remove = useAction(async (version: number) => {
    await removeVersion(one.name, version);
    toast(`Version ${version} is removed`);
    setRemoving(undefined);
  });
  const list = [...(versions.data?.versions ?? [])].reverse();
  const rows = history.data?.history ?? [];
  const choices = choicesOf(one, list, rows.map((row) => row.revision));
  const before = choices.find((each) => each.revision < one.revision)?.revision;
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setPublishing(true)}>
      Publish a version
    </Button>
  );
  return (
    <>
      <CanaryCard one={one} versions={list} />
      <Card
        flush
        title="Versions"
        hint="Code and configuration as they were, for good."
        actions={
          <>
            <Button icon="compare" cannot={before === undefined && "There is one revision only"} onClick={() => before !== undefined && setComparing([before, one.revision])}>
              Compare
            </Button>
            {list.length > 0 && add}
          </>
        }
      >
        <Show data={versions.data} error={versions.error} again={versions.again}>
          {() =>
            list.length === 0 ? (
              <Empty icon="versions" title="No versions yet" action={add} command={`hearth publish ${one.name}`}>
                A version keeps code and configuration as they are now. It can be called by its number, aliases lead to it, and there is always a way back to it.
              </Empty>
            ) : (
              <Table label="Versions" head={["Version", "Aliases", "Runtime", "Memory", "Code", "Published", ""]}>
                {list.map((each) => (
                  <tr key={each.version}>
                    <td>
                      <span class="strong">{each.version}</span>
                      {each.revision === one.revision && (
                        <>
                          {" "}
                          <Badge tone="good">now</Badge>
                        </>
                      )}
                      <span class="under">{each.description || `revision ${each.revision}`}</span>
                    </td>
                    <td>
                      <span class="chips">{each.aliases.length > 0 ? each.aliases.map((name) => <Badge key={name} tone="ember">{name}</Badge>) : <span class="faint">–</span>}</span>
                    </td>
                    <td class="nowrap">
                      {each.runtime}
                      <span class="under mono">{each.handler}</span>
                    </td>
                    <td class="nowrap">
                      {each.memory}
                      <span class="under">{each.timeout}</span>
                    </td>
                    <td class="nowrap">
                      <span class="mono" title={each.code.sha256}>
                        {each.code.sha256.slice(0, 8)}
                      </span>
                      <span class="under">{bytes(each.code.size)}</span>
                    </td>
                    <td class="nowrap faint" title={moment(each.published)}>
                      {ago(each.published, now)}
                    </td>
                    <td>
                      <span class="row-actions">
                        <Button small cannot={each.revision === one.revision && "It is what the function is now"} onClick={() => setComparing([each.revision, one.revision])}>
                          Compare
                        </Button>
                        <Button small icon="back" cannot={each.revision === one.revision && "It is what the function is now"} onClick={() => setBack({ write: { version: each.version }, revision: each.revision, label: `version ${each.version}` })}>
                          Roll back
                        </Button>
                        <Button small kind="quiet" icon="trash" label={`Remove version ${each.version}`} cannot={each.aliases.length > 0 && `Alias ${each.aliases[0]} leads to it`} onClick={() => setRemoving(each)} />
                      </span>
                    </td>
                  </tr>
                ))}
              </Table>
            )
          }
        </Show>
      </Card>
      <Aliases one={one} reading={aliases} versions={list} />
      <History one={one} reading={history} now={now} onCompare={(revision) => setComparing([revision, one.revision])} onBack={setBack} />
      {publishing && <PublishDialog one={one} onClose={() => setPublishing(false)} />}
      {comparing && <DiffDialog name={one.name} choices={choices} first={comparing[0]} second={comparing[1]} onClose={() => setComparing(undefined)} />}
      {back && <RollBackDialog one={one} target={back} onClose={() => setBack(undefined)} />}
      {removing && (
        <Confirm title={`Remove version ${removing.version}?`} verb="Remove" busy={remove.busy} error={remove.error} onClose={() => setRemoving(undefined)} onDone={() => void remove.run(removing.version)}>
          <p>Calls of it that run are answered; calls that name its number find nothing from then on. The number is not given again.</p>
        </Confirm>
      )}
    </>
  );
}

function PublishDialog({ one, onClose }: { one: FunctionView; onClose: () => void }) {
  const [description, setDescription] = useState("");
  const save = useAction(async () => {
    const made = await publish(one.name, { revision: one.revision, ...(description.trim() === "" ? {} : { description: description.trim() }) });
    toast(made.created === false ? `Nothing changed since version ${made.version}` : `Version ${made.version} is published`);
    onClose();
  });
  return (
    <Dialog
      title={`Publish revision ${one.revision}`}
      onClose={onClose}
      foot={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" busy={save.busy} onClick={() => void save.run()}>
            Publish
          </Button>
        </>
      }
    >
      <ErrorBox error={save.error} />
      <TextField label="Description" value={description} onInput={setDescription} placeholder="before the new codec" hint="for people; the function's own unless said" autoFocus />
    </Dialog>
  );
}
