import { existsSync, lstatSync, readdirSync } from "node:fs";
import { basename } from "node:path";

const HARMLESS = ["null", "zero", "full", "random", "urandom", "tty", "ptmx"];

export const handler = async (event) => {
  if (event === "works") return existsSync("/dev/null") && existsSync("/dev/urandom") ? "works" : "missing";
  return readdirSync("/dev", { recursive: true }).filter((name) => {
    const file = lstatSync(`/dev/${name}`, { throwIfNoEntry: false });
    // A descriptor under /dev/fd that was only open for the listing is gone by now.
    return file && (file.isCharacterDevice() || file.isBlockDevice()) && !HARMLESS.includes(basename(name));
  });
};
