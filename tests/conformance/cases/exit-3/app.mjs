export const handler = async (event) => {
  if (event === "works") return "works";
  process.exit(3);
};
