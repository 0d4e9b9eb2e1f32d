export const handler = async (event) => {
  if (event === "works") return "works";
  process.kill(process.pid, "SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, 60_000));
};
