// What differs between two texts, line by line, and between two packages, file by file.
import { type Files, textOf } from "./package";

export interface DiffLine {
  kind: "same" | "gone" | "new";
  text: string;
  /** Its number in the text that it is of; of a line that both have, in the newer. */
  at: number;
}

/** Beyond so many lines that differ, a part is told as gone and new, whole. */
const MOST = 1200;

/** All lines of both, those that only one has marked: a shortest way from `before` to `after` (Myers). */
export function diffLines(before: string, after: string): DiffLine[] {
  const a = linesOf(before);
  const b = linesOf(after);
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const same = (from: number, to: number): DiffLine[] => b.slice(from, to).map((text, n) => ({ kind: "same", text, at: from + n + 1 }));
  return [...same(0, head), ...between(a.slice(head, a.length - tail), b.slice(head, b.length - tail), head), ...same(b.length - tail, b.length)];
}

function linesOf(text: string): string[] {
  if (text === "") return [];
  return (text.endsWith("\n") ? text.slice(0, -1) : text).split("\n");
}

function between(a: string[], b: string[], offset: number): DiffLine[] {
  const gone = (x: number): DiffLine => ({ kind: "gone", text: a[x] ?? "", at: offset + x + 1 });
  const made = (y: number): DiffLine => ({ kind: "new", text: b[y] ?? "", at: offset + y + 1 });
  const most = Math.min(a.length + b.length, MOST);
  // How far each diagonal was come with so many steps; kept for each number of steps, to find the way back.
  const trace: Int32Array[] = [];
  const reach = new Int32Array(2 * most + 3);
  const middle = most + 1;
  const at = (k: number) => reach[middle + k] ?? 0;
  let steps = -1;
  search: for (let d = 0; d <= most; d++) {
    trace.push(reach.slice(middle - d - 1, middle + d + 2));
    for (let k = -d; k <= d; k += 2) {
      let x = k === -d || (k !== d && at(k - 1) < at(k + 1)) ? at(k + 1) : at(k - 1) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++;
      reach[middle + k] = x;
      if (x >= a.length && x - k >= b.length) {
        steps = d;
        break search;
      }
    }
  }
  if (steps < 0) return [...a.map((_, x) => gone(x)), ...b.map((_, y) => made(y))];
  const found: DiffLine[] = [];
  let x = a.length;
  let y = b.length;
  for (let d = steps; d > 0; d--) {
    const was = trace[d] as Int32Array;
    const before = (k: number) => was[d + 1 + k] ?? 0;
    const k = x - y;
    const down = k === -d || (k !== d && before(k - 1) < before(k + 1));
    const fromX = down ? before(k + 1) : before(k - 1);
    const fromY = fromX - (down ? k + 1 : k - 1);
    while (x > fromX && y > fromY) {
      y--;
      x--;
      found.push({ kind: "same", text: b[y] ?? "", at: offset + y + 1 });
    }
    if (down) found.push(made(--y));
    else found.push(gone(--x));
  }
  while (y > 0) {
    y--;
    found.push({ kind: "same", text: b[y] ?? "", at: offset + y + 1 });
  }
  return found.reverse();
}

export interface Hunk {
  lines: DiffLine[];
  /** Lines that both have before it, and that are left out. */
  skipped: number;
}

/** Only what differs, with so many lines around it. */
export function hunks(lines: DiffLine[], around = 3): Hunk[] {
  const wanted = new Set<number>();
  lines.forEach((line, n) => {
    if (line.kind === "same") return;
    for (let near = n - around; near <= n + around; near++) if (near >= 0 && near < lines.length) wanted.add(near);
  });
  const found: Hunk[] = [];
  let skipped = 0;
  lines.forEach((line, n) => {
    if (!wanted.has(n)) {
      skipped++;
      return;
    }
    const last = found.at(-1);
    if (last && skipped === 0) last.lines.push(line);
    else found.push({ lines: [line], skipped });
    skipped = 0;
  });
  return found;
}

export interface FileChange {
  name: string;
  kind: "gone" | "new" | "changed";
  /** Bytes before and after. */
  sizes: [number, number];
  /** None where one of them is no text, or too long. */
  lines: DiffLine[] | undefined;
}

/** Files that only one package has, or that are not the same in both; by name. */
export function diffFiles(before: Files, after: Files): FileChange[] {
  const names = [...new Set([...before.keys(), ...after.keys()])].sort((a, b) => a.localeCompare(b));
  const found: FileChange[] = [];
  for (const name of names) {
    const [was, is] = [before.get(name), after.get(name)];
    if (was && is && sameBytes(was, is)) continue;
    const [from, to] = [was ? textOf(was) : "", is ? textOf(is) : ""];
    found.push({
      name,
      kind: !was ? "new" : !is ? "gone" : "changed",
      sizes: [was?.length ?? 0, is?.length ?? 0],
      lines: from === undefined || to === undefined ? undefined : diffLines(from, to),
    });
  }
  return found;
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a === b || (a.length === b.length && a.every((byte, at) => byte === b[at]));
}
