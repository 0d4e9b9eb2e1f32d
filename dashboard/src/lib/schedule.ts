// Schedules, between how they are shown and how they are written.
import type { ScheduleView } from "../api/schema";

export interface ScheduleForm {
  name: string;
  cron: string;
  timezone: string;
  overlap: string;
  missed: string;
  missed_most: string;
  jitter: string;
  start: string;
  end: string;
  payload: string;
}

export const FRESH: ScheduleForm = { name: "", cron: "", timezone: "UTC", overlap: "skip", missed: "once", missed_most: "100", jitter: "0s", start: "", end: "", payload: "" };

export const EXAMPLES: Array<[string, string]> = [
  ["*/5 * * * *", "every five minutes"],
  ["0 3 * * *", "at 3 every night"],
  ["0 9 * * MON-FRI", "at 9 on working days"],
  ["rate(1 hour)", "every hour"],
  ["*/10 * * * * *", "every ten seconds"],
  ["at(2027-01-01T00:00:00)", "once"],
];

export function formOf(one: ScheduleView): ScheduleForm {
  return {
    name: one.name,
    cron: one.cron,
    timezone: one.timezone,
    overlap: one.overlap,
    missed: one.missed,
    missed_most: String(one.missed_most),
    jitter: one.jitter,
    start: one.start ?? "",
    end: one.end ?? "",
    payload: one.payload === undefined || one.payload === null ? "" : JSON.stringify(one.payload, null, 2),
  };
}

/** As a function's configuration has it; what has its default is left out. */
export function writeOf(form: ScheduleForm): Record<string, unknown> {
  const write: Record<string, unknown> = { name: form.name.trim(), cron: form.cron.trim(), timezone: form.timezone.trim(), overlap: form.overlap, missed: form.missed };
  if (form.missed === "all") write.missed_most = Number(form.missed_most);
  if (form.jitter.trim() !== "" && form.jitter.trim() !== "0s") write.jitter = form.jitter.trim();
  if (form.start.trim() !== "") write.start = form.start.trim();
  if (form.end.trim() !== "") write.end = form.end.trim();
  if (form.payload.trim() !== "") write.payload = JSON.parse(form.payload);
  return write;
}

export function problemOf(form: ScheduleForm, others: string[]): string | undefined {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(form.name)) return "Name: letters, digits, - and _";
  if (others.includes(form.name)) return "Name: there is such a schedule already";
  if (form.cron.trim() === "") return "When: say a time, like 0 3 * * *";
  if (form.payload.trim() !== "") {
    try {
      JSON.parse(form.payload);
    } catch {
      return "Event: not JSON";
    }
  }
  return undefined;
}
