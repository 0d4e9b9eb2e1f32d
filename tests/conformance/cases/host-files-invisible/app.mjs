import { readFileSync, readdirSync } from "node:fs";

export const handler = async ({ data, canary }) => {
  const found = [];
  for (const path of ["/etc/shadow", "/etc/sudoers", "/proc/1/root/etc/shadow", canary, `${data}/admin.token`]) {
    try {
      readFileSync(path);
      found.push(path);
    } catch {
      // not there: as it should be
    }
  }
  for (const folder of ["/root", "/home", "/var/lib", "/boot", "/mnt", "/srv", "/run", "/run/secrets", data]) {
    try {
      found.push(...readdirSync(folder).map((name) => `${folder}/${name}`));
    } catch {
      // not there: as it should be
    }
  }
  // A folder of the sandbox's own, for secrets as files; what is in it was looked at above.
  return found.filter((path) => path !== "/run/secrets");
};
