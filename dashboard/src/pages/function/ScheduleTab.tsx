// A function's schedules: made, changed and removed.
import { useState } from "preact/hooks";
import { change } from "../../api/actions";
import { api } from "../../api/paths";
import type { FunctionView, ScheduleList, ScheduleView } from "../../api/schema";
import { useAction, useRead } from "../../api/use";
import { EXAMPLES, formOf, FRESH, problemOf, type ScheduleForm, writeOf } from "../../lib/schedule";
import { Button, Card, Dialog, Empty, ErrorBox, Field, SelectField, Show, TextField } from "../../ui/parts";
import { ScheduleTable } from "../../ui/ScheduleTable";
import { toast } from "../../ui/toast";

export function ScheduleTab({ one }: { one: FunctionView }) {
  const reading = useRead<ScheduleList>(api.schedules(one.name), 3000);
  const [editing, setEditing] = useState<ScheduleView | "new" | undefined>(undefined);
  const list = reading.data?.schedules ?? [];
  const others = (name?: string) => list.filter((each) => each.name !== name);
  const write = (forms: ScheduleForm[]) => change(one.name, { schedule: forms.map(writeOf) }, one.revision);
  const remove = useAction(async (name: string) => {
    await write(others(name).map(formOf));
    toast(`Schedule ${name} is removed`);
  });
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setEditing("new")}>
      Add a schedule
    </Button>
  );
  return (
    <Card flush title="Schedules" hint="When it is called by the clock." actions={list.length > 0 && add}>
      <ErrorBox error={remove.error} />
      <Show data={reading.data} error={reading.error} again={reading.again}>
        {() =>
          list.length === 0 ? (
            <Empty icon="schedules" title="Never called by the clock" action={add} command={`hearth schedule list ${one.name}`}>
              A schedule makes an event at each tick, exactly once, over restarts and crashes.
            </Empty>
          ) : (
            <ScheduleTable
              schedules={list}
              more={(each) => (
                <>
                  <Button small onClick={() => setEditing(each)}>
                    Change
                  </Button>
                  <Button small kind="quiet" icon="trash" label={`Remove ${each.name}`} busy={remove.busy} onClick={() => void remove.run(each.name)} />
                </>
              )}
            />
          )
        }
      </Show>
      {editing !== undefined && (
        <ScheduleDialog
          first={editing === "new" ? FRESH : formOf(editing)}
          isNew={editing === "new"}
          others={others(editing === "new" ? undefined : editing.name).map((each) => each.name)}
          onClose={() => setEditing(undefined)}
          onSave={async (form) => {
            await write([...others(editing === "new" ? undefined : editing.name).map(formOf), form]);
            toast(`Schedule ${form.name} is kept`);
            setEditing(undefined);
          }}
        />
      )}
    </Card>
  );
}

function ScheduleDialog({ first, isNew, others, onClose, onSave }: { first: ScheduleForm; isNew: boolean; others: string[]; onClose: () => void; onSave: (form: ScheduleForm) => Promise<void> }) {
  const [form, set] = useState(first);
  const put = (key: keyof ScheduleForm) => (value: string) => set((before) => ({ ...before, [key]: value }));
  const problem = problemOf(form, others);
  const save = useAction(() => onSave(form));
  const zones = ["UTC", Intl.DateTimeFormat().resolvedOptions().timeZone, "Europe/Berlin", "America/New_York", "Asia/Tokyo"];
  return (
    <Dialog
      title={isNew ? "A new schedule" : `Change ${first.name}`}
      onClose={onClose}
      foot={
        <>
          <span class="hint">{form.name !== "" || form.cron !== "" ? problem : undefined}</span>
          <span class="grow" />
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" busy={save.busy} cannot={problem} onClick={() => void save.run()}>
            {isNew ? "Add" : "Save"}
          </Button>
        </>
      }
    >
      <ErrorBox error={save.error} />
      <div class="form-grid">
        <TextField label="Name" value={form.name} onInput={put("name")} placeholder="nightly" mono autoFocus />
        <TextField label="When" value={form.cron} onInput={put("cron")} placeholder="0 3 * * *" mono hint="cron, rate(…) or at(…)" />
      </div>
      <div class="chips" aria-label="Examples">
        {EXAMPLES.map(([cron, what]) => (
          <Button key={cron} small onClick={() => put("cron")(cron)}>
            {what}
          </Button>
        ))}
      </div>
      <div class="form-grid">
        <TextField label="Time zone" value={form.timezone} onInput={put("timezone")} list={[...new Set(zones)]} />
        <SelectField label="Overlap" value={form.overlap} onChange={put("overlap")} options={["skip", "queue", "allow"].map((value) => ({ value, label: value }))} hint="while an earlier tick's event waits or runs" />
        <SelectField label="Missed" value={form.missed} onChange={put("missed")} options={["skip", "once", "all"].map((value) => ({ value, label: value }))} hint="ticks at which no server ran" />
        {form.missed === "all" && <TextField label="At most" value={form.missed_most} onInput={put("missed_most")} hint="1 to 1000" />}
        <TextField label="Jitter" value={form.jitter} onInput={put("jitter")} hint="up to 1h" />
      </div>
      <Field label="Event" hint="JSON; empty: EventBridge's scheduled event">
        {(id, described) => <textarea id={id} aria-describedby={described} class="mono" rows={4} spellcheck={false} value={form.payload} onInput={(event) => put("payload")(event.currentTarget.value)} />}
      </Field>
    </Dialog>
  );
}
