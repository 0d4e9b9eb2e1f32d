import { spawn } from "node:child_process";

export const handler = async (event) => {
  if (event === "works") return "works";
  spawn("/bin/sleep", ["600"], { detached: true, stdio: ["ignore", "inherit", "inherit"] }).unref();
  return "answered";
};
