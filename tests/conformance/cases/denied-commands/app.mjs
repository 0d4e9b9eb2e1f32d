import { spawnSync } from "node:child_process";

const TRIES = {
  mount: ["mount", "-t", "tmpfs", "none", "/tmp"],
  bind: ["mount", "--bind", "/usr", "/tmp"],
  umount: ["umount", "-l", "/proc"],
  unshare: ["unshare", "--user", "--map-root-user", "true"],
  "unshare-mount": ["unshare", "--mount", "true"],
  nsenter: ["nsenter", "--target", "1", "--mount", "true"],
  chroot: ["chroot", "/usr", "true"],
  mknod: ["mknod", "/tmp/device", "c", "1", "1"],
  hostname: ["hostname", "mine"],
  date: ["date", "-s", "2001-01-01"],
};

export const handler = async (event) => {
  if (event === "works") return "works";
  return Object.entries(TRIES)
    .filter(([, [command, ...args]]) => spawnSync(command, args, { timeout: 2000 }).status === 0)
    .map(([name]) => name);
};
