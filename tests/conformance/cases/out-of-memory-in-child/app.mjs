import { spawnSync } from "node:child_process";

const BOMB = "for (const held = []; ; ) held.push(Buffer.alloc(8 * 1024 * 1024, 'x'))";

export const handler = async (event) => {
  if (event === "works") return "works";
  spawnSync(process.execPath, ["-e", BOMB]);
  return "the child died alone";
};
