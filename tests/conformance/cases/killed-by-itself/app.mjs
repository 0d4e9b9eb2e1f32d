export const handler = async (event) => {
  if (event === "works") return "works";
  process.kill(process.pid, "SIGKILL");
  await new Promise((resolve) => setTimeout(resolve, 1000));
};
