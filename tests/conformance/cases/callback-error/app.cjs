exports.handler = (event, context, callback) => {
  if (event === "works") return callback(null, "works");
  callback(new TypeError("through the callback"));
};
