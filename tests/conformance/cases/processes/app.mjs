import { once } from "node:events";
import { spawn } from "node:child_process";

const sleeper = () =>
  new Promise((resolve, reject) => {
    const child = spawn("/usr/bin/sleep", ["60"], { stdio: "ignore" });
    child.on("spawn", () => resolve(child));
    child.on("error", reject);
  });

export const handler = async (event) => {
  if (event === "works") return "works";
  const children = [];
  let refused = null;
  while (children.length < 2000 && refused === null) {
    try {
      children.push(await sleeper());
    } catch (error) {
      refused = error.code;
    }
  }
  const gone = children.map((child) => once(child, "exit"));
  for (const child of children) child.kill("SIGKILL");
  await Promise.all(gone);
  return { children: children.length, refused };
};
