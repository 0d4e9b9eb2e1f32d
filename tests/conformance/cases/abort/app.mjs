export const handler = async (event) => {
  if (event === "works") return "works";
  process.abort();
  await new Promise((resolve) => setTimeout(resolve, 1000));
};
