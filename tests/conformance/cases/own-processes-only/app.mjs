import { readFileSync, readdirSync } from "node:fs";

export const handler = async () => {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const commands = pids.map((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8"));
  const strangers = commands.filter((text) => text.includes("pytest") || text.includes("--data-dir"));
  return { count: pids.length, strangers };
};
