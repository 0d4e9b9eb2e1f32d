export const handler = async (event) => {
  if (event === "works") return "works";
  await new Promise((resolve) => setTimeout(resolve, 60_000));
};
