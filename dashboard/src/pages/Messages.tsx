// Messages of one queue: sent, received, deleted.
import { useState } from "preact/hooks";
import { ask } from "../api/client";
import { api } from "../api/paths";
import type { DeletedView, MessageList, MessageQueueView, MessageView, SentList } from "../api/schema";
import { refresh, useAction } from "../api/use";
import { ago, plural, short } from "../lib/format";
import { Badge, Button, Card, ErrorBox, Field, TextField } from "../ui/parts";
import { toast } from "../ui/toast";

export function Send({ queue }: { queue: MessageQueueView }) {
  const [body, setBody] = useState('{\n  "id": 17\n}');
  const [delay, setDelay] = useState("");
  const send = useAction(async () => {
    const message = { body, ...(delay.trim() === "" ? {} : { delay: delay.trim() }) };
    const sent = await ask<SentList>(api.messageQueue(queue.name, "messages"), { method: "POST", body: { messages: [message] } });
    toast(`Message ${short(sent.ids[0] ?? "")} is on disk`);
    await refresh(api.queues);
  });
  return (
    <Card title="Send a message">
      <div class="send">
        <ErrorBox error={send.error} />
        <Field label="Body" hint="A text, JSON or not, of up to 256 KB.">
          {(id, described) => <textarea id={id} aria-describedby={described} class="mono" rows={6} spellcheck={false} value={body} onInput={(event) => setBody(event.currentTarget.value)} />}
        </Field>
        <div class="form-grid">
          <TextField label="Delay" value={delay} onInput={setDelay} placeholder={queue.delay} hint="0s to 15m; the queue's unless said" />
        </div>
        <div class="form-foot">
          <Button kind="primary" icon="arrow" busy={send.busy} cannot={body === "" && "A body is needed"} onClick={() => void send.run()}>
            Send
          </Button>
          <code class="hint">hearth mq send {queue.name} '…'</code>
        </div>
      </div>
    </Card>
  );
}

export function Receive({ queue, taken, now }: { queue: MessageQueueView; taken: boolean; now: number }) {
  const [got, setGot] = useState<MessageView[] | undefined>(undefined);
  const receive = useAction(async () => {
    setGot((await ask<MessageList>(api.messageQueue(queue.name, "receive"), { method: "POST", body: { most: 10 } })).messages);
    await refresh(api.queues);
  });
  const drop = useAction(async (one: MessageView) => {
    const { done } = await ask<DeletedView>(api.messageQueue(queue.name, "delete"), { method: "POST", body: { receipts: [one.receipt] } });
    if (done[0]) toast(`Message ${short(one.id)} is deleted`);
    else toast(`Message ${short(one.id)} is not yours any more: it was received again, or is gone`, true);
    setGot((before) => before?.filter((each) => each.receipt !== one.receipt));
    await refresh(api.queues);
  });
  return (
    <Card
      flush
      title="Receive"
      actions={
        <Button small icon="refresh" busy={receive.busy} onClick={() => void receive.run()}>
          Receive up to 10
        </Button>
      }
    >
      <ErrorBox error={receive.error ?? drop.error} />
      {got === undefined || got.length === 0 ? (
        <p class="logs-empty">
          {got ? "No message is visible now. " : ""}What is received is hidden from others for {queue.visibility}, and comes again unless it is deleted{queue.max_receives ? `; after ${queue.max_receives} times it goes to ${queue.dead_letter ?? ""}` : ""}.
          {taken && " A function takes from this queue too."}
        </p>
      ) : (
        <ul class="messages" aria-label="Received messages">
          {got.map((one) => (
            <li key={one.receipt}>
              <header>
                <code>{short(one.id)}</code>
                <span class="hint">
                  sent {ago(one.sent, now)}, received {plural(one.receives, "time")}
                </span>
                {one.origin && <Badge tone="bad">from {one.origin}</Badge>}
                <span class="grow" />
                <Button small kind="quiet" icon="trash" label={`Delete message ${short(one.id)}`} busy={drop.busy} onClick={() => void drop.run(one)} />
              </header>
              <pre tabIndex={0} aria-label={`Body of ${short(one.id)}`}>
                {one.body}
              </pre>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
