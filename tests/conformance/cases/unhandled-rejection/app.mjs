export const handler = async (event) => {
  if (event === "works") return "works";
  Promise.reject(new Error("nobody awaits me"));
  await new Promise((resolve) => setTimeout(resolve, 1000));
};
