// What a call was given and what it answered, as text and never as anything else.
import type { PayloadsView, PayloadView, RecordView } from "../api/schema";
import { api } from "../api/paths";
import { type Reading, useRead } from "../api/use";
import { bytes } from "../lib/format";
import { pretty } from "../lib/payload";
import { to } from "../router";
import { Card, Command, CopyButton, ErrorBox, Skeleton } from "./parts";

/** Read only where there is something: whoever reads it is in the audit log. */
export function usePayloads(record: RecordView | undefined): Reading<PayloadsView> {
  return useRead<PayloadsView>(record?.payloads === "kept" ? api.payloads(record.request_id) : undefined);
}

/** Why the event cannot be run once more; undefined where it can. */
export function cannotReplay(record: RecordView | undefined, payloads: Reading<PayloadsView>): string | undefined {
  if (!record) return "The record is not here yet";
  if (record.payloads === "dropped") return "Its event came faster than it could be written, and is not kept";
  if (record.payloads !== "kept") return `Its event was not kept: ${record.function}'s configuration says of which calls events are`;
  if (payloads.data?.input.truncated) return "Only the beginning of its event is kept";
  if (payloads.error && !payloads.data && (payloads.error as { status?: number }).status === 404) return "Its event is no longer kept";
  return undefined;
}

export function Payloads({ record, payloads }: { record: RecordView; payloads: Reading<PayloadsView> }) {
  if (record.payloads !== "kept")
    return (
      <Card title="Event and answer">
        <p class="hint">
          {record.payloads === "dropped" ? "They came faster than they could be written." : "They were not kept. "}
          {record.payloads !== "dropped" && <a href={to.function(record.function, "configuration")}>Its configuration says of which calls they are.</a>}
        </p>
        {record.payloads !== "dropped" && <Command text={`hearth config ${record.function} records.payloads=errors`} />}
      </Card>
    );
  const { data, error } = payloads;
  if (!data) return <Card title="Event and answer">{error ? <ErrorBox error={error} again={payloads.again} /> : <Skeleton lines={4} />}</Card>;
  return (
    <div class="two">
      <One title="Event" payload={data.input} />
      <One title="Answer" payload={data.output ?? undefined} />
    </div>
  );
}

function One({ title, payload }: { title: string; payload: PayloadView | undefined }) {
  const text = payload?.text === null || payload?.text === undefined ? undefined : pretty(payload.text);
  return (
    <Card flush title={title} hint={payload ? bytes(payload.bytes) : undefined}>
      {!payload && <p class="logs-empty">There was none, or it was passed on as it came.</p>}
      {payload?.truncated && <p class="notice">Only its beginning is kept: it was {bytes(payload.bytes)} long.</p>}
      {payload && text === undefined && <p class="logs-empty">It is no text: `hearth record --{title === "Event" ? "input" : "output"}` writes its bytes.</p>}
      {text !== undefined && (
        <div class="answer">
          <pre tabIndex={0} aria-label={`${title} of the call`}>{text}</pre>
          <CopyButton text={text} />
        </div>
      )}
    </Card>
  );
}
