// A function's package as a set of files: read from a zip, changed, and made a zip again.
import { unzipSync, zipSync, type Zippable } from "fflate";

export type Files = Map<string, Uint8Array>;

/** Longer files are not shown in the editor. */
const EDITABLE = 512 * 1024;

export function unpack(zip: Uint8Array): Files {
  const entries = Object.entries(unzipSync(zip)).filter(([name]) => !name.endsWith("/"));
  return new Map(entries.sort(([a], [b]) => a.localeCompare(b)));
}

export function pack(files: Files): Uint8Array {
  const entries: Zippable = {};
  for (const [name, bytes] of [...files].sort(([a], [b]) => a.localeCompare(b))) {
    // Unix, and whether it is a program; the same files are always the same package.
    const mode = runs(name, bytes) ? 0o100755 : 0o100644;
    entries[name] = [bytes, { os: 3, attrs: mode * 0x10000, mtime: "2000-01-01T12:00:00" }];
  }
  return zipSync(entries, { level: 6 });
}

/** Whether a file has to be one that can be run: a script with an interpreter, or an ELF program. */
export function runs(name: string, bytes: Uint8Array): boolean {
  const [a, b, c, d] = bytes;
  return name === "bootstrap" || (a === 0x23 && b === 0x21) || (a === 0x7f && b === 0x45 && c === 0x4c && d === 0x46);
}

/** A file's text, where it is one that can be edited. */
export function textOf(bytes: Uint8Array): string | undefined {
  if (bytes.length > EDITABLE) return undefined;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return text.includes("\0") ? undefined : text;
  } catch {
    return undefined;
  }
}

/** Why a file cannot have that name. */
export function badName(name: string, files: Files): string | undefined {
  if (name === "") return "a name is needed";
  if (name.startsWith("/") || name.split("/").some((part) => part === "" || part === "." || part === ".."))
    return "expected a path within the package, like lib/tools.py";
  if (/[\0-\x1f\\]/.test(name)) return "no control characters or backslashes";
  if (files.has(name)) return "there is such a file already";
  for (const other of files.keys()) {
    if (other.startsWith(`${name}/`)) return "there is such a folder already";
    if (name.startsWith(`${other}/`)) return `${other} is a file`;
  }
  return undefined;
}

/** The file that a handler like `app.handler` names, if it is there. */
export function entryOf(handler: string, files: Files): string | undefined {
  const module = handler.replace(/\.[^./]*$/, "").replace(/^\.\//, "");
  const path = module.replaceAll(".", "/");
  const names = [module, path].flatMap((base) => ["py", "mjs", "js", "cjs", "ts", "rb"].map((kind) => `${base}.${kind}`));
  return names.find((name) => files.has(name)) ?? (files.has("bootstrap") ? "bootstrap" : [...files.keys()][0]);
}

/** A package of what was dropped: a zip or jar as it is, one program as `bootstrap`. */
export function dropped(name: string, bytes: Uint8Array): { zip: Uint8Array; kind: "zip" | "jar" | "program" | "file" } {
  const isZip = bytes[0] === 0x50 && bytes[1] === 0x4b;
  if (isZip && name.toLowerCase().endsWith(".jar")) return { zip: pack(new Map([["bootstrap.jar", bytes]])), kind: "jar" };
  if (isZip) return { zip: bytes, kind: "zip" };
  if (bytes[0] === 0x7f && bytes[1] === 0x45) return { zip: pack(new Map([["bootstrap", bytes]])), kind: "program" };
  return { zip: pack(new Map([[name, bytes]])), kind: "file" };
}
