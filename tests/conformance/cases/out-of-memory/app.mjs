export const handler = async (event) => {
  if (event === "works") return "works";
  for (const held = []; ; ) held.push(Buffer.alloc(8 * 1024 * 1024, "x"));
};
