import { chmodSync, unlinkSync, writeFileSync } from "node:fs";

const PLACES = ["/var/task", "/var/runtime", "/usr", "/usr/bin", "/etc", "/", "/proc", "/sys", "/dev"];

export const handler = async () => {
  const written = [];
  const attempt = (what, action) => {
    try {
      action();
      written.push(what);
    } catch {
      // refused: as it should be
    }
  };
  for (const place of PLACES) attempt(place, () => writeFileSync(`${place}/planted`, "x"));
  attempt("mode of app.mjs", () => chmodSync("/var/task/app.mjs", 0o777));
  attempt("app.mjs removed", () => unlinkSync("/var/task/app.mjs"));
  return { written };
};
