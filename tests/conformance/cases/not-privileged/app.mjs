import { readFileSync } from "node:fs";

const FIELDS = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"];

export const handler = async () => {
  const lines = readFileSync("/proc/self/status", "utf8").split("\n").map((line) => line.split(":\t"));
  const status = Object.fromEntries(lines);
  const found = Object.fromEntries(FIELDS.map((name) => [name, (status[name] ?? "not shown").trim()]));
  const ids = [process.getuid(), process.geteuid(), process.getgid(), process.getegid()];
  return { ...found, root: ids.includes(0) };
};
