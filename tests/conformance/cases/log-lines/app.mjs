import { spawnSync } from "node:child_process";

export const handler = async () => {
  process.stdout.write("to stdout\n");
  process.stderr.write("to stderr\n");
  process.stdout.write("two\nlines\n");
  spawnSync("/bin/echo", ["from a child"], { stdio: "inherit" });
  process.stdout.write("the last, without an end");
  return "done";
};
