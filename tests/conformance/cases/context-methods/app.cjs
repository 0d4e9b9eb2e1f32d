exports.handler = (event, context) => {
  if (event === "fail") return context.fail(new RangeError("failed"));
  context.succeed("succeeded");
};
