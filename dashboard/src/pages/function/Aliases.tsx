// Aliases: names that lead to a version, or share the calls between two.
import { useState } from "preact/hooks";
import { removeAlias, setAlias } from "../../api/actions";
import type { AliasList, AliasView, FunctionView, VersionView } from "../../api/schema";
import { type Reading, useAction, useTick } from "../../api/use";
import { ago } from "../../lib/format";
import { type AliasForm, aliasProblem, aliasWrite, LATEST, leadsTo, shareText } from "../../lib/versions";
import { Button, Card, Confirm, Dialog, Empty, ErrorBox, Meter, SelectField, Show, Table, TextField } from "../../ui/parts";
import { toast } from "../../ui/toast";

export function Aliases({ one, reading, versions }: { one: FunctionView; reading: Reading<AliasList>; versions: VersionView[] }) {
  const [editing, setEditing] = useState<AliasView | "new" | undefined>(undefined);
  const [removing, setRemoving] = useState<string | undefined>(undefined);
  const now = useTick(10_000);
  const remove = useAction(async (name: string) => {
    await removeAlias(one.name, name);
    toast(`Alias ${name} is removed`);
    setRemoving(undefined);
  });
  const list = reading.data?.aliases ?? [];
  const add = (
    <Button kind={versions.length > 0 ? "primary" : "plain"} icon="plus" onClick={() => setEditing("new")}>
      Add an alias
    </Button>
  );
  return (
    <Card flush title="Aliases" hint="Names that lead to a version." actions={list.length > 0 && add}>
      <Show data={reading.data} error={reading.error} again={reading.again}>
        {() =>
          list.length === 0 ? (
            <Empty icon="arrow" title="No aliases yet" action={add} command={`hearth alias set ${one.name} live ${versions[0]?.version ?? 1}`}>
              Callers name the alias, as {one.name}:live, and need not know which version it leads to. It can give a second one a share of the calls.
            </Empty>
          ) : (
            <Table label="Aliases" head={["Alias", "Leads to", "Called as", "Changed", ""]}>
              {list.map((each) => (
                <tr key={each.name}>
                  <td>
                    <span class="strong">{each.name}</span>
                    {each.description && <span class="under">{each.description}</span>}
                  </td>
                  <td>
                    <span class="shares">
                      {leadsTo(each.version, each.weights).map((to, at) => (
                        <span key={to.version}>
                          <span class="nowrap">
                            {to.version === LATEST ? LATEST : `version ${to.version}`}
                            {Object.keys(each.weights).length > 0 && ` · ${shareText(to.share)}`}
                          </span>
                          {Object.keys(each.weights).length > 0 && <Meter value={to.share} max={1} label={`Share of version ${to.version}`} tone={at === 0 ? "ember" : "cold"} />}
                        </span>
                      ))}
                    </span>
                  </td>
                  <td class="mono nowrap">
                    {one.name}:{each.name}
                  </td>
                  <td class="nowrap faint">{ago(each.modified, now)}</td>
                  <td>
                    <span class="row-actions">
                      <Button small onClick={() => setEditing(each)}>
                        Change
                      </Button>
                      <Button small kind="quiet" icon="trash" label={`Remove alias ${each.name}`} onClick={() => setRemoving(each.name)} />
                    </span>
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Show>
      {editing !== undefined && <AliasDialog one={one} alias={editing === "new" ? undefined : editing} others={list.map((each) => each.name)} versions={versions} onClose={() => setEditing(undefined)} />}
      {removing !== undefined && (
        <Confirm title={`Remove alias ${removing}?`} verb="Remove" busy={remove.busy} error={remove.error} onClose={() => setRemoving(undefined)} onDone={() => void remove.run(removing)}>
          <p>Calls that name it find nothing from then on, and events that wait for it fail. The versions stay.</p>
        </Confirm>
      )}
    </Card>
  );
}

function AliasDialog({ one, alias, others, versions, onClose }: { one: FunctionView; alias: AliasView | undefined; others: string[]; versions: VersionView[]; onClose: () => void }) {
  const [second] = Object.entries(alias?.weights ?? {});
  const [form, set] = useState<AliasForm>({
    name: alias?.name ?? "",
    version: alias?.version ?? (versions[0] ? String(versions[0].version) : LATEST),
    second: second?.[0] ?? "",
    share: second ? shareText(second[1]) : "10 %",
    description: alias?.description ?? "",
  });
  const put = (key: keyof AliasForm) => (value: string) => set((before) => ({ ...before, [key]: value }));
  const problem = aliasProblem(form, alias ? [] : others);
  const save = useAction(async () => {
    await setAlias(one.name, form.name, aliasWrite(form), alias?.revision);
    toast(`Alias ${form.name} leads to ${form.version === LATEST ? LATEST : `version ${form.version}`}`);
    onClose();
  });
  const numbers = versions.map((each) => ({ value: String(each.version), label: `version ${each.version}${each.description ? `, ${each.description}` : ""}` }));
  return (
    <Dialog
      title={alias ? `Change ${alias.name}` : "A new alias"}
      onClose={onClose}
      foot={
        <>
          <span class="hint">{form.name !== "" ? problem : undefined}</span>
          <span class="grow" />
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" busy={save.busy} cannot={problem} onClick={() => void save.run()}>
            {alias ? "Save" : "Add"}
          </Button>
        </>
      }
    >
      <ErrorBox error={save.error} />
      <div class="form-grid">
        {!alias && <TextField label="Name" value={form.name} onInput={put("name")} placeholder="live" mono autoFocus />}
        <SelectField label="Leads to" value={form.version} onChange={put("version")} options={[...numbers, { value: LATEST, label: `${LATEST}, what is deployed` }]} />
        <SelectField label="Second version" value={form.second} onChange={put("second")} options={[{ value: "", label: "none" }, ...numbers.filter((each) => each.value !== form.version)]} hint="gets a share of the calls" />
        {form.second !== "" && <TextField label="Its share" value={form.share} onInput={put("share")} hint="percent, spread evenly" />}
        <TextField label="Description" value={form.description} onInput={put("description")} hint="for people" />
      </div>
      <p class="hint">The switch drops nothing: calls that run are answered by the version that they came to.</p>
    </Dialog>
  );
}
