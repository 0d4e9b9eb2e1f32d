export const handler = async (event) => {
  if (event === "works") return "works";
  for (const name of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(name, () => {});
  for (;;);
};
