let pending = false;
exports.handler = (event, context, callback) => {
  context.callbackWaitsForEmptyEventLoop = false;
  if (event === "second") return callback(null, { pending });
  pending = true;
  setTimeout(() => { pending = false; }, 60_000);
  callback(null, "first");
};
