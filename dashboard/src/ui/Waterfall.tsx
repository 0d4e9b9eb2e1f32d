// Where the time of one call went: a bar for each stage, and within it for each part.
import { useState } from "preact/hooks";
import type { RecordView, StageView } from "../api/schema";
import { micros } from "../lib/format";

const TONES: Record<string, string> = {
  door: "calm",
  place: "calm",
  turn: "calm",
  queue: "calm",
  sandbox: "cold",
  adopt: "cold",
  "set-up": "cold",
  runtime: "warn",
  init: "good",
  handler: "ember",
};

/** What a record says, in stages; an older one has only the sums. */
export function stagesOf(record: RecordView): StageView[] {
  if (record.stages && record.stages.length > 0) return record.stages;
  const sums: Array<[string, number | null | undefined]> = [
    ["sandbox", record.sandbox_us],
    ["runtime", record.runtime_us],
    ["init", record.init_us],
  ];
  const known = sums.filter((one): one is [string, number] => typeof one[1] === "number");
  const waited = Math.max(0, record.queued_us - known.reduce((sum, [, us]) => sum + us, 0));
  let at = 0;
  return [["queue", waited] as [string, number], ...known, ["handler", record.handler_us] as [string, number]]
    .filter(([, us]) => us > 0)
    .map(([name, took_us]) => {
      const start_us = at;
      at += took_us;
      return { name, start_us, took_us, parts: [] };
    });
}

export function Waterfall({ record }: { record: RecordView }) {
  const [open, setOpen] = useState<string | undefined>(undefined);
  const stages = stagesOf(record);
  const total = Math.max(1, ...stages.map((stage) => stage.start_us + stage.took_us));
  const share = (us: number) => `${(us / total) * 100}%`;
  return (
    <div class="waterfall">
      <ol aria-label={`Waterfall: ${micros(total)} in all`}>
        {stages.map((stage) => {
          const parts = (stage.parts ?? []).filter((part) => part.took_us > 0);
          const shown = open === stage.name;
          const bar = (
            <>
              <span class="wf-name">
                {parts.length > 0 && <span class="wf-fold" aria-hidden="true">{shown ? "▾" : "▸"}</span>}
                {stage.name}
              </span>
              <span class="wf-track">
                <span class={`wf-bar ${TONES[stage.name] ?? "calm"}`} style={{ left: share(stage.start_us), width: share(stage.took_us) }} />
              </span>
              <span class="wf-time">{micros(stage.took_us)}</span>
            </>
          );
          return (
            <li key={stage.name}>
              {parts.length > 0 ? (
                <button type="button" class="wf-row" aria-expanded={shown} onClick={() => setOpen(shown ? undefined : stage.name)}>
                  {bar}
                </button>
              ) : (
                <div class="wf-row">{bar}</div>
              )}
              {shown && (
                <ul>
                  {parts.map((part, at) => (
                    <li key={at} class="wf-row part">
                      <span class="wf-name">{part.name}</span>
                      <span class="wf-track">
                        <span class={`wf-bar thin ${TONES[stage.name] ?? "calm"}`} style={{ left: share(part.start_us), width: share(part.took_us) }} />
                      </span>
                      <span class="wf-time">{micros(part.took_us)}</span>
                    </li>
                  ))}
                </ul>
              )}
            </li>
          );
        })}
      </ol>
      <p class="wf-total">
        <span>{record.cold ? (record.stem ? "started from a stem" : "cold start") : "warm"}</span>
        <strong>{micros(total)}</strong>
      </p>
    </div>
  );
}
