// Asynchronous events: how many wait, how long the oldest does, and those that were given up.
import { useState } from "preact/hooks";
import { ask } from "../api/client";
import { api } from "../api/paths";
import type { EventChoice, EventList, EventsChanged, EventView, QueueView } from "../api/schema";
import { refresh, useAction, useRead, useTick } from "../api/use";
import { ago, bytes, count, plural, short, span } from "../lib/format";
import { to } from "../router";
import { Badge, Button, Card, Confirm, Dialog, Empty, ErrorBox, PageHead, Show, Stat, Table } from "../ui/parts";
import { toast } from "../ui/toast";

async function decide(verb: "redrive" | "purge", choice: EventChoice): Promise<void> {
  const done = await ask<EventsChanged>(verb === "redrive" ? api.redrive : api.purge, { method: "POST", body: choice });
  toast(verb === "redrive" ? `${plural(done.count, "event")} wait again` : `${plural(done.count, "event")} removed`);
  await refresh(api.queue);
}

export function Queue() {
  const counts = useRead<QueueView>(api.queue, 1500);
  const dead = useRead<EventList>(api.events({ dead: true, limit: 100 }), 2500);
  const waiting = useRead<EventList>(api.events({ dead: false, limit: 100 }), 1500);
  const [purge, setPurge] = useState<EventChoice | undefined>(undefined);
  const [looked, setLooked] = useState<string | undefined>(undefined);
  const act = useAction(decide);
  const now = useTick();
  const all = counts.data?.functions ?? [];
  const sum = (key: "waiting" | "dead" | "done" | "failed") => all.reduce((total, one) => total + one[key], 0);
  const live = (waiting.data?.events ?? []).filter((one) => one.state !== "dead");
  const oldest = live.reduce<number | undefined>((least, one) => Math.min(least ?? Infinity, Date.parse(one.received)), undefined);
  const deadOnes = (dead.data?.events ?? []).filter((one) => one.state === "dead");
  return (
    <>
      <PageHead title="Queue" sub="Events that nobody waits for: run, retried, and set aside when they are given up." />
      <div class="stats">
        <Stat label="Waiting" value={count(sum("waiting"))} tone="ember" />
        <Stat label="Lag" value={oldest === undefined ? "none" : span((now - oldest) / 1000)} sub="age of the oldest" />
        <Stat label="Dead letters" value={count(sum("dead"))} tone={sum("dead") > 0 ? "bad" : "calm"} />
        <Stat label="Done" value={count(sum("done"))} tone="good" />
        <Stat label="Given up" value={count(sum("failed"))} sub="since the beginning" />
      </div>
      <ErrorBox error={act.error} />
      <Card flush title="By function">
        <Show data={counts.data} error={counts.error} again={counts.again}>
          {(view) =>
            view.functions.length === 0 ? (
              <Empty icon="queue" title="Nothing was ever queued" command={`hearth invoke NAME '{}' --async`}>
                An event that is only queued is answered at once, survives crashes, and is run until it succeeds or is given up.
              </Empty>
            ) : (
              <Table label="Queues" head={["Function", "Waiting", "Dead", "Bytes", "Enqueued", "Done", "Given up", "Removed"]}>
                {view.functions.map((one) => (
                  <tr key={one.function}>
                    <td>
                      <a class="strong" href={to.function(one.function)}>
                        {one.function}
                      </a>
                    </td>
                    <td class="num">{count(one.waiting)}</td>
                    <td class="num">{one.dead > 0 ? <span class="bad-text">{count(one.dead)}</span> : 0}</td>
                    <td class="num">{bytes(one.bytes)}</td>
                    <td class="num">{count(one.enqueued)}</td>
                    <td class="num">{count(one.done)}</td>
                    <td class="num">{count(one.failed)}</td>
                    <td class="num">{count(one.purged)}</td>
                  </tr>
                ))}
              </Table>
            )
          }
        </Show>
      </Card>
      <Card
        flush
        title="Dead letters"
        hint={deadOnes.length > 0 ? plural(deadOnes.length, "event") : undefined}
        actions={
          deadOnes.length > 0 && (
            <>
              <Button small icon="refresh" busy={act.busy} onClick={() => void act.run("redrive", { all: true })}>
                Run all again
              </Button>
              <Button small kind="danger" icon="trash" onClick={() => setPurge({ all: true })}>
                Remove all
              </Button>
            </>
          )
        }
      >
        <Show data={dead.data} error={dead.error} again={dead.again}>
          {() =>
            deadOnes.length === 0 ? (
              <Empty icon="check" title="No dead letters" command="hearth queue dead">
                Events that failed as often as their function's rules allow are kept here, to be looked at and run again.
              </Empty>
            ) : (
              <Events events={deadOnes} now={now} onLook={setLooked} onRedrive={(id) => void act.run("redrive", { id })} onPurge={(id) => setPurge({ id })} />
            )
          }
        </Show>
      </Card>
      {live.length > 0 && (
        <Card flush title="Waiting and running">
          <Events events={live} now={now} onLook={setLooked} />
        </Card>
      )}
      {looked && <Look id={looked} onClose={() => setLooked(undefined)} />}
      {purge && (
        <Confirm
          title={purge.id ? "Remove this event?" : "Remove all dead letters?"}
          verb="Remove"
          busy={act.busy}
          error={act.error}
          onClose={() => setPurge(undefined)}
          onDone={() => void act.run("purge", purge).then((done) => done && setPurge(undefined))}
        >
          <p>What is removed cannot be run again.</p>
        </Confirm>
      )}
    </>
  );
}

function Events(props: { events: EventView[]; now: number; onLook: (id: string) => void; onRedrive?: (id: string) => void; onPurge?: (id: string) => void }) {
  return (
    <Table label="Events" head={["Event", "Function", "State", "Received", "Runs", "What was wrong", ""]}>
      {props.events.map((one) => (
        <tr key={one.id}>
          <td>
            <button type="button" class="link mono" onClick={() => props.onLook(one.id)}>
              {short(one.id)}
            </button>
          </td>
          <td>
            <a href={to.function(one.function)}>{one.function}</a>
          </td>
          <td>
            <Badge tone={one.state === "dead" ? "bad" : one.state === "running" ? "ember" : "calm"}>{one.state}</Badge>
            {one.due && one.state === "waiting" && <span class="under">due {ago(one.due, props.now)}</span>}
          </td>
          <td class="nowrap faint">{ago(one.received, props.now)}</td>
          <td class="num">{one.attempts}</td>
          <td>
            <span class="clip">{plainError(one.error)}</span>
            {one.condition && <span class="under">{one.condition}</span>}
          </td>
          <td>
            <span class="row-actions">
              {props.onRedrive && (
                <Button small icon="refresh" onClick={() => props.onRedrive?.(one.id)}>
                  Run again
                </Button>
              )}
              {props.onPurge && <Button small kind="quiet" icon="trash" label={`Remove event ${short(one.id)}`} onClick={() => props.onPurge?.(one.id)} />}
            </span>
          </td>
        </tr>
      ))}
    </Table>
  );
}

/** What an error says to people: AWS's object has it as `errorMessage`. */
export function plainError(error: string | null | undefined): string {
  if (!error) return "–";
  try {
    const parsed = JSON.parse(error) as { errorMessage?: unknown; errorType?: unknown };
    if (typeof parsed.errorMessage === "string") return typeof parsed.errorType === "string" ? `${parsed.errorType}: ${parsed.errorMessage}` : parsed.errorMessage;
  } catch {
    // Not JSON: it is for people as it is.
  }
  return error;
}

function Look({ id, onClose }: { id: string; onClose: () => void }) {
  const reading = useRead<EventView>(api.event(id));
  return (
    <Dialog title={`Event ${short(id)}`} onClose={onClose} wide>
      <Show data={reading.data} error={reading.error} again={reading.again}>
        {(one) => (
          <>
            {one.error && <p class="bad-text">{plainError(one.error)}</p>}
            <p>
              <a href={to.invocation(one.id)}>Its last run</a>, {plural(one.attempts, "run")}, {bytes(one.bytes)}
            </p>
            <pre tabIndex={0} aria-label="The event">{JSON.stringify(one.payload ?? null, null, 2)}</pre>
          </>
        )}
      </Show>
    </Dialog>
  );
}
