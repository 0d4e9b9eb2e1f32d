export const handler = async (event) => {
  if (event === "works") return "works";
  process.stdout.write("y".repeat(4 * 1024 * 1024) + "\n");
  for (let number = 0; number < 50_000; number++) process.stdout.write(`line ${number}\n`);
  return "done";
};
