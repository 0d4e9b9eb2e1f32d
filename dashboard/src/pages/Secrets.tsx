// Secrets: written here, read by functions only. No value ever comes back.
import { useState } from "preact/hooks";
import { ask } from "../api/client";
import { api } from "../api/paths";
import type { KeyRotationView, SecretList } from "../api/schema";
import { refresh, useAction, useRead, useTick } from "../api/use";
import { ago } from "../lib/format";
import { to } from "../router";
import { Button, Card, Confirm, Dialog, Empty, ErrorBox, Field, PageHead, Show, Table, TextField } from "../ui/parts";
import { toast } from "../ui/toast";

export function Secrets() {
  const reading = useRead<SecretList>(api.secrets, 5000);
  const [editing, setEditing] = useState<string | undefined>(undefined);
  const [removing, setRemoving] = useState<{ name: string; used: number } | undefined>(undefined);
  const now = useTick(10_000);
  const remove = useAction(async (name: string, force: boolean) => {
    await ask(api.secret(name, force), { method: "DELETE" });
    toast(`${name} is removed`);
    setRemoving(undefined);
    await refresh(api.secrets);
  });
  const rotate = useAction(async () => {
    const done = await ask<KeyRotationView>(api.secretsKey, { method: "POST" });
    toast(`${done.secrets} secrets are sealed with a new key`);
  });
  const list = reading.data?.secrets ?? [];
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setEditing("")}>
      New secret
    </Button>
  );
  return (
    <>
      <PageHead
        title="Secrets"
        sub="Sealed on disk, filled in where functions run, and never shown again."
        actions={
          <>
            {list.length > 0 && (
              <Button icon="refresh" busy={rotate.busy} onClick={() => void rotate.run()}>
                Rotate the key
              </Button>
            )}
            {list.length > 0 && add}
          </>
        }
      />
      <ErrorBox error={rotate.error} />
      <Card flush>
        <Show data={reading.data} error={reading.error} again={reading.again}>
          {() =>
            list.length === 0 ? (
              <Empty icon="secrets" title="No secrets yet" action={add} command="hearth secret set photo-api-key">
                What a function must know and nobody may read: as a variable or a file of its sandbox.
              </Empty>
            ) : (
              <Table label="Secrets" head={["Name", "Used by", "Changed", "Made", ""]}>
                {list.map((one) => (
                  <tr key={one.name}>
                    <td class="mono strong">{one.name}</td>
                    <td>
                      {one.functions.length === 0
                        ? <span class="faint">nobody</span>
                        : one.functions.map((name, at) => (
                            <span key={name}>
                              {at > 0 && ", "}
                              <a href={to.function(name, "configuration")}>{name}</a>
                            </span>
                          ))}
                    </td>
                    <td class="faint">{ago(one.modified, now)}</td>
                    <td class="faint">{ago(one.created, now)}</td>
                    <td>
                      <span class="row-actions">
                        <Button small onClick={() => setEditing(one.name)}>
                          New value
                        </Button>
                        <Button small kind="quiet" icon="trash" label={`Remove ${one.name}`} onClick={() => setRemoving({ name: one.name, used: one.functions.length })} />
                      </span>
                    </td>
                  </tr>
                ))}
              </Table>
            )
          }
        </Show>
      </Card>
      {editing !== undefined && <SecretDialog name={editing} onClose={() => setEditing(undefined)} />}
      {removing && (
        <Confirm title={`Remove ${removing.name}?`} verb="Remove" busy={remove.busy} error={remove.error} onClose={() => setRemoving(undefined)} onDone={() => void remove.run(removing.name, removing.used > 0)}>
          <p>{removing.used > 0 ? "Functions use it: their calls will fail until they are changed." : "Nobody uses it."}</p>
        </Confirm>
      )}
    </>
  );
}

function SecretDialog({ name: given, onClose }: { name: string; onClose: () => void }) {
  const [name, setName] = useState(given);
  const [value, setValue] = useState("");
  const save = useAction(async () => {
    await ask(api.secret(name.trim()), { method: "PUT", raw: new TextEncoder().encode(value), headers: { "content-type": "application/octet-stream" } });
    toast(`${name} is kept`);
    onClose();
    await refresh(api.secrets);
  });
  return (
    <Dialog
      title={given === "" ? "A new secret" : `A new value for ${given}`}
      onClose={onClose}
      foot={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" busy={save.busy} cannot={name.trim() === "" ? "A name is needed" : value === "" && "A value is needed"} onClick={() => void save.run()}>
            Keep it
          </Button>
        </>
      }
    >
      <ErrorBox error={save.error} />
      {given === "" && <TextField label="Name" value={name} onInput={setName} placeholder="photo-api-key" mono autoFocus />}
      <Field label="Value" hint="Taken as it is, line ends too. It is not shown again, here or anywhere.">
        {(id, described) => <textarea id={id} aria-describedby={described} class="mono" rows={4} spellcheck={false} autocomplete="off" value={value} onInput={(event) => setValue(event.currentTarget.value)} />}
      </Field>
    </Dialog>
  );
}
