// Keys that let callers in at routes with `auth = "api-key"`.
import { useState } from "preact/hooks";
import { ask } from "../api/client";
import { api } from "../api/paths";
import type { ApiKeyList, ApiKeyMade, ApiKeyWrite, FunctionList } from "../api/schema";
import { refresh, useAction, useRead, useTick } from "../api/use";
import { ago } from "../lib/format";
import { listOf } from "../lib/spec";
import { to } from "../router";
import { Once } from "../ui/Once";
import { Button, Card, Confirm, Dialog, Empty, ErrorBox, Show, Table, TextField } from "../ui/parts";
import { toast } from "../ui/toast";

export function RouteKeys() {
  const reading = useRead<ApiKeyList>(api.keys, 5000);
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<ApiKeyMade | undefined>(undefined);
  const [removing, setRemoving] = useState<string | undefined>(undefined);
  const now = useTick(10_000);
  const remove = useAction(async (name: string) => {
    await ask(api.key(name), { method: "DELETE" });
    toast(`Key ${name} is removed`);
    setRemoving(undefined);
    await refresh(api.keys);
  });
  const list = reading.data?.keys ?? [];
  const add = (
    <Button icon="plus" onClick={() => setMaking(true)}>
      New key
    </Button>
  );
  return (
    <Card flush title="Keys of routes" hint="for callers of functions, in x-api-key" actions={list.length > 0 && add}>
      <Show data={reading.data} error={reading.error} again={reading.again}>
        {() =>
          list.length === 0 ? (
            <Empty icon="secrets" title="No keys yet" action={add} command="hearth key create doorbell --function bell">
              A route that asks for a key lets in who sends one. Keys of routes are worth nothing at the API.
            </Empty>
          ) : (
            <Table label="Keys of routes" head={["Name", "Valid for", "Made", ""]}>
              {list.map((one) => (
                <tr key={one.name}>
                  <td class="mono strong">{one.name}</td>
                  <td>
                    {one.functions.length + one.routes.length === 0 && "all routes that ask for one"}
                    {one.functions.map((name, at) => (
                      <span key={name}>
                        {at > 0 && ", "}
                        <a href={to.function(name, "triggers")}>{name}</a>
                      </span>
                    ))}
                    {one.routes.map((route) => (
                      <span key={route} class="under mono">
                        {route}
                      </span>
                    ))}
                  </td>
                  <td class="nowrap faint">{ago(one.created, now)}</td>
                  <td>
                    <span class="row-actions">
                      <Button small kind="quiet" icon="trash" label={`Remove key ${one.name}`} onClick={() => setRemoving(one.name)} />
                    </span>
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Show>
      {making && (
        <KeyDialog
          onClose={() => setMaking(false)}
          onMade={(one) => {
            setMaking(false);
            setMade(one);
          }}
        />
      )}
      {made && <Once title={`Key ${made.name} is made`} parts={[{ label: "Key", text: made.key, hint: "in the header x-api-key" }]} onClose={() => setMade(undefined)} />}
      {removing !== undefined && (
        <Confirm title={`Remove key ${removing}?`} verb="Remove" busy={remove.busy} error={remove.error} onClose={() => setRemoving(undefined)} onDone={() => void remove.run(removing)}>
          <p>Nobody is let in by it any more, from the next request on.</p>
        </Confirm>
      )}
    </Card>
  );
}

function KeyDialog({ onClose, onMade }: { onClose: () => void; onMade: (made: ApiKeyMade) => void }) {
  const [name, setName] = useState("");
  const [functions, setFunctions] = useState("");
  const [routes, setRoutes] = useState("");
  const known = useRead<FunctionList>(api.functions).data?.functions.map((one) => one.name) ?? [];
  const problem = /^[A-Za-z0-9._-]{1,128}$/.test(name) ? undefined : "Name: letters, digits, . - and _";
  const make = useAction(async () => {
    const write: ApiKeyWrite = { name, functions: listOf(functions), routes: listOf(routes) };
    const made = await ask<ApiKeyMade>(api.keys, { method: "POST", body: write });
    await refresh(api.keys);
    onMade(made);
  });
  return (
    <Dialog
      title="A new key"
      onClose={onClose}
      foot={
        <>
          <span class="hint">{name !== "" ? problem : undefined}</span>
          <span class="grow" />
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" busy={make.busy} cannot={problem} onClick={() => void make.run()}>
            Make it
          </Button>
        </>
      }
    >
      <ErrorBox error={make.error} />
      <div class="form-grid">
        <TextField label="Name" value={name} onInput={setName} placeholder="doorbell" mono autoFocus />
        <TextField label="Functions" value={functions} onInput={setFunctions} list={known} hint="whose routes it is for, with commas" mono />
        <TextField label="Routes" value={routes} onInput={setRoutes} placeholder="POST /ring" hint="with neither: all routes that ask for one" mono />
      </div>
    </Dialog>
  );
}
