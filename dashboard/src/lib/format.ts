// Numbers and times as people read them.

/** Microseconds: `840 µs`, `12.3 ms`, `1.25 s`, `3 min 20 s`. */
export function micros(us: number | null | undefined): string {
  if (us === null || us === undefined) return "–";
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 10_000) return `${(us / 1000).toFixed(2)} ms`;
  if (us < 100_000) return `${(us / 1000).toFixed(1)} ms`;
  if (us < 1_000_000) return `${Math.round(us / 1000)} ms`;
  if (us < 60_000_000) return `${(us / 1e6).toFixed(2)} s`;
  return span(us / 1e6);
}

/** Seconds: `8 s`, `3 min 20 s`, `2 h 5 min`, `4 d 3 h`. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const two = (big: number, unit: string, small: number, smaller: string) =>
    small > 0 ? `${big} ${unit} ${small} ${smaller}` : `${big} ${unit}`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86_400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return two(Math.floor(s / 86_400), "d", Math.floor((s % 86_400) / 3600), "h");
}

/** Bytes in powers of two: `512 B`, `1.5 KiB`, `24 MiB`. */
export function bytes(count: number | null | undefined): string {
  if (count === null || count === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${trim(value.toFixed(digits))} ${units[unit]}`;
}

/** `1,234`, `12.3 k`, `4.5 M`. */
export function count(value: number): string {
  if (value < 10_000) return Math.round(value).toLocaleString("en-US");
  if (value < 1e6) return `${trim((value / 1e3).toFixed(1))} k`;
  return `${trim((value / 1e6).toFixed(1))} M`;
}

/** GB-seconds: three digits that matter. */
export function billed(gbSeconds: number | null | undefined): string {
  return gbSeconds === null || gbSeconds === undefined ? "–" : digits(gbSeconds);
}

/** An amount in a currency that is said elsewhere. */
export function money(amount: number | null | undefined): string {
  return amount === null || amount === undefined ? "–" : digits(amount);
}

function digits(value: number): string {
  if (value === 0) return "0";
  const places = Math.min(12, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
  return value.toFixed(places);
}

export function percent(part: number, whole: number): string {
  if (whole === 0) return "–";
  const value = (part / whole) * 100;
  return value > 0 && value < 0.1 ? "<0.1 %" : `${trim(value.toFixed(value < 10 ? 1 : 0))} %`;
}

/** How long ago, or how soon: `just now`, `5 min ago`, `in 3 h`. */
export function ago(time: string | number | Date, now = Date.now()): string {
  const seconds = (now - new Date(time).getTime()) / 1000;
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  const text =
    size < 60
      ? `${Math.round(size)} s`
      : size < 3600
        ? `${Math.round(size / 60)} min`
        : size < 86_400
          ? `${Math.round(size / 3600)} h`
          : `${Math.round(size / 86_400)} d`;
  return seconds >= 0 ? `${text} ago` : `in ${text}`;
}

const two = (n: number, width = 2) => String(n).padStart(width, "0");

/** `14:03:07.123`, of this browser's clock. */
export function clock(time: string | number | Date, millis = true): string {
  const date = new Date(time);
  const text = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return millis ? `${text}.${two(date.getMilliseconds(), 3)}` : text;
}

/** `23 Nov 14:03:07`. */
export function moment(time: string | number | Date): string {
  const date = new Date(time);
  const month = date.toLocaleString("en-GB", { month: "short" });
  return `${date.getDate()} ${month} ${clock(date, false)}`;
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString("en-US")} ${n === 1 ? one : many}`;
}

/** The end of an id: ids begin with the time, and those of one hour look alike there. */
export function short(id: string, length = 8): string {
  return id.slice(-length);
}

/** A size as Hearth writes it, in bytes: `256MB` is 256 MiB; none where it is no size. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(B|KB|MB|GB)$/i.exec(text.trim());
  if (!match) return undefined;
  const power = ["B", "KB", "MB", "GB"].indexOf((match[2] ?? "").toUpperCase());
  return Number(match[1]) * 1024 ** power;
}

function trim(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}
