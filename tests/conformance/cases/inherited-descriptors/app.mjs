import { fstatSync, readdirSync, readlinkSync } from "node:fs";

const KNOWN = ["pipe:", "socket:", "anon_inode:", "/dev/null", "/dev/urandom", "/proc/", "/var/task", "/usr/"];

export const handler = async () => {
  const strange = [];
  for (const name of readdirSync("/proc/self/fd")) {
    try {
      const kind = fstatSync(Number(name));
      if (kind.isFIFO() || kind.isSocket()) continue; // whatever it is called
      const target = readlinkSync(`/proc/self/fd/${name}`);
      if (!KNOWN.some((start) => target.startsWith(start))) strange.push([name, target]);
    } catch {
      // the descriptor that listed the folder
    }
  }
  return strange;
};
