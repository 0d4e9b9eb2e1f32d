import { readdirSync, readFileSync } from "node:fs";

const SECRET = ["HEARTH_TOKEN", "HEARTH_TEST_TAG", "HEARTH_DATA_DIR", "TMPDIR", "RUST_BACKTRACE"];

export const handler = async (event) => {
  const found = SECRET.filter((name) => name in process.env);
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      if (readFileSync(`/proc/${pid}/environ`, "utf8").includes(event.tag)) found.push(pid);
    } catch {
      // not ours to read: as it should be
    }
  }
  return found;
};
