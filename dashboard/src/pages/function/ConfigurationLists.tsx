// The lists within a function's configuration: variables, secret files, mounts.
import type { EnvRow } from "../../lib/spec";
import { to } from "../../router";
import { Button } from "../../ui/parts";
import type { MountRow } from "./ConfigurationTab";

function replaced<T>(rows: T[], at: number, change: Partial<T>): T[] {
  return rows.map((row, index) => (index === at ? { ...row, ...change } : row));
}

function SecretSelect({ value, secrets, label, onChange }: { value: string; secrets: string[]; label: string; onChange: (value: string) => void }) {
  return (
    <select aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
      <option value="">choose a secret…</option>
      {[...new Set([...secrets, ...(value ? [value] : [])])].map((name) => (
        <option key={name} value={name}>
          {name}
        </option>
      ))}
    </select>
  );
}

export function EnvEditor({ rows, secrets, onChange }: { rows: EnvRow[]; secrets: string[]; onChange: (rows: EnvRow[]) => void }) {
  return (
    <div class="rows">
      {rows.length === 0 && <p class="hint">No variables yet.</p>}
      {rows.map((row, at) => (
        <div class="row" key={at}>
          <input aria-label={`Name of variable ${at + 1}`} class="mono" placeholder="NAME" value={row.name} spellcheck={false} onInput={(event) => onChange(replaced(rows, at, { name: event.currentTarget.value }))} />
          {row.secret ? (
            <SecretSelect label={`Secret of variable ${at + 1}`} value={row.value} secrets={secrets} onChange={(value) => onChange(replaced(rows, at, { value }))} />
          ) : (
            <input aria-label={`Value of variable ${at + 1}`} class="mono" placeholder="value" value={row.value} spellcheck={false} onInput={(event) => onChange(replaced(rows, at, { value: event.currentTarget.value }))} />
          )}
          <Button small kind="quiet" icon="secrets" label={row.secret ? "A text instead" : "A secret instead"} pressed={row.secret} onClick={() => onChange(replaced(rows, at, { secret: !row.secret, value: "" }))} />
          <Button small kind="quiet" icon="trash" label={`Remove ${row.name || "this variable"}`} onClick={() => onChange(rows.filter((_, index) => index !== at))} />
        </div>
      ))}
      <Button small icon="plus" onClick={() => onChange([...rows, { name: "", value: "", secret: false }])}>
        Add a variable
      </Button>
    </div>
  );
}

export function SecretFiles({ rows, secrets, onChange }: { rows: Array<{ file: string; secret: string }>; secrets: string[]; onChange: (rows: Array<{ file: string; secret: string }>) => void }) {
  return (
    <div class="rows">
      <h3>Secret files</h3>
      {rows.length === 0 && (
        <p class="hint">
          None. A secret can be a file below <code>/run/secrets</code>. <a href={to.secrets}>Secrets</a> are made on their own page.
        </p>
      )}
      {rows.map((row, at) => (
        <div class="row" key={at}>
          <input aria-label={`Name of file ${at + 1}`} class="mono" placeholder="file" value={row.file} spellcheck={false} onInput={(event) => onChange(replaced(rows, at, { file: event.currentTarget.value }))} />
          <SecretSelect label={`Secret of file ${at + 1}`} value={row.secret} secrets={secrets} onChange={(secret) => onChange(replaced(rows, at, { secret }))} />
          <Button small kind="quiet" icon="trash" label={`Remove ${row.file || "this file"}`} onClick={() => onChange(rows.filter((_, index) => index !== at))} />
        </div>
      ))}
      <Button small icon="plus" onClick={() => onChange([...rows, { file: "", secret: "" }])}>
        Add a secret file
      </Button>
    </div>
  );
}

export function MountsEditor({ rows, onChange }: { rows: MountRow[]; onChange: (rows: MountRow[]) => void }) {
  return (
    <div class="rows">
      {rows.length === 0 && <p class="hint">None: the function sees nothing of the host's files.</p>}
      {rows.map((row, at) => (
        <div class="row" key={at}>
          <input aria-label={`Folder of the host's ${at + 1}`} class="mono" placeholder="/srv/photos" value={row.host} spellcheck={false} onInput={(event) => onChange(replaced(rows, at, { host: event.currentTarget.value }))} />
          <input aria-label={`Where it is seen ${at + 1}`} class="mono" placeholder="/mnt/photos" value={row.path} spellcheck={false} onInput={(event) => onChange(replaced(rows, at, { path: event.currentTarget.value }))} />
          <label class="check">
            <input type="checkbox" checked={!row.read_only} onChange={(event) => onChange(replaced(rows, at, { read_only: !event.currentTarget.checked }))} />
            <span>writable</span>
          </label>
          <Button small kind="quiet" icon="trash" label={`Remove ${row.path || "this mount"}`} onClick={() => onChange(rows.filter((_, index) => index !== at))} />
        </div>
      ))}
      <Button small icon="plus" onClick={() => onChange([...rows, { host: "", path: "", read_only: true }])}>
        Add a mount
      </Button>
    </div>
  );
}
