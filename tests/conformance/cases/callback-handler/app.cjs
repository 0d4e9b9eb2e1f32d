exports.handler = (event, context, callback) => {
  if (event === "works") return callback(null, "works");
  setTimeout(() => callback(null, { late: true }), 20);
};
