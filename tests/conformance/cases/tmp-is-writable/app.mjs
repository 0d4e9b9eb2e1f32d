import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";

export const handler = async () => {
  const kept = existsSync("/tmp/folder/script");
  mkdirSync("/tmp/folder", { recursive: true });
  writeFileSync("/tmp/folder/script", "#!/bin/sh\necho hello\n", { mode: 0o755 });
  const ran = spawnSync("/tmp/folder/script", { encoding: "utf8" });
  return { read: (ran.stdout ?? String(ran.error)).trim(), status: ran.status, kept };
};
