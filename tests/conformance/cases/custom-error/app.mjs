class OutOfCheese extends Error {
  constructor(message) {
    super(message);
    this.name = "OutOfCheese";
  }
}

export const handler = async (event) => {
  if (event === "works") return "works";
  throw new OutOfCheese("no cheddar");
};
