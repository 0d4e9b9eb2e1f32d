import { spawnSync } from "node:child_process";

const BOMB = "for (const held = []; ; ) held.push(Buffer.alloc(8 * 1024 * 1024, 'x'))";

export const handler = async (event) => {
  if (event === "works") return "works";
  spawnSync(process.execPath, ["-e", BOMB]);
  // On cgroup v1 the kernel kills the child alone, and Hearth, which is told of it, the rest.
  await new Promise((resolve) => setTimeout(resolve, 2000));
  return "the child died alone";
};
