// Message queues: how many wait, what was set aside, and a queue of one's own: sent to, looked into, redriven.
import { useState } from "preact/hooks";
import { ask } from "../api/client";
import { api } from "../api/paths";
import type { MessageQueueList, MessageQueueView, MessagesChanged, QueueWrite, SourceList } from "../api/schema";
import { refresh, useAction, useRead, useTick } from "../api/use";
import { ago, bytes, count, plural, span } from "../lib/format";
import { go, to } from "../router";
import { Badge, Button, Card, Confirm, Dialog, Empty, ErrorBox, PageHead, SelectField, Show, Stat, Table, TextField } from "../ui/parts";
import { toast } from "../ui/toast";
import { STATES } from "./function/Sources";
import { Receive, Send } from "./Messages";

export function MessageQueues() {
  const reading = useRead<MessageQueueList>(api.queues, 1500);
  const sources = useRead<SourceList>(api.sources(), 3000).data?.sources ?? [];
  const [making, setMaking] = useState(false);
  const now = useTick();
  const list = reading.data?.queues ?? [];
  const add = (
    <Button kind="primary" icon="plus" onClick={() => setMaking(true)}>
      New queue
    </Button>
  );
  return (
    <>
      <PageHead title="Message queues" sub="Queues of your own, with SQS's rules: a message is kept until who received it deletes it." actions={list.length > 0 && add} />
      <Card flush>
        <Show data={reading.data} error={reading.error} again={reading.again}>
          {() =>
            list.length === 0 ? (
              <Empty icon="messages" title="No message queues yet" action={add} command="hearth mq create orders">
                Programs and functions send to a queue and receive from it; as an event source, it calls a function with what comes.
              </Empty>
            ) : (
              <Table label="Message queues" head={["Queue", "Visible", "In flight", "Delayed", "Oldest", "Taken by", "Dead letters to", "Sent"]}>
                {list.map((one) => {
                  const feeds = list.filter((other) => other.dead_letter === one.name);
                  return (
                    <tr key={one.name}>
                      <td>
                        <a class="strong" href={to.messageQueue(one.name)}>
                          {one.name}
                        </a>
                        {feeds.length > 0 && <span class="under">dead letters of {feeds.map((other) => other.name).join(", ")}</span>}
                      </td>
                      <td class="num">{feeds.length > 0 && one.visible > 0 ? <span class="bad-text">{count(one.visible)}</span> : count(one.visible)}</td>
                      <td class="num">{count(one.in_flight)}</td>
                      <td class="num">{count(one.delayed)}</td>
                      <td class="nowrap faint">{one.oldest ? ago(one.oldest, now) : "–"}</td>
                      <td>
                        <TakenBy sources={sources} queue={one.name} />
                      </td>
                      <td>{one.dead_letter ? <a href={to.messageQueue(one.dead_letter)}>{one.dead_letter}</a> : <span class="faint">–</span>}</td>
                      <td class="num">{count(one.sent)}</td>
                    </tr>
                  );
                })}
              </Table>
            )
          }
        </Show>
      </Card>
      {making && <RulesDialog all={list} onClose={() => setMaking(false)} />}
    </>
  );
}

function TakenBy({ sources, queue }: { sources: SourceList["sources"]; queue: string }) {
  const takers = sources.filter((one) => one.kind === "queue" && one.name === queue);
  if (takers.length === 0) return <span class="faint">nobody</span>;
  return (
    <span class="chips">
      {takers.map((one) => (
        <span key={one.function} class="nowrap">
          <a href={to.function(one.function, "triggers")}>{one.function}</a> {one.state !== "running" && <Badge tone={STATES[one.state] ?? "calm"}>{one.state}</Badge>}
        </span>
      ))}
    </span>
  );
}

export function MessageQueue({ name }: { name: string }) {
  const reading = useRead<MessageQueueView>(api.messageQueue(name), 1500);
  const all = useRead<MessageQueueList>(api.queues, 5000).data?.queues ?? [];
  const sources = useRead<SourceList>(api.sources(), 3000).data?.sources ?? [];
  const [asking, setAsking] = useState<"rules" | "purge" | "remove" | undefined>(undefined);
  const now = useTick();
  const act = useAction(async (verb: "redrive" | "purge" | "remove") => {
    if (verb === "remove") {
      await ask(api.messageQueue(name), { method: "DELETE" });
      toast(`Queue ${name} is removed`);
      go(to.queues);
    } else {
      const done = await ask<MessagesChanged>(api.messageQueue(name, verb), { method: "POST" });
      toast(verb === "redrive" ? `${plural(done.count, "message")} sent back` : `${plural(done.count, "message")} removed`);
      setAsking(undefined);
    }
    await refresh(api.queues);
  });
  const feeds = all.filter((other) => other.dead_letter === name);
  const one = reading.data;
  return (
    <>
      <PageHead
        crumbs={<a href={to.queues}>Message queues</a>}
        title={name}
        sub={
          <span class="facts">
            <span>Taken by</span> <TakenBy sources={sources} queue={name} />
            {feeds.length > 0 && (
              <span>
                · holds dead letters of{" "}
                {feeds.map((other, at) => (
                  <span key={other.name}>
                    {at > 0 && ", "}
                    <a href={to.messageQueue(other.name)}>{other.name}</a>
                  </span>
                ))}
              </span>
            )}
          </span>
        }
        actions={
          <>
            {feeds.length > 0 && (
              <Button kind="primary" icon="refresh" busy={act.busy} cannot={one?.visible === 0 && "There is nothing to send back"} onClick={() => void act.run("redrive")}>
                Redrive
              </Button>
            )}
            <Button onClick={() => setAsking("rules")} cannot={!one && "It is not read yet"}>
              Rules
            </Button>
            <Button onClick={() => setAsking("purge")}>Purge</Button>
            <Button kind="danger" icon="trash" onClick={() => setAsking("remove")}>
              Delete
            </Button>
          </>
        }
      />
      {asking === undefined && <ErrorBox error={act.error} />}
      <Show data={reading.data} error={reading.error} again={reading.again}>
        {(queue) => (
          <>
            <div class="stats">
              <Stat label="Visible" value={count(queue.visible)} tone={feeds.length > 0 && queue.visible > 0 ? "bad" : "ember"} sub="can be received" />
              <Stat label="In flight" value={count(queue.in_flight)} sub={`hidden for ${queue.visibility}`} />
              <Stat label="Delayed" value={count(queue.delayed)} sub={queue.delay === "0s" ? "at first: none" : `for ${queue.delay} at first`} />
              <Stat label="Oldest" value={queue.oldest ? span((now - Date.parse(queue.oldest)) / 1000) : "none"} sub={`kept for ${queue.retention}`} />
              <Stat label="Sent" value={count(queue.sent)} sub={bytes(queue.bytes)} />
              <Stat label="Deleted" value={count(queue.deleted)} tone="good" sub={queue.expired + queue.purged > 0 ? `${count(queue.expired)} expired, ${count(queue.purged)} purged` : undefined} />
              <Stat label="Moved away" value={count(queue.dead)} tone={queue.dead > 0 && feeds.length === 0 ? "bad" : "calm"} sub={queue.dead_letter ? `to ${queue.dead_letter} after ${queue.max_receives ?? 0}` : "to none"} />
            </div>
            <div class="two">
              <Send queue={queue} />
              <Receive queue={queue} taken={sources.some((each) => each.kind === "queue" && each.name === name && each.state === "running")} now={now} />
            </div>
          </>
        )}
      </Show>
      {asking === "rules" && one && <RulesDialog all={all} queue={one} onClose={() => setAsking(undefined)} />}
      {(asking === "purge" || asking === "remove") && (
        <Confirm
          title={asking === "purge" ? `Purge ${name}?` : `Delete ${name}?`}
          verb={asking === "purge" ? "Remove all messages" : "Delete the queue"}
          busy={act.busy}
          error={act.error}
          onClose={() => (setAsking(undefined), act.clear())}
          onDone={() => void act.run(asking)}
        >
          <p>{asking === "purge" ? "All its messages are removed, those too that somebody has received." : "The queue goes, and all its messages."} They cannot be had again.</p>
        </Confirm>
      )}
    </>
  );
}

function RulesDialog({ all, queue, onClose }: { all: MessageQueueView[]; queue?: MessageQueueView; onClose: () => void }) {
  const [name, setName] = useState(queue?.name ?? "");
  const [form, set] = useState({
    visibility: queue?.visibility ?? "30s",
    delay: queue?.delay ?? "0s",
    retention: queue?.retention ?? "4d",
    max_receives: String(queue?.max_receives ?? 5),
    dead_letter: queue?.dead_letter ?? "",
  });
  const put = (key: keyof typeof form) => (value: string) => set((before) => ({ ...before, [key]: value }));
  const problem = !/^[A-Za-z0-9_-]{1,80}$/.test(name) ? "Name: letters, digits, - and _" : !queue && all.some((one) => one.name === name) ? "Name: there is such a queue already" : undefined;
  const save = useAction(async () => {
    const { visibility, delay, retention, max_receives, dead_letter } = form;
    const write: QueueWrite = { visibility, delay, retention, max_receives: dead_letter === "" ? null : Number(max_receives), dead_letter: dead_letter || null };
    await ask(api.messageQueue(name), { method: "PUT", body: write });
    toast(queue ? `The rules of ${name} are kept` : `Queue ${name} is made`);
    onClose();
    await refresh(api.queues);
    if (!queue) go(to.messageQueue(name));
  });
  return (
    <Dialog
      title={queue ? `Rules of ${queue.name}` : "A new queue"}
      onClose={onClose}
      foot={
        <>
          <span class="hint">{name !== "" ? problem : undefined}</span>
          <span class="grow" />
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" busy={save.busy} cannot={problem} onClick={() => void save.run()}>
            {queue ? "Save" : "Make it"}
          </Button>
        </>
      }
    >
      <ErrorBox error={save.error} />
      <div class="form-grid">
        {!queue && <TextField label="Name" value={name} onInput={setName} placeholder="orders" mono autoFocus />}
        <TextField label="Hidden when received" value={form.visibility} onInput={put("visibility")} hint="0s to 12h; then it comes again" />
        <TextField label="Delayed when sent" value={form.delay} onInput={put("delay")} hint="0s to 15m" />
        <TextField label="Kept for" value={form.retention} onInput={put("retention")} hint="1m to 14d" />
        <SelectField label="Dead-letter queue" value={form.dead_letter} onChange={put("dead_letter")} options={[{ value: "", label: "none" }, ...all.filter((one) => one.name !== queue?.name).map((one) => ({ value: one.name, label: one.name }))]} hint="what nobody deletes goes there" />
        {form.dead_letter !== "" && <TextField label="After receives" value={form.max_receives} onInput={put("max_receives")} hint="1 to 1000" />}
      </div>
    </Dialog>
  );
}
