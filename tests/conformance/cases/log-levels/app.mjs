export const handler = async () => {
  console.debug("a debug");
  console.log("a log");
  console.info("an info");
  console.warn("a warning");
  console.error("an error %s %o", "formatted", { a: 1 });
  return "done";
};
