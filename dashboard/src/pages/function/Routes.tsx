// Routes on the ingress: who may call them, how often, and from which web pages.
import { useState } from "preact/hooks";
import { change } from "../../api/actions";
import { api } from "../../api/paths";
import type { FunctionView, FunctionWrite, SecretList } from "../../api/schema";
import { useAction, useRead } from "../../api/use";
import { authText, METHODS, NEW_ROUTE, type Route, type RouteForm, routeForm, routeProblem, routeWrite } from "../../lib/triggers";
import { to } from "../../router";
import { Badge, Button, Card, Check, CopyButton, Dialog, Empty, ErrorBox, SelectField, Table, TextField } from "../../ui/parts";
import { toast } from "../../ui/toast";

export function Routes({ one }: { one: FunctionView }) {
  const [editing, setEditing] = useState<number | "new" | undefined>(undefined);
  const routes = (one.http ?? []) as Route[];
  const save = (http: Route[], more: FunctionWrite = {}) => change(one.name, { http, ...more }, one.revision);
  const url = useAction(async (on: boolean) => {
    await change(one.name, { url: on }, one.revision);
    toast(on ? "It answers at its own URL" : "Its own URL is off");
  });
  const remove = useAction(async (at: number) => {
    await save(routes.filter((_, index) => index !== at));
    toast(`Route ${routes[at]?.route ?? ""} is removed`);
  });
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setEditing("new")}>
      Add a route
    </Button>
  );
  const open = editing === "new" || editing === undefined ? undefined : routes[editing];
  return (
    <Card flush title="HTTP" hint="What the ingress answers for it." actions={routes.length > 0 && add}>
      <div class="toolbar wrap">
        <Check label="Its own URL" checked={one.url} onChange={(on) => void url.run(on)} />
        {one.invoke_url ? (
          <span class="url">
            <a href={one.invoke_url} target="_blank" rel="noreferrer">
              {one.invoke_url}
            </a>
            <CopyButton text={one.invoke_url} label="Copy the URL" />
          </span>
        ) : (
          <span class="hint">{one.url ? "" : "without credentials, for everybody who reaches the ingress"}</span>
        )}
      </div>
      <ErrorBox error={url.error ?? remove.error} />
      {routes.length === 0 ? (
        <Empty icon="triggers" title="No routes" action={add} command={`hearth deploy --route 'POST /hooks/{name} rate=10/s'`}>
          A route gives it an address of your choice, on a host of your choice, with keys, signatures, rates and CORS before it.
        </Empty>
      ) : (
        <Table label="Routes" head={["Route", "May call", "Limits", "Web pages", ""]}>
          {routes.map((each, at) => (
            <tr key={each.route}>
              <td class="mono strong wrap">{each.route}</td>
              <td>
                <Badge tone={each.auth === undefined || each.auth === "none" ? "calm" : "good"}>{authText(each.auth)}</Badge>
                {typeof each.auth === "object" && (
                  <span class="under">
                    with <a href={to.secrets}>{each.auth.secret}</a>
                  </span>
                )}
                {each.auth === "api-key" && (
                  <span class="under">
                    of <a href={to.tokens}>Tokens</a>
                  </span>
                )}
              </td>
              <td class="nowrap">
                {each.rate ?? <span class="faint">no rate</span>}
                <span class="under">{[each.max_body !== undefined && `body ${each.max_body}`, each.timeout && `answer in ${each.timeout}`].filter(Boolean).join(", ")}</span>
              </td>
              <td class="wrap">{each.cors ? each.cors.allow_origins.join(", ") : <span class="faint">as it says itself</span>}</td>
              <td>
                <span class="row-actions">
                  <Button small onClick={() => setEditing(at)}>
                    Change
                  </Button>
                  <Button small kind="quiet" icon="trash" label={`Remove route ${each.route}`} busy={remove.busy} onClick={() => void remove.run(at)} />
                </span>
              </td>
            </tr>
          ))}
        </Table>
      )}
      {editing !== undefined && (
        <RouteDialog
          one={one}
          was={open}
          onClose={() => setEditing(undefined)}
          onSave={async (route, more) => {
            await save(open === undefined ? [...routes, route] : routes.map((each, at) => (at === editing ? route : each)), more);
            toast(`Route ${route.route} answers`);
            setEditing(undefined);
          }}
        />
      )}
    </Card>
  );
}

function RouteDialog({ one, was, onClose, onSave }: { one: FunctionView; was: Route | undefined; onClose: () => void; onSave: (route: Route, more: FunctionWrite) => Promise<void> }) {
  const [form, set] = useState<RouteForm>(was ? routeForm(was) : NEW_ROUTE);
  const [keepUrl, setKeepUrl] = useState(false);
  const secrets = useRead<SecretList>(api.secrets).data?.secrets.map((each) => each.name) ?? [];
  const put = (key: Exclude<keyof RouteForm, "credentials">) => (value: string) => set((before) => ({ ...before, [key]: value }));
  const problem = routeProblem(form);
  // A route that asks who calls is of no use beside a URL that does not.
  const guarded = form.auth !== "none" && one.url;
  const save = useAction(() => onSave(routeWrite(form, was), guarded ? { url: keepUrl } : {}));
  return (
    <Dialog
      title={was ? `Change ${was.route}` : "A new route"}
      onClose={onClose}
      foot={
        <>
          <span class="hint">{form.path !== "" ? problem : undefined}</span>
          <span class="grow" />
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" busy={save.busy} cannot={problem} onClick={() => void save.run()}>
            {was ? "Save" : "Add"}
          </Button>
        </>
      }
    >
      <ErrorBox error={save.error} />
      <div class="form-grid">
        <SelectField label="Method" value={form.method} onChange={put("method")} options={METHODS.map((value) => ({ value, label: value === "ANY" ? "any" : value }))} />
        <TextField label="Path" value={form.path} onInput={put("path")} placeholder="/thumbs/{name}" mono hint="{name} for a part, {rest+} for all that follows" autoFocus />
        <SelectField
          label="May call"
          value={form.auth}
          onChange={put("auth")}
          options={[
            { value: "none", label: "everybody" },
            { value: "api-key", label: "who has a key" },
            { value: "github", label: "who signs as GitHub does" },
            { value: "stripe", label: "who signs as Stripe does" },
          ]}
        />
        {form.auth !== "none" && form.auth !== "api-key" && <SelectField label="Secret" value={form.secret} onChange={put("secret")} options={[{ value: "", label: "choose a secret…" }, ...[...new Set([...secrets, ...(form.secret ? [form.secret] : [])])].map((value) => ({ value, label: value }))]} />}
        <TextField label="Rate" value={form.rate} onInput={put("rate")} placeholder="10/s" hint="for each address; empty: none" />
        <TextField label="Burst" value={form.burst} onInput={put("burst")} hint="at once; as the rate's number unless said" />
        <TextField label="Body at most" value={form.max_body} onInput={put("max_body")} placeholder="1MB" />
        <TextField label="Answer within" value={form.timeout} onInput={put("timeout")} placeholder="5s" />
        <TextField label="Web pages of" value={form.origins} onInput={put("origins")} placeholder="https://app.example.org" hint="CORS origins, with commas" />
        {form.origins.trim() !== "" && <TextField label="Their methods" value={form.methods} onInput={put("methods")} placeholder="PUT, DELETE" />}
        {form.origins.trim() !== "" && <TextField label="Their headers" value={form.headers} onInput={put("headers")} placeholder="content-type" />}
      </div>
      {form.origins.trim() !== "" && <Check label="With cookies" checked={form.credentials} onChange={(credentials) => set((before) => ({ ...before, credentials }))} />}
      {guarded && <Check label="Keep its own URL as well" checked={keepUrl} onChange={setKeepUrl} hint="which lets everybody in; it is switched off otherwise" />}
    </Dialog>
  );
}
