export const handler = async () => {
  const held = Array.from({ length: 128 }, () => Buffer.alloc(1024 * 1024, "x"));
  return held.length;
};
