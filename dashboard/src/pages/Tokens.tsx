// Who may do what: tokens of the API with their scopes, and keys of routes. A secret is shown once, where it is made.
import { useState } from "preact/hooks";
import { isAbsent } from "../api/client";
import { api } from "../api/paths";
import type { FunctionList } from "../api/schema";
import { makeToken, revokeToken, type TokenList, type TokenMade, type TokenView } from "../api/tokens";
import { useAction, useRead, useTick } from "../api/use";
import { ago, moment } from "../lib/format";
import { isNamed, KINDS, type ScopeRow, scopeOf, type TokenForm, tokenProblem } from "../lib/scopes";
import { Once } from "../ui/Once";
import { Badge, Button, Card, Check, Confirm, Dialog, Empty, ErrorBox, PageHead, Show, Table, TextField } from "../ui/parts";
import { toast } from "../ui/toast";
import { Audit } from "./Audit";
import { RouteKeys } from "./RouteKeys";

export function Tokens() {
  const reading = useRead<TokenList>(api.tokens, 5000);
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<TokenMade | undefined>(undefined);
  const [revoking, setRevoking] = useState<TokenView | undefined>(undefined);
  const now = useTick(5000);
  const revoke = useAction(async (one: TokenView) => {
    await revokeToken(one.id);
    toast(`${one.name} is revoked`);
    setRevoking(undefined);
  });
  const absent = isAbsent(reading.error);
  const list = reading.data?.tokens ?? [];
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setMaking(true)}>
      New token
    </Button>
  );
  return (
    <>
      <PageHead title="Tokens" sub="Who may use the API, and what with. Only hashes are kept." actions={list.length > 0 && add} />
      <Card flush title="API tokens" hint="for hearth, curl, AWS's tools and this page">
        {absent ? (
          <p class="notice">This server has the one token of its admin.token file: its version has none at /api/v1/tokens.</p>
        ) : (
          <Show data={reading.data} error={reading.error} again={reading.again}>
            {() =>
              list.length === 0 ? (
                <Empty icon="tokens" title="No tokens yet" action={add} command="hearth token create ci --scope 'deploy:web-*' --expires 30d">
                  A token of its own for each program: with what it needs, for as long as it needs it, and revoked alone.
                </Empty>
              ) : (
                <Table label="API tokens" head={["Name", "May", "Expires", "Last used", "Made", ""]}>
                  {list.map((one) => (
                    <tr key={one.id}>
                      <td>
                        <span class="strong">{one.name}</span> {one.own && <Badge>admin.token</Badge>}
                        <span class="under mono">{one.id}</span>
                        {one.access_key_id && <span class="under mono">{one.access_key_id}</span>}
                      </td>
                      <td>
                        <span class="chips scopes">
                          {one.scopes.map((scope) => (
                            <Badge key={scope} tone={scope === "admin" ? "warn" : "cold"}>
                              {scope}
                            </Badge>
                          ))}
                        </span>
                      </td>
                      <td class="nowrap">
                        <Expiry time={one.expires} now={now} />
                      </td>
                      <td class="nowrap faint">{one.last_used ? ago(one.last_used, now) : "never"}</td>
                      <td class="nowrap faint" title={moment(one.created)}>
                        {ago(one.created, now)}
                      </td>
                      <td>
                        <span class="row-actions">
                          <Button small kind="danger" icon="trash" cannot={one.own && "It is the installation's own: a new admin.token file replaces it"} onClick={() => setRevoking(one)}>
                            Revoke
                          </Button>
                        </span>
                      </td>
                    </tr>
                  ))}
                </Table>
              )
            }
          </Show>
        )}
      </Card>
      <RouteKeys />
      <Audit now={now} />
      {making && (
        <TokenDialog
          others={list.map((one) => one.name)}
          onClose={() => setMaking(false)}
          onMade={(one) => {
            setMaking(false);
            setMade(one);
          }}
        />
      )}
      {made && (
        <Once
          title={`Token ${made.token.name} is made`}
          parts={[
            { label: "Token", text: made.secret, hint: "as HEARTH_TOKEN, or in Authorization: Bearer …" },
            ...(made.aws
              ? [
                  { label: "AWS access key id", text: made.aws.access_key_id, hint: "as AWS_ACCESS_KEY_ID" },
                  { label: "AWS secret access key", text: made.aws.secret_access_key, hint: "as AWS_SECRET_ACCESS_KEY" },
                ]
              : []),
          ]}
          onClose={() => setMade(undefined)}
        />
      )}
      {revoking && (
        <Confirm title={`Revoke ${revoking.name}?`} verb="Revoke" busy={revoke.busy} error={revoke.error} onClose={() => setRevoking(undefined)} onDone={() => void revoke.run(revoking)}>
          <p>Within a second nobody is let in by it{revoking.access_key_id ? ", nor by its AWS access key" : ""}. Browsers that logged in with it are logged out.</p>
        </Confirm>
      )}
    </>
  );
}

function Expiry({ time, now }: { time: string | null; now: number }) {
  if (time === null) return <span class="faint">never</span>;
  if (Date.parse(time) <= now) return <Badge tone="bad">expired</Badge>;
  return (
    <>
      {ago(time, now)}
      <span class="under">{moment(time)}</span>
    </>
  );
}

function TokenDialog({ others, onClose, onMade }: { others: string[]; onClose: () => void; onMade: (made: TokenMade) => void }) {
  const [form, set] = useState<TokenForm>({ name: "", rows: [{ kind: "invoke", name: "*" }], expires: "30d", aws: false });
  const functions = useRead<FunctionList>(api.functions).data?.functions.map((one) => one.name) ?? [];
  const problem = tokenProblem(form, others);
  const put = (change: Partial<TokenForm>) => set((before) => ({ ...before, ...change }));
  const row = (at: number, change: Partial<ScopeRow>) => put({ rows: form.rows.map((one, index) => (index === at ? { ...one, ...change } : one)) });
  const make = useAction(async () => {
    const expires = form.expires.trim();
    onMade(await makeToken({ name: form.name, scopes: form.rows.map(scopeOf), ...(expires === "" ? {} : { expires_in: expires }), ...(form.aws ? { aws: true } : {}) }));
  });
  return (
    <Dialog
      title="A new token"
      onClose={onClose}
      foot={
        <>
          <span class="hint">{form.name !== "" ? problem : undefined}</span>
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
        <TextField label="Name" value={form.name} onInput={(name) => put({ name })} placeholder="ci" mono autoFocus />
        <TextField label="Expires after" value={form.expires} onInput={(expires) => put({ expires })} list={["1h", "1d", "30d", "90d", "365d"]} hint="empty: never" />
      </div>
      <div class="rows" role="group" aria-label="Scopes">
        <h3>It may</h3>
        {form.rows.map((one, at) => (
          <div class="row" key={at}>
            <select aria-label={`Scope ${at + 1}`} value={one.kind} onChange={(event) => row(at, { kind: event.currentTarget.value })}>
              {KINDS.map((kind) => (
                <option key={kind.id} value={kind.id}>
                  {kind.id}: {kind.label}
                </option>
              ))}
            </select>
            {isNamed(one.kind) && <input aria-label={`Function of scope ${at + 1}`} class="mono" value={one.name} spellcheck={false} list="token-functions" placeholder="web-*" onInput={(event) => row(at, { name: event.currentTarget.value })} />}
            <Button small kind="quiet" icon="trash" label={`Remove scope ${at + 1}`} cannot={form.rows.length < 2 && "One has to be there"} onClick={() => put({ rows: form.rows.filter((_, index) => index !== at) })} />
          </div>
        ))}
        <datalist id="token-functions">
          {functions.map((name) => (
            <option key={name} value={name} />
          ))}
        </datalist>
        <Button small icon="plus" onClick={() => put({ rows: [...form.rows, { kind: "logs", name: "*" }] })}>
          Add a scope
        </Button>
      </div>
      <Check label="With an AWS access key" checked={form.aws} onChange={(aws) => put({ aws })} hint="for aws, boto3 and SAM, with the same scopes" />
    </Dialog>
  );
}
