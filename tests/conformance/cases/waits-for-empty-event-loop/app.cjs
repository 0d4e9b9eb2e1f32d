let done = false;
exports.handler = (event, context, callback) => {
  if (event === "second") return callback(null, { done });
  setTimeout(() => { done = true; }, 200);
  callback(null, "first");
};
