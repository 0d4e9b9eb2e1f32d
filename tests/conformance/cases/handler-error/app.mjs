export const handler = async (event) => {
  if (event === "works") return "works";
  return inner();
};

function inner() {
  throw new RangeError("it broke: 💥");
}
