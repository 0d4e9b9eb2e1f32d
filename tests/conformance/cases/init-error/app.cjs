exports.handler = async () => "works";
throw new Error("no database");
