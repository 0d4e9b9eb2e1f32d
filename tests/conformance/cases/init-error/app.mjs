export const handler = async () => "works";
throw new Error("no database");
