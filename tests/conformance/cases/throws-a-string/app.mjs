export const handler = async (event) => {
  if (event === "works") return "works";
  throw "just a string";
};
