import { chmodSync, copyFileSync } from "node:fs";
import { execFileSync } from "node:child_process";

export const handler = async () => {
  copyFileSync("/usr/bin/id", "/tmp/id");
  chmodSync("/tmp/id", 0o4755);
  const uid = execFileSync("/tmp/id", ["-u"], { encoding: "utf8" }).trim();
  // The mounts themselves are looked at in app.py: Node cannot tell their flags.
  return { gained: uid === String(process.getuid()) ? [] : [`became ${uid}`], without_nosuid: [] };
};
