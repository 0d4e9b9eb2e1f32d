import { closeSync, openSync, statSync, unlinkSync, writeFileSync, writeSync } from "node:fs";

export const handler = async (event) => {
  if (event === "works") {
    unlinkSync("/tmp/big");
    writeFileSync("/tmp/small", "room again");
    return "works";
  }
  const block = Buffer.alloc(1024 * 1024, "x");
  const file = openSync("/tmp/big", "w");
  try {
    for (let written = 0; written < 200; written++) writeSync(file, block);
  } catch (error) {
    return { error: error.code, megabytes: statSync("/tmp/big").size / 1024 ** 2 };
  } finally {
    closeSync(file);
  }
  return { error: null };
};
