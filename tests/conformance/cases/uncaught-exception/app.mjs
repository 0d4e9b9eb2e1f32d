export const handler = async (event) => {
  if (event === "works") return "works";
  setTimeout(() => {
    throw new Error("out of a timer");
  }, 10);
  await new Promise((resolve) => setTimeout(resolve, 1000));
};
